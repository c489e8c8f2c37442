"""Catalog datasets of our own: logger files as they come, optional labels."""

import re
import warnings
from copy import copy
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.io import DatasetError
from kedro_datasets.pandas import CSVDataset

from .errors import ProjectError, first_line
from .schemas import BadDataError, parse_times

_MISSING = ["", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"]
_LABEL_COLUMNS = ["sensor_id", "start", "end"]
_OF_ACCOUNT = re.compile(r"(abfss?)://([^/@]+)@([\w-]+)\.(?:dfs|blob)\.core\.windows\.net/(.+)")


class MissingFileError(ProjectError, DatasetError):
    """A file named in the configuration is not there (exit status 2)."""


class UnreadableAddressError(ProjectError, DatasetError):
    """A store does not let us read (exit status 2)."""


class TemperatureCSV(CSVDataset):
    """Readings of one or several sensors, with or without a header.

    Loads the columns ``timestamp`` and ``sensor_id`` as text and ``temperature`` as pandas reads
    it, indexed by the line of the file. A column ``value`` is taken for ``temperature``. Without a
    header the columns are time and reading, or time, sensor and reading. A file of one sensor gets
    its own name as ``sensor_id``. Checks are left to the ``validator:`` of the catalog entry.

    A path ``abfs://container@account.dfs.core.windows.net/...`` lies in Blob storage; it is opened
    by identity.
    """

    def __init__(self, *, filepath: str, **options: Any) -> None:
        self._address = str(filepath)
        super().__init__(**_opened_by_identity(filepath, options))

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
        source = _source(self)
        if not _is_there(self):
            raise MissingFileError(
                f"There is no file {source}. Set raw_file in operation/configuration/<env>/"
                'parameters.yml, or for one run: kedro run --params "raw_file=PATH".'
            )
        first_row = self._read(header=None, nrows=1, dtype=str)
        has_header = not _looks_like_time(first_row.iloc[0, 0])
        raw = self._read(
            header=0 if has_header else None,
            names=None if has_header else _headerless_names(first_row.shape[1]),
            dtype={"timestamp": str, "sensor_id": str},
            low_memory=False,
        )
        raw.columns = raw.columns.str.strip()
        if "temperature" not in raw.columns:
            raw = raw.rename(columns={"value": "temperature"})
        if "sensor_id" not in raw.columns:
            raw["sensor_id"] = Path(self._filepath).stem
        raw.index += 2 if has_header else 1
        raw.attrs["source"] = source
        return raw

    def _read(self, **load_args: Any) -> pd.DataFrame:
        reader = copy(self)
        reader._load_args = {
            "skipinitialspace": True,
            "encoding": "utf-8-sig",
            "index_col": False,
            "keep_default_na": False,  # NA may be a sensor
            "na_values": {"timestamp": [""], "sensor_id": [""]}
            | dict.fromkeys(("temperature", "value"), _MISSING),
            **load_args,
            **self._load_args,
        }
        try:
            with warnings.catch_warnings():
                # pandas would cut off what is beyond the header and only warn
                warnings.simplefilter("error", pd.errors.ParserWarning)
                return super(TemperatureCSV, reader).load()
        except DatasetError as error:
            raise _refusal(_source(self), error) from error


class LabelsCSV(CSVDataset):
    """Known faults, columns ``sensor_id, start, end`` (ends included); none if no file is named."""

    def __init__(self, *, filepath: str | None, **options: Any) -> None:
        self._named = filepath is not None
        self._address = str(filepath)
        super().__init__(**_opened_by_identity(filepath or "none", options))

    def load(self) -> pd.DataFrame:
        """Read the labels, times as timestamps.

        Raises
        ------
        MissingFileError
            If a file is named and not there.
        UnreadableAddressError
            If the store that it is in cannot be read.
        BadDataError
            If a column is missing, a time cannot be read or a fault ends before it starts.
        """
        if not self._named:
            empty = pd.DataFrame(columns=_LABEL_COLUMNS)
            return empty.astype({"start": "datetime64[ns]", "end": "datetime64[ns]"})
        source = _source(self)
        if not _is_there(self):
            raise MissingFileError(
                f"There is no file {source}. Set labels_file in operation/configuration/<env>/"
                "parameters.yml; labels_file: null means that there are no labels."
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


def _opened_by_identity(filepath: str, options: dict[str, Any]) -> dict[str, Any]:
    """Take the storage account out of a path: Kedro would lose it, or the container."""
    match = _OF_ACCOUNT.fullmatch(str(filepath))
    if match is None:
        return options | {"filepath": filepath}
    protocol, container, account, path = match.groups()
    fs_args = {"account_name": account, "anon": False} | (options.get("fs_args") or {})
    return options | {"filepath": f"{protocol}://{container}/{path}", "fs_args": fs_args}


def _headerless_names(columns: int) -> list[str]:
    names = {2: ["timestamp", "temperature"], 3: ["timestamp", "sensor_id", "temperature"]}
    return names.get(columns, [f"column {number}" for number in range(1, columns + 1)])


def _looks_like_time(text: object) -> bool:
    return bool(parse_times(pd.Series([str(text)])).notna().iloc[0])


def _refusal(source: str, error: DatasetError) -> DatasetError:
    """Say what is wrong with the content of a file; leave other errors as they are."""
    cause = error.__cause__
    if isinstance(cause, pd.errors.EmptyDataError):
        return BadDataError(f"{source}: the file is empty, it holds no reading.")
    if isinstance(cause, pd.errors.ParserError | pd.errors.ParserWarning | UnicodeDecodeError):
        return BadDataError(f"{source}: not a CSV table: {cause}")
    return error


def _is_there(dataset: Any) -> bool:
    try:
        return dataset._exists()
    except Exception as error:
        # Each store has errors of its own, of packages that are not needed without it.
        if dataset._protocol == "file":
            raise
        raise UnreadableAddressError(
            f"{_source(dataset)} cannot be read: {first_line(error)} Whoever runs this must be "
            "signed in (az login) and may need a role, such as Storage Blob Data Reader."
        ) from error


def _source(dataset: Any) -> str:
    """Name a file as people do: without the project's folder, or as the catalog has its address."""
    if dataset._protocol != "file":
        return dataset._address.split("?", maxsplit=1)[0]  # what signs it is nobody's business
    path = Path(dataset._filepath)
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else str(path)
