"""Files of readings, a piece at a time."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ..datasets import TemperatureCSV
from ..errors import first_line
from ..schemas import BadDataError

PART = "part"  # attribute of a piece: the name of its file, if it is one of a folder
_COLUMNS = ["timestamp", "sensor_id", "temperature"]


def shown(address: str) -> str:
    """Name a file as people do, without the project's folder."""
    path = Path(address)
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else address


class CSVPieces(TemperatureCSV):
    """A file of ``TemperatureCSV``, each piece loaded as if it was a file of its own."""

    def __init__(self, address: str, rows: int) -> None:
        # As JSON has numbers read: a score must not depend on how a reading was sent.
        super().__init__(filepath=address, load_args={"float_precision": "round_trip"})
        self._rows = rows
        self._first_row: pd.DataFrame | None = None
        self._reader: Any = None
        self._piece: pd.DataFrame | None = None

    def pieces(self) -> Iterator[pd.DataFrame]:
        """Read the file; the errors are those of ``TemperatureCSV``."""
        try:
            yield self.load()
            while self._advance():
                yield self.load()
        finally:
            if self._reader is not None:
                self._reader.close()

    def _read(self, **load_args: Any) -> pd.DataFrame:
        if "nrows" in load_args:  # looks for a header
            if self._first_row is None:
                self._first_row = super()._read(**load_args)
            return self._first_row
        if self._reader is None:
            self._reader = super()._read(chunksize=self._rows, **load_args)
            self._advance()
        return self._piece

    def _advance(self) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            try:
                self._piece = next(self._reader, None)
            except (pd.errors.ParserError, pd.errors.ParserWarning, UnicodeDecodeError) as error:
                raise BadDataError(f"{shown(self._address)}: not a CSV table: {error}") from error
        return self._piece is not None


class ParquetPieces:
    """A Parquet file of readings."""

    def __init__(self, address: str, rows: int) -> None:
        self._address = address
        self._opener = TemperatureCSV(filepath=address)
        self._rows = rows

    def pieces(self) -> Iterator[pd.DataFrame]:
        """Read the file, at least one piece, indexed by the number of the reading.

        Raises
        ------
        BadDataError
            If it is no Parquet file.
        """
        import pyarrow
        import pyarrow.parquet

        done = 0
        with self._opener._fs.open(str(self._opener._filepath), "rb") as file:
            try:
                for batch in pyarrow.parquet.ParquetFile(file).iter_batches(self._rows):
                    yield self._readings(batch.to_pandas(), done)
                    done += batch.num_rows
            except pyarrow.ArrowInvalid as error:
                raise BadDataError(
                    f"{shown(self._address)}: not a Parquet table: {first_line(error)}"
                ) from error
        if not done:
            yield self._readings(pd.DataFrame(columns=_COLUMNS), done)

    def _readings(self, piece: pd.DataFrame, done: int) -> pd.DataFrame:
        piece.index = pd.RangeIndex(done + 1, done + 1 + len(piece))
        times = piece.get("timestamp")
        if times is not None and pd.api.types.is_datetime64_any_dtype(times):
            texts = times.map(lambda time: time.isoformat(sep=" "), na_action="ignore")
            piece["timestamp"] = texts.astype(object)
        piece.attrs["source"] = shown(self._address)
        return piece
