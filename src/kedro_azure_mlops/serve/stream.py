"""Rows that come piece by piece, answered as if they had come all at once. Runs on servers too."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np

from kedro_azure_mlops.contract import Columns, History, Scorer

MOST_LATE = timedelta(hours=12)


class LateRowsError(ValueError):
    """Rows came so late that what they look back on is no longer remembered.

    ``rows`` are their numbers in the piece, ``newest`` the newest times of their series before
    them, ``most_late`` how late they may be.
    """

    def __init__(self, rows: np.ndarray, newest: np.ndarray, most_late: timedelta) -> None:
        hours = most_late / timedelta(hours=1)
        super().__init__(
            f"{len(rows):,} rows are more than {hours:g} hours older than an earlier one of their "
            "series"
        )
        self.rows, self.newest, self.most_late = rows, newest, most_late


class _Past(NamedTuple):
    """The newest rows of a series, ascending in time and distinct, and what was answered."""

    columns: dict[str, np.ndarray]
    answers: dict[str, np.ndarray]
    newest: np.datetime64


class Stream:
    """Answers rows and remembers of each series what the next ones need.

    What the scorer's ``schema.history`` declares is remembered, and as much again as rows may be
    late; a model without history needs nothing. A row that repeats series, time and all values of
    an earlier one gets its answer. A row that is older than one of its series before it is late: it
    is answered by what was known until its own time, and ``late`` counts it.

    Parameters
    ----------
    most_late
        How much older than the newest row of its series a row may be.
    """

    def __init__(self, scorer: Scorer, most_late: timedelta = MOST_LATE) -> None:
        self._scorer = scorer
        self._history = scorer.schema.history or History(order="")
        self._most_late = most_late
        self._order = self._history.order  # none: rows are answered each by itself
        self._past: dict[Any, _Past] = {}
        self.late = 0

    def score(self, columns: Columns, *, remember: bool = True) -> Columns:
        """Answer the next rows.

        Parameters
        ----------
        columns
            As ``Scorer.score`` takes them, each of shape ``(n,)``.
        remember
            Whether more are to come.

        Returns
        -------
        The columns of ``schema.outputs``, each of shape ``(n,)``, in the order of the rows.

        Raises
        ------
        LateRowsError
            If rows are later than ``most_late``; nothing is answered then.
        """
        if not self._order or not len(columns[self._order]):
            return self._scorer.score(columns)
        found: dict[str, np.ndarray] = {}
        names, numbers = _series(columns, self._history)
        for rows in self._turns(columns[self._order], names, numbers):
            answers = self._score(columns, names, numbers, rows, remember)
            for name, values in answers.items():
                if name not in found:
                    found[name] = np.empty(len(numbers), values.dtype)
                found[name][rows] = values
        return found

    def _turns(
        self, times: np.ndarray, names: list[Any], numbers: np.ndarray
    ) -> Iterator[np.ndarray]:
        """Yield row numbers in turns; a late row starts one, as it must not affect those before."""
        newest = np.empty(len(times), "datetime64[ns]")  # of the series, before or with the row
        order = np.argsort(numbers, kind="stable")
        ends = np.searchsorted(numbers[order], np.arange(len(names)), "right")
        groups = np.split(order, ends[:-1])
        for name, rows in zip(names, groups, strict=True):
            newest[rows] = np.maximum.accumulate(times[rows])
            if (past := self._past.get(name)) is not None:
                newest[rows] = np.maximum(newest[rows], past.newest)
        is_late = times < newest
        if not is_late.any():
            yield np.arange(len(times))
            return
        too_late = np.flatnonzero(newest - times > np.timedelta64(self._most_late))
        if len(too_late):
            raise LateRowsError(too_late, newest[too_late], self._most_late)
        self.late += int(is_late.sum())
        turn = np.empty(len(times), np.int64)
        for rows in groups:
            turn[rows] = np.cumsum(is_late[rows])
        for number in range(int(turn.max()) + 1):
            rows = np.flatnonzero(turn == number)
            if len(rows):
                yield rows

    def _score(
        self,
        columns: Columns,
        all_names: list[Any],
        numbers: np.ndarray,
        rows: np.ndarray,
        remember: bool,
    ) -> dict[str, np.ndarray]:
        """Answer rows of which only the first of a series may be late."""
        present, asked = np.unique(numbers[rows], return_inverse=True)
        names = [all_names[number] for number in present.tolist()]
        pasts = [(n, self._past[name]) for n, name in enumerate(names) if name in self._past]
        table = {
            name: np.concatenate([*(past.columns[name] for _, past in pasts), values[rows]])
            for name, values in columns.items()
        }
        lengths = [len(next(iter(past.columns.values()))) for _, past in pasts]
        remembered = sum(lengths)
        of_past = np.repeat(np.array([n for n, _ in pasts], np.int64), lengths)
        series = np.concatenate([of_past, asked])
        order = np.lexsort((table[self._order], series))
        twin = _twins(table, series, order, self._order)
        is_distinct = twin == np.arange(len(order))
        distinct = order[is_distinct]
        table = {name: values[distinct] for name, values in table.items()}
        is_fresh = distinct >= remembered
        answers = dict(self._scorer.score(table, None if is_fresh.all() else is_fresh))
        if remembered:
            old = distinct[~is_fresh]
            for name, fresh in answers.items():
                before = np.concatenate([past.answers[name] for _, past in pasts])
                answers[name] = np.empty(len(distinct), fresh.dtype)
                answers[name][is_fresh], answers[name][~is_fresh] = fresh, before[old]
        if remember:
            self._remember(table, answers, series[distinct], names)
        place = np.empty(len(order), np.int64)
        place[order] = (np.cumsum(is_distinct) - 1)[twin]
        return {name: values[place[remembered:]] for name, values in answers.items()}

    def _remember(
        self,
        table: dict[str, np.ndarray],
        answers: dict[str, np.ndarray],
        series: np.ndarray,
        names: list[Any],
    ) -> None:
        ends = np.searchsorted(series, np.arange(len(names)), "right").tolist()
        starts = [0, *ends[:-1]]
        for name, start, end in zip(names, starts, ends, strict=True):
            times = table[self._order][start:end]
            keep = slice(start + self._first_to_keep(times), end)
            # copies: a slice would keep the whole piece in memory
            self._past[name] = _Past(
                {column: values[keep].copy() for column, values in table.items()},
                {column: values[keep].copy() for column, values in answers.items()},
                times[-1],
            )

    def _first_to_keep(self, times: np.ndarray) -> int:
        """Find the oldest row that the next one may need, even if that comes late."""
        latest = times[-1] - np.timedelta64(self._most_late)
        rows_before = int(np.searchsorted(times, latest, "right"))
        oldest = times[max(rows_before - self._history.rows, 0)]
        span = np.timedelta64(int(self._history.days * 86_400 * 10**9), "ns")
        return int(np.searchsorted(times, min(oldest, latest) - span))


def _series(columns: Columns, history: History) -> tuple[list[Any], np.ndarray]:
    """Return the names of the series, and the place in these of each row's."""
    if history.by is None:
        return [None], np.zeros(len(columns[history.order]), np.int64)
    names: dict[Any, int] = {}
    found = [names.setdefault(name, len(names)) for name in columns[history.by].tolist()]
    return [*names], np.array(found, np.int64)


def _twins(
    table: dict[str, np.ndarray], series: np.ndarray, order: np.ndarray, by_time: str
) -> np.ndarray:
    """Find for each row, sorted, the first one that is the same: most often itself."""
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
