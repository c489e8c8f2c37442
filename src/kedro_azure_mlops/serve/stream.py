"""Score rows that arrive piece by piece as if they had arrived together; used on servers, too."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from itertools import count, repeat
from typing import Any

import numpy as np

from kedro_azure_mlops.contract import Columns, History, Scorer
from kedro_azure_mlops.windows import by_series, ranges

MOST_LATE = timedelta(hours=12)
_LONG_AGO = np.datetime64(1 - 2**63, "ns")  # before any row
_ANSWER_PREFIX = "answered "  # prefix of remembered columns that hold answers


class LateRowsError(ValueError):
    """Rows arrived so late that their history is no longer remembered.

    ``rows`` are their numbers in the piece, ``newest`` the newest times of their series so far, and
    ``most_late`` is the allowed delay.
    """

    def __init__(self, rows: np.ndarray, newest: np.ndarray, most_late: timedelta) -> None:
        hours = most_late / timedelta(hours=1)
        super().__init__(
            f"{len(rows):,} rows are more than {hours:g} hours older than an earlier one of their "
            "series"
        )
        self.rows, self.newest, self.most_late = rows, newest, most_late


class _Past:
    """The newest rows of all series, distinct and ascending in time within a series.

    They are stored one after the other in arrays with spare room. Whenever a series has new rows,
    all its rows are written again at the end; old copies are dropped when the arrays are full.
    """

    def __init__(self) -> None:
        self._columns: dict[str, np.ndarray] = {}
        self._used = 0
        self._starts = self._ends = np.zeros(0, np.int64)
        self.newest = np.zeros(0, "datetime64[ns]")  # newest time of each series

    def __len__(self) -> int:
        return int((self._ends - self._starts).sum())

    @property
    def capacity(self) -> int:
        """The number of rows that the arrays have room for."""
        return len(next(iter(self._columns.values()), ()))

    def make_room_for_series(self, count: int) -> None:
        """Add empty series until there are ``count``."""
        new = count - len(self.newest)
        if new > 0:
            self._starts = np.append(self._starts, np.zeros(new, np.int64))
            self._ends = np.append(self._ends, np.zeros(new, np.int64))
            self.newest = np.append(self.newest, np.full(new, _LONG_AGO))

    def rows(self, series: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return all columns of the rows of some series, and the number of rows of each."""
        starts, lengths = self._starts[series], self._ends[series] - self._starts[series]
        at = ranges(starts, lengths)
        return {name: values[at] for name, values in self._columns.items()}, lengths

    def put(self, series: np.ndarray, lengths: np.ndarray, columns: dict[str, np.ndarray]) -> None:
        """Replace the remembered rows of some series; the new rows are ordered by series."""
        new = int(lengths.sum())
        self._ends[series] = self._starts[series]
        if self._used + new > self.capacity:
            self._move(new, columns)
        for name, values in columns.items():
            self._columns[name][self._used : self._used + new] = values
        self._ends[series] = self._used + np.cumsum(lengths)
        self._starts[series] = self._ends[series] - lengths
        self._used += new

    def _move(self, new: int, columns: dict[str, np.ndarray]) -> None:
        """Move the rows to arrays of twice the size."""
        kept, lengths = self.rows(np.arange(len(self.newest)))
        self._used = int(lengths.sum())
        for name, values in columns.items():
            self._columns[name] = np.empty(2 * (self._used + new), values.dtype)
            self._columns[name][: self._used] = kept.get(name, values[:0])
        self._ends = np.cumsum(lengths)
        self._starts = self._ends - lengths


class Stream:
    """Scores rows, and remembers the rows of each series that later ones need.

    It remembers the history that the scorer's ``schema.history`` declares, plus the time by which
    rows may be late; a model without history needs nothing. A row that repeats the series, time and
    values of an earlier one gets the same answer. A row older than an earlier one of its series is
    late: it is scored with the history up to its own time, and counted in ``late``. The scorer gets
    the rows of a piece once, together with the remembered ones. Rows that arrived before a late row
    of their history are scored separately, with just their own history.

    Parameters
    ----------
    most_late
        How much older than the newest row of its series a row may be.
    """

    def __init__(self, scorer: Scorer, most_late: timedelta = MOST_LATE) -> None:
        self._scorer = scorer
        self._history = scorer.schema.history or History(order="")
        self._span = np.timedelta64(int(self._history.days * 86_400 * 10**9), "ns")
        self._most_late = most_late
        self._order = self._history.order  # empty: each row is scored alone
        self._numbers: dict[Any, int] = defaultdict(count().__next__)  # number of each series
        self._past = _Past()
        self.late = 0

    @property
    def remembered(self) -> int:
        """The number of remembered rows."""
        return len(self._past)

    def score(self, columns: Columns, *, remember: bool = True) -> Columns:
        """Score the next rows.

        Parameters
        ----------
        columns
            Arguments for ``Scorer.score``, each of shape ``(n,)``.
        remember
            Whether more rows will follow.

        Returns
        -------
        The columns of ``schema.outputs``, each of shape ``(n,)``, in the order of the rows.

        Raises
        ------
        LateRowsError
            If rows are later than ``most_late``; no row is scored then.
        """
        if not self._order or not len(columns[self._order]):
            return self._scorer.score(columns)
        numbers = self._series(columns)
        self._count_late(columns[self._order], numbers)
        return self._score(columns, numbers, remember)

    def _series(self, columns: Columns) -> np.ndarray:
        """Return the number of each row's series; without ``by``, all rows are one series."""
        by, rows = self._history.by, len(columns[self._order])
        names = repeat(None, rows) if by is None else columns[by].tolist()
        numbers = np.fromiter(map(self._numbers.__getitem__, names), np.int64, rows)
        self._past.make_room_for_series(len(self._numbers))
        return numbers

    def _count_late(self, times: np.ndarray, numbers: np.ndarray) -> None:
        """Count late rows; raise if one is too late."""
        order, starts = by_series(numbers)
        ordered, lengths = times[order], np.diff(starts, append=len(times))
        before = self._past.newest[numbers[order][starts]]
        is_sorted = ordered[1:] >= ordered[:-1]
        is_sorted[starts[1:] - 1] = True
        if is_sorted.all() and (before <= ordered[starts]).all():
            return
        newest = ordered.copy()  # time in the series up to and including the row
        newest[starts] = np.maximum(newest[starts], before)
        known, rank = np.unique(newest, return_inverse=True)
        base = len(known) * np.repeat(np.arange(len(starts)), lengths)
        newest = known[np.maximum.accumulate(base + rank) - base]
        is_late = ordered < newest
        too_late = newest - ordered > np.timedelta64(self._most_late)
        if too_late.any():
            at = np.arange(len(times))[order][too_late]
            by_row = np.argsort(at)
            raise LateRowsError(at[by_row], newest[too_late][by_row], self._most_late)
        self.late += int(is_late.sum())

    def _score(
        self, columns: Columns, numbers: np.ndarray, remember: bool
    ) -> dict[str, np.ndarray]:
        present, fresh = np.unique(numbers, return_inverse=True)
        past, lengths = self._past.rows(present)
        remembered = int(lengths.sum())
        table = {
            name: np.concatenate([past[name], values]) if remembered else values
            for name, values in columns.items()
        }
        series = np.concatenate([np.repeat(np.arange(len(present)), lengths), fresh])
        order = np.lexsort((table[self._order], series))
        twin = _twins(table, series, order, self._order)
        is_distinct = twin == np.arange(len(order))
        distinct = order[is_distinct]  # a smaller number means an earlier arrival
        table = {name: values[distinct] for name, values in table.items()}
        series, old = series[distinct], distinct < remembered
        answers: dict[str, np.ndarray] = {}
        for rows, wanted in self._calls(table[self._order], series, distinct, ~old):
            part = {name: values[rows] for name, values in table.items()}
            at = np.arange(len(distinct))[rows][wanted]
            for name, found in self._scorer.score(part, None if wanted.all() else wanted).items():
                if name not in answers:
                    answers[name] = np.empty(len(distinct), found.dtype)
                    if remembered:
                        answers[name][old] = past[_ANSWER_PREFIX + name][distinct[old]]
                answers[name][at] = found
        if remember:
            self._remember(table, answers, series, present)
        positions = np.empty(len(order), np.int64)
        positions[order] = (np.cumsum(is_distinct) - 1)[twin]
        return {name: values[positions[remembered:]] for name, values in answers.items()}

    def _calls(
        self, times: np.ndarray, series: np.ndarray, arrival: np.ndarray, is_fresh: np.ndarray
    ) -> Iterator[tuple[np.ndarray | slice, np.ndarray]]:
        """Yield the rows for each call of the scorer, and which of them need an answer.

        No row may be affected by an older one that arrived after it. Rows that could be are scored
        in separate calls, each with its own history, at the cost of scoring that history again.
        """
        if ((arrival[1:] > arrival[:-1]) | (series[1:] > series[:-1])).all():  # the usual case
            yield slice(None), is_fresh
            return
        call, firsts = _overtaken(times, series, arrival, is_fresh, self._history.rows, self._span)
        together = is_fresh & (call == 0)
        if together.any() or not call.any():
            yield slice(None), together
        for number in range(1, int(call.max()) + 1):
            is_in_call = np.zeros(len(arrival), bool)
            for row in np.flatnonzero(call == number).tolist():
                back = slice(firsts[row], row + 1)
                is_in_call[back] |= arrival[back] <= arrival[row]
            call_rows = np.flatnonzero(is_in_call)
            yield call_rows, call[call_rows] == number

    def _remember(
        self,
        table: dict[str, np.ndarray],
        answers: dict[str, np.ndarray],
        series: np.ndarray,
        present: np.ndarray,
    ) -> None:
        """Remember every row that a later one may need, even if that one arrives late."""
        times = table[self._order]
        ends = np.searchsorted(series, np.arange(len(present)), "right")
        starts = np.append(0, ends[:-1])
        latest = times[ends - 1] - np.timedelta64(self._most_late)
        rows_before = np.add.reduceat(times <= latest[series], starts, dtype=np.int64)
        oldest = times[np.clip(starts + rows_before - self._history.rows, starts, ends - 1)]
        keep = times >= (np.minimum(oldest, latest) - self._span)[series]
        kept = {name: values[keep] for name, values in table.items()}
        kept |= {_ANSWER_PREFIX + name: values[keep] for name, values in answers.items()}
        self._past.put(present, np.add.reduceat(keep, starts, dtype=np.int64), kept)
        self._past.newest[present] = times[ends - 1]


def _overtaken(
    times: np.ndarray,
    series: np.ndarray,
    arrival: np.ndarray,
    is_fresh: np.ndarray,
    rows_back: int,
    span: np.timedelta64,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the fresh rows whose history contains rows that arrived after them.

    Parameters
    ----------
    times, series, arrival
        Columns of distinct rows, ordered by series, then time; a lower ``arrival`` is earlier.

    Returns
    -------
    The number of the scorer call for each row, 0 for other rows: rows of one call can be scored
    together, each with its history. And the first row of each history.
    """
    # after: for each row, the last call that must not include it
    call, firsts, after = np.zeros((3, len(arrival)), np.int64)
    of_series = series * (arrival.max(initial=0) + 1)
    newest = np.maximum.accumulate(of_series + arrival) - of_series
    candidates = np.flatnonzero(is_fresh & (newest > arrival))
    candidates = candidates[np.argsort(arrival[candidates])]
    begins = np.searchsorted(series, series[candidates])
    for row, begin in zip(candidates.tolist(), begins.tolist(), strict=True):
        first = _first_needed(times, arrival, begin, row, rows_back, span)
        known = arrival[first : row + 1] <= arrival[row]
        if known.all():
            continue
        before = after[first : row + 1]
        call[row], firsts[row] = before[known].max() + 1, first
        before[~known] = np.maximum(before[~known], call[row])
    return call, firsts


def _first_needed(
    times: np.ndarray,
    arrival: np.ndarray,
    begin: int,
    row: int,
    rows_back: int,
    span: np.timedelta64,
) -> int:
    """Return the first row of a row's history; ``begin`` is the first of its series."""
    oldest, back = row, rows_back
    while back:
        start = max(row - back, begin)
        known = np.flatnonzero(arrival[start:row] < arrival[row])
        if len(known) >= rows_back or start == begin:
            oldest = start + int(known[-rows_back]) if len(known) >= rows_back else begin
            break
        back *= 2
    return begin + int(np.searchsorted(times[begin:row], times[oldest] - span))


def _twins(
    table: dict[str, np.ndarray], series: np.ndarray, order: np.ndarray, by_time: str
) -> np.ndarray:
    """Return for each sorted row the first identical one, usually the row itself."""
    twin = np.arange(len(order))
    times, numbers = table[by_time][order], series[order]
    same = (times[1:] == times[:-1]) & (numbers[1:] == numbers[:-1])
    if not same.any():
        return twin
    in_run = np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))
    rows = order[in_run]
    values = [values[rows].tolist() for values in (series, *table.values())]
    first: dict[tuple[Any, ...], int] = {}
    for place, key in zip(in_run.tolist(), zip(*values, strict=True), strict=True):
        known = tuple(None if value != value else value for value in key)  # noqa: PLR0124, NaN
        twin[place] = first.setdefault(known, place)
    return twin
