"""Convert local times to UTC by a time zone, or report hours that are repeated.

When clocks go back, an hour occurs twice. A row is assigned to the occurrence that continues the
usual step of the earlier rows of its series, so the result does not depend on how a file is cut
into pieces.
"""

import re
from collections.abc import Hashable
from datetime import UTC, timedelta, timezone
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pandas as pd

from kedro_azure_mlops.windows import by_series

_HOUR, _SECOND = np.timedelta64(1, "h"), np.timedelta64(1, "s")
_REMEMBERED = 6  # last times of a series, whose median step is the usual one
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d\d?)(?::?(\d\d))?", re.ASCII)
_SUNDAY, _MONTHS = 3, (3, 4, 10, 11)  # days since the epoch, a Thursday; both hemispheres


def zone_of(name: str) -> Any:
    """Return a time zone from the database, ``Europe/Berlin``, or an offset, ``+01:00``.

    Raises
    ------
    ValueError
        If there is no zone of that name.
    """
    if match := _OFFSET.fullmatch(name.strip()):
        sign, hours, minutes = match.groups()
        offset = timedelta(hours=int(hours), minutes=int(minutes or 0))
        if offset < timedelta(hours=24):
            return timezone(-offset if sign == "-" else offset)
    if name in {"UTC", "GMT", "Z"}:
        return UTC
    if name in available_timezones():
        return ZoneInfo(name)
    raise ValueError(f"{name!r} is not a time zone such as Europe/Berlin, UTC or +01:00")


class Clock:
    """Converts the times of a file's series, which are read in order, piece by piece.

    Parameters
    ----------
    zone
        The zone of the times; None leaves them unchanged and only detects repeated hours.
    """

    def __init__(self, zone: Any) -> None:
        self._zone = zone
        self._numbers: dict[Hashable, int] = {}  # series -> its row in _past
        self._past = np.empty((0, _REMEMBERED), "datetime64[ns]")  # the last times of each series
        self.repeated: dict[Hashable, np.datetime64] = {}  # by series, its first repeated time
        self.unclear = 0  # rows of a repeated hour that have no earlier rows to compare with

    def to_utc(self, local: np.ndarray, series: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """Convert local times to UTC.

        Parameters
        ----------
        local
            ``datetime64[ns]`` without zone, shape ``(n,)``, NaT if missing.
        series
            The series of each row, in the order of the file.

        Returns
        -------
        ``datetime64[ns]`` in UTC, and which local times do not exist because clocks went forward.
        """
        first, second = self._utc_candidates(local)
        is_missing = np.isnat(first) & ~np.isnat(local)
        is_twice = (first != second) & ~np.isnat(first)
        utc = first.astype("datetime64[ns]")
        line = self._line_up(utc, series)
        chosen = np.flatnonzero(is_twice[line.rows])
        for row, place in zip(line.rows[chosen], line.places[chosen], strict=True):
            is_second, is_clear = _is_nearer(line.before(place), first[row], second[row])
            self.unclear += not is_clear
            if is_second:
                utc[row] = line.times[place] = second[row]
        self._remember(line)
        return utc, is_missing

    def _utc_candidates(self, local: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first and the second UTC time of each local time, which are usually equal.

        Localizing takes microseconds per time, so the times of a day with the same offset at both
        ends are shifted by that offset instead.
        """
        first = local.astype("datetime64[ns]")
        second = first.copy()
        known = np.flatnonzero(~np.isnat(local))
        if not len(known):
            return first, second
        days = local[known].astype("datetime64[D]").astype(np.int64)
        has_times = np.bincount(days - days.min()) > 0
        places = (np.cumsum(has_times) - 1)[days - days.min()]
        ends = (np.flatnonzero(has_times) + days.min() + [[0], [1]]).astype("datetime64[D]")
        ends = ends.astype("datetime64[ns]")
        offsets = np.stack(
            [(ends - utc.reshape(ends.shape)) for utc in self._localized(ends.ravel())]
        )
        offsets = offsets.reshape(4, -1)
        is_plain = (offsets == offsets[0]).all(axis=0)
        plain = known[is_plain[places]]
        first[plain] -= offsets[0][places[is_plain[places]]]
        second[plain] = first[plain]
        others = known[~is_plain[places]]
        first[others], second[others] = self._localized(local[others])
        return first, second

    def _localized(self, local: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        index = pd.DatetimeIndex(local)
        both = [
            index.tz_localize(self._zone, ambiguous=np.full(len(index), first), nonexistent="NaT")
            for first in (True, False)
        ]
        first, second = (times.tz_convert("UTC").tz_localize(None).to_numpy() for times in both)
        return first.astype("datetime64[ns]"), second.astype("datetime64[ns]")

    def look(self, times: np.ndarray, series: pd.Series) -> None:
        """Detect an hour that is repeated in a night when clocks go back."""
        line = self._line_up(times, series)
        places = line.places[_is_night(line.times[line.places])]
        before = line.times[places[:, None] + np.arange(-_REMEMBERED, 0)]
        for place in places[_may_go_back(before, line.times[places])].tolist():
            name = line.names[int(np.searchsorted(line.starts, place, "right")) - 1]
            if name not in self.repeated and _goes_back(line.before(place), line.times[place]):
                self.repeated[name] = line.times[place]
        self._remember(line)

    def _line_up(self, times: np.ndarray, series: pd.Series) -> "_LinedUp":
        codes, distinct = pd.factorize(series)
        names = [*distinct, np.nan]  # the last one is for rows without a name
        codes[codes < 0] = len(distinct)
        order, _ = by_series(codes)
        rows = np.arange(len(codes))[order]
        rows = rows[~np.isnat(times[rows])]
        counts = np.bincount(codes[rows], minlength=len(names)) + _REMEMBERED
        ends = np.cumsum(counts)
        places = np.arange(len(rows)) + _REMEMBERED * (codes[rows] + 1)
        for name in names:
            self._numbers.setdefault(name, len(self._numbers))
        new = len(self._numbers) - len(self._past)
        self._past = np.pad(self._past, ((0, new), (0, 0)), constant_values=np.datetime64("NaT"))
        whole = np.empty(int(counts.sum()), "datetime64[ns]")
        whole[places] = times[rows]
        starts = ends - counts
        numbers = np.array([self._numbers[name] for name in names], int)
        whole[starts[:, None] + np.arange(_REMEMBERED)] = self._past[numbers]
        return _LinedUp(whole, rows, places, names, numbers, starts)

    def _remember(self, line: "_LinedUp") -> None:
        ends = np.append(line.starts[1:], len(line.times))[: len(line.names)]
        self._past[line.numbers] = line.times[ends[:, None] + np.arange(-_REMEMBERED, 0)]


class _LinedUp(NamedTuple):
    """The times of a piece by series, each preceded by its last six times; NaT if there are fewer.

    ``rows`` are the rows of the piece in that order, ``places`` the indices of their times, and
    ``starts`` the index at which each series begins.
    """

    times: np.ndarray
    rows: np.ndarray
    places: np.ndarray
    names: list[Hashable]
    numbers: np.ndarray
    starts: np.ndarray

    def before(self, place: int) -> np.ndarray:
        """Return the preceding times of the same series."""
        known = self.times[place - _REMEMBERED : place]
        return known[~np.isnat(known)]


def _is_night(times: np.ndarray) -> np.ndarray:
    """Return which times are in the small hours of a Sunday in a month when clocks go back."""
    hours = times.astype("datetime64[h]").astype(np.int64)
    is_night = (hours // 24 % 7 == _SUNDAY) & (hours % 24 < 4)
    months = times[is_night].astype("datetime64[M]").astype(np.int64) % 12 + 1
    is_night[is_night] = np.isin(months, _MONTHS)
    return is_night


def _may_go_back(before: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return which times need the exact check ``_goes_back``; it would be false for the others.

    Parameters
    ----------
    before
        The six times before each one, shape ``(n, 6)``; NaT on the left if there are fewer.
    """
    steps, earlier = times - before[:, -1], np.diff(before)
    is_other = (steps != earlier[:, -1]) & (abs(steps) < _HOUR) & ~np.isnat(earlier[:, -1])
    # _goes_back needs a usual step above 4/5 of (this step + 1 h), so some earlier step is as long
    seconds = np.where(np.isnat(earlier), 0.0, earlier / _SECOND)
    back, forth = (_HOUR + steps) / _SECOND, (_HOUR - steps) / _SECOND
    is_long = (seconds.max(axis=1) > 0.7 * back) | (-seconds.min(axis=1) > 0.7 * forth)
    return is_other & is_long


def _goes_back(before: np.ndarray, time: np.datetime64) -> bool:
    """Return whether a step is unusual, but would be usual if it were an hour longer."""
    step, usual = time - before[-1], _usual_step(before)
    back = _HOUR if usual > np.timedelta64(0) else -_HOUR
    is_on_time = abs(step - usual) <= abs(usual) / 2
    would_be = abs(step + back - usual) < abs(usual) / 4
    return bool(would_be and not is_on_time and abs(usual) <= _HOUR)


def _usual_step(times: np.ndarray) -> np.timedelta64:
    steps = np.diff(times)
    steps = steps[steps != np.timedelta64(0)]
    return np.median(steps) if len(steps) else np.timedelta64(0, "ns")


def _is_nearer(
    before: np.ndarray, first: np.datetime64, second: np.datetime64
) -> tuple[bool, bool]:
    """Return whether the second of two times fits better, and whether that can be decided."""
    step = _usual_step(before)
    if step == np.timedelta64(0):
        return False, False
    expected = before[-1] + step
    return bool(abs(second - expected) < abs(first - expected)), True
