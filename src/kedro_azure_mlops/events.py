"""Measure how well flagged rows find labelled intervals of series, such as faults."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

__all__ = ["Events", "alarm_onsets"]

_WEEK = pd.Timedelta("7D")
_DAY = 1 / 7  # of a week: rates over a shorter time would be meaningless


@dataclass(frozen=True)
class Events:
    """Labelled intervals of series, and how well rows find them.

    Parameters
    ----------
    windows
        One event per row, with the columns ``by``, ``start`` and ``end`` (included).
    by
        The column with the name of the series, in the windows as in all rows.
    time
        The datetime column of the rows.
    flag
        The column of scored rows that is 1 if a row is flagged.
    """

    windows: pd.DataFrame
    by: str
    time: str
    flag: str

    def contain(self, rows: pd.DataFrame) -> np.ndarray:
        """Return which rows are in an event of their series: booleans, shape ``(n,)``."""
        inside = np.zeros(len(rows), bool)
        for positions in self._positions(rows):
            inside[positions] = True
        return inside

    def found_by(self, flagged: pd.DataFrame) -> np.ndarray:
        """Return which events have at least one flagged row: booleans, one per event."""
        return np.array([len(positions) > 0 for positions in self._positions(flagged)], bool)

    def echoing(self, hold: pd.Timedelta) -> "Events":
        """Extend the end of each event by ``hold``."""
        return replace(self, windows=self.windows.assign(end=self.windows["end"] + hold))

    def touching(self, rows: pd.DataFrame) -> "Events":
        """Keep the events that hold at least one of these rows."""
        return replace(self, windows=self.windows[self.found_by(rows)])

    def leave_out(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows outside the events, for example to train on."""
        inside = self.contain(rows)
        return rows[~inside] if inside.any() else rows

    def onsets(self, scored: pd.DataFrame, hold: pd.Timedelta) -> pd.DataFrame:
        """Return the first row of each alarm, see ``alarm_onsets``."""
        return alarm_onsets(scored[scored[self.flag] == 1], hold, by=self.by, time=self.time)

    def metrics(self, scored: pd.DataFrame, hold: pd.Timedelta) -> dict[str, float]:
        """Measure scores against the events.

        Parameters
        ----------
        scored
            Rows with the columns ``by``, ``time``, ``score`` (higher is more unusual) and ``flag``,
            at least one; a missing score counts as 0.
        hold
            The duration of an alarm.

        Returns
        -------
        ``share_flagged`` and ``alarms_per_week`` (alarms per series and week). If some rows are in
        events and some are not, also ``roc_auc`` and ``average_precision`` of the score,
        ``event_recall`` (share of the events with a flagged row) and ``false_alarms_per_week``
        (alarms that begin neither in an event nor within ``hold`` after it, while it still echoes
        in features that look back).
        """
        scored = scored.fillna({"score": 0.0})  # without a score, nothing was found
        flagged = scored[scored[self.flag] == 1]
        onsets = self.onsets(scored, hold)
        weeks = max(self._weeks(scored).sum(), _DAY)
        measured = {
            "share_flagged": len(flagged) / len(scored),
            "alarms_per_week": len(onsets) / weeks,
        }
        truth = self.contain(scored)
        if truth.any() and not truth.all():
            from sklearn.metrics import average_precision_score, roc_auc_score

            measured |= {
                "roc_auc": float(roc_auc_score(truth, scored["score"])),
                "average_precision": float(average_precision_score(truth, scored["score"])),
                "event_recall": float(self.touching(scored).found_by(flagged).mean()),
                "false_alarms_per_week": int((~self.echoing(hold).contain(onsets)).sum()) / weeks,
            }
        return measured

    def metrics_by_series(self, scored: pd.DataFrame, hold: pd.Timedelta) -> pd.DataFrame:
        """Measure each series separately; ``metrics`` measures all of them together.

        Returns
        -------
        A row per series, a column per metric; series without events lack the metrics of events.
        """
        is_flagged = scored[self.flag] == 1
        weeks = self._weeks(scored).clip(lower=_DAY)
        alarms = self.onsets(scored, hold).groupby(self.by).size()
        counted = {
            "share_flagged": is_flagged.groupby(scored[self.by]).mean(),
            "alarms_per_week": alarms.reindex(weeks.index, fill_value=0) / weeks,
        }
        one_by_one = scored.groupby(self.by)
        labelled = self.touching(scored).windows[self.by].unique()
        measured = {name: self.metrics(one_by_one.get_group(name), hold) for name in labelled}
        labelled_metrics = pd.DataFrame.from_dict(measured, orient="index")
        return (
            pd.DataFrame(counted, dtype=float).combine_first(labelled_metrics).rename_axis(self.by)
        )

    def _positions(self, rows: pd.DataFrame) -> Iterator[np.ndarray]:
        """Find the rows of each event: positions in ``rows``."""
        times, series = rows[self.time].to_numpy(), rows[self.by]
        labelled = np.flatnonzero(series.isin(self.windows[self.by]))
        by_series = series.iloc[labelled].groupby(series.iloc[labelled])
        ordered = {}
        for name, positions in by_series.indices.items():
            at = labelled[positions]
            ordered[name] = at[np.argsort(times[at], kind="stable")]
        windows = zip(*(self.windows[name] for name in (self.by, "start", "end")), strict=True)
        for name, start, end in windows:
            at = ordered.get(name, np.array([], int))
            first = np.searchsorted(times[at], start.to_datetime64(), "left")
            last = np.searchsorted(times[at], end.to_datetime64(), "right")
            yield at[first:last]

    def _weeks(self, rows: pd.DataFrame) -> pd.Series:
        """Compute the span of each series in weeks."""
        times = rows.groupby(self.by)[self.time]
        return (times.max() - times.min()).dt.total_seconds() / _WEEK.total_seconds()


def alarm_onsets(flagged: pd.DataFrame, hold: pd.Timedelta, *, by: str, time: str) -> pd.DataFrame:
    """Merge the flagged rows of a series within ``hold`` of an alarm's first row into that alarm.

    A lasting alarm is raised again after each hold.

    Parameters
    ----------
    flagged
        Rows in any order.
    by, time
        The columns with the name of the series and the time.

    Returns
    -------
    The first row of each alarm.
    """
    ordered = flagged.sort_values([by, time], kind="stable")
    all_times, onsets = ordered[time].to_numpy(), []
    for at in ordered.groupby(by).indices.values():
        times, row = all_times[at], 0
        while row < len(at):
            onsets.append(at[row])
            row = int(np.searchsorted(times, times[row] + hold.to_timedelta64(), "right"))
    return ordered.iloc[onsets]
