"""Times of a clock on the wall: made UTC by a time zone, or reported where an hour is repeated.

Where clocks go back, the times of an hour come twice. Which of both a row means follows from the
rows of its series before it: it is the one that is as far from them as the series' rows usually
are. So it does not matter how a file is cut into pieces.
"""

import re
from collections.abc import Hashable
from datetime import UTC, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pandas as pd

_HOUR = np.timedelta64(1, "h")
_REMEMBERED = 6  # times of a series: the usual step is the median of those between them
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d\d?)(?::?(\d\d))?", re.ASCII)
_SUNDAY, _MONTHS = 6, (3, 4, 10, 11)  # when clocks go back, north and south of the equator


def zone_of(name: str) -> Any:
    """Return a time zone: of the database, as ``Europe/Berlin``, or an offset, as ``+01:00``.

    Raises
    ------
    ValueError
        If there is none of that name.
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
    raise ValueError(f"{name!r} is no time zone such as Europe/Berlin, UTC or +01:00")


class Clock:
    """The times of the series of a file, which are read in its order, piece by piece.

    Parameters
    ----------
    zone
        What their times are of; None leaves them as they are and only looks for repeated hours.
    """

    def __init__(self, zone: Any) -> None:
        self._zone = zone
        self._past: dict[Hashable, np.ndarray] = {}
        self.repeated: dict[Hashable, np.datetime64] = {}  # by series, the first time of it
        self.unclear = 0  # rows of a repeated hour with nothing before them to compare with

    def to_utc(self, local: np.ndarray, series: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """Turn local times into UTC.

        Parameters
        ----------
        local
            ``datetime64[ns]`` without zone, shape ``(n,)``, NaT where there is none.
        series
            The series of each row, in the order of the file.

        Returns
        -------
        ``datetime64[ns]`` in UTC, and which of the local times do not exist: clocks went forward.
        """
        index = pd.DatetimeIndex(local)
        both = [
            index.tz_localize(self._zone, ambiguous=np.full(len(index), first), nonexistent="NaT")
            for first in (True, False)
        ]
        first, second = (times.tz_convert("UTC").tz_localize(None).to_numpy() for times in both)
        is_missing = np.isnat(first) & ~np.isnat(local)
        is_twice = (first != second) & ~np.isnat(first)
        utc = first.astype("datetime64[ns]")
        for name, rows in _by_series(series, ~np.isnat(utc)):
            known = self._past.get(name, utc[:0])
            for place in np.flatnonzero(is_twice[rows]).tolist():
                before = utc[rows[max(place - _REMEMBERED, 0) : place]]
                row = rows[place]
                is_second, is_clear = _is_nearer(
                    np.concatenate([known, before])[-_REMEMBERED:], first[row], second[row]
                )
                self.unclear += not is_clear
                if is_second:
                    utc[row] = second[row]
            self._past[name] = np.concatenate([known, utc[rows[-_REMEMBERED:]]])[-_REMEMBERED:]
        return utc, is_missing

    def look(self, times: np.ndarray, series: pd.Series) -> None:
        """Look for an hour that is repeated on a night on which clocks go back."""
        days = pd.DatetimeIndex(times)
        is_night = np.asarray(
            (days.dayofweek == _SUNDAY) & days.month.isin(_MONTHS) & (days.hour < 4)
        )
        for name, rows in _by_series(series, ~np.isnat(times)):
            known = self._past.get(name, times[:0])
            if name not in self.repeated and is_night[rows].any():
                self._look_at(name, known, times[rows], is_night[rows])
            self._past[name] = np.concatenate([known, times[rows[-_REMEMBERED:]]])[-_REMEMBERED:]

    def _look_at(
        self, name: Hashable, known: np.ndarray, times: np.ndarray, is_night: np.ndarray
    ) -> None:
        whole = np.concatenate([known, times])
        if len(whole) < 3:
            return
        steps = np.diff(whole)
        is_other = np.append([False] * 2, (steps[1:] != steps[:-1]) & (abs(steps[1:]) < _HOUR))
        is_other &= np.append(np.zeros(len(known), bool), is_night)
        for at in np.flatnonzero(is_other).tolist():
            usual = _usual_step(whole[max(at - _REMEMBERED, 0) : at])
            back = _HOUR if usual > np.timedelta64(0) else -_HOUR
            is_on_time = abs(steps[at - 1] - usual) <= abs(usual) / 2
            would_be = abs(steps[at - 1] + back - usual) < abs(usual) / 4
            if would_be and not is_on_time and abs(usual) <= _HOUR:
                self.repeated[name] = whole[at]
                return


def _by_series(series: pd.Series, wanted: np.ndarray) -> list[tuple[Hashable, np.ndarray]]:
    """Return those of the rows of each series that are wanted, in their order."""
    codes, names = pd.factorize(series, use_na_sentinel=False)
    order = np.argsort(codes, kind="stable")
    order = order[wanted[order]]
    ends = np.searchsorted(codes[order], np.arange(len(names)), "right")
    return list(zip(list(names), np.split(order, ends[:-1]), strict=True)) if len(names) else []


def _usual_step(times: np.ndarray) -> np.timedelta64:
    steps = np.diff(times)
    steps = steps[steps != np.timedelta64(0)]
    return np.median(steps) if len(steps) else np.timedelta64(0, "ns")


def _is_nearer(
    before: np.ndarray, first: np.datetime64, second: np.datetime64
) -> tuple[bool, bool]:
    """Return whether the second of two times follows better, and whether that is known at all."""
    step = _usual_step(before)
    if step == np.timedelta64(0):
        return False, False
    expected = before[-1] + step
    return bool(abs(second - expected) < abs(first - expected)), True
