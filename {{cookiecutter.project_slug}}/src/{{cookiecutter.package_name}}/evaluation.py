"""How well scores find labelled faults, and the one-line baselines a detector has to beat."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from kedro_azure_mlops import events

from .features import READING

BASELINES = ("distance_from_median", "ewma_level", "random")


@dataclass(frozen=True)
class Events(events.Events):
    """Labelled faults: ``sensor_id``, ``start``, ``end`` (included), one a row."""

    by: str = "sensor_id"
    time: str = "timestamp"
    flag: str = "is_anomaly"


def measure(rows: pd.DataFrame, labels: pd.DataFrame) -> dict[str, float]:
    """Measure what was answered against labels, as the gate does, for the monitor."""
    return Events(labels).metrics(rows, pd.Timedelta("1D"))


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
