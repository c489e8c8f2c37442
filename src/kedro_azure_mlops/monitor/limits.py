"""Limits beyond which a window is not ordinary, calibrated from the training windows.

The statistic of a training window is computed against the other folds, as for a new window. It is
standardised by the median and spread of its key and pooled over keys. If there are too few
windows to show the tail, it is extrapolated by a Weibull distribution through two quantiles.
Blocks of windows are resampled (the moving-block bootstrap, Kuensch 1989), which preserves the
correlation of neighbouring windows. The limit covers nine of ten draws.

A window far beyond the limit counts as a fault in the training rows if its series has few of them.
An unbroken run of such windows at the end is not a fault: the model has learned from it.

Each check has its share of the false alarms that a model may raise in a quarter of ordinary
windows (``BUDGET``), divided by the number of comparisons in a quarter, one for each window, key
and column. All checks together stay below one.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

__all__ = ["BUDGET", "FEWEST_WINDOWS", "FLOORS", "Calibration", "fixed_limit", "upper_limits"]

BUDGET = {
    "level": 0.2,
    "common": 0.1,
    "slow": 0.1,
    "spread": 0.1,
    "slow_spread": 0.05,
    "ks": 0.05,
    "psi": 0.05,
    "score_psi": 0.05,
    "flagged": 0.05,
    "missing": 0.05,
    "out_of_range": 0.05,
    "new_category": 0.05,
    "volume": 0.05,
}
"""Maximum number of false alarms per check and quarter: 0.95 in total."""
FLOORS = {
    "level": 0.25,
    "common": 0.2,
    "slow": 0.2,
    "spread": 0.2,
    "slow_spread": 0.15,
    "ks": 0.1,
    "psi": 0.1,
    "score_psi": 0.25,
    "flagged": 0.1,
    "missing": 0.1,
    "out_of_range": 0.02,
    "new_category": 0.02,
    "volume": 0.7,
}
"""Minimum distance of a limit from the usual value: smaller changes do not matter."""
FEWEST_WINDOWS = 14
"""With fewer whole windows, limits are fixed."""

_FEWEST_FOR_SLOW = 35  # windows: slow changes take weeks to show
_QUARTER = pd.Timedelta("91D")
_DRAWS, _LIMIT_QUANTILE = 200, 0.9  # the limit covers this share of the draws
_FEW_WINDOWS = 4  # widens limits from few windows, which rarely have extremes
_MOST_DRAWN = 4_000_000  # statistics in memory at a time
_MIDDLE, _HIGHEST = 0.5, 0.95  # quantiles through which the tail is fitted
_FEWEST_BEYOND = 10  # values wanted above the second quantile, which is lowered if there are fewer
_PRIOR_WINDOWS = 5.0  # weight of the median spread of all keys, in windows
_FAULT_RATIO, _MOST_FAULTS = 1.5, 0.1  # of a fault: times the limit, in this share of windows
_MARGIN = 1.05
_SMALLEST_SHAPE = 1.0  # of the tail: heavier tails come from faults
_TINY = 1e-9


@dataclass(frozen=True)
class Calibration:
    """Parameters of the calibration from whole training windows.

    ``width`` is the length of a window, ``block`` the number of windows per bootstrap block.
    """

    width: pd.Timedelta
    block: int
    seed: int

    def looks(self, series: int) -> float:
        """Return how often a check is made in a quarter."""
        return max(_QUARTER / self.width, 1.0) * series


def upper_limits(
    found: np.ndarray, check: str, how: Calibration, *, centred: bool = False
) -> np.ndarray:
    """Compute the limit of a statistic for each key.

    Parameters
    ----------
    found
        Shape ``(windows, series)``, at least ``FEWEST_WINDOWS`` windows; NaN where missing. A
        series is one key of one column.
    check
        A key of ``BUDGET`` and ``FLOORS``.
    centred
        Whether the statistic has a sign and is 0 if nothing has shifted.

    Returns
    -------
    Shape ``(series,)``; NaN for a series without statistics, or too few of them.
    """
    known = np.isfinite(found).any(axis=0)
    if not known.any() or (check.startswith("slow") and len(found) < _FEWEST_FOR_SLOW):
        return np.full(found.shape[1], np.nan)
    measured = found[:, known]
    usual = np.zeros(measured.shape[1]) if centred else np.nanmedian(measured, axis=0)
    distance = np.abs(measured) if centred else measured - usual
    scale, floor = np.maximum(_scales(measured), _TINY), FLOORS[check]
    standard = distance / scale
    limit = 0.0
    if np.nanmax(distance) > floor / 4:  # otherwise all values are far below the floor
        limit = _bootstrapped(standard, BUDGET[check] / how.looks(len(known)), how)
        limit = _above_ordinary(standard, limit)
    reached = np.maximum(limit * scale, floor)
    newest = _newest_run(distance, reached)
    reached = np.where(newest > reached, _MARGIN * newest, reached)
    limits = np.full(len(known), np.nan)
    limits[known] = usual + reached
    return limits


def _scales(found: np.ndarray) -> np.ndarray:
    """Return the robust spread of each series over its windows, shrunk towards the overall one."""
    middle = np.nanmedian(found, axis=0)
    own = 1.4826 * np.nanmedian(np.abs(found - middle), axis=0)
    overall = float(np.median(own[own > 0])) if (own > 0).any() else 0.0
    windows = np.isfinite(found).sum(axis=0)
    weighted = windows * own**2 + _PRIOR_WINDOWS * overall**2
    return np.asarray(np.sqrt(weighted / (windows + _PRIOR_WINDOWS)))


def _bootstrapped(standard: np.ndarray, p: float, how: Calibration) -> float:
    random = np.random.default_rng(how.seed)
    windows, series = standard.shape
    most = max(_MOST_DRAWN // (windows * _DRAWS), 1)
    if series > most:  # a sample of the series shows the tail as well
        standard = standard[:, random.choice(series, most, replace=False)]
    block = min(how.block, windows)
    starts = random.integers(0, windows, (_DRAWS, -(-windows // block)))
    drawn = (starts[:, :, None] + np.arange(block)) % windows  # the last block wraps around
    drawn = drawn.reshape(_DRAWS, -1)[:, :windows]
    limits = _tails(standard[drawn].reshape(_DRAWS, -1), p)
    return float(np.quantile(limits, _LIMIT_QUANTILE)) * (1 + _FEW_WINDOWS / windows)


def _tails(drawn: np.ndarray, p: float) -> list[float]:
    """Extrapolate, for each draw (row), the quantile that is exceeded with probability ``p``."""
    # the lower half of a statistic is not informative about its upper tail
    ordered = np.sort(np.where(drawn > 0, drawn, np.inf), axis=1)
    known, n = np.isfinite(drawn).sum(axis=1), np.isfinite(ordered).sum(axis=1)
    upper = np.clip(1 - _FEWEST_BEYOND / np.maximum(n, 1), 0.75, _HIGHEST)
    ends = zip(_quantiles(ordered, n, _MIDDLE), _quantiles(ordered, n, upper), strict=True)
    found = zip(ends, upper, p * known / np.maximum(n, 1), n, strict=True)
    return [_tail(*two, float(at), min(share, 1 - at)) if n else 0.0 for two, at, share, n in found]


def _tail(low: float, high: float, upper: float, p: float) -> float:
    low, high = max(low, _TINY), max(high, _TINY)
    log_low, log_high = -np.log(1 - _MIDDLE), -np.log(1 - upper)
    shape = np.log(log_high / log_low) / max(np.log(high / low), _TINY)
    return float(high * (-np.log(p) / log_high) ** (1 / max(shape, _SMALLEST_SHAPE)))


def _quantiles(ordered: np.ndarray, n: np.ndarray, shares: np.ndarray | float) -> list[float]:
    """Return a quantile of the first ``n`` values per row, bit for bit like ``numpy.quantile``."""
    position = shares * np.maximum(n - 1, 0)
    below, row = position.astype(int), np.arange(len(n))
    low, high = ordered[row, below], ordered[row, np.minimum(below + 1, np.maximum(n - 1, 0))]
    with np.errstate(invalid="ignore"):  # missing values are infinite
        step, part = high - low, position - below
        found = np.where(part >= 0.5, high - step * (1 - part), low + step * part)
    return [float(one) for one in found]


def _above_ordinary(standard: np.ndarray, limit: float) -> float:
    """Raise a limit above the training windows that exceed it, except for faults."""
    with np.errstate(invalid="ignore"):
        is_extreme = standard > _FAULT_RATIO * limit
    few = is_extreme.sum(axis=0) <= _MOST_FAULTS * np.isfinite(standard).sum(axis=0)
    ordinary = np.where(is_extreme & few, np.nan, standard)
    largest = float(np.nanmax(ordinary)) if np.isfinite(ordinary).any() else 0.0
    return max(limit, _MARGIN * largest if largest > limit else 0.0)


def _newest_run(distance: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """Return each series' largest value in its newest unbroken run of windows beyond limits."""
    with np.errstate(invalid="ignore"):
        is_within = distance <= reached  # a window without a value does not end a run
    is_newest = ~np.logical_or.accumulate(is_within[::-1], axis=0)[::-1]
    return np.where(is_newest & np.isfinite(distance), distance, 0.0).max(axis=0)


def fixed_limit(check: str, n: np.ndarray) -> np.ndarray:
    """Return the limit of a check without calibration, which is wider for few rows.

    The allowance for chance assumes independent rows: Kolmogorov's distribution at 1 %, four
    standard errors of the mean and of the logarithm of a standard deviation, and twice the expected
    index of equal samples. Slow changes need more windows than such training data has.
    """
    n = np.maximum(n, 1)
    by_check = {
        "level": 0.75 + 4 / np.sqrt(n),
        "common": 0.75 + 4 / np.sqrt(n),
        "slow": np.full(np.shape(n), np.inf),
        "slow_spread": np.full(np.shape(n), np.inf),
        "spread": np.log(2) + 4 / np.sqrt(2 * n),
        "ks": 0.3 + 1.63 / np.sqrt(n),
        "psi": 0.5 + 18 / n,
        "score_psi": 0.5 + 18 / n,
        "flagged": 0.3 + 2 / np.sqrt(n),
        "missing": 0.1 + 2 / np.sqrt(n),
        "out_of_range": 0.02 + 1 / n,
        "new_category": 0.02 + 1 / n,
        "volume": np.full(np.shape(n), 1.4),
    }
    return np.asarray(by_check[check])
