"""Score values by the range of their series, or by a model on all cores.

A model of trees does not extrapolate, and is not used with too little history. So values far
outside the range of training are flagged regardless of the model's score. Runs on servers too, so
it needs only numpy.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

__all__ = ["QUANTILES", "beyond", "on_all_cores", "outside_range", "usual_range"]

MARGIN = 0.6  # spreads outside the range that flag a value
QUANTILES = (0.0, 0.01, 0.25, 0.75, 0.99, 1.0)
_FAR_OUT = 3.0  # interquartile ranges beyond the quartiles: Tukey's outer fences
_BLOCK = 25_000  # rows that a thread scores at a time
_SHARE_OF_RANGE = 0.1  # lower bound of a spread: some series rarely change their value


def usual_range(quantiles: np.ndarray, smallest_spread: float) -> np.ndarray:
    """Find the lowest and the highest usual value of a series, and its spread.

    Parameters
    ----------
    quantiles
        The ``QUANTILES`` of the usual values, in any unit, shape ``(6,)``, or of several series,
        shape ``(6, s)``.
    smallest_spread
        In the unit of the values; the spread is the interquartile range, at least this and at least
        a tenth of the range.

    Returns
    -------
    Shape ``(3,)`` or ``(3, s)``. Lowest and highest are at most three interquartile ranges from the
    quartiles, unless more than 1 % of the values are farther away on that side.
    """
    least, first, low, high, last, most = quantiles
    lowest, highest = low - _FAR_OUT * (high - low), high + _FAR_OUT * (high - low)
    least = np.where(first < lowest, least, np.maximum(least, lowest))
    most = np.where(last > highest, most, np.minimum(most, highest))
    spread = np.maximum(np.maximum(high - low, _SHARE_OF_RANGE * (most - least)), smallest_spread)
    return np.array([least, most, spread])


def outside_range(values: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Score values by their distance from a range: 0 inside, 1 at 0.6 spreads, 4.1 at ten.

    The score is the square root of the distance in 0.6 spreads: it fits into a plot with other
    scores, and is rounded the same on every machine.

    Parameters
    ----------
    values
        Shape ``(n,)``.
    usual
        A result of ``usual_range``, shape ``(3,)``, or one for each value, shape ``(3, n)``; NaN
        (unknown) gives NaN.
    """
    least, most, spread = usual
    distance = np.maximum(np.maximum(least - values, values - most), 0.0)
    return np.asarray(np.sqrt(distance / (MARGIN * spread)))


def beyond(scores: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Raise scores above 1 if the values are far enough outside their range to be flagged."""
    return np.where(outside > 1, np.fmax(scores, outside), scores)


def on_all_cores(score: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Score rows, shape ``(n, f)``, in several threads: scikit-learn itself uses one.

    Parameters
    ----------
    score
        Takes rows and returns one number each, in numpy or another library that releases the
        interpreter lock.

    Returns
    -------
    Shape ``(n,)``.
    """
    if len(rows) <= _BLOCK:
        return np.ravel(score(rows))
    blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate([np.ravel(part) for part in pool.map(score, blocks)])
