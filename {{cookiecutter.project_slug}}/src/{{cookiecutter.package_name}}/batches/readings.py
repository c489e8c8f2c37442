"""What is to be scored: a file or a folder of files, validated piece by piece."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pandas as pd
from kedro.io import AbstractDataset, DatasetError

from ..datasets import MissingFileError, TemperatureCSV
from ..errors import ProjectError
from ..schemas import RawTemperatures
from .pieces import PART, CSVPieces, ParquetPieces, shown

_SUFFIXES = (".csv", ".parquet")


class UnusableInputError(ProjectError, DatasetError):
    """What ``score.input`` names cannot be scored (exit status 2)."""


class NewReadings(AbstractDataset[None, Iterator[pd.DataFrame]]):
    """Readings to be scored: a file, or a folder of files in the order of their names.

    Loads an iterator of validated pieces, each ``timestamp`` as text, ``sensor_id`` and
    ``temperature``, indexed by the line of its file. CSV files are read as ``TemperatureCSV`` reads
    them, Parquet files have the three columns. Files whose names begin with ``_`` or a dot are left
    out, and so is what is neither CSV nor Parquet.

    Parameters
    ----------
    rows
        Most readings of a piece.
    minimum, maximum, stuck_clock_rows
        See ``RawTemperatures``.
    """

    def __init__(
        self,
        *,
        filepath: str | None,
        rows: int,
        minimum: float,
        maximum: float,
        stuck_clock_rows: int,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self.filepath = filepath
        self.metadata = metadata
        self._rows = rows
        self._schema = RawTemperatures(minimum, maximum, stuck_clock_rows)

    def load(self) -> Iterator[pd.DataFrame]:
        """Find the files; each is opened when its first piece is asked for.

        Raises
        ------
        ProjectError
            If no file is named or it is not there. The iterator raises ``BadDataError`` with the
            first rows of a piece that cannot be used.
        """
        if self.filepath is None:
            raise UnusableInputError(
                "There is nothing to score: name a file or a folder of files, "
                'kedro run --pipelines score --params "score.input=PATH".'
            )
        return self._pieces(self._parts())

    def _parts(self) -> dict[str | None, str]:
        """Find the address of each file, by its name if it is one of a folder."""
        whole = TemperatureCSV(filepath=self.filepath)
        files, folder = whole._fs, str(whole._filepath)
        if not files.exists(folder):
            raise MissingFileError(
                f"There is no file {shown(self.filepath)} to score. Name one: "
                'kedro run --pipelines score --params "score.input=PATH".'
            )
        if not files.isdir(folder):
            return {None: self.filepath}
        names = sorted(PurePosixPath(path).name for path in files.ls(folder, detail=False))
        parts = [
            name for name in names if name.endswith(_SUFFIXES) and not name.startswith(("_", "."))
        ]
        stems = [PurePosixPath(name).stem for name in parts]
        if twice := sorted({stem for stem in stems if stems.count(stem) > 1}):
            raise UnusableInputError(
                f"{shown(self.filepath)} holds two files {twice[0]}, of different kinds: their "
                "scores would get one name. Rename one."
            )
        if not parts:
            raise MissingFileError(
                f"The folder {shown(self.filepath)} holds no file to score, "
                f"{' or '.join(_SUFFIXES)}."
            )
        root = self.filepath.rstrip("/")
        return {stem: f"{root}/{name}" for stem, name in zip(stems, parts, strict=True)}

    def _pieces(self, parts: dict[str | None, str]) -> Iterator[pd.DataFrame]:
        for part, address in parts.items():
            kind = ParquetPieces if address.endswith(".parquet") else CSVPieces
            for piece in self._validated(kind(address, self._rows).pieces()):
                piece.attrs[PART] = part
                yield piece

    def _validated(self, pieces: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """Validate each piece after what it takes to see a clock that stands still."""
        before = pd.DataFrame()
        for piece in pieces:
            rows = pd.concat([before, piece]) if len(before) else piece
            rows.attrs = dict(piece.attrs)
            self._schema.validate(rows)
            before = _with_the_newest_time(rows)
            yield piece

    def save(self, data: None) -> None:
        """Refuse: these files are somebody else's."""
        raise DatasetError("The readings to be scored are never written.")

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self.filepath, "rows": self._rows}


def _with_the_newest_time(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep of each sensor the last readings that have one time."""
    sensors = rows["sensor_id"][::-1]
    other = rows["timestamp"] != rows.groupby("sensor_id")["timestamp"].transform("last")
    return rows[other[::-1].groupby(sensors).cumsum()[::-1] == 0]
