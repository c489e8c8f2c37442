"""Statistics of windows of rows, by key, for training rows and new rows alike.

Rows are sorted by key and time once; everything else is counting, so the cost is linear in the
number of rows, regardless of the number of keys, windows or folds.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kedro_azure_mlops.windows import by_series_and_time

__all__ = [
    "HOUR",
    "WEEK_HOURS",
    "Cut",
    "Moments",
    "bins_of",
    "counts_of",
    "ewma",
    "expected_course",
    "hours_of_week",
    "kolmogorov_smirnov",
    "medians",
    "population_stability",
    "runs_so_far",
    "variances",
]

HOUR = 3_600 * 10**9  # nanoseconds
WEEK_HOURS = 168
_FEWEST = 0.5  # rows assumed in an empty bin, whose logarithm would be infinite
_FIRST_DAY = 3 * 24  # 1970-01-01 was a Thursday; weeks start on Monday
_NEW_WEIGHT = 0.25  # weight of a new window in `ewma`
_DECILES = 10


@dataclass(frozen=True)
class Cut:
    """Rows sorted by key and time, cut into windows counted back from the newest row.

    ``rows`` indexes a table in that order. ``key`` and ``window`` are the numbers of each row's key
    and window, out of ``keys`` and ``windows``; ``ends`` are the ends of the windows (nanoseconds).
    """

    rows: np.ndarray
    key: np.ndarray
    time: np.ndarray
    window: np.ndarray
    keys: int
    windows: int
    ends: np.ndarray

    @classmethod
    def of(
        cls, key: np.ndarray, time: np.ndarray, keys: int, width: int, dense: int | None = None
    ) -> "Cut":
        """Cut rows into windows; rows without a key (-1) are left out.

        Parameters
        ----------
        time
            Nanoseconds, shape ``(n,)``.
        width
            Length of a window in nanoseconds.
        dense
            The number of newest windows that are kept even without rows; None: all windows.
        """
        rows = np.flatnonzero(key >= 0)
        rows = rows[by_series_and_time(key[rows], time[rows])]
        key, time = key[rows], time[rows]
        end = int(time.max()) if len(time) else 0
        back = (end - time) // width
        windows = int(back.max()) + 1 if len(time) else 0
        if dense is None or windows <= dense:
            kept = np.arange(windows)
        else:  # tables of all windows would fill the memory if one row is decades older
            kept = np.union1d(np.arange(dense), back)
            windows, back = len(kept), np.searchsorted(kept, back)
        return cls(rows, key, time, windows - 1 - back, keys, windows, end - width * kept[::-1])

    @cached_property
    def cell(self) -> np.ndarray:
        """The combined number of each row's window and key."""
        return np.asarray(self.window * self.keys + self.key)

    def total(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Count rows, or sum their weights: shape ``(windows, keys)``."""
        found = np.bincount(self.cell, weights, self.windows * self.keys)
        return np.asarray(found.reshape(self.windows, self.keys))

    def largest(self, values: np.ndarray) -> np.ndarray:
        """Return the largest values, 0 where there are no rows: shape ``(windows, keys)``."""
        found = np.zeros(self.windows * self.keys, values.dtype)
        if len(values):  # a key's windows ascend, so each cell is contiguous
            starts = np.flatnonzero(np.diff(self.cell, prepend=-1))
            found[self.cell[starts]] = np.maximum.reduceat(values, starts)
        return found.reshape(self.windows, self.keys)

    def one_key(self) -> "Cut":
        """Return the same rows, in the same order, as one key."""
        return Cut(self.rows, self.key * 0, self.time, self.window, 1, self.windows, self.ends)

    def together(self) -> "Cut":
        """Return the same rows, sorted by time, as one key."""
        order = np.argsort(self.time, kind="stable")
        return self.one_key().only(order)

    def first_keys(self, keys: int) -> "Cut":
        """Return only the rows of the first keys."""
        found = self.only(self.key < keys)
        return Cut(found.rows, found.key, found.time, found.window, keys, self.windows, self.ends)

    def only(self, wanted: np.ndarray) -> "Cut":
        """Return the selected rows, with the same windows."""
        rows, key, time, window = (
            part[wanted] for part in (self.rows, self.key, self.time, self.window)
        )
        return Cut(rows, key, time, window, self.keys, self.windows, self.ends)


@dataclass(frozen=True)
class Moments:
    """Statistics of values in windows, shapes ``(windows, keys)``; NaN where there are no rows.

    ``n`` counts rows; ``shift`` is the median difference from the expected course, which is robust
    to faults of a few hours; ``variance`` is that of the values, ``usual`` that of the course.
    """

    n: np.ndarray
    shift: np.ndarray
    variance: np.ndarray
    usual: np.ndarray

    @classmethod
    def of(cls, cut: Cut, values: np.ndarray, expected: np.ndarray) -> "Moments":
        """Compute the moments of values and their expected course, ``(n,)`` in the cut's order."""
        n = cut.total()
        with np.errstate(invalid="ignore", divide="ignore"):
            shift = medians(cut, values - expected)
            spreads = [variances(cut, n, part) for part in (values, expected)]
        return cls(n, shift, *spreads)


def medians(cut: Cut, values: np.ndarray) -> np.ndarray:
    """Return the medians of values, NaN where there are no rows: shape ``(windows, keys)``."""
    found = np.full(cut.windows * cut.keys, np.nan)
    if len(values):
        pairs = np.empty(len(values), complex)  # sorted by the first part, then the second
        pairs.real, pairs.imag = cut.cell, values
        ordered = np.sort(pairs).imag
        n = np.bincount(cut.cell, minlength=len(found))
        starts, filled = np.cumsum(n) - n, n > 0
        low, high = (starts + (n - 1) // 2)[filled], (starts + n // 2)[filled]
        found[filled] = (ordered[low] + ordered[high]) / 2
    return found.reshape(cut.windows, cut.keys)


def variances(cut: Cut, n: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the variances of values, given their counts ``n``: shape ``(windows, keys)``."""
    means = cut.total(values) / n  # two passes: one would lose precision for small variances
    return np.asarray(cut.total((values - means.ravel()[cut.cell]) ** 2) / n)


def hours_of_week(time: np.ndarray) -> np.ndarray:
    """Return the hour of the week (UTC, 0 to 167 from Monday) of times in nanoseconds."""
    return np.asarray((time // HOUR + _FIRST_DAY) % WEEK_HOURS)


def expected_course(
    cut: Cut, values: np.ndarray, fold: np.ndarray, folds: int, course: str
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the usual weekly course of each key, and the expected value of each row.

    Expected values are estimated from the other folds, as for a new row. The mean of an hour with
    few visits is shrunk towards that of its time of day, which is shrunk towards that of the key.

    Parameters
    ----------
    fold
        The number of each row's fold, below ``folds``.
    course
        ``week``, ``day``, or ``none``: the mean of the key.

    Returns
    -------
    The course from all rows, shape ``(keys, 168)``, and the expectation, shape ``(n,)``.
    """
    hour = hours_of_week(cut.time)
    flat = (fold * cut.keys + cut.key) * WEEK_HOURS + hour
    shape = (folds, cut.keys, WEEK_HOURS)
    sums = np.bincount(flat, values, np.prod(shape)).reshape(shape)
    counts = np.bincount(flat, minlength=np.prod(shape)).reshape(shape).astype(float)
    visits = np.maximum((counts > 0).sum(axis=(0, 2)), 1)
    density = np.maximum(counts.sum(axis=(0, 2)) / visits, 1)  # approximate rows per visit
    all_sums, all_counts = sums.sum(axis=0), counts.sum(axis=0)
    overall = _course(all_sums, all_counts, density, course)
    others = _course(all_sums - sums, all_counts - counts, density, course)
    return overall, others[fold, cut.key, hour]


def _course(sums: np.ndarray, counts: np.ndarray, density: np.ndarray, course: str) -> np.ndarray:
    n = counts.sum(axis=-1, keepdims=True)
    mean = sums.sum(axis=-1, keepdims=True) / np.maximum(n, 1)
    if course == "none":
        return np.broadcast_to(mean, sums.shape)
    by_day = (*sums.shape[:-1], 7, 24)
    day_sums, day_counts = (part.reshape(by_day).sum(axis=-2) for part in (sums, counts))
    found = np.tile(_blend(day_sums, day_counts, density, mean), 7)
    return found if course == "day" else _blend(sums, counts, density, found)


def _blend(
    sums: np.ndarray, counts: np.ndarray, density: np.ndarray, prior: np.ndarray
) -> np.ndarray:
    own = np.where(counts > 0, sums / np.maximum(counts, 1), prior)
    visits = counts / density[:, None]
    return np.asarray(prior + (own - prior) * visits / (visits + 1))


def bins_of(cut: Cut, values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the bin number of each value; ``edges`` by key, shape ``(keys, bins - 1)``."""
    found = np.empty(len(values), np.int64)
    bounds = np.searchsorted(cut.key, np.arange(cut.keys + 1))
    for key in range(cut.keys):
        rows = slice(bounds[key], bounds[key + 1])
        found[rows] = np.searchsorted(edges[key], values[rows])
    return found


def counts_of(cut: Cut, bins: np.ndarray, number: int) -> np.ndarray:
    """Count rows by bin: shape ``(windows, keys, number)``."""
    cells = cut.windows * cut.keys * number
    found = np.bincount(cut.cell * number + bins, minlength=cells)
    return np.asarray(found.reshape(cut.windows, cut.keys, number))


def population_stability(
    counts: np.ndarray, shares: np.ndarray, *, ordered: bool = True
) -> np.ndarray:
    """Compute the population stability index (Siddiqi, Credit Risk Scorecards, 2006).

    Parameters
    ----------
    counts
        Rows by bin on the last axis.
    shares
        Expected shares, broadcast.
    ordered
        Whether neighbouring bins belong together, as those of numbers do, but not categories: a
        multiple of ten bins is then compared as deciles.

    Returns
    -------
    0 where the shares are equal; NaN where there are no rows.
    """
    bins = counts.shape[-1]
    if ordered and bins > _DECILES and bins % _DECILES == 0:
        counts, shares = (
            part.reshape(*part.shape[:-1], _DECILES, -1).sum(axis=-1) for part in (counts, shares)
        )
    n = counts.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        fewest = _FEWEST / n
        found, expected = np.maximum(counts / n, fewest), np.maximum(shares, fewest)
        return np.asarray(np.sum((found - expected) * np.log(found / expected), axis=-1))


def kolmogorov_smirnov(counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Compute the largest difference of two distribution functions at the bin edges."""
    n = counts.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = np.cumsum(counts / n, axis=-1) - np.cumsum(shares, axis=-1)
    return np.asarray(np.abs(difference).max(axis=-1))


def runs_so_far(cut: Cut, values: np.ndarray) -> np.ndarray:
    """Return, for each row, the length up to it of the run of equal values of its key."""
    is_new = np.ones(len(values), bool)
    is_new[1:] = (np.diff(cut.key) != 0) | (values[1:] != values[:-1])
    starts = np.flatnonzero(is_new)
    return np.arange(len(values)) - np.repeat(starts, np.diff(starts, append=len(values))) + 1


def ewma(values: np.ndarray) -> np.ndarray:
    """Compute the exponentially weighted average over windows (Roberts, Technometrics 1959).

    Parameters
    ----------
    values
        Shape ``(windows, keys)``. A window without a value does not change the average.
    """
    found, last = np.empty_like(values), np.zeros(values.shape[1:])
    for window, new in enumerate(values):
        last = np.where(np.isnan(new), last, last + _NEW_WEIGHT * (new - last))
        found[window] = np.where(np.isnan(new), np.nan, last)
    return found
