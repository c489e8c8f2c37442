"""Time steps between the rows of each series: their length, usual length and direction."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from kedro_azure_mlops.windows import by_series, by_series_and_time


class Steps(NamedTuple):
    """The result of ``find_steps``; all fields but ``order`` are in the order of the file.

    ``order`` sorts the rows by series and time; rows of the same time stay in the file's order.
    ``seconds`` are those since the previous row in that order, NaN for the first of a series, and
    ``usual`` is the median of the non-zero steps of a series. ``is_twin`` marks rows that share the
    time of another one. ``is_older`` marks rows older than the previous one of their
    series in the file, or newer if these are fewer: a file may begin with the newest.
    """

    order: np.ndarray | slice
    seconds: np.ndarray
    usual: np.ndarray
    is_twin: np.ndarray
    is_older: np.ndarray


def find_steps(series: np.ndarray, times: np.ndarray) -> Steps:
    """Measure the steps of each series; the rows may be in any order.

    Parameters
    ----------
    series
        The number of each row's series, shape ``(n,)``; series are sorted by it.
    times
        ``datetime64``, shape ``(n,)``, without NaT.
    """
    order = by_series_and_time(series, times)
    step = _seconds(series[order], times[order])
    usual = pd.Series(step).where(step > 0).groupby(series[order]).transform("median").to_numpy()
    is_twin = (step == 0) | np.append(step[1:] == 0, np.zeros(min(len(step), 1), bool))
    seconds, usual_seconds = np.empty_like(step), np.empty_like(step)
    has_twin = np.empty_like(is_twin)
    seconds[order], usual_seconds[order], has_twin[order] = step, usual, is_twin
    rows, _ = by_series(series)
    in_file = _seconds(series[rows], times[rows])
    is_newest_first = (in_file < 0).sum() > (in_file > 0).sum()
    is_older = np.empty(len(step), bool)
    is_older[rows] = in_file > 0 if is_newest_first else in_file < 0
    return Steps(order, seconds, usual_seconds, has_twin, is_older)


def _seconds(series: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the seconds since the previous row; NaN for the first row of a series."""
    steps = np.diff(times, prepend=times[:1]).astype("timedelta64[ns]").astype(np.int64) / 10**9
    steps[np.diff(series, prepend=series[:1] - 1) != 0] = np.nan
    return steps
