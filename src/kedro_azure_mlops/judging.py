"""Judge a value without a model: by the range of its series, and by its history.

A model of trees does not extrapolate, and its features say little of a row that has no history. So
what lies far outside the range of training is flagged whatever the model says, and where there is
too little history the model is not asked. Runs on servers too, so it needs numpy alone.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["beyond", "has_history", "outside_range", "usual_range"]

MARGIN = 0.6  # spreads outside the range that flag a value
_QUANTILES = (0.0, 0.01, 0.25, 0.75, 0.99, 1.0)
_FAR_OUT = 3.0  # interquartile ranges beyond the quartiles: Tukey's outer fences
_SHARE_OF_RANGE = 0.1  # that a spread is at least: some series hardly ever leave one value
_DAY = 86_400 * 10**9  # nanoseconds


def usual_range(
    values: "np.ndarray | pd.Series", is_usual: "np.ndarray | pd.Series", smallest_spread: float
) -> np.ndarray:
    """Find the lowest and the highest usual value of a series, and its spread.

    Parameters
    ----------
    values
        Shape ``(n,)``, at least one, in any unit.
    is_usual
        Booleans, shape ``(n,)``: the values to learn from; all of them where none is.
    smallest_spread
        In the unit of the values; the spread is the interquartile range, at least this and at least
        a tenth of the range.

    Returns
    -------
    Shape ``(3,)``. Lowest and highest lie at most three interquartile ranges from the quartiles,
    unless more than 1 % of the values lie farther away at that side.
    """
    known = np.asarray(values)[np.asarray(is_usual) | ~np.any(is_usual)]
    least, first, low, high, last, most = np.quantile(known, _QUANTILES)
    lowest, highest = low - _FAR_OUT * (high - low), high + _FAR_OUT * (high - low)
    least = least if first < lowest else max(least, lowest)
    most = most if last > highest else min(most, highest)
    spread = max(high - low, _SHARE_OF_RANGE * (most - least), smallest_spread)
    return np.array([least, most, spread])


def outside_range(values: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Score values by how far they lie outside a range: 0 inside, 1 at 0.6 spreads, 4.1 at ten.

    It is the root of the distance in 0.6 spreads, so that it fits into a plot with other scores,
    and is rounded the same on every machine.

    Parameters
    ----------
    values
        Shape ``(n,)``.
    usual
        What ``usual_range`` has found, shape ``(3,)``, or one for each value, shape ``(3, n)``; NaN
        where nothing is known, which gives NaN.
    """
    least, most, spread = usual
    distance = np.maximum(np.maximum(least - values, values - most), 0.0)
    return np.asarray(np.sqrt(distance / (MARGIN * spread)))


def beyond(scores: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Raise scores where values lie far enough outside their range to be flagged, above 1."""
    return np.where(outside > 1, np.fmax(scores, outside), scores)


def has_history(times: np.ndarray, rows: int, days: float, looks_back: float) -> np.ndarray:
    """Return which rows of a series have enough before them.

    Parameters
    ----------
    times
        Shape ``(n,)``, ``datetime64``, ascending.
    rows
        How many earlier rows it takes.
    days, looks_back
        One of the rows before must be at least ``days`` older, and at most ``looks_back`` days: an
        older one is not looked at.
    """
    ns = times.astype("datetime64[ns]").astype(np.int64)
    old_enough = np.searchsorted(ns, ns - int(days * _DAY), "right")
    too_old = np.searchsorted(ns, ns - int(looks_back * _DAY))
    return (old_enough > too_old) & (np.arange(len(ns)) >= rows)
