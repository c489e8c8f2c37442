"""Compute means and spreads of the window that ends with each row, from exact sums.

In floating point, the sum of a window would depend on the rows before it, and a row would get
different features in a file than on a server that receives the last weeks. So values are rounded to
whole millionths of their unit for means, to thousandths for spreads, and 64 bits hold the sums of
these and of their squares. Runs on servers too, so it needs only numpy.
"""

import math
from functools import cached_property

import numpy as np

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.windows import Timeline

__all__ = ["ShortSums", "TooLargeError", "WindowSums"]

_FINE, _COARSE = 1e-6, 1e-3  # of the unit of the values: for sums, and for sums of squares
_MOST = float(2**62)  # of a sum, so that 64 bits hold it


class TooLargeError(OperationError, ValueError):
    """A value is too large for exact sums: a run ends with status 2, a server answers 400."""


class WindowSums:
    """Running totals of values on a timeline.

    Totals may overflow; the difference of two of them does not.

    Parameters
    ----------
    line
        The timeline of the rows.
    values
        Shape ``(n,)``, finite, in any unit.

    Raises
    ------
    TooLargeError
        If values are too large for exact sums; 1e9 is small enough for a thousand rows.
    """

    def __init__(self, line: Timeline, values: np.ndarray) -> None:
        self._line, self._values = line, values
        rows = np.diff(line.starts, append=len(values))
        self._refuse_too_large(self._largest / _FINE * rows)
        self._totals = _running_totals(_round_to_unit(values, _FINE))

    def means(self, firsts: np.ndarray) -> np.ndarray:
        """Return the mean of each row's window, shape ``(n,)``; see ``Timeline.windows``."""
        return _between(self._totals, firsts) * _FINE / _counts(firsts)

    def deviations(self, firsts: np.ndarray) -> np.ndarray:
        """Return the standard deviation of each row's window, shape ``(n,)``; 1 for a single row.

        Raises
        ------
        TooLargeError
            If values are too large for exact sums of their squares.
        """
        counts = _counts(firsts)
        in_window = np.maximum.reduceat(counts, self._line.starts) if len(counts) else counts
        self._refuse_too_large((self._largest / _COARSE) ** 2 * in_window)
        whole = _round_to_unit(self._values, _COARSE)
        total = _between(_running_totals(whole), firsts).astype(float)
        squares = _between(_running_totals(whole * whole), firsts)
        spread = np.maximum(squares - total * total / counts, 0.0)
        deviations = np.sqrt(spread / np.maximum(counts - 1, 1)) * _COARSE
        deviations[counts == 1] = 1.0
        return np.asarray(deviations)

    @cached_property
    def _largest(self) -> np.ndarray:
        """The largest absolute value of each series."""
        size = np.abs(self._values)
        return np.asarray(np.maximum.reduceat(size, self._line.starts) if len(size) else size)

    def _refuse_too_large(self, sums: np.ndarray) -> None:
        """Refuse values whose sums, one per series, may be too large."""
        fits = sums < _MOST
        if not fits.all():
            raise TooLargeError(
                f"a value of {self._largest[~fits][0]:g} is too large for exact sums: use a larger "
                "unit, such as kPa instead of Pa."
            )


class ShortSums:
    """Computes the same for single rows of a short series in plain Python, bit for bit.

    Parameters
    ----------
    values
        Finite, in any unit, not above 1e5.
    """

    def __init__(self, values: list[float]) -> None:
        self._values = values
        self._fine = [round(value / _FINE) for value in values]

    @cached_property
    def _coarse(self) -> list[int]:
        return [round(value / _COARSE) for value in self._values]

    def mean(self, first: int, row: int) -> float:
        """Return the mean of the window from one row to another, both included."""
        return sum(self._fine[first : row + 1]) * _FINE / (row + 1 - first)

    def deviation(self, first: int, row: int) -> float:
        """Return the standard deviation of the window; 1 for a single row."""
        values, count = self._coarse[first : row + 1], row + 1 - first
        if count == 1:
            return 1.0
        total = float(sum(values))
        spread = max(sum(value * value for value in values) - total * total / count, 0.0)
        return math.sqrt(spread / (count - 1)) * _COARSE


def _round_to_unit(values: np.ndarray, unit: float) -> np.ndarray:
    return np.rint(values / unit).astype(np.int64)


def _running_totals(whole: np.ndarray) -> np.ndarray:
    totals = np.zeros(len(whole) + 1, np.int64)
    np.cumsum(whole, out=totals[1:])
    return totals


def _between(totals: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """Return the sum of each window, from running totals."""
    return np.asarray(totals[1:] - totals[firsts])


def _counts(firsts: np.ndarray) -> np.ndarray:
    return np.arange(1, len(firsts) + 1) - firsts
