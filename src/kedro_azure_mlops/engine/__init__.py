"""Run functions of nodes on pandas or Spark tables.

Tables have columns of the contract's types: ``string``, ``double``, ``long``, ``boolean`` and
``datetime``. Functions receive and return pandas rows, with the same types and order on both
engines, so results are bit-identical. Spark is imported only for a Spark table.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from types import ModuleType
from typing import Any, get_args

import pandas as pd

from kedro_azure_mlops.contract import ColumnType, History
from kedro_azure_mlops.engine import exact, on_pandas, on_spark
from kedro_azure_mlops.engine.rows import OneGroup, Types, refuse_unknown_types
from kedro_azure_mlops.engine.session import send_packages, spark_session
from kedro_azure_mlops.errors import OperationError

__all__ = [
    "LINE",
    "aggregate",
    "in_memory",
    "is_on_spark",
    "map_groups",
    "map_rows",
    "map_series",
    "newest_rows",
    "sample",
    "send_packages",
    "spark_errors",
    "spark_session",
    "to_pandas",
]

Table = Any
"""A ``pandas.DataFrame`` or a ``pyspark.sql.DataFrame``; the result is of the same engine."""

LINE = "line"
"""The name of the line numbers of a file: an index of pandas tables, a column of Spark tables."""

spark_errors = on_spark.spark_errors


def map_groups(
    frame: Table,
    by: str | Sequence[str],
    function: Callable[[pd.DataFrame], pd.DataFrame],
    schema: Types,
    *,
    order_by: str | Sequence[str] = (),
    history: History | None = None,
    most_rows: int = 1_000_000,
) -> Table:
    """Apply a function to the rows of each group.

    Parameters
    ----------
    frame
        A pandas or Spark table. Times with a zone become UTC without one; whole numbers must not be
        missing.
    by
        Columns that separate groups, of any type but ``double``; a missing value is a group too.
    function
        Accepts the rows of one group, at least one, and returns rows. Groups run in parallel.
    schema
        The columns that it returns, and their types: ``{"unit": "string", "mean": "double"}``.
    order_by
        Columns that order a group's rows; ties are ordered by all other columns. Without it, the
        order is the table's on pandas and undefined on Spark.
    history
        The earlier rows of its group that a row needs, ordered by ``history.order``, which must not
        be missing then (``history.by`` is not used). The function returns one row per row, in their
        order, and a result may depend only on this history. Spark then splits large groups by time,
        adds the history of its first row to each part and drops the results for that history.
    most_rows
        About how many rows, in addition to their history, Spark passes to the function at once.

    Returns
    -------
    The rows that the function returned, on pandas in the order of the groups (missing last).

    Raises
    ------
    OperationError
        If a column or a type cannot be used; if the function fails, or returns columns or types
        that ``schema`` does not declare or, with ``history``, another number of rows.
        ``RefusedError`` if the function's own error has exit status 1. Spark raises the errors of a
        function when the result is used: see ``spark_errors``.
    """
    refuse_unknown_types(schema)
    if most_rows < 1:
        raise OperationError(f"most_rows is {most_rows}, but needs to be at least 1")
    engine, types = _engine_of(frame)
    keys, order = _keys(types, by), _names(order_by)
    if history is not None:
        if order and order[0] != history.order:
            raise OperationError(f"order_by begins with {order[0]}, history with {history.order}")
        order = order or [history.order]
    _refuse_missing_columns(types, order)
    if history is not None and types[history.order] != "datetime":
        raise OperationError(
            f"history is ordered by {history.order}, which is not a datetime column"
        )
    apply_to_group = OneGroup(function, schema, keys, order, history)
    return engine.map_groups(frame, types, apply_to_group, most_rows)


def map_series(
    frame: Table,
    function: Callable[[pd.DataFrame], pd.DataFrame],
    schema: Types,
    history: History,
    *,
    most_rows: int = 1_000_000,
) -> Table:
    """Apply a function that accepts any number of whole series in one call.

    On pandas it gets the unchanged table in one call; on Spark, each series in a call of its own.

    Parameters
    ----------
    frame
        A pandas table indexed by ``LINE``, ordered by series and time, or a Spark table with that
        column.
    function
        Returns a row for each of its rows, with the same index.
    schema
        The columns that it returns, without the index, and their types.
    history
        The columns of the series' name and of the time, and the earlier rows that a row needs.
    most_rows
        As for ``map_groups``.

    Returns
    -------
    The rows that the function returned, on Spark with a column ``LINE``.

    Raises
    ------
    OperationError, RefusedError
        As for ``map_groups``, on Spark.
    """
    if isinstance(frame, pd.DataFrame):
        return function(frame)

    def run_series(rows: pd.DataFrame) -> pd.DataFrame:
        return function(rows.set_index(LINE)).reset_index()

    if history.by is None:
        raise OperationError("history names no column of the series")
    types: dict[str, ColumnType] = {LINE: "long", **schema}
    order = [history.order, LINE]
    return map_groups(
        frame, history.by, run_series, types, order_by=order, history=history, most_rows=most_rows
    )


def map_rows(
    frame: Table, function: Callable[[pd.DataFrame], pd.DataFrame], schema: Types
) -> Table:
    """Apply a function to blocks of rows, in parallel.

    Parameters
    ----------
    frame
        A pandas or Spark table, as for ``map_groups``.
    function
        Accepts any block of at least one row and returns rows, which must not depend on other rows
        of the block. Do costly work, such as loading a model, once a process: ``functools.cache``.
    schema
        The columns that it returns, and their types.

    Returns
    -------
    The rows that the function returned, on pandas in the order of the table.

    Raises
    ------
    OperationError, RefusedError
        As for ``map_groups``.
    """
    refuse_unknown_types(schema)
    engine, types = _engine_of(frame)
    return engine.map_rows(frame, types, function, schema)


def sample(frame: Table, rows: int, key: str | Sequence[str], seed: int = 0) -> pd.DataFrame:
    """Choose rows by a hash of their key, the same ones on every engine and cluster.

    Parameters
    ----------
    rows
        The number of rows to choose; a smaller table is returned whole. They must fit into memory.
    key
        Columns that identify a row; rows of equal keys have equal hashes.
    seed
        Another seed chooses other rows.

    Returns
    -------
    A pandas table on both engines, ordered by the key, then by all other columns. If keys are
    distinct, each set of that many rows is equally likely.
    """
    engine, types = _engine_of(frame)
    keys = _names(key)
    _refuse_missing_columns(types, keys)
    _refuse_repeated_columns(keys)
    if not keys or rows < 1:
        raise OperationError(f"a sample needs a key and at least one row, not {keys} and {rows}")
    return engine.sample(frame, types, rows, keys, seed)


def aggregate(
    frame: Table, by: str | Sequence[str], functions: Mapping[str, str | Sequence[str]]
) -> Table:
    """Aggregate columns by group, exactly: the order and number of blocks do not change a bit.

    Sums are exact, rounded once (Shewchuk 1997, as in ``math.fsum``), and a mean is the rounded sum
    divided by the count. Missing values are left out: a group without other values has the count
    and the sum 0, and no mean, minimum or maximum.

    Parameters
    ----------
    by
        As for ``map_groups``.
    functions
        One or more of ``count``, ``sum``, ``min``, ``max`` and ``mean`` by column, such as
        ``{"value": ["count", "mean"]}``. Sums and means need numbers.

    Returns
    -------
    A row per group: the columns of ``by``, then ``value_count``, ``value_mean`` and so on.

    Raises
    ------
    OperationError
        If a column's type does not support a function, a result has the name of a column of ``by``,
        or a sum does not fit into 64 bits.
    """
    engine, types = _engine_of(frame)
    keys = _keys(types, by)
    wanted = {column: _names(names) for column, names in functions.items()}
    _refuse_missing_columns(types, [*wanted])
    exact.refuse_unusable(types, keys, wanted)
    used = {name: types[name] for name in types if name in keys or name in wanted}
    return engine.aggregate(frame, used, keys, wanted)


def newest_rows(frame: Table, column: str, span: str) -> Table:
    """Keep the newest rows: those within a span, such as ``90D``, before the last time, or all.

    Parameters
    ----------
    column
        The column of the times; rows without a time are left out.
    span
        In pandas notation, or ``all``.

    Raises
    ------
    OperationError
        If there is no such column, its type is not ``datetime``, or ``span`` is not a span.
    """
    if span == "all":
        return frame
    engine, types = _engine_and_types(frame)
    _refuse_missing_columns(types, [column])
    if types[column] != "datetime":
        raise OperationError(
            f"the newest rows are found by time, but {column} is {types[column]}, not datetime"
        )
    return engine.newest_rows(frame, column, _timedelta(span))


def to_pandas(frame: Table) -> pd.DataFrame:
    """Return a whole table as pandas; it must fit into memory."""
    engine, types = _engine_of(frame)
    return engine.to_pandas(frame, types)


def in_memory(frame: Table, *order: str) -> pd.DataFrame:
    """Return a table of file rows as pandas, indexed by ``LINE``; a pandas table unchanged.

    Parameters
    ----------
    order
        Columns to sort the rows of a Spark table by, before ``LINE``; they have no order there.

    Raises
    ------
    OperationError
        If the table does not fit into the memory of this machine, or lacks one of these columns.
    """
    if isinstance(frame, pd.DataFrame):
        return frame
    _, types = _engine_of(frame)
    _refuse_missing_columns(types, [*order, LINE])
    on_spark.refuse_too_large(frame, types)
    rows = on_spark.to_pandas(frame, types)
    return rows.sort_values([*order, LINE], ignore_index=True).set_index(LINE)


def is_on_spark(frame: Any) -> bool:
    """Return whether an object is a Spark table, without importing Spark."""
    return any(kind.__module__.startswith("pyspark.sql.") for kind in type(frame).__mro__)


def _engine_of(frame: Table) -> tuple[ModuleType, Types]:
    """Return the engine of a table, and the types of its columns, which have to be supported."""
    engine, types = _engine_and_types(frame)
    if wrong := {name: kind for name, kind in types.items() if kind not in get_args(ColumnType)}:
        raise OperationError(f"convert or drop columns of types that are not supported: {wrong}")
    return engine, types


def _engine_and_types(frame: Table) -> tuple[ModuleType, Types]:
    engine: ModuleType
    if isinstance(frame, pd.DataFrame):
        engine = on_pandas
    elif is_on_spark(frame):
        engine = on_spark
    else:
        raise OperationError(f"a table is a pandas or Spark DataFrame, not {type(frame).__name__}")
    types: dict[str, ColumnType] = engine.types_of(frame)
    return engine, types


def _names(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else [*names]


def _keys(types: Types, by: str | Sequence[str]) -> list[str]:
    keys = _names(by)
    _refuse_missing_columns(types, keys)
    _refuse_repeated_columns(keys)
    if not keys or any(types[key] == "double" for key in keys):
        raise OperationError(f"by is {keys}, but needs at least one column and none of type double")
    return keys


def _refuse_missing_columns(types: Types, names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in types]:
        known = ", ".join(map(str, types))
        raise OperationError(f"there is no column {missing[0]}; the columns are {known}")


def _refuse_repeated_columns(names: Sequence[str]) -> None:
    if repeated := [name for name in {*names} if names.count(name) > 1]:
        raise OperationError(f"{', '.join(sorted(repeated))} is named twice: name a column once")


def _timedelta(span: str) -> timedelta:
    with suppress(ValueError):  # a number would be nanoseconds
        if isinstance(span, str) and pd.Timedelta(span) >= timedelta(microseconds=1):
            return pd.Timedelta(span).to_pytimedelta()
    raise OperationError(f"{span!r} is not a span of time, such as 90D or 12h, and not all")
