"""Catalog entries for long tables of series: history, labels, and new rows in pieces.

The catalog names the columns, ``reader:`` describes the format of the files::

    raw_hours:
      type: kedro_azure_mlops.tables.catalog.SeriesCSV
      filepath: ${globals:raw_file}
      columns: {time: time, series: machine, numbers: [load], aliases: {value: load}}
      reader: ${globals:reader}
      parameter: raw_file
    labels:
      type: kedro_azure_mlops.tables.catalog.LabelsCSV
      filepath: ${globals:labels_file}
      series: machine
"""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

import fsspec
import pandas as pd
from kedro.framework.project import settings
from kedro.io import AbstractVersionedDataset, DatasetError, Version
from kedro.io.core import get_filepath_str, get_protocol_and_path
from kedro.validation.core import ValidatorSpec, resolve_validator
from pydantic import Field, ValidationError

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.parameters import Parameters, explain
from kedro_azure_mlops.serve.batches import CsvPieces
from kedro_azure_mlops.storage import MissingFileError, opened_by_identity, shown, source_of
from kedro_azure_mlops.tables.delimited import read_text
from kedro_azure_mlops.tables.series import Names, ReaderOptions, SeriesReader
from kedro_azure_mlops.validation import BadDataError, is_last, parse_times

__all__ = ["LabelsCSV", "SeriesCSV", "SeriesColumns", "SeriesPieces"]

_Reader = ReaderOptions | dict[str, Any] | None


class SeriesColumns(Parameters):
    """The columns of a table of series, as the project calls them.

    Parameters
    ----------
    time, series
        The columns of the time and of the series' name; a file without the latter is one series,
        named after the file.
    numbers
        One or more columns of numbers.
    aliases
        Alternative names, used if the file lacks one of these.
    """

    time: str
    series: str
    numbers: list[str] = Field(min_length=1)
    aliases: dict[str, str] = Field(default={})

    @classmethod
    def names(cls, given: Mapping[str, Any]) -> Names:
        """Return the names for a reader.

        Raises
        ------
        OperationError
            If a key is wrong; the message names it.
        """
        try:
            columns = cls.model_validate(dict(given))
        except ValidationError as error:
            faults = [f"{'.'.join(['columns', *k])}: {why}" for k, why in explain(error, given)]
            raise OperationError("\n".join(faults)) from error
        number, *others = columns.numbers
        names = Names(columns.time, columns.series, number, columns.aliases, others)
        if wrong := sorted(set(columns.aliases.values()) - set(names.all)):
            raise OperationError(
                f"columns.aliases: {wrong[0]} is not one of the columns {', '.join(names.all)}."
            )
        return names


class _TextFile(AbstractVersionedDataset[NoReturn, pd.DataFrame]):
    """A read-only text file, local or at an address that is opened by identity."""

    def __init__(
        self,
        filepath: str,
        parameter: str | None,
        *,
        version: Version | None = None,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._address, self._parameter = str(filepath), parameter
        opened = opened_by_identity(filepath, {"fs_args": fs_args})
        self._protocol, path = get_protocol_and_path(opened["filepath"], version)
        options = {**(credentials or {}), **(opened["fs_args"] or {})}
        self._fs = fsspec.filesystem(self._protocol, **options)
        self.metadata = metadata
        super().__init__(PurePosixPath(path), version, self._fs.exists, self._fs.glob)

    def open(self) -> IO[bytes]:
        """Open the file in binary mode."""
        return self._fs.open(self._load_path(), "rb")

    def save(self, data: NoReturn) -> NoReturn:
        """Raise an error: the files are read-only."""
        raise DatasetError(f"{shown(self._address)} is read-only.")

    def _source(self, also: str) -> str:
        """Return the file's name; if the file is missing, raise an error with a hint."""
        hint = "Set filepath in its entry in catalog.yml."
        if self._parameter:
            hint = f"Set {self._parameter} in {_settings()}{also}"
        return source_of(self, self._address, hint)

    def _load_path(self) -> str:
        return str(get_filepath_str(self._get_load_path(), self._protocol))

    def _exists(self) -> bool:
        try:
            return bool(self._fs.exists(self._load_path()))
        except DatasetError:  # there is no version
            return False

    def _describe(self) -> dict[str, Any]:
        return {
            "filepath": self._filepath,
            "protocol": self._protocol,
            "version": self._version,
        }


class SeriesCSV(_TextFile):
    """Rows of one or several series, with or without a header: time, series, numbers.

    Loads time and series as text, and the numbers where they can be parsed, indexed by the
    line of the file; ``attrs["source"]`` is the file, ``attrs["notes"]`` lists unused content. The
    ``validator:`` of the entry checks the values.

    Parameters
    ----------
    filepath
        A local file or one at any address that fsspec opens;
        ``abfs://container@account.dfs.core.windows.net/...`` is opened by identity.
    columns
        See ``SeriesColumns``.
    reader
        The format of the file, see ``tables.series.ReaderOptions``.
    parameter
        The parameter that names the file, for messages.
    """

    def __init__(
        self,
        *,
        filepath: str,
        columns: Mapping[str, Any],
        reader: _Reader = None,
        parameter: str | None = None,
        **options: Any,
    ) -> None:
        self._names, self._reader = SeriesColumns.names(columns), ReaderOptions.of(reader)
        super().__init__(filepath, parameter, **options)

    def load(self) -> pd.DataFrame:
        """Read the file.

        Raises
        ------
        MissingFileError
            If the file does not exist.
        UnreadableAddressError
            If the store of the file cannot be read.
        BadDataError
            If the file is empty, not a table, or not in the format that ``reader`` sets.
        """
        (whole,) = self.pieces(None)
        return whole

    def pieces(self, rows: int | None) -> Iterator[pd.DataFrame]:
        """Read the file as tables of at most ``rows`` rows; raises like ``load``."""
        yield from self.series(self.source()).read_csv(self.open, rows)

    def source(self) -> str:
        """Return the file's name for messages; refuse a missing file, as ``load`` does."""
        return self._source(f', or for one run: kedro run --params "{self._parameter}=PATH".')

    def series(self, source: str) -> SeriesReader:
        """Return the reader that selects columns from the tables of this file."""
        stem = Path(self._filepath).stem
        return SeriesReader(self._names, self._reader, source, stem, _settings())


class LabelsCSV(_TextFile):
    """Labelled intervals of series, one per row: the series, ``start`` and ``end``, inclusive.

    Parameters
    ----------
    filepath
        As for ``SeriesCSV``; None if nothing is labelled.
    series
        The column with the name of the series.
    reader
        The options of the labelled rows; times without an offset are in their time zone.
    parameter
        The parameter that names the file, for messages.
    """

    def __init__(
        self,
        *,
        filepath: str | None,
        series: str,
        reader: _Reader = None,
        parameter: str | None = None,
        **options: Any,
    ) -> None:
        self._is_named, self._series = filepath is not None, series
        self._time_zone = ReaderOptions.of(reader).time_zone
        super().__init__(filepath or "none", parameter, **options)

    def load(self) -> pd.DataFrame:
        """Read the labels, with times as timestamps; no rows if no file is named.

        Raises
        ------
        MissingFileError
            If the named file does not exist.
        UnreadableAddressError
            If the store of the file cannot be read.
        BadDataError
            If a column is missing, a time cannot be read or an interval ends before it starts.
        """
        needed = [self._series, "start", "end"]
        if not self._is_named:
            empty = pd.DataFrame(columns=needed)
            return empty.astype({"start": "datetime64[ns]", "end": "datetime64[ns]"})
        source = self._source(f"; {self._parameter}: null means that there are no labels.")
        labels = read_text(self.open, source)
        if missing := [name for name in needed if name not in labels.columns]:
            raise BadDataError(f"{source}: column {', '.join(missing)} is missing.")
        labels[self._series] = labels[self._series].str.strip()
        # not with apply, which would leave the columns of a file without labels as text
        times = pd.DataFrame(
            {name: parse_times(labels[name], self._time_zone) for name in ("start", "end")}
        )
        wrong = times.isna().any(axis=1) | (times["end"] < times["start"])
        if wrong.any():
            raise BadDataError(
                f"{source}: {wrong.sum()} labels have no readable start and end, or are reversed:\n"
                f"{labels[wrong].head(10).to_string(index=False)}"
            )
        return labels.assign(start=times["start"], end=times["end"])


class SeriesPieces(CsvPieces):
    """New rows of series, a piece at a time: a file, or a folder in the order of its names.

    CSV files are read as ``SeriesCSV`` reads them, and Parquet files by the same rules.

    Parameters
    ----------
    filepath, rows
        As for ``CsvPieces``.
    columns, reader
        As for ``SeriesCSV``.
    checks
        Checks of each piece, in the form of Kedro's ``validator:`` (which would receive the
        iterator of pieces). The rows at the last time of a series are checked again with the next
        piece, so that a stopped clock is detected across pieces.
    parameter, pipeline
        The parameter that names the files and the pipeline that scores them, for messages.
    """

    def __init__(
        self,
        *,
        columns: Mapping[str, Any],
        reader: _Reader = None,
        checks: str | Mapping[str, Any] | None = None,
        parameter: str | None = None,
        pipeline: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._columns, self._reader = columns, reader
        self._names = SeriesColumns.names(columns)
        self._parameter, self._pipeline = parameter, pipeline
        self._validator: Any = None
        if checks is not None:
            given = checks if isinstance(checks, str) else dict(checks)
            self._validator = resolve_validator(ValidatorSpec.from_dataset_config("checks", given))

    def files(self) -> dict[str | None, str]:
        """Find the files, like ``CsvPieces.files``."""
        if self.filepath is None and self._parameter:
            only = f"--pipelines {self._pipeline} " if self._pipeline else ""
            raise MissingFileError(
                "There is nothing to score: name a file or folder, "
                f'kedro run {only}--params "{self._parameter}=PATH".'
            )
        return super().files()

    def read_csv(self, address: str) -> Iterator[pd.DataFrame]:
        """Read a CSV file as pieces; raises like ``SeriesCSV``."""
        return self._file(address).pieces(self.rows)

    def read_parquet(self, address: str) -> Iterator[pd.DataFrame]:
        """Read a Parquet file as pieces, by the same rules."""
        pieces = map(_with_none, super().read_parquet(address))
        return self._file(address).series(shown(address)).select(pieces)

    def accept(self, pieces: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        """Check each piece together with the preceding last rows of its series."""
        before = pd.DataFrame()
        for piece in pieces:
            if self._validator is not None:
                rows = pd.concat([before, piece]) if len(before) else piece
                rows.attrs = dict(piece.attrs)
                self._validator.validate(rows)
                before = rows[is_last(rows[self._names.time], rows[self._names.series])]
            yield piece

    def _file_system(self, address: str) -> tuple[Any, str]:
        opened = self._file(address)
        return opened._fs, opened._load_path()

    def _file(self, address: str) -> SeriesCSV:
        return SeriesCSV(
            filepath=address,
            columns=self._columns,
            reader=self._reader,
            parameter=self._parameter,
            fs_args=self._storage or None,
        )


def _with_none(piece: pd.DataFrame) -> pd.DataFrame:
    """Mark missing whole numbers like missing text: comparisons with ``pd.NA`` have no result."""
    nullable = piece.select_dtypes(["Int64", "UInt64"]).astype(object)
    return piece.assign(**nullable.where(nullable.notna(), None))


def _settings() -> str:
    """Return the path of the file that sets parameters, for messages."""
    return f"{PurePosixPath(settings.CONF_SOURCE)}/<env>/parameters.yml"
