"""Look back from each row of a series, for many series in one pass of numpy.

The series of a table are placed on one time axis, one after the other and so far apart that no
window reaches another series. Shifts are whole days, which preserves the time of day. The results
for a row are bit for bit those for its series alone. Runs on servers too, so it needs only numpy.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

import numpy as np

__all__ = ["Timeline", "by_series", "by_series_and_time", "ranges", "timelines"]

DAY = 86_400 * 10**9  # nanoseconds
_HALF_HOUR = DAY // 48
_ROWS = 100_000  # of a timeline, so that its arrays stay in the cache
_DAYS = 60_000  # of a timeline: 64 bits of nanoseconds hold 106,000 from 1970 on


def by_series(numbers: np.ndarray) -> tuple[np.ndarray | slice, np.ndarray]:
    """Order rows by series, and keep their order within a series.

    Parameters
    ----------
    numbers
        The number of each row's series, shape ``(n,)``.

    Returns
    -------
    An index that reorders the rows, and the new position of each series' first row.
    """
    order: np.ndarray | slice = slice(None)
    if (numbers[1:] < numbers[:-1]).any():
        order = np.argsort(numbers, kind="stable")
        numbers = numbers[order]
    return order, np.flatnonzero(np.diff(numbers, prepend=numbers[:1] - 1))


def by_series_and_time(numbers: np.ndarray, times: np.ndarray) -> np.ndarray | slice:
    """Return the order by series, then time; rows of one time keep their order.

    It is a slice, which copies nothing, if they already have that order.
    """
    is_next = (numbers[1:] == numbers[:-1]) & (times[1:] >= times[:-1])
    if (is_next | (numbers[1:] > numbers[:-1])).all():
        return slice(None)
    return np.lexsort((times, numbers))


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """List consecutive numbers from each start, as many as its length."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)


def with_history(
    times: np.ndarray, numbers: np.ndarray, wanted: np.ndarray | None, *history: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the rows that have enough history, and the series with such rows.

    Parameters
    ----------
    times
        Shape ``(n,)``, ``datetime64``, ascending within each series.
    numbers
        As for ``by_series``; rows with a negative number are left out.
    wanted
        Booleans, shape ``(n,)``: the rows of interest; None: all of them.
    history
        The arguments of ``Timeline.has_history``.

    Returns
    -------
    The rows of these series, ordered by series; the positions of the series' first rows among them;
    and which of the rows are wanted and have enough history.
    """
    rows = np.flatnonzero(numbers >= 0)
    order, starts = by_series(numbers[rows])
    rows = rows[order]
    has_enough = has_history(times[rows], starts, *history)
    if wanted is not None:
        has_enough &= wanted[rows]
    if len(starts):
        lengths = np.diff(starts, append=len(rows))
        kept = np.repeat(np.logical_or.reduceat(has_enough, starts), lengths)
        rows, has_enough = rows[kept], has_enough[kept]
    return rows, by_series(numbers[rows])[1], has_enough


def has_history(times: np.ndarray, starts: np.ndarray | None, *history: int) -> np.ndarray:
    """Return which rows have enough history; see ``timelines`` and ``Timeline.has_history``."""
    flags = np.empty(len(times), bool)
    for rows, line in timelines(times, starts, -(-history[-1] // DAY)):
        flags[rows] = line.has_history(*history)
    return flags


def timelines(
    times: np.ndarray, starts: np.ndarray | None, look_back: int
) -> Iterator[tuple[slice, "Timeline"]]:
    """Place series on time axes, each with the series to process at a time.

    Parameters
    ----------
    times
        Shape ``(n,)``, ``datetime64``, ascending within each series.
    starts
        The first row of each series, beginning with 0. None: there is one series.
    look_back
        An upper bound of the days that anything looks back.

    Yields
    ------
    Slices of rows and their timelines.
    """
    ns = times.astype("datetime64[ns]").astype(np.int64)
    if starts is None or len(starts) < 2:
        yield slice(0, len(ns)), Timeline(ns, np.zeros(min(len(ns), 1), np.int64))
        return
    ends = np.append(starts[1:], len(ns))
    first_days = ns[starts] // DAY
    days = np.cumsum(ns[ends - 1] // DAY - first_days + look_back + 2)
    begin = 0
    while begin < len(starts):
        row, day = (int(ends[begin - 1]), int(days[begin - 1])) if begin else (0, 0)
        row_limit, day_limit = (
            np.searchsorted(ends, row + _ROWS),
            np.searchsorted(days, day + _DAYS),
        )
        end = max(min(int(row_limit), int(day_limit)), begin + 1)
        rows = slice(row, int(ends[end - 1]))
        if end == begin + 1:  # not shifted: it may span more days than an axis has
            yield rows, Timeline(ns[rows], np.zeros(1, np.int64))
        else:
            shifts = np.append(day, days[begin : end - 1]) - day - first_days[begin:end]
            lengths = ends[begin:end] - starts[begin:end]
            shifted = ns[rows] + np.repeat(shifts * DAY, lengths)
            yield rows, Timeline(shifted, starts[begin:end] - row)
        begin = end


class Timeline:
    """Series on one time axis.

    Parameters
    ----------
    ns
        Nanoseconds, ascending, shape ``(n,)``; a time may occur more than once.
    starts
        The first row of each series.
    """

    def __init__(self, ns: np.ndarray, starts: np.ndarray) -> None:
        self.ns = ns
        self.starts = starts
        self._numbers = np.arange(len(ns))
        self._first = np.repeat(starts, np.diff(starts, append=len(ns)))

    def windows(self, span: int, fewest: int) -> np.ndarray:
        """Find the first row of each row's window, which ends with the row itself.

        A window is the last ``span`` nanoseconds, without its older end, or the last ``fewest``
        rows if that holds fewer.
        """
        by_time = np.searchsorted(self.ns, self.ns - span, "right")
        return np.minimum(by_time, np.maximum(self._numbers - (fewest - 1), self._first))

    def has_history(self, rows: int, span: int, look_back: int) -> np.ndarray:
        """Return which rows have ``rows`` before them, one at least ``span`` nanoseconds older.

        Rows more than ``look_back`` nanoseconds older do not count.
        """
        old_enough = np.searchsorted(self.ns, self.ns - span, "right")
        too_old = np.searchsorted(self.ns, self.ns - look_back)
        return (old_enough > too_old) & (self._numbers - self._first >= rows)

    def after_gaps(self, gap_steps: float, among: int) -> np.ndarray:
        """Find the rows after a gap: more than ``gap_steps`` usual steps of their series.

        The usual step is the median of the last ``among`` steps before it; a repeated time is not a
        step.
        """
        steps = np.diff(self.ns)
        if len(steps) < 2:
            return np.zeros(0, np.int64)
        earlier = np.full(len(steps) - 2 + among, np.inf)
        earlier[among - 1 :] = np.where(steps[:-1] > 0, steps[:-1], np.inf)
        # A gap is longer than the shortest of the steps before it, so few rows need a median.
        # Steps of the previous series may be included here, which adds a few more.
        is_candidate = steps[1:] > gap_steps * _sliding_minimum(earlier, among)
        is_candidate &= self._numbers[2:] - self._first[2:] >= 2
        rows = np.flatnonzero(is_candidate) + 2
        before = np.lib.stride_tricks.sliding_window_view(earlier, among)[rows - 2]
        own_steps = rows - 1 - self._first[rows]
        before = np.where(np.arange(among, 0, -1) <= own_steps[:, None], before, np.inf)
        return rows[steps[rows - 1] > gap_steps * _medians(before)]

    def differences(self, values: np.ndarray, gap_steps: float, among: int) -> np.ndarray:
        """Return the difference of each value from the one before; 0 for the first and after a gap.

        Parameters
        ----------
        gap_steps, among
            See ``after_gaps``.
        """
        differences = np.diff(values, prepend=values[:1])
        differences[self.starts] = 0.0
        differences[self.after_gaps(gap_steps, among)] = 0.0
        return differences

    def seasonal_deviations(
        self, values: np.ndarray, halflife_days: float, most_days: int
    ) -> np.ndarray:
        """Compare values with the average of their half hour on earlier days; 0 where missing.

        A day weighs half as much as one ``halflife_days`` later, and nothing if it is more than
        ``most_days`` ago.
        """
        day = self.ns // DAY
        begins = np.diff(day, prepend=day[:1] - 1) > 0
        days = day[begins]
        cell = (np.cumsum(begins) - 1) * 48 + (self.ns - day * DAY) // _HALF_HOUR
        count = np.bincount(cell, minlength=48 * len(days))
        at = np.flatnonzero(count)  # few of the cells if rows are far apart
        mean = np.zeros(len(count))
        mean[at] = np.bincount(cell, values, len(count))[at] / count[at]
        has_mean, day_of = count > 0, at // 48
        weighted, weights = np.zeros((2, len(at)))
        by_age = np.array(weights_by_age(halflife_days, most_days))
        for back in range(1, len(days)):
            age = days[back:] - days[:-back]
            if age.min() > most_days:
                break
            later = slice(int(np.searchsorted(day_of, back)), None)
            day, earlier = day_of[later] - back, at[later] - 48 * back
            weight = by_age[np.minimum(age, most_days + 1)][day] * has_mean[earlier]
            weights[later] += weight
            weight *= mean[earlier]
            weighted[later] += weight
        usual = np.full(len(count), np.nan)
        usual[at[weights > 0]] = weighted[weights > 0] / weights[weights > 0]
        deviations = values - usual[cell]
        deviations[np.isnan(deviations)] = 0.0
        return deviations


@lru_cache
def weights_by_age(halflife_days: float, most_days: int) -> tuple[float, ...]:
    """Return the weights of days by age, from 0 to one day after the oldest that counts."""
    return *(0.5 ** (np.arange(most_days + 1) / halflife_days)).tolist(), 0.0


def _sliding_minimum(values: np.ndarray, width: int) -> np.ndarray:
    """Find the minimum of each ``width`` neighbours, by doubling the width."""
    covered = 1
    while 2 * covered <= width:
        values = np.minimum(values[:-covered], values[covered:])
        covered *= 2
    rest = width - covered
    return np.minimum(values[:-rest], values[rest:]) if rest else values


def _medians(rows: np.ndarray) -> np.ndarray:
    """Return the median of each row's finite numbers; infinite if there are none."""
    ordered = np.sort(rows, axis=1)
    known, number = np.isfinite(ordered).sum(axis=1), np.arange(len(rows))
    return (ordered[number, np.maximum(known - 1, 0) // 2] + ordered[number, known // 2]) / 2


def short_series(
    times: np.ndarray,
    values: np.ndarray,
    numbers: np.ndarray,
    wanted: np.ndarray | None,
    *history: int,
) -> Iterator[tuple["ShortSeries", list[int], list[int]]]:
    """Find the rows with enough history among a few rows, as ``with_history`` does.

    Yields
    ------
    Each series with such rows, and their positions within the series and within all rows.
    """
    rows_of: dict[int, list[int]] = {}
    for row, number in enumerate(numbers.tolist()):
        rows_of.setdefault(number, []).append(row)
    ns = times.astype("datetime64[ns]").astype(np.int64).tolist()
    floats = values.tolist()
    for number, rows in rows_of.items():
        if number < 0 or len(rows) <= history[0]:
            continue
        line = ShortSeries([ns[row] for row in rows], [floats[row] for row in rows])
        chosen = [n for n in range(history[0], len(rows)) if line.has_history(n, *history)]
        if wanted is not None:
            chosen = [n for n in chosen if wanted[rows[n]]]
        if chosen:
            yield line, chosen, [rows[n] for n in chosen]


class ShortSeries:
    """Looks back from single rows of a short series, in plain Python.

    Its results equal those of ``Timeline`` bit for bit. It is faster: numpy takes as long for one
    row as for a few hundred.

    Parameters
    ----------
    ns
        Nanoseconds, ascending.
    values
        The values of the rows.
    """

    def __init__(self, ns: list[int], values: list[float]) -> None:
        self.ns = ns
        self.values = values
        self._half_hours = [time // _HALF_HOUR for time in ns]

    def window(self, row: int, span: int, fewest: int) -> int:
        """Find the first row of a row's window, as ``Timeline.windows``."""
        by_time = bisect_right(self.ns, self.ns[row] - span)
        return min(by_time, max(row - (fewest - 1), 0))

    def has_history(self, row: int, rows: int, span: int, look_back: int) -> bool:
        """Return whether a row has enough history, as ``Timeline.has_history``."""
        time = self.ns[row]
        if row < rows or time - span < self.ns[0]:  # the most frequent case
            return False
        return bisect_right(self.ns, time - span) > bisect_left(self.ns, time - look_back)

    def is_after_gap(self, row: int, gap_steps: float, among: int) -> bool:
        """Return whether a row follows a gap, as ``Timeline.after_gaps``."""
        times = self.ns[max(row - 1 - among, 0) : row + 1]
        *before, step = [float(end - begin) for begin, end in pairwise(times)] or [0.0]
        before = sorted(one for one in before if one > 0)
        if not before:
            return False
        usual = (before[(len(before) - 1) // 2] + before[len(before) // 2]) / 2
        return step > gap_steps * usual

    def difference(self, row: int, gap_steps: float, among: int) -> float:
        """Return the difference of a value from the one before, as ``Timeline.differences``."""
        if not row or self.is_after_gap(row, gap_steps, among):
            return 0.0
        return self.values[row] - self.values[row - 1]

    def seasonal_deviation(self, row: int, halflife_days: float, most_days: int) -> float:
        """Compare a value with earlier days, as ``Timeline.seasonal_deviations``."""
        own, days = self._half_hours[row], dict[int, tuple[float, int]]()
        if own - self._half_hours[0] < 48:
            return 0.0
        for earlier in range(row):
            age, other = divmod(own - self._half_hours[earlier], 48)
            if other == 0 and 0 < age <= most_days:
                total, count = days.get(age, (0.0, 0))
                days[age] = total + self.values[earlier], count + 1
        weights, weighted, weight = weights_by_age(halflife_days, most_days), 0.0, 0.0
        for age, (total, count) in reversed(days.items()):  # the newest day first
            weighted += weights[age] * (total / count)
            weight += weights[age]
        return self.values[row] - weighted / weight if weight else 0.0
