"""The reference statistics of one column, and the distance of new windows from them."""

from typing import Any

import numpy as np

from kedro_azure_mlops.monitor.reference import ENOUGH_FOR_SHAPE, spread_ratio
from kedro_azure_mlops.monitor.statistics import (
    WEEK_HOURS,
    Cut,
    Moments,
    bins_of,
    counts_of,
    ewma,
    hours_of_week,
    kolmogorov_smirnov,
    population_stability,
)

__all__ = ["Reference", "measure"]


class Reference:
    """The statistics of one column in a profile, by series."""

    def __init__(self, series: list[dict[str, Any]], column: str) -> None:
        self._entries = [one["columns"].get(column, {}) for one in series]

    def of(self, name: str) -> np.ndarray:
        """Return the number of this name for each series, NaN where missing."""
        return np.array([_or_nan(one.get(name)) for one in self._entries])

    def limits(self, check: str) -> np.ndarray:
        """Return the limits of a check, NaN where missing."""
        return np.array([_or_nan(one.get("limits", {}).get(check)) for one in self._entries])

    @property
    def rows(self) -> np.ndarray:
        """The number of training rows with a value."""
        return np.nan_to_num(self.of("rows"))

    @property
    def spreads(self) -> np.ndarray:
        """The standard deviations."""
        return self.of("spread")

    @property
    def medians(self) -> np.ndarray:
        """The medians."""
        return np.array(
            [_or_nan((one.get("quantiles") or [None] * 11)[5]) for one in self._entries]
        )

    @property
    def edges(self) -> np.ndarray:
        """The edges of the bins, shape ``(series, bins - 1)``."""
        return np.array([one["edges"] for one in self._entries], float)

    @property
    def shares(self) -> np.ndarray:
        """The shares by bin, shape ``(series, bins)``."""
        return np.array([one["shares"] for one in self._entries], float)

    @property
    def is_flat(self) -> bool:
        """Return whether there is no daily course: the bins are then of the values themselves."""
        return len(self._entries[0]["course"]) == 1

    @property
    def course(self) -> np.ndarray:
        """The usual weekly course, shape ``(series, 168)``."""
        hours = np.array([one["course"] for one in self._entries], float)
        return np.tile(hours, WEEK_HOURS // hours.shape[1])


def measure(
    cut: Cut, values: np.ndarray, reference: Reference, after: int = 0
) -> dict[str, np.ndarray]:
    """Compute the statistics of numbers in windows, each of shape ``(windows, keys)``.

    Windows that end at or before ``after`` (nanoseconds) are left out of the slow averages.
    """
    expected = reference.course[cut.key, hours_of_week(cut.time)]
    moments = Moments.of(cut, values, expected)
    rest = values if reference.is_flat else values - expected
    counts = counts_of(cut, bins_of(cut, rest, reference.edges), reference.shares.shape[1])
    is_known = reference.rows > 0  # the column had values in training
    is_enough = is_known & (moments.n >= ENOUGH_FOR_SHAPE)
    level = np.where(is_known, moments.shift / reference.spreads, np.nan)
    wider = spread_ratio(moments, reference.of("inner_variance"), reference.spreads)
    wider = np.where(is_known, wider, np.nan)
    is_new = (cut.ends > after)[:, None]
    return {
        "n": moments.n,
        "level": level,
        "slow": ewma(np.where(is_new, level, np.nan)),
        "spread": wider,
        "slow_spread": ewma(np.where(is_new, wider, np.nan)),
        "ks": np.where(is_enough, kolmogorov_smirnov(counts, reference.shares), np.nan),
        "psi": np.where(is_enough, population_stability(counts, reference.shares), np.nan),
    }


def _or_nan(value: Any) -> float:
    return np.nan if value is None else float(value)
