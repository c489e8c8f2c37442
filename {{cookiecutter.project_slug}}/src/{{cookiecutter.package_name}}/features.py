"""Causal features of a temperature series: the one function that training and serving share.

The value of a window must not depend on how much history came before it, or a reading would get one
score in a file and another from an endpoint that is sent the last weeks. So sums are made of whole
numbers, which are exact, and every feature looks back a limited time.

Servers import this module, so it needs numpy alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from kedro_azure_mlops import windows
from kedro_azure_mlops.windows import DAY, ShortSeries, Timeline

if TYPE_CHECKING:
    import pandas as pd

    from .parameters import FeatureParameters

READING = ["timestamp", "sensor_id", "temperature"]
ENOUGH = "has_history"  # whether a row has the history that it takes to judge it
IN_WORDS = {  # the features, and what explanations call them
    **{"value": "reading", "diff": "change from the last reading", "mean_6h": "6 h mean"},
    **{"mean_1d": "24 h mean", "log_std_1h": "noise within 1 h"},
    **{"seasonal": "reading for the time of day", "seasonal_6h": "6 h mean for the time of day"},
}
FEATURES = [*IN_WORDS]

_SPANS = DAY // 24, DAY // 4, DAY  # of the windows: an hour, six, and a day
_MIN_ROWS = 6  # a window holds at least this many rows, however slowly the sensor is read
_DAY_AND_SIX_HOURS = 5 * DAY // 4
_STEPS = 25  # the usual sampling step is the median of this many
_HALFLIVES = 5  # a day weighs nothing once this many half-lives have passed: it would weigh 3 %
_FINE, _COARSE = 1e-6, 1e-3  # of the unit of the readings: for sums, and for sums of squares
_MOST = float(2**62)  # of a sum, so that 64 bits hold it
# As many rows, of values as small, are described in plain Python, which is many times as fast as
# numpy then. For features that you add to `describe` alone, set _FEW to 0.
_FEW, _SMALL = 32, 1e5


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

    order, starts = windows.by_series(pd.factorize(clean["sensor_id"])[0])
    times = clean["timestamp"].to_numpy()[order]
    values = clean["temperature"].to_numpy(float)[order]
    described = describe(times, values, starts, **parameters.model_dump())
    features = pd.DataFrame(described, clean.index[order], FEATURES, copy=False)
    features[ENOUGH] = can_be_judged(times, parameters.seasonal_halflife_days, starts)
    return clean.join(features)


def describe(
    times: np.ndarray,
    values: np.ndarray,
    starts: np.ndarray | None = None,
    *,
    gap_steps: float,
    std_floor: float,
    seasonal_halflife_days: float,
) -> np.ndarray:
    """Describe every reading of some sensors by itself and by what came before it.

    Parameters
    ----------
    times
        Shape ``(n,)``, ``datetime64``, ascending for each sensor; a time may occur more than once.
    values
        Shape ``(n,)``, in any unit.
    starts
        The first row of each sensor; None: they are all of one.
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
    found = np.empty((len(FEATURES), len(values)))
    most = _days_that_count(seasonal_halflife_days)
    for rows, line in windows.timelines(times, starts, look_back(seasonal_halflife_days)[1]):
        own, features = values[rows], found[:, rows]
        seasonal = line.seasonal_deviations(own, seasonal_halflife_days, most)
        first_1h, first_6h, first_1d = (line.windows(span, _MIN_ROWS) for span in _SPANS)
        ends = np.arange(1, len(own) + 1)
        count_1h, count_6h, count_1d = ends - first_1h, ends - first_6h, ends - first_1d
        _refuse_too_large(line, own, count_1h)
        totals = _totals(own, seasonal)
        features[0] = own
        features[1] = _differences(line, own, gap_steps)
        features[2] = _sums(totals[0], first_6h) * _FINE / count_6h
        features[3] = _sums(totals[0], first_1d) * _FINE / count_1d
        in_hour = _sums(totals[2], first_1h), _sums(totals[3], first_1h)
        features[4] = np.log(_deviations(*in_hour, count_1h) + std_floor)
        features[5] = seasonal
        features[6] = _sums(totals[1], first_6h) * _FINE / count_6h
    return found.T


def can_be_judged(
    times: np.ndarray, seasonal_halflife_days: float, starts: np.ndarray | None = None
) -> np.ndarray:
    """Return which readings have what it takes: a day, and the six hours that are compared with it.

    With less at most 35 % of the sample's faults are found that are found with all history.
    """
    return windows.has_history(times, starts, *_history(seasonal_halflife_days))


def describe_judged(
    times: np.ndarray,
    values: np.ndarray,
    sensors: np.ndarray,
    wanted: np.ndarray | None = None,
    **settings: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Describe those readings alone that can be judged.

    Parameters
    ----------
    sensors
        The number of each reading's sensor, shape ``(n,)``; with a negative one it is left out.
    wanted
        Booleans, shape ``(n,)``: the readings to describe; None: all of them.
    settings
        Those of ``describe``.

    Returns
    -------
    Their rows, and what ``describe`` finds for these among all.
    """
    if len(values) <= _FEW and all(-_SMALL < value < _SMALL for value in values.tolist()):
        return _describe_few(times, values, sensors, wanted, **settings)
    history = _history(settings["seasonal_halflife_days"])
    rows, starts, asked = windows.with_history(times, sensors, wanted, *history)
    return rows[asked], describe(times[rows], values[rows], starts, **settings)[asked]


def look_back(seasonal_halflife_days: float) -> tuple[int, int]:
    """Return how much history the features of a sensor's newest reading depend on.

    Returns
    -------
    A number of readings, and the days before the oldest of them.
    """
    # the windows reach into the day before
    return _STEPS + _MIN_ROWS, _days_that_count(seasonal_halflife_days) + 2


def _history(halflife_days: float) -> tuple[int, int, int]:
    """Return the earlier readings and the nanoseconds, at least and at most, that one needs."""
    return _MIN_ROWS - 1, _DAY_AND_SIX_HOURS, look_back(halflife_days)[1] * DAY


def _days_that_count(halflife_days: float) -> int:
    return int(np.ceil(_HALFLIVES * halflife_days))


def _describe_few(
    times: np.ndarray,
    values: np.ndarray,
    sensors: np.ndarray,
    wanted: np.ndarray | None,
    gap_steps: float,
    std_floor: float,
    seasonal_halflife_days: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Describe one reading after the other in plain Python, bit by bit as ``describe``."""
    rows, found, most = [], [], _days_that_count(seasonal_halflife_days)
    history = _history(seasonal_halflife_days)
    for line, asked, at in windows.short_series(times, values, sensors, wanted, *history):
        first = line.window(asked[0], _SPANS[1], _MIN_ROWS)
        described = range(first, asked[-1] + 1)
        seasonal = [line.seasonal_deviation(n, seasonal_halflife_days, most) for n in described]
        found += _describe_rows(line, asked, [0.0] * first + seasonal, gap_steps)
        rows += at
    features = np.array(found).reshape(-1, len(FEATURES))
    features[:, 4] = np.log(features[:, 4] + std_floor)  # that of Python is another in the last bit
    return np.array(rows, np.int64), features


def _describe_rows(
    line: ShortSeries, rows: list[int], seasonal: list[float], gap_steps: float
) -> Iterator[list[float]]:
    values = line.values
    fine, coarse = ([round(value / unit) for value in values] for unit in (_FINE, _COARSE))
    fine_seasonal = [round(value / _FINE) for value in seasonal]
    for row in rows:
        in_1h, in_6h, in_1d = (slice(line.window(row, s, _MIN_ROWS), row + 1) for s in _SPANS)
        is_jump = not line.is_after_gap(row, gap_steps, _STEPS)
        mean_6h, mean_1d, seasonal_6h = (
            sum(some) * _FINE / len(some)
            for some in (fine[in_6h], fine[in_1d], fine_seasonal[in_6h])
        )
        total, squares = float(sum(coarse[in_1h])), sum(value * value for value in coarse[in_1h])
        count = in_1h.stop - in_1h.start
        spread = max(squares - total * total / count, 0.0)
        deviation = math.sqrt(spread / (count - 1)) * _COARSE
        jump = values[row] - values[row - 1] if is_jump else 0.0
        yield [values[row], jump, mean_6h, mean_1d, deviation, seasonal[row], seasonal_6h]


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


def _refuse_too_large(line: Timeline, values: np.ndarray, in_hour: np.ndarray) -> None:
    largest = np.maximum.reduceat(np.abs(values), line.starts)
    squares = (largest / _COARSE) ** 2 * np.maximum.reduceat(in_hour, line.starts)
    rows = np.diff(line.starts, append=len(values))
    fits = np.maximum(squares, largest / _FINE * rows) < _MOST
    if not fits.all():
        raise ValueError(f"a reading of {largest[~fits][0]:g} is too large to be a temperature")


def _deviations(total: np.ndarray, squares: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Measure how each window spreads; 1 for a single row, which is neither stuck nor noisy."""
    exact = total.astype(float)
    spread = np.maximum(squares - exact * exact / counts, 0.0)
    deviation = np.sqrt(spread / np.maximum(counts - 1, 1)) * _COARSE
    deviation[counts == 1] = 1.0
    return deviation


def _differences(line: Timeline, values: np.ndarray, gap_steps: float) -> np.ndarray:
    differences = np.diff(values, prepend=values[:1])
    differences[line.starts] = 0.0
    differences[line.after_gaps(gap_steps, _STEPS)] = 0.0
    return differences
