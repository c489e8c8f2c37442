"""Catalog datasets of our own: logger files as they come, labels, readings to be scored."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from kedro_azure_mlops.serve.batches import CsvPieces
from kedro_azure_mlops.storage import MissingFileError, opened_by_identity, shown, source_of
from kedro_azure_mlops.tables.delimited import read_text
from kedro_azure_mlops.tables.series import Names, ReaderOptions, SeriesReader
from kedro_azure_mlops.validation import BadDataError, is_last, parse_times
from kedro_datasets.pandas import CSVDataset

from .features import READING
from .schemas import RawTemperatures

_NAMES = Names(*READING, aliases={"value": "temperature", "sensor": "sensor_id"})
_LABEL_COLUMNS = ["sensor_id", "start", "end"]
_Reader = ReaderOptions | dict[str, Any] | None
_SETTINGS = "operation/configuration/<env>/parameters.yml"


class TemperatureCSV(CSVDataset):
    """Readings of one or several sensors, with or without a header.

    Loads the columns ``timestamp`` and ``sensor_id`` as text and ``temperature`` as numbers where
    it is that, indexed by the line of the file; ``attrs["notes"]`` says what was not used. Checks
    of the values are left to the ``validator:`` of the catalog entry.

    A path ``abfs://container@account.dfs.core.windows.net/...`` is opened by identity.

    Parameters
    ----------
    reader
        How the files are read, see ``ReaderOptions``.
    """

    def __init__(self, *, filepath: str, reader: _Reader = None, **options: Any) -> None:
        self._address = str(filepath)
        self._reader = ReaderOptions.of(reader)
        super().__init__(**opened_by_identity(filepath, options))

    def load(self) -> pd.DataFrame:
        """Read the file.

        Raises
        ------
        MissingFileError
            If there is no such file.
        UnreadableAddressError
            If the store that it is in cannot be read.
        BadDataError
            If the file is empty, not a table, or not of the form that ``reader`` says.
        """
        (whole,) = self.pieces(None)
        return whole

    def pieces(self, rows: int | None) -> Iterator[pd.DataFrame]:
        """Read the file in tables of at most so many rows; the errors are those of ``load``."""
        source = source_of(
            self,
            self._address,
            f'Set raw_file in {_SETTINGS}, or for one run: kedro run --params "raw_file=PATH".',
        )
        yield from self.series(source).read_csv(self.open, rows)

    def series(self, source: str) -> SeriesReader:
        """Return what takes our columns out of the tables of this file."""
        return SeriesReader(_NAMES, self._reader, source, Path(self._filepath).stem, _SETTINGS)

    def open(self) -> Any:
        """Open the file for its bytes."""
        return self._fs.open(str(self._filepath), "rb")


class LabelsCSV(CSVDataset):
    """Known faults, columns ``sensor_id, start, end`` (ends included); none if no file is named.

    Times without an offset are of the zone of the readings; see ``TemperatureCSV`` for ``reader``.
    """

    def __init__(self, *, filepath: str | None, reader: _Reader = None, **options: Any) -> None:
        self._named = filepath is not None
        self._time_zone = ReaderOptions.of(reader).time_zone
        self._address = str(filepath)
        super().__init__(**opened_by_identity(filepath or "none", options))

    def load(self) -> pd.DataFrame:
        """Read the labels, times as timestamps.

        Raises
        ------
        MissingFileError
            If a file is named and does not exist.
        UnreadableAddressError
            If the store that it is in cannot be read.
        BadDataError
            If a column is missing, a time cannot be read or a fault ends before it starts.
        """
        if not self._named:
            empty = pd.DataFrame(columns=_LABEL_COLUMNS)
            return empty.astype({"start": "datetime64[ns]", "end": "datetime64[ns]"})
        source = source_of(
            self,
            self._address,
            f"Set labels_file in {_SETTINGS}; labels_file: null means that there are no labels.",
        )
        labels = read_text(lambda: self._fs.open(str(self._filepath), "rb"), source)
        if missing := [name for name in _LABEL_COLUMNS if name not in labels.columns]:
            raise BadDataError(f"{source}: column {', '.join(missing)} is missing.")
        labels["sensor_id"] = labels["sensor_id"].str.strip()
        times = labels[["start", "end"]].apply(parse_times, zone=self._time_zone)
        wrong = times.isna().any(axis=1) | (times["end"] < times["start"])
        if wrong.any():
            raise BadDataError(
                f"{source}: {wrong.sum()} labels have no readable start and end in order:\n"
                f"{labels[wrong].head(10).to_string(index=False)}"
            )
        return labels.assign(start=times["start"], end=times["end"])


class NewReadings(CsvPieces):
    """Readings to be scored, a piece at a time: a file, or a folder in the order of its names.

    CSV files are read as ``TemperatureCSV`` reads them, Parquet files have the three columns. Each
    piece is validated as training data is.

    Parameters
    ----------
    rows
        Most readings of a piece.
    reader
        See ``TemperatureCSV``.
    minimum, maximum, stuck_clock_rows
        See ``RawTemperatures``.
    """

    def __init__(
        self,
        *,
        minimum: float,
        maximum: float,
        stuck_clock_rows: int,
        reader: _Reader = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._reader = reader
        self._validator = RawTemperatures(minimum, maximum, stuck_clock_rows)

    def load(self) -> Iterator[pd.DataFrame]:
        """Find the files, as ``CsvPieces.load``."""
        if self.filepath is None:
            raise MissingFileError(
                "There is nothing to score: name a file or folder, "
                'kedro run --pipelines score --params "score.input=PATH".'
            )
        return super().load()

    def read_csv(self, address: str) -> Iterator[pd.DataFrame]:
        """Read a logger file as pieces; the errors are those of ``TemperatureCSV``."""
        return self._file(address).pieces(self.rows)

    def read_parquet(self, address: str) -> Iterator[pd.DataFrame]:
        """Read a Parquet file as pieces, by the same rules."""
        return self._file(address).series(shown(address)).select(super().read_parquet(address))

    def accept(self, pieces: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """Validate each piece after the rows that a clock which stands still began with."""
        before = pd.DataFrame()
        for piece in pieces:
            rows = pd.concat([before, piece]) if len(before) else piece
            rows.attrs = dict(piece.attrs)
            self._validator.validate(rows)
            before = rows[is_last(rows["timestamp"], rows["sensor_id"])]
            yield piece

    def _file_system(self, address: str) -> tuple[Any, str]:
        opened = self._file(address)
        return opened._fs, str(opened._filepath)

    def _file(self, address: str) -> TemperatureCSV:
        return TemperatureCSV(filepath=address, reader=self._reader)
