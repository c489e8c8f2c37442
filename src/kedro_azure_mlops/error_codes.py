"""Error codes that look like measurements: 85.0 after a power-on, -127, 999.9, 6553.5.

A code lies far outside the other values of its series, is the same to the digit each time, and
comes and goes at once, again and again. The end of a scale is reached by a rise and left by a fall,
and what is held, as by a thermostat, is held for long: neither is a code.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

_FEWEST_VISITS = 3  # "again and again"
_LONGEST_VISIT = 20  # rows; the median visit of a plateau that is held is longer
_FAR_OUT = 3.0  # interquartile ranges beyond the quartiles: Tukey's outer fences
_STEPS = 20  # of the resolution: of coarse values a few steps are not far
_ON_THE_WAY = 0.25  # of the way to the code: a neighbour beyond it belongs to a rise or a fall
_LINES_SHOWN = 10


def find_error_codes(
    values: "np.ndarray | pd.Series", series: "np.ndarray | pd.Series | None" = None
) -> np.ndarray:
    """Find the rows of one or several series whose value is an error code.

    A value is one if it lies farther from the central 98 % of the other values than these are wide,
    than three of their interquartile ranges and than twenty steps of their resolution, and if at
    least three visits to it, most of all, come from there and go back there in one step. Visits are
    the stretches of rows that have the value; their median is at most 20 rows long.

    Parameters
    ----------
    values
        Shape ``(n,)``, finite, in any unit; the rows of a series in the order of time.
    series
        Shape ``(n,)``, the name of each row's series; None: all rows are one.

    Returns
    -------
    Booleans, shape ``(n,)``.

    References
    ----------
    Outer fences, which choose the values that are looked at: Tukey, "Exploratory Data Analysis",
    1977.
    """
    values = np.asarray(values, float)
    found = np.zeros(len(values), bool)
    groups = [np.arange(len(values))]
    if series is not None and len(values):
        names = np.asarray(series, object)
        order = np.argsort(names, kind="stable")
        names = names[order]
        groups = np.split(order, np.flatnonzero(names[1:] != names[:-1]) + 1)
    for rows in groups:
        found[rows] = np.isin(values[rows], _codes(values[rows]))
    return found


def list_error_codes(rows: "pd.DataFrame", value: str, by: str) -> list[str]:
    """Describe error codes for people: of which series, the value, how often and in which lines.

    Parameters
    ----------
    rows
        Rows that ``find_error_codes`` has found, indexed by their line.
    value, by
        The columns of the values and of the names of the series.
    """
    found = []
    groups: dict[Any, Any] = dict(rows.groupby([by, value]).groups)
    for (name, code), index in groups.items():
        lines = sorted(index)
        first = ", ".join(map(str, lines[:_LINES_SHOWN]))
        more = f" and {len(lines) - _LINES_SHOWN:,} more" if len(lines) > _LINES_SHOWN else ""
        found.append(f"{name}: {code:g} {len(lines):,} times, lines {first}{more}")
    return found


def _codes(values: np.ndarray) -> np.ndarray:
    """Return the values of one series that are error codes."""
    distinct, counts = np.unique(values, return_counts=True)
    frequent = distinct[counts >= _FEWEST_VISITS]
    if not len(frequent):
        return frequent
    # of the distinct values: however often a code comes, it is one of them
    low, high = np.quantile(distinct, [0.25, 0.75])
    fence = _FAR_OUT * (high - low)
    candidates = frequent[(frequent < low - fence) | (frequent > high + fence)]
    others = distinct[~np.isin(distinct, candidates)]
    if not len(candidates) or len(others) < 2:
        return candidates[:0]
    is_candidate = np.isin(values, candidates)
    first, low, high, last = np.quantile(values[~is_candidate], [0.01, 0.25, 0.75, 0.99])
    far = max(last - first, _FAR_OUT * (high - low), _STEPS * np.diff(others).min())
    found = []
    for code in candidates.tolist():
        towards = values - last if code > last else first - values
        away = towards[values == code][0]
        if away > far and _comes_and_goes(values == code, towards / away):
            found.append(code)
    return np.array(found)


def _comes_and_goes(is_code: np.ndarray, way: np.ndarray) -> bool:
    """Return whether most visits to a value begin and end among the usual ones, in one step.

    ``way`` is how far each row is on the way from the usual values, 0, to this one, 1.
    """
    bounds = np.flatnonzero(np.diff(np.concatenate([[False], is_code, [False]])))
    starts, ends = bounds.reshape(-1, 2).T
    is_slope = np.concatenate([[False], way > _ON_THE_WAY, [False]])  # before and after is nothing
    at_once = int(np.count_nonzero(~is_slope[starts] & ~is_slope[ends + 1]))
    is_brief = bool(np.median(ends - starts) <= _LONGEST_VISIT)
    return at_once >= _FEWEST_VISITS and 2 * at_once >= len(starts) and is_brief
