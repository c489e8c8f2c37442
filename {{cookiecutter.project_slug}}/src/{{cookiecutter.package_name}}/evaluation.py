"""How well scores find labelled faults, and the one-line baselines a detector has to beat."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .features import READING

BASELINES = ("distance_from_median", "ewma_level", "random")
_WEEK = pd.Timedelta("7D")


@dataclass(frozen=True)
class Events:
    """Labelled faults: ``sensor_id``, ``start``, ``end`` (included), one a row."""

    windows: pd.DataFrame

    def contain(self, rows: pd.DataFrame) -> np.ndarray:
        """Return which rows lie in a labelled fault of their sensor: booleans, shape ``(n,)``."""
        inside = np.zeros(len(rows), bool)
        for positions in self._positions(rows):
            inside[positions] = True
        return inside

    def found_by(self, flagged: pd.DataFrame) -> np.ndarray:
        """Return which faults have at least one flagged row: booleans, one a fault."""
        return np.array([len(positions) > 0 for positions in self._positions(flagged)], bool)

    def _positions(self, rows: pd.DataFrame) -> Iterator[np.ndarray]:
        """Find the rows of each fault: positions in ``rows``."""
        times, nothing = rows["timestamp"].to_numpy(), np.array([], int)
        labelled = np.flatnonzero(rows["sensor_id"].isin(self.windows["sensor_id"]))
        by_sensor = rows["sensor_id"].iloc[labelled].groupby(rows["sensor_id"].iloc[labelled])
        ordered = {}
        for sensor, places in by_sensor.indices.items():
            at = labelled[places]
            ordered[sensor] = at[np.argsort(times[at], kind="stable")]
        for window in self.windows.itertuples():
            at = ordered.get(window.sensor_id, nothing)
            first = np.searchsorted(times[at], window.start.to_datetime64(), "left")
            last = np.searchsorted(times[at], window.end.to_datetime64(), "right")
            yield at[first:last]

    def echoing(self, hold: pd.Timedelta) -> "Events":
        """Prolong each fault."""
        return Events(self.windows.assign(end=self.windows["end"] + hold))

    def touching(self, rows: pd.DataFrame) -> "Events":
        """Keep the faults that hold at least one of these rows."""
        return Events(self.windows[self.found_by(rows)])


def alarm_onsets(flagged: pd.DataFrame, hold: pd.Timedelta) -> pd.DataFrame:
    """Report the flagged rows of a sensor within ``hold`` of an alarm's first row as that alarm.

    An alarm that lasts is raised again each time the hold has passed.

    Returns
    -------
    The first row of each alarm.
    """
    ordered = flagged.sort_values(["sensor_id", "timestamp"], kind="stable")
    onsets = []
    for at in ordered.groupby("sensor_id").indices.values():
        times = ordered["timestamp"].to_numpy()[at]
        row = 0
        while row < len(at):
            onsets.append(at[row])
            row = int(np.searchsorted(times, times[row] + hold.to_timedelta64(), "right"))
    return ordered.iloc[onsets]


def detection_metrics(scored: pd.DataFrame, events: Events, hold: pd.Timedelta) -> dict[str, float]:
    """Measure scores against labelled faults.

    Parameters
    ----------
    scored
        Held-out rows: ``timestamp, sensor_id, score, is_anomaly``.

    Returns
    -------
    ``share_flagged`` and ``alarms_per_week`` (alarms a sensor and week). Where the rows hold
    labelled faults also ``roc_auc`` and ``average_precision`` of the score, ``event_recall`` (share
    of faults with a flagged row) and ``false_alarms_per_week`` (alarms that begin outside a fault
    and not within ``hold`` after it, for as long as it echoes in the features).
    """
    scored = scored.fillna({"score": 0.0})  # who says nothing has found nothing
    flagged = scored[scored["is_anomaly"] == 1]
    onsets = alarm_onsets(flagged, hold)
    weeks = _sensor_weeks(scored)
    metrics = {"share_flagged": len(flagged) / len(scored), "alarms_per_week": len(onsets) / weeks}
    truth = events.contain(scored)
    if truth.any() and not truth.all():
        from sklearn.metrics import average_precision_score, roc_auc_score

        metrics |= {
            "roc_auc": float(roc_auc_score(truth, scored["score"])),
            "average_precision": float(average_precision_score(truth, scored["score"])),
            "event_recall": float(events.touching(scored).found_by(flagged).mean()),
            "false_alarms_per_week": int((~events.echoing(hold).contain(onsets)).sum()) / weeks,
        }
    return metrics


def baseline_scores(
    train: pd.DataFrame, test: pd.DataFrame, contamination: float, seed: int
) -> dict[str, pd.DataFrame]:
    """Score the held-out rows by one-line baselines, with the same kind of threshold.

    ``distance_from_median`` is how far a reading is from its sensor's median in training,
    ``ewma_level`` the same for its exponentially weighted average with a half-life of six hours,
    ``random`` is no method at all.
    """
    both = pd.concat([train[READING], test[READING]])  # no features: they are many times as much
    level = _distance_from_median(both, train)
    scores = {
        "distance_from_median": np.abs(level),
        "ewma_level": np.abs(_ewma(both.assign(level=level))),
        "random": np.random.default_rng(seed).random(len(both)),
    }
    return {
        name: _against_own_threshold(test, np.nan_to_num(score), len(train), contamination)
        for name, score in scores.items()
    }


def _against_own_threshold(
    test: pd.DataFrame, score: np.ndarray, n_train: int, contamination: float
) -> pd.DataFrame:
    threshold = np.quantile(score[:n_train], 1 - contamination)
    return as_scored(test, score[n_train:] / max(threshold, 1e-9))


def _distance_from_median(rows: pd.DataFrame, train: pd.DataFrame) -> np.ndarray:
    by_sensor = train.groupby("sensor_id")["temperature"]
    spread = (by_sensor.quantile(0.75) - by_sensor.quantile(0.25)).clip(lower=1e-3)
    sensors = rows["sensor_id"]
    distance = rows["temperature"] - sensors.map(by_sensor.median())
    return (distance / sensors.map(spread)).to_numpy()


def _ewma(rows: pd.DataFrame) -> np.ndarray:
    ordered = rows.reset_index(drop=True).sort_values(["sensor_id", "timestamp"], kind="stable")
    by_sensor = ordered.groupby("sensor_id")["level"]
    averages = by_sensor.ewm(halflife="6h", times=ordered["timestamp"]).mean()
    return averages.droplevel(0).sort_index().to_numpy()


def as_scored(rows: pd.DataFrame, score: np.ndarray) -> pd.DataFrame:
    """Put scores and flags beside the readings they belong to; both are missing where one is."""
    scored = rows[READING].assign(score=score)
    flags = (scored["score"] > 1).astype("Int64")
    return scored.assign(is_anomaly=flags.mask(scored["score"].isna()))


def _sensor_weeks(rows: pd.DataFrame) -> float:
    times = rows.groupby("sensor_id")["timestamp"]
    return max(float(((times.max() - times.min()) / _WEEK).sum()), 1 / 7)
