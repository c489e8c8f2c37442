"""Rows to refit on: several series up to a time, in samples of bounded size.

Refitting a model on all history costs rows times refits. A sample of fixed size costs the same
each time and is as good: a quantile, or a tree on a few hundred rows, needs no more.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kedro_azure_mlops.error_codes import find_error_codes
from kedro_azure_mlops.judging import QUANTILES, usual_range
from kedro_azure_mlops.windows import by_series_and_time, ranges

__all__ = [
    "ScoredPast",
    "SeriesRows",
    "quantiles_of_rows",
    "refit_cuts",
    "robust_profiles",
    "scores_of_twins",
    "without_strong_alarms",
]

_CHANGED_SHARE = 0.5  # of a series' rows since the last fit: above it, it has changed, not failed
_FAR_OUTSIDE = 1.7  # out-of-range score above which the model's own score is ignored
_CODE_VISITS = 3  # occurrences that make a value outside the range a possible error code
_CODE_ROWS = 100_000  # newest rows of a series to search for codes
_SERIES_AT_ONCE = 1_000  # profiled in one step


class SeriesRows:
    """The positions of each series' rows, once all rows are ordered by series and time.

    Parameters
    ----------
    names
        The series of each row, shape ``(n,)``, in any order.
    times
        Shape ``(n,)``, ``datetime64``; rows of a series may share a time.

    Attributes
    ----------
    names
        The ``s`` names of the series, sorted.
    series
        Shape ``(n,)``: the number of each row's series, in the order of series and time.
    times
        Shape ``(n,)``, in that order.
    starts, ends
        Shape ``(s,)``: the first row of each series, and the one after its last.
    """

    def __init__(self, names: Any, times: np.ndarray) -> None:
        series, distinct = pd.factorize(names, sort=True)
        self.names = distinct.tolist()
        self._order = by_series_and_time(series, times)
        self.series = self.in_order(series).astype(np.int32)
        self.times = self.in_order(times)
        self.ends = np.searchsorted(self.series, np.arange(len(self.names)), "right")
        self.starts = np.concatenate([[0], self.ends[:-1]]).astype(np.int64)

    def in_order(self, values: np.ndarray) -> np.ndarray:
        """Reorder values from the order of the rows to that of series and time."""
        return values if isinstance(self._order, slice) else values[self._order]

    def as_given(self, values: np.ndarray) -> np.ndarray:
        """Undo ``in_order`` for values of shape ``(n,)``."""
        if isinstance(self._order, slice):
            return values
        original = np.empty_like(values)
        original[self._order] = values
        return original

    def bounds(self, cuts: np.ndarray) -> np.ndarray:
        """Find the first row of each series at or after each given time.

        Parameters
        ----------
        cuts
            Shape ``(c,)``, ascending.

        Returns
        -------
        Shape ``(s, c)``.
        """
        part = np.searchsorted(cuts, self.times, "right")  # number of cuts at or before the row
        cell = self.series.astype(np.int64) * (len(cuts) + 1) + part
        counts = np.bincount(cell, minlength=len(self.names) * (len(cuts) + 1))
        before = counts.reshape(len(self.names), -1)[:, :-1].cumsum(axis=1)
        return np.asarray(self.starts[:, None] + before)

    def between(self, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
        """List the rows between two bounds of each series, both of shape ``(s,)``."""
        return ranges(starts, stops - starts)

    def sample(self, stops: np.ndarray, most: int, random: np.random.Generator) -> np.ndarray:
        """Choose at most ``most`` rows before the bounds, spread evenly over them.

        Returns
        -------
        Shape ``(min(most, rows),)``, ascending: all rows if there are at most ``most``. The rows
        are cut into equal parts, with one row chosen at random from each: every n-th row could
        always hit the same hour of the day.
        """
        counts = stops - self.starts
        before = np.cumsum(counts)
        positions = _spread_evenly(np.array([before[-1] if len(before) else 0]), most, random)[0]
        series = np.searchsorted(before, positions, "right")
        return np.asarray(self.starts[series] + positions - (before - counts)[series])

    def sample_each(
        self, stops: np.ndarray, most: int, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Choose at most ``most`` rows of each series before the bounds, as ``sample`` does.

        Returns
        -------
        The rows, shape ``(s, width)``, and which of them count; the others are padding.
        """
        counts = stops - self.starts
        positions = _spread_evenly(counts, most, random)
        is_row = np.arange(positions.shape[1]) < np.minimum(counts, most)[:, None]
        return np.where(is_row, self.starts[:, None] + positions, 0), is_row


class ScoredPast(SeriesRows):
    """Series of values, their scores on arrival, and the rows that a fit may learn from.

    A value of a series is flagged above a score of 1. No fit learns from error codes, see
    ``find_error_codes``.

    Parameters
    ----------
    values
        Shape ``(n,)``, finite, in any unit.

    Attributes
    ----------
    values, scores, is_code
        Shape ``(n,)``, in the order of series and time. A score above 1 keeps a row out of fits; it
        is 0 for trusted rows, as all rows are initially.
    judged
        Shape ``(n,)``: the scores before those of changed series were reset to 0; NaN initially.
    """

    def __init__(self, names: Any, times: np.ndarray, values: np.ndarray) -> None:
        super().__init__(names, times)
        self.values = self.in_order(values)
        self.scores = np.zeros(len(values))
        self.judged = np.full(len(values), np.nan)
        self.is_code = np.zeros(len(values), bool)
        self._least = np.full(len(self.names), np.nan)  # of the usual values since the range
        self._most = np.full(len(self.names), np.nan)
        self._outside = np.zeros(0, np.int64)  # rows since the last search for codes

    def is_trusted(self, rows: np.ndarray) -> np.ndarray:
        """Return which rows a fit may learn from, in the shape of ``rows``."""
        return ~self.is_code[rows] & (self.scores[rows] <= 1)

    def remember(self, rows: np.ndarray, by_model: np.ndarray, outside: np.ndarray) -> None:
        """Store the scores of new rows, for later fits.

        Series that were flagged most of the time are stored as usual: if no fit learned from them,
        the rows after a lasting change would be flagged forever.

        Parameters
        ----------
        by_model, outside
            Scores by a model and by ``outside_range``, shape ``(len(rows),)``; NaN if unknown.
        """
        judged = np.where(outside > _FAR_OUTSIDE, outside, np.nan_to_num(by_model))
        series = self.series[rows]
        flagged = np.bincount(series, judged > 1) / np.maximum(np.bincount(series), 1)
        self.judged[rows] = judged
        self.scores[rows] = np.where(flagged[series] > _CHANGED_SHARE, 0.0, judged)
        usual = rows[self.is_trusted(rows)]
        np.fmin.at(self._least, self.series[usual], self.values[usual])
        np.fmax.at(self._most, self.series[usual], self.values[usual])
        self._outside = np.append(self._outside, rows[outside > 1])

    def look_for_codes(self, stops: np.ndarray) -> list[int]:
        """Find error codes in all rows before the bounds; return the numbers of their series."""
        return self._mark_codes(self.between(self.starts, stops))

    def look_for_new_codes(self, stops: np.ndarray) -> list[int]:
        """Find error codes in series with a repeated value outside their range."""
        new = self._outside[~self.is_code[self._outside]]
        pairs = np.stack([self.series[new], self.values[new]])
        pairs, visits = np.unique(pairs, axis=1, return_counts=True)
        is_looked_at = np.zeros(len(self.names), bool)
        is_looked_at[pairs[0, visits >= _CODE_VISITS].astype(int)] = True
        self._outside = new[~is_looked_at[self.series[new]]]
        starts = np.maximum(self.starts, stops - _CODE_ROWS)
        return self._mark_codes(self.between(np.where(is_looked_at, starts, stops), stops))

    def ranges(
        self,
        at: np.ndarray,
        is_row: np.ndarray,
        flagged: np.ndarray,
        stops: np.ndarray,
        starts_fresh: np.ndarray,
        would_be_usual: Callable[[np.ndarray], np.ndarray],
        smallest_spread: float,
    ) -> np.ndarray:
        """Find the usual range of each series before the bounds, see ``usual_range``.

        Parameters
        ----------
        at, is_row
            A sample of each series, see ``sample_each``, and the rows that the fit may learn from.
        flagged
            Its rows that the new fit flags. A series without other rows learns from these.
        starts_fresh
            Booleans, shape ``(s,)``: series whose values beyond the sample are judged now; the
            others' were judged on arrival, see ``remember``.
        would_be_usual
            Takes rows; returns which of them the new fit does not flag.

        Returns
        -------
        Shape ``(s, 3)``; NaN for a series without rows.
        """
        is_usual = is_row & ~np.isin(at, flagged)
        is_usual |= is_row & ~is_usual.any(axis=1, keepdims=True)
        quantiles = quantiles_of_rows(self.values[at], is_usual, QUANTILES)
        least, most = quantiles[:, 0], quantiles[:, -1]
        rows = self.between(np.where(starts_fresh, self.starts, stops), stops)
        series, values = self.series[rows], self.values[rows]
        rows = rows[(values < least[series]) | (values > most[series])]
        rows = rows[self.is_trusted(rows)]
        rows = rows[would_be_usual(rows)]
        self._least[starts_fresh] = self._most[starts_fresh] = np.nan
        np.fmin.at(self._least, self.series[rows], self.values[rows])
        np.fmax.at(self._most, self.series[rows], self.values[rows])
        quantiles[:, 0], quantiles[:, -1] = np.fmin(least, self._least), np.fmax(most, self._most)
        usual = usual_range(quantiles.T, smallest_spread)
        self.go_on_from(usual)
        return usual.T

    def go_on_from(self, ranges: np.ndarray) -> None:
        """Continue from ranges of shape ``(3, s)``, which later values extend."""
        self._least, self._most = ranges[0].copy(), ranges[1].copy()

    def _mark_codes(self, rows: np.ndarray) -> list[int]:
        """Find codes in some rows, and mark them in all rows of their series."""
        codes = rows[find_error_codes(self.values[rows], self.series[rows])]
        codes = codes[~self.is_code[codes]]
        changed = np.unique(self.series[codes]).tolist()
        for number in changed:
            all_rows = slice(self.starts[number], self.ends[number])
            new_codes = self.values[codes[self.series[codes] == number]]
            self.is_code[all_rows] |= np.isin(self.values[all_rows], new_codes)
        return changed


def quantiles_of_rows(table: np.ndarray, wanted: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Compute quantiles of selected values along the last axis, with linear interpolation.

    Parameters
    ----------
    table
        Shape ``(..., width)``, finite.
    wanted
        Booleans that broadcast to it.
    shares
        The quantiles, each from 0 to 1.

    Returns
    -------
    Shape ``(..., len(shares))``; NaN where no value is selected.
    """
    ordered = np.sort(np.where(wanted, table, np.inf), axis=-1)
    counts = np.broadcast_to(wanted, table.shape).sum(axis=-1)[..., None]
    position = np.asarray(shares) * np.maximum(counts - 1, 0)
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(counts - 1, 0))
    low = np.take_along_axis(ordered, below, axis=-1)
    high = np.take_along_axis(ordered, above, axis=-1)
    with np.errstate(invalid="ignore"):  # infinite where no value is selected
        quantiles = low + (high - low) * (position - below)
    return np.where(counts > 0, quantiles, np.nan)


def robust_profiles(
    table: np.ndarray, at: np.ndarray, is_row: np.ndarray, fewest: int, smallest_scale: float
) -> np.ndarray:
    """Find the median and the interquartile range of each feature of each series.

    Parameters
    ----------
    table
        Features of all rows, shape ``(n, f)``.
    at, is_row
        A sample of each series, see ``SeriesRows.sample_each``.
    fewest
        The fewest rows of a series with a profile.
    smallest_scale
        The lower bound of a range, to divide by it safely.

    Returns
    -------
    Shape ``(s, 2, f)``; NaN for series with too few rows.
    """
    profiles = np.full((len(at), 2, table.shape[1]), np.nan)
    enough = np.flatnonzero(is_row.sum(axis=1) >= fewest)
    for number in range(0, len(enough), _SERIES_AT_ONCE):
        some = enough[number : number + _SERIES_AT_ONCE]
        rows = table[at[some]].swapaxes(1, 2)
        low, middle, high = quantiles_of_rows(rows, is_row[some, None], (0.25, 0.5, 0.75)).T
        profiles[some, 0], profiles[some, 1] = middle.T, np.maximum(high - low, smallest_scale).T
    return profiles


def without_strong_alarms(scores: np.ndarray, contamination: float) -> np.ndarray:
    """Keep the rows that were not flagged, and the flagged ones with the lowest scores.

    Of the flagged rows, it keeps as many as ``contamination`` predicts for the scored rows (those
    whose score is not 0). A threshold set without any flagged row would fall at every refit.

    Returns
    -------
    Booleans, in the shape of ``scores``, ``(n,)``.
    """
    flagged = np.flatnonzero(scores > 1)
    expected = int(np.ceil(contamination * np.count_nonzero(scores)))
    keep = scores <= 1
    keep[flagged[np.argsort(scores[flagged])[:expected]]] = True
    return keep


def scores_of_twins(
    scores: pd.Series, rows: pd.DataFrame, columns: Sequence[str], is_repeated: pd.Series
) -> np.ndarray:
    """Copy the score of the first row to rows that were sent twice.

    Parameters
    ----------
    scores
        The scores of the rows that are not repeated, by their index.
    rows
        All rows, in the order of time and series.
    columns
        The columns in which repeated rows are equal; the first two are time and series.
    is_repeated
        Booleans on the index of ``rows``.

    Returns
    -------
    Shape ``(len(rows),)``.
    """
    filled = scores.reindex(rows.index)
    if is_repeated.any():
        moment = rows[[*columns[:2]]]
        number = (moment != moment.shift()).any(axis=1).cumsum()
        affected = number.isin(number[is_repeated])  # few: comparing all rows is slow
        filled[affected] = (
            filled[affected]
            .groupby([rows.loc[affected, name] for name in columns])
            .transform("max")
        )
    return filled.to_numpy()


def refit_cuts(
    times: np.ndarray, split: int, every: str | None, first_history: str, first_rows: int
) -> list[int]:
    """List the first rows scored by each new fit.

    Before the split: when the history is long enough, then whenever it has doubled. Then the split
    and every refit after it.

    Parameters
    ----------
    times
        The times of all rows, shape ``(n,)``, ascending.
    split
        The first row that is held out.
    every
        The span between two refits, such as ``7D``; None for no refits.
    first_history, first_rows
        The shortest span and the fewest rows for the first fit.
    """
    cuts = []
    cut = max(_first_row_after(times, 0, first_history), _at_new_time(times, first_rows))
    while cut < split:
        cuts.append(cut)
        cut = max(_at_new_time(times, 2 * cut), _first_row_after(times, cut, every))
    cut = split
    while cut < len(times):
        cuts.append(cut)
        cut = _first_row_after(times, cut, every)
    return cuts


def _first_row_after(times: np.ndarray, cut: int, span: str | None) -> int:
    """Find the first row at least ``span`` after row ``cut``; the end if there are no refits."""
    if span is None:
        return len(times)
    return int(np.searchsorted(times, times[cut] + pd.Timedelta(span).to_timedelta64()))


def _at_new_time(times: np.ndarray, row: int) -> int:
    """Move a cut to the next new time, so that rows of one time stay together."""
    return int(np.searchsorted(times, times[row - 1], "right")) if row < len(times) else row


def _spread_evenly(counts: np.ndarray, most: int, random: np.random.Generator) -> np.ndarray:
    """Choose numbers below each count, shape ``(len(counts), min(most, largest count))``."""
    width = min(most, int(counts.max(initial=0)))
    parts = np.arange(width)
    if width < most or not width:
        return np.broadcast_to(parts, (len(counts), width))
    shift = random.random((len(counts), width))
    edges = np.arange(width + 1) * counts[:, None] // most
    chosen = edges[:, :-1] + (shift * np.diff(edges)).astype(np.int64)
    return np.where(counts[:, None] <= most, parts, chosen)
