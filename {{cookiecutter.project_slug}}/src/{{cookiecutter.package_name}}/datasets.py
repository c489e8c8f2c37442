"""Catalog datasets of our own: logger files as they come, labels, readings to be scored."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from kedro_azure_mlops.serve.batches import CsvPieces
from kedro_azure_mlops.storage import MissingFileError, opened_by_identity, source_of
from kedro_azure_mlops.validation import BadDataError, parse_times
from kedro_datasets.pandas import CSVDataset

from .features import READING
from .schemas import RawTemperatures

_MISSING = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"]
_LABEL_COLUMNS = ["sensor_id", "start", "end"]
_HEADERLESS = {2: ["timestamp", "temperature"], 3: READING}


class TemperatureCSV(CSVDataset):
    """Readings of one or several sensors, with or without a header.

    Loads the columns ``timestamp`` and ``sensor_id`` as text and ``temperature`` as pandas reads
    it, indexed by the line of the file. A column ``value`` is taken for ``temperature``. Without a
    header the columns are time and reading, or time, sensor and reading. A file of one sensor gets
    its own name as ``sensor_id``. Checks are left to the ``validator:`` of the catalog entry.

    A path ``abfs://container@account.dfs.core.windows.net/...`` is opened by identity.
    """

    def __init__(self, *, filepath: str, **options: Any) -> None:
        self._address = str(filepath)
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
            If the file is empty or not a table.
        """
        (whole,) = self.pieces(None)
        return whole

    def pieces(self, rows: int | None) -> Iterator[pd.DataFrame]:
        """Read the file in tables of at most so many rows; the errors are those of ``load``."""
        source = source_of(
            self,
            self._address,
            "Set raw_file in operation/configuration/<env>/parameters.yml, or for one run: "
            'kedro run --params "raw_file=PATH".',
        )
        try:
            with warnings.catch_warnings():
                # pandas would cut off what is beyond the header and only warn
                warnings.simplefilter("error", pd.errors.ParserWarning)
                yield from self._tables(source, rows)
        except pd.errors.EmptyDataError as error:
            raise BadDataError(f"{source}: the file is empty, it holds no reading.") from error
        except (pd.errors.ParserError, pd.errors.ParserWarning, UnicodeDecodeError) as error:
            raise BadDataError(f"{source}: not a CSV table: {error}") from error

    def _tables(self, source: str, rows: int | None) -> Iterator[pd.DataFrame]:
        options = {
            "skipinitialspace": True,
            "encoding": "utf-8-sig",
            "index_col": False,
            "float_precision": "round_trip",  # as JSON has numbers read
            "keep_default_na": False,  # NA may be a sensor
            "na_values": {"timestamp": [""], "sensor_id": [""]}
            | dict.fromkeys(("temperature", "value"), _MISSING),
            **self._load_args,
        }
        with self._fs.open(str(self._filepath), "rb") as file:
            first = pd.read_csv(file, header=None, nrows=1, dtype=str, **options)
        has_header = not _looks_like_time(first.iloc[0, 0])
        given = [f"column {number + 1}" for number in range(first.shape[1])]
        options |= {
            "header": 0 if has_header else None,
            "names": None if has_header else _HEADERLESS.get(first.shape[1], given),
            "dtype": {"timestamp": str, "sensor_id": str},
            "low_memory": False,
        }
        with self._fs.open(str(self._filepath), "rb") as file:
            found = pd.read_csv(file, chunksize=rows, **options)
            for read in [found] if rows is None else found:
                table = read.rename(columns=str.strip)
                if "temperature" not in table.columns:
                    table = table.rename(columns={"value": "temperature"})
                if "sensor_id" not in table.columns:
                    table["sensor_id"] = Path(self._filepath).stem
                table.index += 2 if has_header else 1
                table.attrs["source"] = source
                yield table


class LabelsCSV(CSVDataset):
    """Known faults, columns ``sensor_id, start, end`` (ends included); none if no file is named."""

    def __init__(self, *, filepath: str | None, **options: Any) -> None:
        self._named = filepath is not None
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
            "Set labels_file in operation/configuration/<env>/parameters.yml; labels_file: null "
            "means that there are no labels.",
        )
        self._load_args = {"dtype": {"sensor_id": str}, "skipinitialspace": True} | self._load_args
        labels = super().load()
        if missing := [name for name in _LABEL_COLUMNS if name not in labels.columns]:
            raise BadDataError(f"{source}: column {', '.join(missing)} is missing.")
        labels["sensor_id"] = labels["sensor_id"].astype(str).str.strip()
        times = labels[["start", "end"]].astype(str).apply(parse_times)
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
    minimum, maximum, stuck_clock_rows
        See ``RawTemperatures``.
    """

    def __init__(
        self, *, minimum: float, maximum: float, stuck_clock_rows: int, **options: Any
    ) -> None:
        super().__init__(**options)
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
        return TemperatureCSV(filepath=address).pieces(self.rows)

    def read_parquet(self, address: str) -> Iterator[pd.DataFrame]:
        """Read a Parquet file as pieces, times as text."""
        for piece in super().read_parquet(address):
            times = piece.get("timestamp")
            if times is not None and pd.api.types.is_datetime64_any_dtype(times):
                texts = times.map(lambda time: time.isoformat(sep=" "), na_action="ignore")
                piece["timestamp"] = texts.astype(object)
            yield piece

    def accept(self, pieces: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """Validate each piece after the rows that a clock which stands still began with."""
        before = pd.DataFrame()
        for piece in pieces:
            rows = pd.concat([before, piece]) if len(before) else piece
            rows.attrs = dict(piece.attrs)
            self._validator.validate(rows)
            before = _rows_with_newest_time(rows)
            yield piece

    def _file_system(self, address: str) -> tuple[Any, str]:
        opened = TemperatureCSV(filepath=address)
        return opened._fs, str(opened._filepath)


def _rows_with_newest_time(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep of each sensor the last readings that have one time."""
    sensors = rows["sensor_id"][::-1]
    other = rows["timestamp"] != rows.groupby("sensor_id")["timestamp"].transform("last")
    return rows[other[::-1].groupby(sensors).cumsum()[::-1] == 0]


def _looks_like_time(text: object) -> bool:
    return bool(parse_times(pd.Series([str(text)])).notna().iloc[0])
