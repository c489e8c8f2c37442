"""The engine on Spark: the same functions on executors, with Arrow.

Nothing runs until a result is used, except in ``sample`` and ``to_pandas``.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial, reduce
from operator import add, and_
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kedro_azure_mlops.contract import ColumnType, History
from kedro_azure_mlops.engine import exact
from kedro_azure_mlops.engine.rows import (
    HASH,
    IS_WANTED,
    Function,
    OneGroup,
    Types,
    call,
    hashes,
    in_order,
    settle,
)
from kedro_azure_mlops.errors import OperationError, RefusedError

_SPARK_TYPES: dict[ColumnType, str] = {
    "string": "string",
    "double": "double",
    "long": "bigint",
    "boolean": "boolean",
    "datetime": "timestamp_ntz",
}
_TYPES: dict[str, ColumnType] = {
    **{spark: ours for ours, spark in _SPARK_TYPES.items()},
    **dict.fromkeys(("tinyint", "smallint", "int"), "long"),
    "float": "double",
    "timestamp": "datetime",
}
_BYTES = {"string": 60, "boolean": 1}  # of a value in pandas; 8 for other types
_PART = "__part"
_OUR_ERROR = re.compile(  # the last error of a worker; further lines of a message are indented
    r".*^kedro_azure_mlops\.errors\.(\w+): ([^\n]*(?:\n  [^\n]*)*)", re.DOTALL | re.MULTILINE
)
_FAR_TIME = re.compile(r"would result in out of bounds timestamp: (-?\d+)")  # by Arrow
_MISSING_MODULE = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")


def types_of(frame: Any) -> dict[str, str]:
    """Return the types of a table's columns.

    Raises
    ------
    OperationError
        If a column has instants, which functions receive in UTC, but the session's zone is not; if
        Spark cannot tell two columns apart.
    """
    found = {field.name: field.dataType.simpleString() for field in frame.schema.fields}
    _refuse_repeated_names(frame)
    zone = frame.sparkSession.conf.get("spark.sql.session.timeZone")
    if "timestamp" in found.values() and zone not in ("UTC", "Etc/UTC", "GMT", "Z"):
        raise OperationError(
            f"the session's time zone is {zone}, but functions need UTC: "
            'spark.conf.set("spark.sql.session.timeZone", "UTC"), as spark_session() does'
        )
    return {name: _TYPES.get(kind, kind) for name, kind in found.items()}


def map_groups(frame: Any, types: Types, apply_to_group: OneGroup, most_rows: int) -> Any:
    """Apply a function to groups, or to parts of groups that are too large."""
    table = _with_contract_types(frame, types)
    keys = [*apply_to_group.by]
    if apply_to_group.history is not None:
        table = _split_into_parts(table, apply_to_group.by, apply_to_group.history, most_rows)
        types = {**types, IS_WANTED: "boolean"}
        keys.append(_PART)
    table, numbers = _numbered(table)

    def run_group(rows: pd.DataFrame) -> pd.DataFrame:
        return apply_to_group(settle(rows.set_axis([*numbers], axis=1), types))

    groups = table.groupBy(*(numbers[key] for key in keys))
    return groups.applyInPandas(run_group, schema_of(apply_to_group.schema))


def map_rows(frame: Any, types: Types, function: Function, schema: Types) -> Any:
    """Apply a function to Arrow's blocks of rows."""
    table, numbers = _numbered(_with_contract_types(frame, types))

    def run_blocks(blocks: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        named = (rows.set_axis([*numbers], axis=1) for rows in blocks if len(rows))
        return (call(function, settle(rows, types), schema) for rows in named)

    return table.mapInPandas(run_blocks, schema_of(schema))


def sample(frame: Any, types: Types, rows: int, key: Sequence[str], seed: int) -> pd.DataFrame:
    """Choose the rows with the smallest hashes, first on each executor, then on the driver."""
    from pyspark.sql import functions as f

    key_types = {name: types[name] for name in key}

    @f.pandas_udf("bigint")
    def hash_keys(found: pd.DataFrame) -> pd.Series:
        return pd.Series(hashes(settle(found, key_types), seed))

    table = _with_contract_types(frame, types)
    order = [_column(name).asc_nulls_last() for name in types]
    table = table.withColumn(HASH, hash_keys(f.struct(*map(_column, key))))
    return in_order(to_pandas(table.orderBy(HASH, *order).limit(rows).drop(HASH), types), key)


def aggregate(frame: Any, types: Types, by: Sequence[str], wanted: exact.Wanted) -> Any:
    """Aggregate blocks on their executors, then the partial results by a hash of the keys."""
    from pyspark.sql import functions as f

    parts = exact.partial_types(types, by, wanted)
    compute_partials = partial(exact.partials, by=by, wanted=wanted)
    blocks, numbers = _numbered(map_rows(frame, types, compute_partials, parts))
    schema = exact.result_types(types, by, wanted)
    compute_totals = partial(exact.totals, by=by, types=types, wanted=wanted)

    def total(rows: pd.DataFrame) -> pd.DataFrame:
        return call(compute_totals, settle(rows.set_axis([*numbers], axis=1), parts), schema)

    partitions = int(frame.sparkSession.conf.get("spark.sql.shuffle.partitions"))
    partition = f.pmod(f.hash(*(numbers[key] for key in by)), f.lit(partitions))
    return blocks.groupBy(partition).applyInPandas(total, schema_of(schema))


def newest_rows(frame: Any, column: str, span: timedelta) -> Any:
    """Keep the rows that are less than a span older than the newest."""
    from pyspark.sql import functions as f

    times = _column(column).cast("timestamp_ntz")  # Python would shift instants to its own zone
    with spark_errors():
        (newest,) = frame.agg(f.max(times)).first()
    if newest is None:
        return frame.limit(0)
    return frame.where(times > f.lit(str(newest - span)).cast("timestamp_ntz"))


def refuse_too_large(frame: Any, types: Types) -> None:
    """Refuse a table that does not fit into the memory of this machine, naming remedies.

    Raises
    ------
    OperationError
        If it certainly does not; a table is never refused if the free memory is not known.
    """
    free = _free_memory()
    if free is None:
        return
    with spark_errors():
        rows = frame.count()
    needed = rows * sum(_BYTES.get(kind, 8) for kind in types.values())
    if needed > free:
        raise OperationError(
            f"{rows:,} rows need {needed / 1e9:,.1f} GB here and {free / 1e9:,.1f} GB are free: "
            "train on fewer rows, such as the newest weeks, or use a machine with more memory"
        )


def to_pandas(frame: Any, types: Types) -> pd.DataFrame:
    """Collect a table on the driver."""
    with spark_errors(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "toPandas attempted Arrow")  # repeats the raised error
        return settle(_with_contract_types(frame, types).toPandas(), types)


def schema_of(schema: Types) -> str:
    """Write a schema in Spark's notation."""
    return ", ".join(f"{quoted(name)} {_SPARK_TYPES[kind]}" for name, kind in schema.items())


@contextmanager
def spark_errors() -> Iterator[None]:
    """Raise the error of a function on an executor as it would be raised on pandas.

    Needed when other code uses a Spark table: ``with spark_errors(): frame.count()``.

    Raises
    ------
    OperationError, RefusedError
        With the function's own message; OperationError also if the executors lack a package.
    """
    try:
        yield
    except Exception as error:
        if own := error_of_function(error):
            raise own from error
        raise


def error_of_function(error: BaseException) -> OperationError | RefusedError | None:
    """Return the error that a function raised on an executor; None for any other Spark error."""
    text = "\n\n".join(_messages(error))
    if found := _OUR_ERROR.match(text):
        return (RefusedError if found[1] == "RefusedError" else OperationError)(found[2])
    if "PythonException" in text and (found := _MISSING_MODULE.search(text)):
        return OperationError(
            f"the executors have no {found[1]}: install it there, or send pure Python with "
            f'send_packages(spark, "{found[1].split(".")[0]}")'
        )
    if found := _FAR_TIME.search(text):
        far = np.datetime64(int(found[1]), "us").item()
        return OperationError(
            f"a column has the time {far}, which pandas cannot store (1678 to 2261): "
            "leave out the column, or make such times missing"
        )
    return None


def _free_memory() -> int | None:
    """Return the bytes that processes of this machine may still use; None if not reported."""
    with suppress(OSError, ValueError, IndexError):
        found = Path("/proc/meminfo").read_text(encoding="utf-8").partition("MemAvailable:")[2]
        return int(found.split()[0]) * 1024
    return None


def _messages(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield f"{type(error).__name__}: {error}"
        error = error.__cause__ or error.__context__


def _split_into_parts(table: Any, by: Sequence[str], history: History, most_rows: int) -> Any:
    """Assign each row to the parts of its group that need it, as a row of theirs or as history.

    Parts begin between two times, after each multiple of ``most_rows``. A part looks back from its
    first time over ``history.rows`` earlier times, which are at least as many rows, and from there
    over ``history.days``, as ``serve.stream`` does. Small groups stay whole.

    To avoid comparing a row with all parts of its group, the time of a group is divided into slots,
    four for each part, and a row is joined only with the parts that overlap its slot.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    named = {f"__key{n}": _column(name) for n, name in enumerate(by)}
    keys, ours, time = [*named], _column(history.order), f.col("__time")
    first, width, last = f.col("__first"), f.col("__width"), f.col("__end")
    is_same = reduce(and_, [column.eqNullSafe(f.col(key)) for key, column in named.items()])

    def slot(moment: Any) -> Any:
        return f.floor(_seconds(moment - first) / width)

    rows, seconds = f.count(f.lit(1)), _seconds(f.max(ours) - f.min(ours))
    large = table.groupBy(*(column.alias(key) for key, column in named.items())).agg(
        rows.alias("__rows"),
        f.min(ours).alias("__first"),
        f.max(ours).alias("__end"),
        f.greatest(seconds * most_rows / rows / 4, f.lit(1)).alias("__width"),
    )
    large = f.broadcast(large.where(f.col("__rows") > most_rows).drop("__rows"))
    times = table.join(large, is_same)
    times = times.groupBy(*keys, first, width, last, ours.alias("__time")).count()
    window = Window.partitionBy(*keys).orderBy(time)
    before = f.sum("count").over(window.rowsBetween(Window.unboundedPreceding, -1))
    number = f.floor(f.coalesce(before, f.lit(0)) / most_rows)
    span = f.expr(f"make_dt_interval(0, 0, 0, {history.days * 86_400:.6f})")
    parts = (
        times.withColumn(_PART, number)
        .withColumn("__from", f.lag(time, history.rows).over(window) - span)
        .withColumn("__last", f.lag(_PART, 1, -1).over(window))
        .where(f.col("__last") != f.col(_PART))
        .withColumn("__until", f.lead(time).over(window))
    )
    begin = f.greatest(f.coalesce(slot(f.col("__from")), f.lit(0)), f.lit(0))
    end = slot(f.coalesce(f.col("__until"), last))
    parts = parts.select(
        *(*keys, _PART, "__time", "__from", "__until"),
        f.explode(f.sequence(begin, end)).alias("__slot"),
    )
    is_in_part = f.coalesce(ours >= f.col("__from"), f.lit(True))  # null in the first part
    is_in_part &= f.coalesce(ours < f.col("__until"), f.lit(True))
    placed = table.join(large, is_same, "left").withColumn("__own", slot(ours)).drop(*keys)
    is_near = is_same & (f.col("__own") == f.col("__slot"))
    return placed.join(f.broadcast(parts), is_near & is_in_part, "left").select(
        *map(_column, table.columns),
        f.coalesce(ours >= time, f.lit(True)).alias(IS_WANTED),
        f.coalesce(_PART, f.lit(0)).alias(_PART),
    )


def _seconds(interval: Any) -> Any:
    """Return the length of an interval; times without a zone cannot be cast to numbers."""
    from pyspark.sql import functions as f

    parts = {"DAY": 86_400, "HOUR": 3600, "MINUTE": 60, "SECOND": 1}
    found = [  # as doubles, as 32 bits hold the seconds of 68 years only
        f.extract(f.lit(part), interval).cast("double") * count for part, count in parts.items()
    ]
    return reduce(add, found)


def _refuse_repeated_names(frame: Any) -> None:
    is_exact = frame.sparkSession.conf.get("spark.sql.caseSensitive") == "true"
    names: dict[str, list[str]] = {}
    for name in frame.columns:
        names.setdefault(name if is_exact else name.lower(), []).append(name)
    if repeated := [name for same in names.values() if len(same) > 1 for name in same]:
        ignoring = "" if is_exact else " for Spark, which ignores case"
        raise OperationError(
            f"columns have the same name{ignoring}: {', '.join(repeated)}: rename them"
        )


def _with_contract_types(frame: Any, types: Types) -> Any:
    """Return the columns cast to Spark's types for those of the contract."""
    return frame.select(
        *(_column(name).cast(_SPARK_TYPES[kind]).alias(name) for name, kind in types.items())
    )


def _numbered(table: Any) -> tuple[Any, dict[str, str]]:
    """Rename columns to ``c0`` and so on for a function: pyspark does not quote names."""
    numbers = {name: f"c{number}" for number, name in enumerate(table.columns)}
    return table.toDF(*numbers.values()), numbers


def _column(name: str) -> Any:
    from pyspark.sql import functions as f

    return f.col(quoted(name))


def quoted(name: str) -> str:
    """Write the name of a column; unquoted, a dot would select a field of a struct."""
    return "`" + name.replace("`", "``") + "`"
