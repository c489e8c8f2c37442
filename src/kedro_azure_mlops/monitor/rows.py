"""The rows that ``kedro mlops monitor`` judges: recorded answers, files, or a catalog entry."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.framework.session import KedroSession
from kedro.io import DataCatalog, DatasetError

from kedro_azure_mlops.config import bootstrap
from kedro_azure_mlops.contract import Column, Columns, Schema, Scorer
from kedro_azure_mlops.errors import OperationError, RefusedError, first_line
from kedro_azure_mlops.monitor.readers import AHEAD, in_future, time_column
from kedro_azure_mlops.monitor.served import read_served
from kedro_azure_mlops.progress import Progress
from kedro_azure_mlops.serve.batches import CsvPieces, EmptyFileError, Pieces, readable_columns
from kedro_azure_mlops.serve.stream import LateRowsError, Stream
from kedro_azure_mlops.storage import shown
from kedro_azure_mlops.validation import BadDataError, NoRowsError

logger = logging.getLogger(__name__)

SERVED_AT = "served_at"
_NO_ROWS = (EmptyFileError, NoRowsError)
_TOLERATED = pd.Timedelta("5min")  # allowed difference of two clocks


@dataclass(frozen=True)
class Rows:
    """Rows sorted by time, with the answers of the model.

    Parameters
    ----------
    table
        The inputs of the schema, with numbers and times converted, and its outputs: numbers and
        flags as ``float64`` (1 is true), NaN in rows without an answer. It begins before the judged
        period, by the length of a row's history.
    source
        Description of where the rows were read from.
    order
        The column of times; None if there is none.
    now
        The time of the check in the time zone of the rows; None if they were not recorded live.
    notes
        Sentences about rows that were left out.
    absent
        Columns that were not recorded.
    """

    table: pd.DataFrame
    source: str
    order: str | None
    now: pd.Timestamp | None = None
    notes: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


class ProjectData:
    """The catalog of an environment, whose entries can also read other files.

    Parameters
    ----------
    root
        The project.
    env
        The environment.
    """

    def __init__(self, root: Path, env: str) -> None:
        self._root, self._env = root, env

    def load(self, name: str, key: str) -> Any:
        """Load the entry named by a key of ``mlops.yml``.

        Raises
        ------
        OperationError
            If there is no such entry, or its data is missing or cannot be read.
        """
        if name not in self._catalog:
            raise OperationError(f"{key} of mlops.yml: the catalog has no entry {name}.")
        if not self._catalog.exists(name):
            raise OperationError(f"{key} of mlops.yml: {name} has no data yet.")
        # a Spark table is read in this process, piece by piece: only its newest rows are kept
        load_here = getattr(self._catalog.get(name), "load_here", None)
        return _load(load_here or partial(self._catalog.load, name), name)

    def load_file(self, file: Path, names: Iterable[str | None]) -> Any:
        """Load a file with the first entry for its file type, otherwise as a plain table.

        Raises
        ------
        OperationError
            If there is no such file, or it cannot be read.
        """
        path = (self._root / file).absolute()
        if not path.exists():
            raise OperationError(f"There is no file {file}.")
        for name in names:
            if name is None or name not in self._catalog:
                continue
            config = self._catalog.config_resolver.resolve_pattern(name)
            entry = self._catalog.get(name)
            known = Path(str(config.get("filepath"))).suffix
            if isinstance(entry, CsvPieces) or (config.get("filepath") and known == path.suffix):
                other = DataCatalog.from_config({name: _for_file(config, path)})
                return _load(partial(other.load, name), str(file))
        return _load(CsvPieces(filepath=path.as_posix()).load, str(file))

    @cached_property
    def _catalog(self) -> Any:
        bootstrap(self._root)
        with KedroSession.create(project_path=self._root, env=self._env) as session:
            return session.load_context().catalog


class unreadable_as_error:  # noqa: N801, used like a function
    """Turn read errors into ``OperationError`` (exit status 2): nothing could be judged."""

    def __init__(self, source: str) -> None:
        self._source = source

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (OperationError, *_NO_ROWS)):
            return
        if isinstance(error, BadDataError | RefusedError):
            raise OperationError(f"Nothing was judged. {error}") from error
        if isinstance(error, DatasetError | OSError | ValueError):
            cause = error.__cause__ or error
            raise OperationError(
                f"Nothing was judged: {self._source} cannot be read: {first_line(cause)}"
            ) from error


def _for_file(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the configuration of an entry for a single local file."""
    dropped = {"versioned", "credentials"}
    if "://" in str(config.get("filepath")):
        dropped.add("fs_args")
    kept = {key: value for key, value in config.items() if key not in dropped}
    return kept | {"filepath": path.as_posix()}


def _load(load: Callable[[], Any], source: str) -> Any:
    """Load data; return no pieces for a file without rows, which is not an error here."""
    with unreadable_as_error(source):
        try:
            return load()
        except _NO_ROWS:
            return iter(())


def recorded_rows(
    folder: Path,
    schema: Schema,
    span: pd.Timedelta,
    digest: str,
    at: pd.Timestamp,
) -> Rows:
    """Read the answers that were recorded before ``at``, a time in UTC.

    Answers of models with another digest are set to missing in the table: their inputs are judged,
    but not their answers.

    Raises
    ------
    OperationError
        If there is no such folder.
    """
    history = schema.history
    order = time_column(schema) or SERVED_AT
    back = span + pd.Timedelta(days=history.days if history else 0)
    found = read_served(folder, schema, since=at - back)
    rows, notes = found.rows.copy(), list(found.notes)
    source = f"answers recorded in {shown(str(folder))}"
    if rows.empty:
        return Rows(rows, source, order, at, notes, found.left_out)
    for column in (*schema.inputs, *schema.outputs):
        rows[column.name] = readable_columns(rows, [column])[0][column.name]
    served = pd.to_datetime(rows[SERVED_AT], utc=True).dt.tz_localize(None)
    if (ahead := served.max() - at) > _TOLERATED:
        notes.append(
            f"The newest answer was recorded {_duration(ahead)} in the future: the clock of this "
            "machine and that of the server differ. Until then all rows count as new."
        )
    rows[SERVED_AT] = served
    is_other = ~rows["model_digest"].astype(str).map(lambda one: digest.startswith(one[:12]))
    if is_other.any():
        names = sorted(set(rows.loc[is_other, "model_digest"].astype(str).str[:12]))
        notes.append(
            f"Rows answered by other models ({', '.join(names)}): {int(is_other.sum()):,}. Their "
            "inputs are judged, their answers are not."
        )
    for column in schema.outputs:
        rows[column.name] = _comparable(rows[column.name], column).mask(is_other.to_numpy())
    rows = _without_time_or_series(rows, schema, order, notes)
    now = None
    if not rows.empty:  # rows may have local times: subtract the lag of the newest one
        is_wrong = in_future(rows[order], rows[SERVED_AT])
        lag = rows[SERVED_AT].max() - rows.loc[~is_wrong, order].max()
        now = max(at, rows[SERVED_AT].max()) - lag
    return Rows(rows, source, order, now, notes, found.left_out)


def scored_rows(
    loaded: Iterable[tuple[str, Any]],
    schema: Schema,
    scorer: Callable[[], Scorer],
    span: pd.Timedelta,
    at: pd.Timestamp,
) -> Rows:
    """Read tables piece by piece, score those without answers, and keep the newest rows.

    Memory is flat: rows older than ``span`` plus the length of a history are dropped. Rows more
    than a day after ``at``, a time in UTC, are left out, unless they are most of the rows.

    Parameters
    ----------
    loaded
        Pairs of a name and a DataFrame or an iterator of DataFrames.
    scorer
        Loads the scorer; called only if a piece has no answers.

    Raises
    ------
    OperationError
        If an item is not a table, lacks columns of the schema, or is not sorted by time.
    """
    history = schema.history
    order = time_column(schema)
    back = span + pd.Timedelta(days=history.days if history else 0)
    # which of the two is the data is only known at the end
    present, future = _Newest(order, back), _Newest(order, back)
    notes: list[str] = []
    sources: list[str] = []
    progress = Progress("Read", None, logger)
    answering = _Answering(schema, scorer)
    for source, pieces in loaded:
        sources.append(source)
        if isinstance(pieces, Pieces):
            pieces.schema = schema
        for piece in _pieces(source, pieces, schema, order):
            rows = answering.answer(piece, source)
            progress.advance(len(rows))
            is_ahead = (rows[order] > at + AHEAD) if order else np.zeros(len(rows), bool)
            if is_ahead.any():
                future.add(rows[is_ahead])
                rows = rows[~is_ahead]
            present.add(rows)
    kept, read, newest = present.parts, present.read, present.newest
    if future.read > present.read:
        kept, read, newest = kept + future.parts, read + future.read, future.newest
    elif future.read:
        notes.append(
            f"Rows whose {order} is in the future, up to {future.newest:%Y-%m-%d %H:%M}, not "
            f"judged: {future.read:,}. Correct their times."
        )
    table = pd.concat(kept) if kept else pd.DataFrame(columns=[c.name for c in schema.inputs])
    if answering.unfit:
        notes.append(
            f"Rows that do not fit the model's schema, judged without a score: {answering.unfit:,}."
        )
    if order:
        table = _without_time_or_series(table, schema, order, notes)
        table = table[table[order] > newest - back] if len(table) else table
        if history is None and len(table) < read:
            notes.append(
                f"Judged by the times in {order}: the newest {len(table):,} of {read:,} rows. "
                "--since looks further back."
            )
    return Rows(table, ", ".join(sources), order, None, notes)


class _Newest:
    """The pieces of a table with its newest rows: those within a span before the newest time."""

    def __init__(self, order: str | None, span: pd.Timedelta) -> None:
        self._order, self._span = order, span
        self.parts: list[pd.DataFrame] = []
        self.newest, self.read = pd.NaT, 0

    def add(self, rows: pd.DataFrame) -> None:
        order = self._order
        self.read += len(rows)
        self.parts.append(rows)
        if order:
            times = [one for one in (self.newest, rows[order].max()) if not pd.isna(one)]
            self.newest = max(times, default=pd.NaT)
            oldest = self.newest - self._span
            self.parts = [one for one in self.parts if not one[order].max() <= oldest]


class _Answering:
    """Adds answers to rows: those in the table, otherwise the scorer's."""

    def __init__(self, schema: Schema, scorer: Callable[[], Scorer]) -> None:
        self._schema, self._scorer = schema, scorer
        self._stream: Stream | None = None
        self.unfit = 0

    def answer(self, piece: pd.DataFrame, source: str) -> pd.DataFrame:
        columns, fits = readable_columns(piece, self._schema.inputs)
        outputs = self._schema.outputs
        if all(column.name in piece.columns for column in outputs):
            answers, _ = readable_columns(piece, outputs)
        else:
            answers = self._scored(columns, fits, source)
            self.unfit += int((~fits).sum())
        found = {one.name: _comparable(pd.Series(answers[one.name]), one) for one in outputs}
        return pd.DataFrame({**columns, **found})

    def _scored(self, columns: Columns, fits: np.ndarray, source: str) -> Columns:
        if not fits.any():  # a model may refuse a table without rows
            return {one.name: np.full(len(fits), None, object) for one in self._schema.outputs}
        if self._stream is None:
            self._stream = Stream(self._scorer())
        try:
            answers = self._stream.score({name: part[fits] for name, part in columns.items()})
        except LateRowsError as error:
            raise OperationError(
                f"Nothing was judged. {source}: {error}: their history is no longer in memory. "
                "Sort the rows by time; files are read in the given order."
            ) from error
        except ValueError as error:  # the model refuses the rows as a whole
            raise OperationError(f"Nothing was judged. {source}: {error}") from error
        found = {}
        for name, part in answers.items():
            found[name] = np.full(len(fits), None, object)
            found[name][fits] = part
        return found


def _pieces(source: str, loaded: Any, schema: Schema, order: str | None) -> Iterator[pd.DataFrame]:
    if isinstance(loaded, pd.DataFrame):
        loaded = [loaded]
        is_whole = True
    elif isinstance(loaded, Iterator):
        is_whole = False
    else:
        raise OperationError(f"{source} is a {type(loaded).__name__}, not a table.")
    with suppress(*_NO_ROWS), unreadable_as_error(source):
        for piece in loaded:
            if missing := [one.name for one in schema.inputs if one.name not in piece.columns]:
                raise OperationError(
                    f"Nothing was judged. {source}: wrong columns, {', '.join(missing)} missing.\n"
                    f"It has: {', '.join(map(str, piece.columns))}\n"
                    f"It needs: {', '.join(column.name for column in schema.inputs)}"
                )
            if is_whole and order:  # like training data, whose rows may be unsorted
                times = readable_columns(piece, [schema.input(order)])[0][order]
                yield piece.iloc[np.argsort(times, kind="stable")]
            else:
                yield piece


def _comparable(values: pd.Series, column: Column) -> pd.Series:
    """Return numeric outputs and flags as floats, NaN where missing; others unchanged."""
    if column.type in {"double", "long", "boolean"}:
        return pd.to_numeric(values.map(_number), errors="coerce").astype(float)
    return values


def _number(value: Any) -> Any:
    return np.nan if value is None or value is pd.NA else float(value)


def _without_time_or_series(
    rows: pd.DataFrame, schema: Schema, order: str, notes: list[str]
) -> pd.DataFrame:
    """Drop rows without a time or series, add a note about them, and sort the others by time."""
    by = schema.history.by if schema.history else None
    wrong = rows[order].isna()
    if by:
        wrong |= rows[by].isna()
    if wrong.any():
        names = " or ".join(name for name in (order, by) if name)
        notes.append(f"Rows without a readable {names}, not judged: {int(wrong.sum()):,}.")
    return rows[~wrong].sort_values(order, kind="stable").reset_index(drop=True)


def newest_part(rows: pd.DataFrame, order: str | None, span: pd.Timedelta, now: Any) -> np.ndarray:
    """Return a mask of the rows in the judged period, which ends ``now`` or at the newest row."""
    if order is None or rows.empty:
        return np.ones(len(rows), bool)
    end = rows[order].max() if now is None else now
    return (rows[order] > end - span).to_numpy()


def _duration(span: pd.Timedelta) -> str:
    return str(span.round("min")).removeprefix("0 days ")
