"""Statistics of windows of rows, by key: the same for training rows and for new ones.

Rows are put in the order of key and time once; everything else is counting, so the cost is linear
in rows whatever the number of keys, windows or folds.
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
_FEWEST = 0.5  # of a share's rows: an empty bin would make the logarithm infinite
_FIRST_DAY = 3 * 24  # 1970-01-01 was a Thursday; the week begins on Monday
_FORGETS = 0.25  # of `ewma`
_DECILES = 10


@dataclass(frozen=True)
class Cut:
    """Rows in the order of key and time, cut into windows that are counted back from the newest.

    ``rows`` takes a table's rows in that order. ``key`` and ``window`` number each row's, of
    ``keys`` and ``windows`` there are; ``ends`` are the ends of the windows (nanoseconds).
    """

    rows: np.ndarray
    key: np.ndarray
    time: np.ndarray
    window: np.ndarray
    keys: int
    windows: int
    ends: np.ndarray

    @classmethod
    def of(cls, key: np.ndarray, time: np.ndarray, keys: int, width: int) -> "Cut":
        """Cut rows; those without a key (-1) are left out.

        Parameters
        ----------
        time
            Nanoseconds, shape ``(n,)``.
        width
            Of a window, nanoseconds.
        """
        rows = np.flatnonzero(key >= 0)
        rows = rows[by_series_and_time(key[rows], time[rows])]
        key, time = key[rows], time[rows]
        end = int(time.max()) if len(time) else 0
        back = (end - time) // width
        windows = int(back.max()) + 1 if len(time) else 0
        ends = end - width * np.arange(windows)[::-1]
        return cls(rows, key, time, windows - 1 - back, keys, windows, ends)

    @cached_property
    def cell(self) -> np.ndarray:
        """The number of each row's window and key together."""
        return np.asarray(self.window * self.keys + self.key)

    def total(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Count rows, or add up what they weigh: shape ``(windows, keys)``."""
        found = np.bincount(self.cell, weights, self.windows * self.keys)
        return np.asarray(found.reshape(self.windows, self.keys))

    def largest(self, values: np.ndarray) -> np.ndarray:
        """Find the largest value, 0 where no row is: shape ``(windows, keys)``."""
        found = np.zeros(self.windows * self.keys, values.dtype)
        if len(values):  # a key's windows ascend: each cell is one stretch of rows
            starts = np.flatnonzero(np.diff(self.cell, prepend=-1))
            found[self.cell[starts]] = np.maximum.reduceat(values, starts)
        return found.reshape(self.windows, self.keys)

    def one_key(self) -> "Cut":
        """Return the same rows, in the same order, as if all were of one key."""
        return Cut(self.rows, self.key * 0, self.time, self.window, 1, self.windows, self.ends)

    def together(self) -> "Cut":
        """Return the same rows in the order of time, as if all were of one key."""
        order = np.argsort(self.time, kind="stable")
        return self.one_key().only(order)

    def first_keys(self, keys: int) -> "Cut":
        """Return the rows of the first keys alone."""
        found = self.only(self.key < keys)
        return Cut(found.rows, found.key, found.time, found.window, keys, self.windows, self.ends)

    def only(self, wanted: np.ndarray) -> "Cut":
        """Return the rows that are wanted, of the same windows."""
        rows, key, time, window = (
            part[wanted] for part in (self.rows, self.key, self.time, self.window)
        )
        return Cut(rows, key, time, window, self.keys, self.windows, self.ends)


@dataclass(frozen=True)
class Moments:
    """Rows, and how values lie in windows, shapes ``(windows, keys)``; NaN where no row is.

    ``shift`` is the median difference to the expected course, which a fault of a few hours leaves
    as it is; ``variance`` is that of the values and ``usual`` that of the expected course alone.
    """

    n: np.ndarray
    shift: np.ndarray
    variance: np.ndarray
    usual: np.ndarray

    @classmethod
    def of(cls, cut: Cut, values: np.ndarray, expected: np.ndarray) -> "Moments":
        """Measure values, both of shape ``(n,)``, in the order of the cut."""
        n = cut.total()
        with np.errstate(invalid="ignore", divide="ignore"):
            shift = medians(cut, values - expected)
            spreads = [variances(cut, n, part) for part in (values, expected)]
        return cls(n, shift, *spreads)


def medians(cut: Cut, values: np.ndarray) -> np.ndarray:
    """Take the median of values, NaN where no row is: shape ``(windows, keys)``."""
    found = np.full(cut.windows * cut.keys, np.nan)
    if len(values):
        pairs = np.empty(len(values), complex)  # sorted by the first part, then the second
        pairs.real, pairs.imag = cut.cell, values
        ordered = np.sort(pairs).imag
        n = np.bincount(cut.cell, minlength=len(found))
        starts, there = np.cumsum(n) - n, n > 0
        low, high = (starts + (n - 1) // 2)[there], (starts + n // 2)[there]
        found[there] = (ordered[low] + ordered[high]) / 2
    return found.reshape(cut.windows, cut.keys)


def variances(cut: Cut, n: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Measure the variance of values, where there are ``n`` of them: ``(windows, keys)``."""
    means = cut.total(values) / n  # two passes: one would lose the digits of a small variance
    return np.asarray(cut.total((values - means.ravel()[cut.cell]) ** 2) / n)


def hours_of_week(time: np.ndarray) -> np.ndarray:
    """Return the hour of the week, 0 to 167 from Monday on, of nanoseconds in UTC."""
    return np.asarray((time // HOUR + _FIRST_DAY) % WEEK_HOURS)


def expected_course(
    cut: Cut, values: np.ndarray, fold: np.ndarray, folds: int, course: str
) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the usual course of a week of each key, and what it expects of each row.

    What a row is expected to be is estimated from the other folds, as of a new row. An hour with
    few visits is drawn to the mean of its time of day, that to the mean of the key.

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
    there = np.maximum((counts > 0).sum(axis=(0, 2)), 1)
    density = np.maximum(counts.sum(axis=(0, 2)) / there, 1)  # rows of one visit, about
    all_sums, all_counts = sums.sum(axis=0), counts.sum(axis=0)
    course_of_all = _course(all_sums, all_counts, density, course)
    others = _course(all_sums - sums, all_counts - counts, density, course)
    return course_of_all, others[fold, cut.key, hour]


def _course(sums: np.ndarray, counts: np.ndarray, density: np.ndarray, course: str) -> np.ndarray:
    n = counts.sum(axis=-1, keepdims=True)
    mean = sums.sum(axis=-1, keepdims=True) / np.maximum(n, 1)
    if course == "none":
        return np.broadcast_to(mean, sums.shape)
    by_day = (*sums.shape[:-1], 7, 24)
    day_sums, day_counts = (part.reshape(by_day).sum(axis=-2) for part in (sums, counts))
    found = np.tile(_drawn(day_sums, day_counts, density, mean), 7)
    return found if course == "day" else _drawn(sums, counts, density, found)


def _drawn(sums: np.ndarray, counts: np.ndarray, density: np.ndarray, to: np.ndarray) -> np.ndarray:
    own = np.where(counts > 0, sums / np.maximum(counts, 1), to)
    visits = counts / density[:, None]
    return np.asarray(to + (own - to) * visits / (visits + 1))


def bins_of(cut: Cut, values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the number of each value's bin by its key's edges, shape ``(keys, bins - 1)``."""
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


def population_stability(counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Compute the population stability index (Siddiqi, Credit Risk Scorecards, 2006).

    Parameters
    ----------
    counts
        Rows by bin on the last axis.
    shares
        Those expected, which are broadcast. Of bins in multiples of ten, the deciles are compared.

    Returns
    -------
    0 where the shares are the same; NaN where there are no rows.
    """
    bins = counts.shape[-1]
    if bins > _DECILES and bins % _DECILES == 0:
        counts, shares = (
            part.reshape(*part.shape[:-1], _DECILES, -1).sum(axis=-1) for part in (counts, shares)
        )
    n = counts.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        fewest = _FEWEST / n
        found, expected = np.maximum(counts / n, fewest), np.maximum(shares, fewest)
        return np.asarray(np.sum((found - expected) * np.log(found / expected), axis=-1))


def kolmogorov_smirnov(counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Compute the largest difference of two distribution functions at the edges of bins."""
    n = counts.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.cumsum(counts / n, axis=-1) - np.cumsum(shares, axis=-1)
    return np.asarray(np.abs(apart).max(axis=-1))


def runs_so_far(cut: Cut, values: np.ndarray) -> np.ndarray:
    """Count for each row the rows of its key up to it that have its value without a break."""
    is_new = np.ones(len(values), bool)
    is_new[1:] = (np.diff(cut.key) != 0) | (values[1:] != values[:-1])
    starts = np.flatnonzero(is_new)
    return np.arange(len(values)) - np.repeat(starts, np.diff(starts, append=len(values))) + 1


def ewma(values: np.ndarray) -> np.ndarray:
    """Average over windows, older ones forgotten step by step (Roberts, Technometrics 1959).

    Parameters
    ----------
    values
        Shape ``(windows, keys)``. A window without a value leaves the average as it is.
    """
    found, last = np.empty_like(values), np.zeros(values.shape[1:])
    for window, there in enumerate(values):
        last = np.where(np.isnan(there), last, last + _FORGETS * (there - last))
        found[window] = np.where(np.isnan(there), np.nan, last)
    return found
