"""Where the scores of new readings go."""

import logging
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import pandas as pd
from kedro.io import AbstractDataset

from ..errors import ProjectError
from .pieces import PART, shown

logger = logging.getLogger(__name__)


class NewScores(AbstractDataset[Iterable[pd.DataFrame], Iterator[pd.DataFrame]]):
    """Scores of new readings: ``<filepath>.csv``, or a folder ``filepath`` of a file a part.

    It is written beside its place and put there at the end: it is whole or not there. What an
    earlier run has left there is then gone.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        if "://" in filepath:
            raise ProjectError(f"new_scores: {filepath} is no folder of this machine.")
        self._folder = Path(filepath.removesuffix(".csv"))
        self._file = self._folder.with_name(f"{self._folder.name}.csv")
        self.metadata = metadata

    def load(self) -> Iterator[pd.DataFrame]:
        """Read the scores that were written last, a table a file."""
        places = [place for place in (self._folder, self._file) if place.exists()]
        newest = max(places, key=lambda place: place.stat().st_mtime_ns, default=self._file)
        files = sorted(newest.glob("*.csv")) if newest.is_dir() else [newest]
        dtype = {"sensor_id": str, "is_anomaly": "Int64", "model_version": str}
        return (pd.read_csv(file, parse_dates=["timestamp"], dtype=dtype) for file in files)

    def save(self, data: Iterable[pd.DataFrame]) -> None:
        """Write the pieces as they come."""
        new = self._folder.with_name(f"{self._folder.name}.new")
        _remove(new)
        new.mkdir(parents=True)
        try:
            parts = _write(data, new)
            self._put(new, parts)
        finally:
            _remove(new)

    def _put(self, new: Path, parts: list[str | None]) -> None:
        if parts == [None]:
            (new / _name(None)).replace(self._file)
            logger.info("The scores are in %s", shown(str(self._file)))
            return
        old = self._folder.with_name(f"{self._folder.name}.old")
        _remove(old)
        if self._folder.exists():
            self._folder.rename(old)
        new.rename(self._folder)
        _remove(old)
        logger.info("The scores are in %s/", shown(str(self._folder)))

    def _exists(self) -> bool:
        return self._folder.is_dir() or self._file.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._folder}


def _write(pieces: Iterable[pd.DataFrame], folder: Path) -> list[str | None]:
    """Write the pieces of each part into one file; return the parts."""
    parts: list[str | None] = []
    file: IO[bytes] | None = None
    try:
        for piece in pieces:
            part = piece.attrs.get(PART)
            is_new = file is None or part != parts[-1]
            if is_new:
                if file is not None:
                    file.close()
                file = (folder / _name(part)).open("wb")
                parts.append(part)
            _append(piece, file, header=is_new)
    finally:
        if file is not None:
            file.close()
    return parts


def _append(piece: pd.DataFrame, file: IO[bytes], *, header: bool) -> None:
    """Write rows as CSV; pandas itself would take a third of the time of a whole run for it."""
    import pyarrow
    import pyarrow.csv

    if header:
        file.write((",".join(piece.columns) + "\n").encode())
    table = pyarrow.Table.from_pandas(piece, preserve_index=False)
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed")
    pyarrow.csv.write_csv(table, file, options)


def _name(part: str | None) -> str:
    return f"{part or 'scores'}.csv"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
