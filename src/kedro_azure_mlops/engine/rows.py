"""Rows as functions receive and return them on every engine: types, order, groups and hashes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd
from pandas.api import types as dtypes

from kedro_azure_mlops.contract import ColumnType, History
from kedro_azure_mlops.errors import OperationError, RefusedError
from kedro_azure_mlops.windows import by_series

Types = Mapping[str, ColumnType]
"""The columns of a table, in their order, and their types."""
Function = Callable[[pd.DataFrame], pd.DataFrame]

HASH, IS_WANTED = "__hash", "__is_wanted"  # internal columns
_BY_DTYPE: dict[str, Callable[[Any], bool]] = {
    "boolean": dtypes.is_bool_dtype,
    "long": dtypes.is_signed_integer_dtype,
    "double": dtypes.is_float_dtype,
    "datetime": dtypes.is_datetime64_any_dtype,
}
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))  # of splitmix64


def refuse_unknown_types(schema: Types) -> None:
    """Refuse a schema without columns, or with a type outside the contract."""
    if not schema or not {*schema.values()} <= {*get_args(ColumnType)}:
        known = ", ".join(get_args(ColumnType))
        raise OperationError(f"a schema must give each column one of {known}, not {dict(schema)}")


def type_of(column: pd.Series) -> str:
    """Return a column's type; ``missing`` if it has no values, pandas's name for other types."""
    if found := next((kind for kind, fits in _BY_DTYPE.items() if fits(column.dtype)), None):
        return found
    inferred = dtypes.infer_dtype(column, skipna=True)
    return "missing" if inferred == "empty" else inferred


def settle(frame: pd.DataFrame, types: Types) -> pd.DataFrame:
    """Return columns as the arrays that functions receive, with a new index.

    Text is objects, with None where missing; booleans are ``bool``, or ``boolean`` if one of them
    is missing; whole numbers are ``int64``, fractional ones ``float64``, times ``datetime64[ns]``
    of UTC.

    Raises
    ------
    OperationError
        On missing whole numbers, and on times that an engine would change.
    """
    return pd.DataFrame({name: _settled(frame[name], kind) for name, kind in types.items()})


def _settled(column: pd.Series, kind: ColumnType) -> Any:
    if kind == "double":
        return column.to_numpy(np.float64, na_value=np.nan)
    if kind == "datetime":
        return _in_utc(column)
    is_missing = column.isna().to_numpy()
    if kind in ("long", "boolean") and not is_missing.any():
        return column.to_numpy(np.int64 if kind == "long" else bool)
    if kind == "long":
        raise OperationError(
            f"column {column.name} has {is_missing.sum():,} missing whole numbers, which engines "
            "treat differently: make it double, or fill them"
        )
    values = column.to_numpy(object, copy=True)
    if kind == "boolean":
        values[is_missing] = False
        return pd.arrays.BooleanArray(values.astype(bool), is_missing)
    values[is_missing] = None
    return values


def _in_utc(column: pd.Series) -> np.ndarray:
    try:
        times = pd.DatetimeIndex(column).as_unit("ns")
    except ValueError as error:
        raise OperationError(
            f"column {column.name} has times that pandas cannot store: {error}"
        ) from error
    times = times if times.tz is None else times.tz_convert(None)
    if (times.asi8[times.notna()] % 1000).any():
        raise OperationError(
            f"column {column.name} has nanoseconds, which Spark cannot keep: use .dt.floor('us')"
        )
    return times.to_numpy()


@dataclass(frozen=True)
class OneGroup:
    """Applies a function to the rows of one group, or of a part of it.

    If the rows have a column ``IS_WANTED``, only results for the rows that it marks are kept.
    """

    function: Function
    schema: Types
    by: Sequence[str]
    order: Sequence[str]
    history: History | None

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the function's result for the rows, which are sorted first."""
        rows = in_order(rows, self.order) if self.order else rows
        is_wanted = rows.pop(IS_WANTED).to_numpy() if IS_WANTED in rows else slice(None)
        if self.history and rows[self.history.order].isna().any():
            raise OperationError(
                f"{self.history.order}, which orders the history of {_format_group(rows, self.by)},"
                " is missing in some of its rows: drop them first"
            )
        is_row_for_row = self.history is not None
        return call(self.function, rows, self.schema, self.by, is_row_for_row)[is_wanted]


def call(
    function: Function,
    rows: pd.DataFrame,
    schema: Types,
    by: Sequence[str] = (),
    is_row_for_row: bool = False,
) -> pd.DataFrame:
    """Return a function's result for rows, if it matches its schema.

    Raises
    ------
    OperationError, RefusedError
        Naming the function and the group: RefusedError if the function's error has exit status 1.
        If the function raises one of these two, its message is kept.
    """
    name = getattr(getattr(function, "func", function), "__qualname__", type(function).__name__)
    subject, count = f"{name}, given {len(rows):,} rows of {_format_group(rows, by)},", len(rows)
    try:
        result = function(rows)
    except Exception as error:
        kind = RefusedError if getattr(error, "exit_code", None) == 1 else OperationError
        is_ours = isinstance(error, OperationError | RefusedError)
        message = str(error) if is_ours else f"{subject} failed: {type(error).__name__}: {error}"
        raise kind(message.replace("\n", "\n  ")) from error
    fault = _fault(result, schema)
    if not fault and is_row_for_row and len(result) != count:
        fault = f"{len(result):,} rows, not one for each"
    if fault:
        raise OperationError(f"{subject} returned {fault}")
    try:
        return settle(result, schema)
    except OperationError as error:
        raise OperationError(f"{subject} returned unusable rows: {error}") from error


def _format_group(rows: pd.DataFrame, by: Sequence[str]) -> str:
    return ", ".join(f"{key}={rows[key].iloc[0]}" for key in by) or "a block"


def _fault(result: Any, schema: Types) -> str | None:
    """Return how a result differs from its schema; the order of columns does not matter."""
    if not isinstance(result, pd.DataFrame):
        return f"{type(result).__name__}, not a DataFrame"
    if others := [repr(name) for name in result.columns if not isinstance(name, str)]:
        return f"columns whose names are not text: {', '.join(others)}"
    if sorted(result.columns) != sorted(schema):
        return f"the columns {', '.join(result.columns)}, not {', '.join(schema)}"
    for name, promised in schema.items() if len(result) else ():
        found = type_of(result[name])
        if isinstance(result[name].dtype, pd.DatetimeTZDtype):
            found = "datetime with a zone"
        if found != promised and (found, promised == "long") != ("missing", False):
            return f"{name} as {found}, not as {promised}"
    return None


def in_order(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Sort rows, missing values last, with ties ordered by all other columns.

    Rows that are still tied are identical, so their original order does not matter.
    """
    if rows.duplicated([*by]).any():
        by = [*by, *(name for name in rows.columns if name not in by)]
    return rows.sort_values([*by], kind="stable", ignore_index=True)


def grouped(rows: pd.DataFrame, by: Sequence[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Return rows sorted by group, and where each group begins."""
    codes = rows.groupby([*by], sort=True, dropna=False).ngroup().to_numpy()
    order, starts = by_series(codes)
    return rows.iloc[order], starts


def hashes(rows: pd.DataFrame, seed: int) -> np.ndarray:
    """Compute a hash of each row's values, ``int64`` of shape ``(n,)``.

    The hash of pandas, mixed with the seed by the finalizer of splitmix64 (Steele et al. 2014).
    """
    plain = pd.DataFrame({name: _in_one_form(rows[name]) for name in rows})
    found = pd.util.hash_pandas_object(plain, index=False).to_numpy()
    with np.errstate(over="ignore"):
        found = found + np.uint64(seed % 2**64) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in _MIX:
            found = (found ^ (found >> np.uint64(shift))) * np.uint64(factor)
    return found.view(np.int64)


def _in_one_form(column: pd.Series) -> pd.Series:
    """Return equal values as equal bits: 0.0 and -0.0, all NaN, booleans of either dtype."""
    if column.dtype == np.float64:
        return column.where(column.notna(), np.nan) + 0.0
    if dtypes.is_bool_dtype(column.dtype):
        return column.astype("Int8").fillna(-1).astype("int8")
    return column
