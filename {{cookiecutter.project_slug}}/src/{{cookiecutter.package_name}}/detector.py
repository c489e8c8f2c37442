"""The anomaly detector as it is stored and served: an estimator over causal features, a threshold.

It holds plain values and numpy arrays only and imports no pandas, so servers can use it as it is.
``training.py`` fits it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from kedro_azure_mlops.contract import Column, Columns, History, Schema
from kedro_azure_mlops.judging import beyond, outside_range
from kedro_azure_mlops.serve.stream import Stream
from kedro_azure_mlops.values import read_times

from .features import ENOUGH, FEATURES, READING, can_be_judged, describe, look_back

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

LIMITS = (-10_000.0, 10_000.0)  # of temperatures, where no closer ones are given
SCORES = ("score_samples", "decision_function")  # the first one that an estimator has is asked
_ROWS_A_THREAD = 10_000  # scikit-learn scores with one thread; fewer rows are not worth another
_EXAMPLE_ROWS, _FAR_OFF = 63, 10  # readings of the example; spreads by which the last one is off
_UNKNOWN = "the model does not know this sensor"
_TOO_EARLY = "needs 5 earlier readings of this sensor, one of them at least 30 hours older"
_OUTPUTS = (
    Column("score", "double", nullable=True, decimals=6),
    Column("is_anomaly", "boolean", nullable=True),
    Column("reason", "string", nullable=True),
)


class Detector:
    """Scores readings of any sensor that it was trained on: 0 is usual, above 1 is an anomaly.

    What lies far outside the range of training is one whatever came before it; any other reading
    with too little history has no score.

    Parameters
    ----------
    estimator
        Fitted on standardised features, shape ``(n, 7)``; has ``score_samples`` or
        ``decision_function``, lower for what is more unusual, as scikit-learn has it.
    centre, threshold
        Raw scores: the median of training, which becomes 0, and what becomes 1.
    profiles
        By sensor, shape ``(2, 7)``: the usual value of each feature in training and its spread.
    ranges
        By sensor, shape ``(3,)``: of the temperatures in training, see ``usual_range``.
    settings
        The parameters of ``build_features``.
    limits
        The smallest and the largest temperature that a sensor can measure.
    """

    engine = "the stored model, by scikit-learn"

    def __init__(
        self,
        estimator: Any,
        centre: float,
        threshold: float,
        profiles: Mapping[str, np.ndarray],
        ranges: Mapping[str, np.ndarray],
        settings: Mapping[str, float],
        limits: tuple[float, float] = LIMITS,
    ) -> None:
        self.estimator = estimator
        self.centre = float(centre)
        self.threshold = float(threshold)
        self.sensors = list(profiles)
        self.profile_values = np.array([*profiles.values()]).reshape(-1, 2, len(FEATURES))
        self.range_values = np.array([ranges[sensor] for sensor in profiles]).reshape(-1, 3)
        self.settings = dict(settings)
        self.limits = (float(limits[0]), float(limits[1]))
        self.features = list(FEATURES)

    def __getstate__(self) -> dict[str, Any]:
        return {k: value for k, value in vars(self).items() if k not in ("profiles", "ranges")}

    @cached_property
    def profiles(self) -> dict[str, np.ndarray]:
        """The usual values and spreads of each sensor's features, shape ``(2, 7)``."""
        return dict(zip(self.sensors, self.profile_values, strict=True))

    @cached_property
    def ranges(self) -> dict[str, np.ndarray]:
        """The usual range of each sensor, shape ``(3,)``."""
        return dict(zip(self.sensors, self.range_values, strict=True))

    @property
    def schema(self) -> Schema:
        """Return the columns of a request and of its answer."""
        rows, days = look_back(self.settings["seasonal_halflife_days"])
        return Schema(
            inputs=(
                Column("timestamp", "datetime"),
                Column("sensor_id", "string"),
                Column("temperature", "double", *self.limits),
            ),
            outputs=_OUTPUTS,
            history=History(order="timestamp", by="sensor_id", days=days, rows=rows),
            echo=("timestamp", "sensor_id"),
            flag="is_anomaly",
            reason="reason",
        )

    @property
    def input_example(self) -> pd.DataFrame:
        """The history that it takes to judge two readings, a usual one and one that is far off."""
        import pandas as pd

        centres, scales = self.profile_values[0]
        values = np.full(_EXAMPLE_ROWS, centres[0])
        values[-1] = min(centres[0] + _FAR_OFF * scales[0], self.limits[1])
        times = pd.date_range("2024-01-01", periods=_EXAMPLE_ROWS, freq="30min")
        columns = [times, [self.sensors[0]] * _EXAMPLE_ROWS, values.round(2)]
        return pd.DataFrame(dict(zip(READING, columns, strict=True)))

    def predict(self, readings: pd.DataFrame) -> pd.DataFrame:
        """Score raw readings; one that repeats time and value of another gets the same score.

        Parameters
        ----------
        readings
            ``timestamp``, ``sensor_id``, ``temperature``, in any order.

        Returns
        -------
        ``score`` and ``is_anomaly`` on the index of the readings; missing where training did not
        know the sensor or its history is too short, which is the ``reason`` then.
        """
        import pandas as pd

        times = read_times(readings["timestamp"]).values
        if np.isnat(times).any():
            raise ValueError("timestamp holds what is no date and time")
        order = np.argsort(times, kind="stable")
        columns = {
            "timestamp": times[order],
            "sensor_id": readings["sensor_id"].astype(str).to_numpy(object)[order],
            "temperature": readings["temperature"].to_numpy(float)[order],
        }
        answers = pd.DataFrame(Stream(self).score(columns, remember=False))
        return answers.iloc[np.argsort(order)].set_axis(readings.index)

    def score(self, columns: Columns, wanted: np.ndarray | None = None) -> Columns:
        """Score readings on plain arrays, as ``kedro_azure_mlops.contract.Scorer`` describes.

        The readings of a sensor are distinct and in the order of time, as ``Stream`` puts them.
        """
        times, sensors, values = (columns[name] for name in READING)
        scores, outside = np.full((2, len(values)), np.nan)
        reasons = np.full(len(values), _UNKNOWN, object)
        groups, standard = [], []
        for sensor, rows in _rows_by_sensor(sensors).items():
            if sensor not in self.profiles:
                continue
            outside[rows] = outside_range(values[rows], self.ranges[sensor])
            reasons[rows] = _TOO_EARLY
            if len(rows) == 1:  # most requests hold a single reading
                continue
            asked = can_be_judged(times[rows], self.settings["seasonal_halflife_days"])
            if wanted is not None:
                asked &= wanted[rows]
            if asked.any():
                centre, scale = self.profiles[sensor]
                features = describe(times[rows], values[rows], **self.settings)
                groups.append(rows[asked])
                standard.append((features[asked] - centre) / scale)
        if groups:
            whole = standard[0] if len(standard) == 1 else np.concatenate(standard)
            scores[np.concatenate(groups)] = self._judged(whole)
        scores = beyond(scores, outside)
        if wanted is not None:
            scores, reasons = scores[wanted], reasons[wanted]
        reasons[~np.isnan(scores)] = None
        return {"score": scores, "is_anomaly": _flags(scores), "reason": reasons}

    def score_samples(self, features: pd.DataFrame) -> np.ndarray:
        """Score rows of ``build_features``.

        Returns
        -------
        Shape ``(n,)``, without unit, comparable between fits. Missing where training did not know
        the sensor or a row has too little history, unless it lies far outside the range.
        """
        return beyond(self.model_scores(features), self.outside(features))

    def model_scores(self, features: pd.DataFrame) -> np.ndarray:
        """Score rows of ``build_features`` by the estimator alone; missing as ``score_samples``."""
        standard = standardise(features, self.profiles)
        known = features[ENOUGH].to_numpy(bool) & ~np.isnan(standard[:, 0])
        scores = np.full(len(standard), np.nan)
        if known.any():
            scores[known] = self._judged(standard if known.all() else standard[known])
        return scores

    def outside(self, features: pd.DataFrame) -> np.ndarray:
        """Score rows by ``outside_range``; missing where training did not know the sensor."""
        nothing = np.full(3, np.nan)
        ranges = [self.ranges.get(sensor, nothing) for sensor in features["sensor_id"].tolist()]
        values = features["temperature"].to_numpy(float)
        return outside_range(values, np.array(ranges).reshape(-1, 3).T)

    def unknown_sensors(self, features: pd.DataFrame) -> list[str]:
        """Name the sensors of these rows that training saw too little of to know them."""
        return sorted(set(features["sensor_id"]) - set(self.sensors))

    def export(self, folder: Path) -> None:
        """Write ``model.onnx`` and ``detector.json`` into a model folder, if it can.

        Servers then need ONNX Runtime instead of scikit-learn, and are many times as fast.
        """
        from .onnx_export import ExportError, export

        try:
            export(self, folder)
        except ExportError as error:
            logger.info("Not exported to ONNX, the stored model itself is served: %s", error)

    def _judged(self, standard: np.ndarray) -> np.ndarray:
        """Score standardised features, shape ``(n, 7)``."""
        if not len(standard):
            return np.zeros(0)
        return (raw_scores(self.estimator, standard) - self.centre) / (self.threshold - self.centre)


def raw_scores(estimator: Any, standard: np.ndarray) -> np.ndarray:
    """Score standardised features by the estimator alone, on all cores: higher is more unusual."""
    method = next(getattr(estimator, name) for name in SCORES if hasattr(estimator, name))
    threads = min(os.cpu_count() or 1, len(standard) // _ROWS_A_THREAD)
    if threads < 2:
        return -np.ravel(method(standard))
    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(method, np.array_split(standard, threads))
    return -np.concatenate([np.ravel(part) for part in parts])


def standardise(features: pd.DataFrame, profiles: Mapping[str, np.ndarray]) -> np.ndarray:
    """Express features as distances from their sensor's usual value, in its usual spreads.

    Returns
    -------
    Shape ``(n, 7)``, without unit; rows of sensors without a profile are NaN.
    """
    known = [*profiles.values(), np.full((2, len(FEATURES)), np.nan)]
    numbers = {sensor: number for number, sensor in enumerate(profiles)}
    place = features["sensor_id"].map(numbers).fillna(len(profiles)).to_numpy(int)
    centre, scale = np.array(known)[place].swapaxes(0, 1)
    return (features[FEATURES].to_numpy() - centre) / scale


def _rows_by_sensor(sensors: np.ndarray) -> dict[str, np.ndarray]:
    if len(sensors) == 1:
        return {sensors[0]: np.zeros(1, np.int64)}
    found: dict[str, list[int]] = {}
    for row, sensor in enumerate(sensors.tolist()):
        found.setdefault(sensor, []).append(row)
    return {sensor: np.array(rows) for sensor, rows in found.items()}


def _flags(scores: np.ndarray) -> np.ndarray:
    flags = np.full(len(scores), None, object)
    known = ~np.isnan(scores)
    flags[known] = (scores[known] > 1).tolist()
    return flags
