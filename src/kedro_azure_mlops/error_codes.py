"""Error codes that look like measurements: 85.0 after a power-on, -127, 999.9, 6553.5.

A code lies far outside the other values of its series, is the same to the digit each time, and
comes and goes abruptly, again and again. Values rise to the end of a scale and fall from it, and
a thermostat holds a value for a long time: neither is a code.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kedro_azure_mlops.windows import by_series

if TYPE_CHECKING:
    import pandas as pd

_FEWEST_VISITS = 3  # "again and again"
_LONGEST_VISIT = 20  # rows; the median visit of a held plateau is longer
_FAR_OUT = 3.0  # interquartile ranges beyond the quartiles: Tukey's outer fences
_STEPS = 20  # of the resolution: for coarse values, a few steps are not far
_FEW = 4  # distinct values, of which the quartiles would include the far one
_RARE = 0.05  # of the rows: a more frequent one of a few values is a state
_SLOPE_FROM = 0.25  # of the distance to the code: a neighbour beyond it is on a rise or a fall
_MANY_ROWS = 500  # of a series: shorter ones are screened together first
LINES_SHOWN = 10  # of a code, in messages


def find_error_codes(
    values: "np.ndarray | pd.Series", series: "np.ndarray | pd.Series | None" = None
) -> np.ndarray:
    """Find the rows of one or several series whose value is an error code.

    A value is a code if its distance from the central 98 % of the other values exceeds their width,
    three of their interquartile ranges and twenty steps of their resolution, and if at least three
    visits to it, and at least half of all, come from these and return to them in one step. Visits
    are runs of rows with the value; their median length is at most 20 rows.

    With three other values, which may be states of a machine, the distance must exceed twenty of
    their largest steps, and at most 5 % of the rows may have the code. With fewer there are none.

    Parameters
    ----------
    values
        Shape ``(n,)``, finite, in any unit; the rows of a series in the order of time.
    series
        Shape ``(n,)``, the name of each row's series; None: all rows are one series.

    Returns
    -------
    Booleans, shape ``(n,)``.

    References
    ----------
    Outer fences, which select the candidate values: Tukey, "Exploratory Data Analysis", 1977.
    """
    values = np.asarray(values, float)
    flags = np.zeros(len(values), bool)
    if not len(values):
        return flags
    order, starts = by_series(_numbers(series, len(values)))
    ordered, is_code = values[order], np.zeros(len(values), bool)
    lengths = np.diff(starts, append=len(values))
    chosen = lengths >= _MANY_ROWS
    is_short = np.repeat(~chosen, lengths)
    chosen[~chosen] = _may_have_codes(ordered[is_short], lengths[~chosen])
    for start, length in zip(starts[chosen].tolist(), lengths[chosen].tolist(), strict=True):
        rows = slice(start, start + length)
        if len(codes := _codes(ordered[rows])):
            is_code[rows] = np.isin(ordered[rows], codes)
    flags[order] = is_code
    return flags


def list_error_codes(rows: "pd.DataFrame", value: str, by: str) -> list[str]:
    """Describe error codes in messages: series, value, count and lines.

    Parameters
    ----------
    rows
        Rows found by ``find_error_codes``, indexed by their line.
    value, by
        The columns of the values and of the names of the series.
    """
    groups: dict[Any, Any] = dict(rows.groupby([by, value]).groups)
    return [
        describe_code(name, code, len(index), sorted(index)[:LINES_SHOWN])
        for (name, code), index in groups.items()
    ]


def describe_code(series: str, code: float, count: int, lines: Sequence[int]) -> str:
    """Describe an error code in a message.

    Parameters
    ----------
    count
        The number of rows of the series that have it.
    lines
        The lines of the first of these rows, at most ``LINES_SHOWN``.
    """
    more = f" and {count - len(lines):,} more" if count > len(lines) else ""
    value = str(code).removesuffix(".0")  # all digits: 65535.25 is not 65535.2
    return f"{series}: {value} {count:,} times, lines {', '.join(map(str, lines))}{more}"


def _numbers(series: "np.ndarray | pd.Series | None", rows: int) -> np.ndarray:
    """Return the number of each row's series."""
    if series is None:
        return np.zeros(rows, int)
    import pandas as pd

    return np.asarray(pd.factorize(series)[0])


def _may_have_codes(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return which series have a frequent value beyond the fences; others have no codes.

    Parameters
    ----------
    values
        The values, one series after the other.
    lengths
        The number of rows of each series.
    """
    if not len(values):
        return np.zeros(len(lengths), bool)
    series = np.repeat(np.arange(len(lengths)), lengths)
    pairs = np.empty(len(values), complex)  # numpy sorts by the real part, then the imaginary
    pairs.real, pairs.imag = series, values
    values = np.sort(pairs).imag
    is_new = np.ones(len(values), bool)
    is_new[1:] = (values[1:] != values[:-1]) | (series[1:] != series[:-1])
    rows = np.flatnonzero(is_new)
    distinct, series, counts = values[rows], series[rows], np.diff(rows, append=len(values))
    sizes = np.bincount(series)
    first = np.cumsum(sizes) - sizes

    def quantile(share: float) -> np.ndarray:
        position = share * (sizes - 1)
        below = position.astype(int)
        above = np.minimum(below + 1, sizes - 1)
        step = distinct[first + above] - distinct[first + below]
        return distinct[first + below] + (position - below) * step

    low, high = quantile(0.25), quantile(0.75)
    fence = _FAR_OUT * (high - low) - 1e-9 * np.maximum(abs(low), abs(high))  # for rounding
    is_far = (distinct < (low - fence)[series]) | (distinct > (high + fence)[series])
    found = np.bincount(series[is_far & (counts >= _FEWEST_VISITS)], minlength=len(lengths)) > 0
    few = sizes == _FEW
    found[few] = _is_far_from_few(distinct[first[few, None] + np.arange(_FEW)]).any(axis=1)
    return found


def _is_far_from_few(distinct: np.ndarray) -> np.ndarray:
    """Return which of few sorted values is far from the others, along the last axis."""
    gaps = np.diff(distinct)
    is_far = np.zeros(distinct.shape, bool)
    is_far[..., 0] = gaps[..., 0] > _STEPS * gaps[..., 1:].max(axis=-1)
    is_far[..., -1] = gaps[..., -1] > _STEPS * gaps[..., :-1].max(axis=-1)
    return is_far


def _codes(values: np.ndarray) -> np.ndarray:
    """Return the values of one series that are error codes."""
    distinct, counts = np.unique(values, return_counts=True)
    is_frequent = counts >= _FEWEST_VISITS
    if not is_frequent.any():
        return distinct[:0]
    if len(distinct) == _FEW:
        is_far = _is_far_from_few(distinct) & (counts <= _RARE * len(values))
    else:
        # quantiles of distinct values: a code counts once, regardless of its frequency
        low, high = np.quantile(distinct, [0.25, 0.75])
        fence = _FAR_OUT * (high - low)
        is_far = (distinct < low - fence) | (distinct > high + fence)
    candidates = distinct[is_far & is_frequent]
    others = distinct[~np.isin(distinct, candidates)]
    if not len(candidates) or len(others) < 2:
        return candidates[:0]
    is_candidate = np.isin(values, candidates)
    first, low, high, last = np.quantile(values[~is_candidate], [0.01, 0.25, 0.75, 0.99])
    far = max(last - first, _FAR_OUT * (high - low), _STEPS * np.diff(others).min())
    codes = []
    for code in candidates.tolist():
        towards = values - last if code > last else first - values
        away = towards[values == code][0]
        if away > far and _comes_and_goes(values == code, towards / away):
            codes.append(code)
    return np.array(codes)


def _comes_and_goes(is_code: np.ndarray, distance: np.ndarray) -> bool:
    """Return whether most visits to a value begin and end among the usual ones, in one step.

    ``distance`` is that of each row from the usual values: 0 for these, 1 for this value.
    """
    bounds = np.flatnonzero(np.diff(np.concatenate([[False], is_code, [False]])))
    starts, ends = bounds.reshape(-1, 2).T
    is_slope = np.concatenate([[False], distance > _SLOPE_FROM, [False]])  # no rows before or after
    abrupt = int(np.count_nonzero(~is_slope[starts] & ~is_slope[ends + 1]))
    is_brief = bool(np.median(ends - starts) <= _LONGEST_VISIT)
    return abrupt >= _FEWEST_VISITS and 2 * abrupt >= len(starts) and is_brief
