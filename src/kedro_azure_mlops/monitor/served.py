"""Read the served rows that ``kedro_azure_mlops.serve.record`` wrote.

The files may come from one server or many, be seconds old or copied from a device: all files below
the folder are read, at any depth.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kedro_azure_mlops.contract import Column, Schema
from kedro_azure_mlops.errors import OperationError, first_line
from kedro_azure_mlops.serve.parts import CUT_OFF, GIVEN, LINES, PARQUET, ZIPPED, Lines, opened
from kedro_azure_mlops.storage import shown

logger = logging.getLogger(__name__)

_SUFFIXES = (PARQUET, ZIPPED, LINES)  # finished files first
_TOLERATED = np.timedelta64(1, "s")  # how far a clock may be set back without a note
_HOUR = pd.Timedelta("1h")  # covered by a file, which is named after its start


@dataclass(frozen=True)
class ServedRows:
    """Answered rows.

    Parameters
    ----------
    rows
        ``served_at`` (UTC), ``request_id``, ``model_digest`` and ``latency_ms`` (missing for files
        and batches), then the columns of the schema's inputs and outputs, sorted by time. If the
        schema has a history, a row that was sent several times appears once: with the answer that
        used the most history, the newest of these.
    notes
        Sentences about unreadable or inconsistent files.
    left_out
        Columns that were not recorded: they are missing in all rows.
    """

    rows: pd.DataFrame
    notes: list[str]
    left_out: list[str] = field(default_factory=list)


def read_served(
    folder: str | Path, schema: Schema, *, since: pd.Timestamp | None = None
) -> ServedRows:
    """Read the answers recorded by servers, batch runs and devices.

    Numbers are ``float64`` (whole ones ``Int64``), booleans ``boolean``, times ``datetime64[ns]``,
    texts objects.

    Parameters
    ----------
    folder
        The folder of recorded answers, or a single file in it.
    since
        A time on the server's clock, in UTC if it has no time zone; older rows are left out.

    Raises
    ------
    OperationError
        If there is no such folder.
    """
    path = Path(folder)
    if not path.exists():
        raise OperationError(
            f"There is no folder {shown(str(path))}: nothing was recorded there. To record "
            "answers, set recording.enabled in mlops.yml, or run: kedro mlops serve --record"
        )
    if since is not None:
        since = since.tz_localize("UTC") if since.tzinfo is None else since.tz_convert("UTC")
    reader = _Reader(schema, since)
    tables = [table for file in _files(path, since) for table in reader.read(path, file)]
    rows = pd.concat(tables, ignore_index=True) if tables else _typed({}, 0, schema)
    left_out = [name for name, count in reader.missing.items() if count == len(tables) > 0]
    if left_out:
        reader.notes.append(f"{', '.join(left_out)}: not recorded (recording.leave_out).")
    rows = _without_repeats(rows, schema, left_out, reader.notes)
    rows = rows.sort_values("served_at", kind="stable", ignore_index=True)
    return ServedRows(rows, reader.notes, left_out)


class _Reader:
    """Reads files into tables of one format, and collects notes about them."""

    def __init__(self, schema: Schema, since: pd.Timestamp | None) -> None:
        self._schema, self._since = schema, since
        self._columns = (*schema.inputs, *schema.outputs)
        self.notes: list[str] = []
        self.missing: dict[str, int] = {one.name: 0 for one in self._columns}

    def read(self, folder: Path, file: Path) -> Iterator[pd.DataFrame]:
        name = file.relative_to(folder).as_posix() if file != folder else file.name
        rows, latest, has_other_columns = 0, np.datetime64(0, "ns"), False
        for columns in self._tables(file, name):
            at = columns["served_at"]
            newest = np.maximum.accumulate(np.maximum(at, latest))
            if len(back := np.flatnonzero(newest - at > _TOLERATED)):
                by = pd.Timedelta(newest[back[0]] - at[back[0]])
                self.notes.append(
                    f"{name}: the clock was set back by {by.round('s')} after row "
                    f"{rows + back[0]:,}."
                )
                newest = at
            if len(at):
                latest = newest[-1]
            rows += len(at)
            try:
                if not any(one.name in columns for one in self._columns):
                    raise KeyError
                table = _typed(columns, len(at), self._schema)
            except (KeyError, TypeError, ValueError):
                has_other_columns = True
                continue
            for column in self._columns:
                self.missing[column.name] += column.name not in columns
            yield table if self._since is None else table[table["served_at"] >= self._since]
        if has_other_columns:
            self.notes.append(f"{name}: its rows are from a model with different columns.")

    def _tables(self, file: Path, name: str) -> Iterator[dict[str, Any]]:
        if file.name.endswith(PARQUET):
            yield from self._read_parquet(file, name)
            return
        try:
            with opened(file) as content:
                lines = Lines(content)
                yield from lines
        except FileNotFoundError:  # compacted in the meantime
            for suffix in (PARQUET, ZIPPED):
                other = file.with_name(file.name.removesuffix(LINES) + suffix)
                if other != file and other.exists():
                    yield from self._tables(other, name)
                    return
            return
        if lines.cut_off:
            self.notes.append(f"{name} is cut off after row {lines.rows:,}.")
        if lines.damaged:
            self.notes.append(f"{name}: {lines.damaged:,} lines cannot be read.")

    def _read_parquet(self, file: Path, name: str) -> Iterator[dict[str, Any]]:
        import pyarrow
        import pyarrow.parquet

        rows = 0
        try:
            with pyarrow.parquet.ParquetFile(file) as content:
                for batch in content.iter_batches():
                    rows += batch.num_rows
                    yield {key: _array(batch.column(key)) for key in batch.schema.names}
                is_cut_off = CUT_OFF in (content.metadata.metadata or {})
        except FileNotFoundError:  # removed by the limits of the folder
            return
        except (pyarrow.ArrowException, OSError, KeyError) as error:
            where = f"is damaged after row {rows:,}" if rows else "cannot be read"
            self.notes.append(f"{name} {where}: {first_line(error)}")
            return
        if is_cut_off:
            self.notes.append(f"{name} is cut off after row {rows:,}.")


def _files(path: Path, since: pd.Timestamp | None) -> list[Path]:
    """Find each file once, without copies or the files of lines that it was compacted from."""
    if path.is_file():
        return [path]
    found: dict[tuple[str, str], Path] = {}
    for suffix in _SUFFIXES:
        for file in sorted(path.rglob(f"*{suffix}")):
            day, stem = file.parent.name, file.name.removesuffix(suffix)
            if since is None or _end_of_hour(day, stem) >= since:
                found.setdefault((day, stem), file)
    return [found[key] for key in sorted(found)]


def _end_of_hour(day: str, stem: str) -> pd.Timestamp:
    """Return the end of the hour in the name of a file; the latest time for other names."""
    try:
        hour = pd.Timestamp(f"{day}T{stem.partition('-')[0]}:00", tz="UTC")
    except ValueError:
        return pd.Timestamp.max.tz_localize("UTC")
    return hour + _HOUR


def _array(column: Any) -> np.ndarray:
    """Convert an Arrow column to the same array as a file of lines."""
    if column.null_count and str(column.type) == "int64":  # whole numbers are not floats
        found = np.empty(len(column), object)
        found[:] = column.to_pylist()
        return found
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values


def _typed(columns: dict[str, np.ndarray], rows: int, schema: Schema) -> pd.DataFrame:
    """Build a table of the common format; absent columns are filled with missing values."""
    empty = np.full(rows, None, object)
    at = pd.Series(columns.get("served_at", empty), dtype="datetime64[ns]")
    found: dict[str, Any] = {"served_at": at.dt.tz_localize("UTC")}
    identifiers = (Column("request_id", "string"), Column("model_digest", "string"))
    for column in (*identifiers, Column(GIVEN[3], "double"), *schema.inputs, *schema.outputs):
        kind: Any = _TYPES[column.type]
        found[column.name] = pd.Series(columns.get(column.name, empty), dtype=kind)
    return pd.DataFrame(found)


_TYPES = {
    "string": object,
    "double": "float64",
    "long": "Int64",
    "boolean": "boolean",
    "datetime": "datetime64[ns]",
}


def _without_repeats(
    rows: pd.DataFrame, schema: Schema, left_out: list[str], notes: list[str]
) -> pd.DataFrame:
    """Keep only the answer that used the most history for rows that were sent several times."""
    history = schema.history
    if history is None or rows.empty:
        return rows
    keys = [name for name in (history.by, history.order) if name]
    if absent := [name for name in keys if name in left_out]:
        notes.append(
            f"Without {', '.join(absent)}, rows that were sent repeatedly are counted each time."
        )
        return rows
    request = ["served_at", "request_id", *([history.by] if history.by else [])]
    before = rows.groupby(request, sort=False, dropna=False).cumcount()
    order = np.lexsort((rows["served_at"].to_numpy("datetime64[ns]"), before))
    is_best = ~rows[keys].iloc[order].duplicated(keep="last").to_numpy()
    return rows.iloc[np.sort(order[is_best])]
