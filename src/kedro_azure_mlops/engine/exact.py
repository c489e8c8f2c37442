"""Aggregates independent of the order of rows: partial results of blocks, and their totals.

The sum of floats is exact, rounded once. A block passes on a few floats per group that add up to
its exact sum (an expansion, Shewchuk 1997), so the division of rows into blocks does not matter.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from kedro_azure_mlops.contract import ColumnType
from kedro_azure_mlops.engine.rows import Types, grouped
from kedro_azure_mlops.errors import OperationError

Wanted = Mapping[str, Sequence[str]]
"""Names of functions by column."""

_LARGEST = sys.float_info.max
_NUMBERS: tuple[ColumnType, ...] = ("double", "long")
_TYPES_OF: dict[str, tuple[ColumnType, ...]] = {
    "count": (*_NUMBERS, "string", "boolean", "datetime"),
    "sum": _NUMBERS,
    "min": (*_NUMBERS, "datetime"),
    "max": (*_NUMBERS, "datetime"),
    "mean": _NUMBERS,
}


def refuse_unusable(types: Types, by: Sequence[str], wanted: Wanted) -> None:
    """Refuse unknown functions, those that a column's type does not support, and used names."""
    for column, name in _pairs(wanted):
        if types[column] not in _TYPES_OF.get(name, ()):
            known = "; ".join(f"{one} of {', '.join(of)}" for one, of in _TYPES_OF.items())
            raise OperationError(
                f"{name} is not supported for {column}, which is {types[column]}: use {known}"
            )
        if f"{column}_{name}" in by:
            raise OperationError(
                f"the {name} of {column} would be named {column}_{name} like a column of by: "
                "rename that column first"
            )


def result_types(types: Types, by: Sequence[str], wanted: Wanted) -> dict[str, ColumnType]:
    """Return the columns of a result, and their types."""
    fixed: dict[str, ColumnType] = {"count": "long", "mean": "double"}
    results = {
        f"{column}_{name}": fixed.get(name, types[column]) for column, name in _pairs(wanted)
    }
    return {key: types[key] for key in by} | results


def partial_types(types: Types, by: Sequence[str], wanted: Wanted) -> dict[str, ColumnType]:
    """Return the columns of partial results, and their types: a sum is the text of its terms."""
    fixed: dict[str, ColumnType] = {"count": "long", "sum": "string"}
    parts = {
        _part(column, name): fixed.get(name, types[column])
        for column, name in _pairs(_parts(wanted))
    }
    return {key: types[key] for key in by} | parts


def partials(rows: pd.DataFrame, by: Sequence[str], wanted: Wanted) -> pd.DataFrame:
    """Return the partial results of a block of rows: a row per group."""
    rows, starts = grouped(rows, by)
    result = rows[[*by]].take(starts).reset_index(drop=True)
    for column, name in _pairs(_parts(wanted)):
        if name == "sum":
            sums = [json.dumps(_terms(values)) for values in _lists(rows[column], starts)]
            result[_part(column, name)] = pd.Series(sums, dtype=object)
        else:
            result[_part(column, name)] = _reduced(name, rows[column], starts)
    return result


def totals(rows: pd.DataFrame, by: Sequence[str], types: Types, wanted: Wanted) -> pd.DataFrame:
    """Return the totals of partial results: a row per group.

    Raises
    ------
    OperationError
        If a sum does not fit into 64 bits.
    """
    rows, starts = grouped(rows, by)
    result = rows[[*by]].take(starts).reset_index(drop=True)
    for column, name in _pairs(wanted):
        counts = _reduced("sum", rows[_part(column, "count")], starts)
        if name in ("sum", "mean"):
            sums = [_total(texts) for texts in _lists(rows[_part(column, "sum")], starts)]
        if name == "mean":
            pairs = zip(sums, counts.tolist(), strict=True)
            result[f"{column}_mean"] = [float(total / n) if n else math.nan for total, n in pairs]
        elif name == "sum" and types[column] == "long":
            if any(not -(2**63) <= total < 2**63 for total in sums):
                raise OperationError(f"a sum of {column} does not fit into 64 bits: make it double")
            result[f"{column}_sum"] = np.array(sums, np.int64)
        elif name == "sum":
            try:
                result[f"{column}_sum"] = np.array(sums, np.float64)
            except OverflowError:
                raise OperationError(
                    f"a sum of {column} does not fit into 64 bits: scale it, or use the mean"
                ) from None
        else:
            parts = rows[_part(column, name)]
            result[f"{column}_{name}"] = (
                counts if name == "count" else _reduced(name, parts, starts)
            )
    return result


def _parts(wanted: Wanted) -> Wanted:
    """Return the functions that blocks compute: always the count, and the sum for a mean."""
    computed = {"mean": "sum"}
    return {
        column: [*dict.fromkeys(["count", *(computed.get(name, name) for name in names)])]
        for column, names in wanted.items()
    }


def _part(column: str, name: str) -> str:
    """Return the name of a partial result, which no column of the table has."""
    return f"__{column}_{name}"


def _pairs(wanted: Wanted) -> Iterator[tuple[str, str]]:
    return ((column, name) for column, names in wanted.items() for name in names)


def _lists(column: pd.Series, starts: np.ndarray) -> Iterator[list[Any]]:
    """Yield the values of each group that are not missing."""
    values = column.tolist()
    for start, end in zip(starts, np.append(starts, len(values))[1:], strict=True):
        yield [value for value in values[start:end] if value == value]  # noqa: PLR0124, NaN


def _reduced(name: str, column: pd.Series, starts: np.ndarray) -> np.ndarray:
    if name == "count":
        return np.add.reduceat(column.notna().to_numpy(np.int64), starts)
    reduce = {"sum": np.add, "min": np.fmin, "max": np.fmax}[name]  # fmin ignores missing values
    found = reduce.reduceat(column.to_numpy(), starts)
    return (
        found + 0.0 if found.dtype == np.float64 else found
    )  # -0.0 becomes 0.0, so order does not matter


def _terms(values: list[Any]) -> list[Any]:
    """Return a few numbers whose exact sum is that of the values."""
    if values and isinstance(values[0], int):
        return [sum(values)]
    if infinite := {value for value in values if math.isinf(value)}:
        return [*infinite]
    terms: list[float] = []
    while rest := _sum([*values, *(-term for term in terms)]):
        terms.append(float(max(-_LARGEST, min(rest, _LARGEST))))
    return terms


def _total(texts: list[str]) -> Any:
    terms = [term for text in texts for term in json.loads(text)]
    if infinite := [term for term in terms if term in (math.inf, -math.inf)]:
        return sum(infinite)
    return sum(terms) if all(isinstance(term, int) for term in terms) else _sum(terms)


def _sum(values: list[float]) -> float | Fraction:
    """Return the exact sum, rounded once; as a fraction if it is larger than any double."""
    try:
        return math.fsum(values)
    except OverflowError:  # already when a part of the sum is too large
        exact = sum(map(Fraction, values), Fraction())
    try:
        return float(exact)
    except OverflowError:
        return exact
