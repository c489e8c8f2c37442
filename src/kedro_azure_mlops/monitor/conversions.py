"""Find a conversion of units that makes a window of values fit the profile again."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

__all__ = ["find_conversion"]

_FACTORS = (10, 100, 1000, 0.1, 0.01, 0.001)


def _divided(values: np.ndarray, by: float) -> np.ndarray:
    return values / by


_CONVERSIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "from °C to °F": lambda values: (values - 32) / 1.8,
    "from °F to °C": lambda values: values * 1.8 + 32,
    "from °C to K": lambda values: values - 273.15,
    "from K to °C": lambda values: values + 273.15,
}
_CONVERSIONS |= {f"by a factor of {by:g}": partial(_divided, by=by) for by in _FACTORS}
"""Inverse conversions, by the name of the conversion that they undo."""
# largest level of a fit: in spreads, and relative to the level before
_MAX_LEVEL, _MAX_LEVEL_RATIO = 1.5, 1 / 3
_MAX_SPREAD = 0.7  # largest absolute spread (logarithm) of a fit


def find_conversion(
    values: np.ndarray,
    measure: Callable[[np.ndarray], Mapping[str, float]],
    limits: Mapping[str, float],
) -> tuple[str, float] | None:
    """Find the conversion that makes the values fit once it is undone.

    Parameters
    ----------
    values
        Values of one window, shape ``(n,)``.
    measure
        Returns ``level``, ``spread`` and ``ks`` of values.
    limits
        Limits of these statistics.

    Returns
    -------
    The name of the conversion, and the level before it is undone; None if the values fit
    unconverted, or no conversion helps.
    """
    before = measure(values)
    if abs(before["level"]) <= limits["level"] and abs(before["spread"]) <= _MAX_SPREAD:
        return None
    max_level = min(limits["level"], _MAX_LEVEL)
    if abs(before["spread"]) <= _MAX_SPREAD:  # only the level did not fit
        max_level = min(max_level, _MAX_LEVEL_RATIO * abs(before["level"]))
    # a mere shift that looks like a conversion does not change the spread
    max_spread = min(limits["spread"], _MAX_SPREAD, abs(before["spread"]) + 1e-6)
    for name, convert in _CONVERSIONS.items():
        level, spread, ks = (
            abs(measure(convert(values))[one]) for one in ("level", "spread", "ks")
        )
        if level <= max_level and ks <= limits["ks"] and spread <= max_spread:
            return name, max(abs(before["level"]), limits["level"] * 1.01)
    return None
