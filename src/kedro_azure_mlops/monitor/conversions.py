"""Find the conversion of units after which a window of values fits again."""

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
_CLOSEST, _CLOSER = 1.5, 1 / 3  # largest level of a fit, in spreads and relative to that before
_LARGEST_FIT = 0.7  # largest absolute spread (logarithm) of a fit


def find_conversion(
    values: np.ndarray,
    measure: Callable[[np.ndarray], Mapping[str, float]],
    limits: Mapping[str, float],
) -> tuple[str, float] | None:
    """Find a conversion that, once undone, makes the values fit.

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
    The name of the conversion, and the level before it is undone; None if the values fit as they
    are, or no conversion helps.
    """
    before = measure(values)
    if abs(before["level"]) <= limits["level"] and abs(before["spread"]) <= _LARGEST_FIT:
        return None
    closest = min(limits["level"], _CLOSEST)
    if abs(before["spread"]) <= _LARGEST_FIT:  # only the level did not fit
        closest = min(closest, _CLOSER * abs(before["level"]))
    # a plain shift that looks like a conversion does not change the spread
    narrowest = min(limits["spread"], _LARGEST_FIT, abs(before["spread"]) + 1e-6)
    for name, convert in _CONVERSIONS.items():
        level, spread, ks = (
            abs(measure(convert(values))[one]) for one in ("level", "spread", "ks")
        )
        if level <= closest and ks <= limits["ks"] and spread <= narrowest:
            return name, max(abs(before["level"]), limits["level"] * 1.01)
    return None
