"""Read columns of rows for monitoring: times, numbers, and texts as codes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from kedro_azure_mlops.contract import Column, Schema
from kedro_azure_mlops.values import read_numbers, read_times

__all__ = ["AHEAD", "in_future", "numbers_of", "texts_of", "time_column", "times_of"]

_TRUTH = {True: 1.0, False: 0.0, "True": 1.0, "False": 0.0, "true": 1.0, "false": 0.0}
AHEAD = pd.Timedelta("1D")
"""A time further in the future is wrong; local times are up to 14 hours ahead of UTC."""
_LARGEST = 1e150  # the square of a larger number, in a variance, is infinite


def time_column(schema: Schema) -> str | None:
    """Return the name of the input that orders rows in time; None if there is none."""
    if schema.history:
        return schema.history.order
    times = [one.name for one in schema.inputs if one.type == "datetime"]
    return times[0] if len(times) == 1 else None


def times_of(rows: pd.DataFrame, names: Sequence[str | None]) -> np.ndarray | None:
    """Read the first of the named columns that exists, else an index of times.

    Returns
    -------
    ``datetime64[ns]`` in UTC, shape ``(n,)``, NaT where missing; None if there are no times.
    """
    for name in names:
        if name is not None and name in rows:
            return read_times(rows[name]).values
    if isinstance(rows.index, pd.DatetimeIndex):
        return read_times(rows.index.to_series()).values
    return None


def in_future(times: Any, at: Any) -> np.ndarray:
    """Return a mask of the times further than ``AHEAD`` after ``at``.

    If they are most of the times, the data is meant to be in the future, and the mask is empty.
    """
    limits = np.asarray(at, "datetime64[ns]") + AHEAD.to_timedelta64()
    found = np.asarray(times, "datetime64[ns]") > limits
    return np.asarray(found & (2 * found.sum() <= len(found)))


def numbers_of(rows: pd.DataFrame, column: Column) -> np.ndarray:
    """Read numbers, or booleans as 0 and 1; NaN where missing, infinite or nearly so."""
    if column.type == "boolean":
        found = pd.to_numeric(rows[column.name].map(_TRUTH), errors="coerce")
        return np.asarray(found.to_numpy(float, na_value=np.nan))
    values = read_numbers(rows[column.name])
    return np.where(np.abs(values) < _LARGEST, values, np.nan)


def texts_of(rows: pd.DataFrame, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a code for each text of a column, -1 where missing, and the sorted distinct texts."""
    values = rows[name]
    codes, names = pd.factorize(values, sort=False)
    texts = np.array([str(one) for one in names], object)
    order, unique = pd.factorize(texts, sort=True)
    return np.where(codes < 0, -1, order[codes] if len(order) else -1), np.asarray(unique)
