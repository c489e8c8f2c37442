"""Causal features of a temperature series: the one function that training and serving share.

The value of a window must not depend on how much history came before it, or a reading would get one
score in a file and another from an endpoint that is sent the last weeks. So sums are made of whole
numbers, which are exact, and every feature looks back a limited time.

Servers import this module, so it needs numpy alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from kedro_azure_mlops.judging import has_history

if TYPE_CHECKING:
    import pandas as pd

    from .parameters import FeatureParameters

READING = ["timestamp", "sensor_id", "temperature"]
ENOUGH = "has_history"  # whether a row has the history that it takes to judge it
FEATURES = ["value", "diff", "mean_6h", "mean_1d", "log_std_1h", "seasonal", "seasonal_6h"]

_HOUR = 3_600 * 10**9  # nanoseconds
_DAY = 24 * _HOUR
_HALF_HOUR = _HOUR // 2
_SPANS = np.array([[_HOUR], [6 * _HOUR], [_DAY]])
_IN_HOUR, _IN_SIX_HOURS, _IN_DAY = range(3)
_MIN_ROWS = 6  # a window holds at least this many rows, however slowly the sensor is read
_STEPS = 25  # the usual sampling step is the median of this many
_HALFLIVES = 5  # a day weighs nothing once this many half-lives have passed: it would weigh 3 %
_FINE, _COARSE = 1e-6, 1e-3  # of the unit of the readings: for sums, and for sums of squares
_MOST = float(2**62)  # of a sum, so that 64 bits hold it


def build_features(clean: pd.DataFrame, parameters: FeatureParameters) -> pd.DataFrame:
    """Describe every reading by itself and by what its sensor did before it.

    Parameters
    ----------
    clean
        Columns ``timestamp``, ``sensor_id``, ``temperature`` (any unit), ordered by sensor and then
        by time.

    Returns
    -------
    The same rows and index with the columns of ``FEATURES`` added, in the unit of the temperature
    except for ``log_std_1h`` (natural logarithm of that unit), and ``has_history``. A row depends
    on itself and on earlier rows of its own sensor, never on later ones.
    """
    import pandas as pd

    settings = parameters.model_dump()
    by_sensor = []
    for _, rows in clean.groupby("sensor_id", sort=False):
        times, values = rows["timestamp"].to_numpy(), rows["temperature"].to_numpy(float)
        described = pd.DataFrame(describe(times, values, **settings), rows.index, FEATURES)
        enough = can_be_judged(times, parameters.seasonal_halflife_days)
        by_sensor.append(described.assign(**{ENOUGH: enough}))
    if not by_sensor:
        return clean.assign(**dict.fromkeys(FEATURES, 0.0), **{ENOUGH: False})
    return clean.join(pd.concat(by_sensor))


def describe(
    times: np.ndarray,
    values: np.ndarray,
    *,
    gap_steps: float,
    std_floor: float,
    seasonal_halflife_days: float,
) -> np.ndarray:
    """Describe every reading of a sensor by itself and by what came before it.

    Parameters
    ----------
    times
        Shape ``(n,)``, ``datetime64``, ascending; a time may occur more than once.
    values
        Shape ``(n,)``, in any unit.
    gap_steps
        After a hole of more than this many usual sampling steps the difference is not a jump.
    std_floor
        Smallest standard deviation that is distinguished, in the unit of the values.
    seasonal_halflife_days
        How fast the usual value of a time of day forgets earlier days.

    Returns
    -------
    Shape ``(n, 7)``, the columns of ``FEATURES``, in the unit of the values except for
    ``log_std_1h`` (natural logarithm of that unit).

    Raises
    ------
    ValueError
        If the values are too large for exact sums; no temperature is.
    """
    ns = times.astype("datetime64[ns]").astype(np.int64)
    seasonal = values - _usual_at_this_time_of_day(ns, values, seasonal_halflife_days)
    seasonal[np.isnan(seasonal)] = 0.0
    starts, counts = _windows(ns)
    if len(values):
        _refuse_too_large(max(values.max(), -values.min()), len(values), counts[_IN_HOUR].max())
    totals = _totals(values, seasonal)
    jumps = _differences(ns, values, gap_steps)
    mean_6h, seasonal_6h = _sums(totals[:2], starts[_IN_SIX_HOURS]) * _FINE / counts[_IN_SIX_HOURS]
    mean_1d = _sums(totals[0], starts[_IN_DAY]) * _FINE / counts[_IN_DAY]
    deviation = _deviations(*_sums(totals[2:], starts[_IN_HOUR]), counts[_IN_HOUR])
    log_std_1h = np.log(deviation + std_floor)
    return np.column_stack([values, jumps, mean_6h, mean_1d, log_std_1h, seasonal, seasonal_6h])


def can_be_judged(times: np.ndarray, seasonal_halflife_days: float) -> np.ndarray:
    """Return which readings have what it takes: a day, and the six hours that are compared with it.

    With less at most 35 % of the sample's faults are found that are found with all history.
    """
    return has_history(times, _MIN_ROWS - 1, 1.25, look_back(seasonal_halflife_days)[1])


def look_back(seasonal_halflife_days: float) -> tuple[int, int]:
    """Return how much history the features of a sensor's newest reading depend on.

    Returns
    -------
    A number of readings, and the days before the oldest of them.
    """
    # the windows reach into the day before
    return _STEPS + _MIN_ROWS, _days_that_count(seasonal_halflife_days) + 2


def _days_that_count(halflife_days: float) -> int:
    return int(np.ceil(_HALFLIVES * halflife_days))


def _windows(ns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the first row of each row's windows and how many rows these hold: shape ``(3, n)``.

    A window is the last span of time, or the last six rows where that holds fewer.
    """
    ends = np.arange(1, len(ns) + 1)
    by_time = np.searchsorted(ns, ns - _SPANS, "right")
    starts = np.minimum(by_time, np.maximum(ends - _MIN_ROWS, 0))
    return starts, ends - starts


def _totals(values: np.ndarray, seasonal: np.ndarray) -> np.ndarray:
    """Add up from the first row on, in whole numbers: shape ``(4, n + 1)``.

    The rows are the values and the seasonal values in fine units, and the values and their squares
    in coarse ones. Totals may overflow; what is between two of them does not.
    """
    exact = np.empty((3, len(values)))
    np.divide(values, _FINE, out=exact[0])
    np.divide(seasonal, _FINE, out=exact[1])
    np.divide(values, _COARSE, out=exact[2])
    whole = np.empty((4, len(values)), np.int64)
    whole[:3] = np.rint(exact, out=exact)
    np.multiply(whole[2], whole[2], out=whole[3])
    totals = np.zeros((4, len(values) + 1), np.int64)
    np.cumsum(whole, axis=1, out=totals[:, 1:])
    return totals


def _sums(totals: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Add up each window, from what was added up to its ends."""
    return totals[..., 1:] - totals[..., starts]


def _refuse_too_large(largest: float, rows: int, rows_in_hour: int) -> None:
    squares = (float(largest) / _COARSE) ** 2 * int(rows_in_hour)
    if not max(squares, float(largest) / _FINE * rows) < _MOST:
        raise ValueError(f"a reading of {largest:g} is too large to be a temperature")


def _deviations(total: np.ndarray, squares: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Measure how each window spreads; 1 for a single row, which is neither stuck nor noisy."""
    exact = total.astype(float)
    spread = np.maximum(squares - exact * exact / counts, 0.0)
    deviation = np.sqrt(spread / np.maximum(counts - 1, 1)) * _COARSE
    deviation[counts == 1] = 1.0
    return deviation


def _differences(ns: np.ndarray, values: np.ndarray, gap_steps: float) -> np.ndarray:
    differences = np.diff(values, prepend=values[:1])
    differences[_after_gap(ns, gap_steps)] = 0.0
    return differences


def _after_gap(ns: np.ndarray, gap_steps: float) -> np.ndarray:
    """Find the rows that follow a hole of more than ``gap_steps`` usual steps."""
    steps = np.diff(ns)
    if len(steps) < 2:
        return np.zeros(0, np.int64)
    earlier = np.full(len(steps) - 1 + _STEPS, np.inf)  # a repeated time is no step
    earlier[_STEPS:] = np.where(steps[:-1] > 0, steps[:-1], np.inf)
    before = np.lib.stride_tricks.sliding_window_view(earlier[1:], _STEPS)
    # A hole is longer than the shortest of the steps before it: the median is taken of few rows.
    candidates = np.flatnonzero(steps[1:] > gap_steps * before.min(axis=1))
    usual = [np.median(row[np.isfinite(row)]) for row in before[candidates]]
    return candidates[steps[candidates + 1] > gap_steps * np.array(usual)] + 2


def _usual_at_this_time_of_day(
    ns: np.ndarray, values: np.ndarray, halflife_days: float
) -> np.ndarray:
    """Average what this half hour was on earlier days, recent days weighing more; NaN at first."""
    if len(ns) == 0 or ns[0] // _DAY == ns[-1] // _DAY:  # the same day
        return np.full(len(values), np.nan)
    day, in_day = np.divmod(ns, _DAY)
    days, row = np.unique(day, return_inverse=True)
    cell = row * 48 + in_day // _HALF_HOUR
    count = np.bincount(cell, minlength=48 * len(days)).reshape(-1, 48)
    total = np.bincount(cell, values, minlength=48 * len(days)).reshape(-1, 48)
    mean = total / np.maximum(count, 1)
    weighted, weights = np.zeros_like(mean), np.zeros_like(mean)
    most = _days_that_count(halflife_days)
    for back in range(1, min(most, len(days) - 1) + 1):
        age = days[back:] - days[:-back]
        weight = np.where(age <= most, 0.5 ** (age / halflife_days), 0.0)[:, None]
        weight = weight * (count[:-back] > 0)
        weighted[back:] += weight * mean[:-back]
        weights[back:] += weight
    known = weights > 0
    usual = np.divide(weighted, weights, out=np.full_like(mean, np.nan), where=known)
    return usual.ravel()[cell]
