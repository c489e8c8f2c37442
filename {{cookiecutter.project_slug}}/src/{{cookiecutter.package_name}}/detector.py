"""The anomaly detector as it is stored and served: an estimator over causal features, a threshold.

It holds plain values and numpy arrays only and imports no pandas, so servers can use it as it is.
``training.py`` fits it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from kedro_azure_mlops.contract import Column, Columns, Explainable, History, Schema
from kedro_azure_mlops.judging import beyond, outside_range
from kedro_azure_mlops.serve.stream import Stream
from kedro_azure_mlops.values import read_times

from .features import ENOUGH, FEATURES, IN_WORDS, READING, describe_judged, look_back

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

LIMITS = (-10_000.0, 10_000.0)  # of temperatures, where no closer ones are given
SCORES = ("score_samples", "decision_function")  # the first one that an estimator has is asked
_BLOCK = 25_000  # rows that a thread scores at a time: scikit-learn itself uses one
_EXAMPLE_ROWS, _FAR_OFF = 63, 10  # readings of the example; spreads by which the last one is off
_TOO_EARLY = "needs 5 earlier readings of this sensor, one of them at least 30 hours older"
_REASONS = np.array([_TOO_EARLY, "the model does not know this sensor", None], object)
_FLAGS = np.array([False, True, None], object)
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
    profile: dict[str, Any]  # what it was trained on, in a file of its own

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
        made = ("profiles", "ranges", "_known")
        return {name: value for name, value in vars(self).items() if name not in made}

    @cached_property
    def profiles(self) -> dict[str, np.ndarray]:
        """The usual values and spreads of each sensor's features, shape ``(2, 7)``."""
        return dict(zip(self.sensors, self.profile_values, strict=True))

    @cached_property
    def ranges(self) -> dict[str, np.ndarray]:
        """The usual range of each sensor, shape ``(3,)``."""
        return dict(zip(self.sensors, self.range_values, strict=True))

    @cached_property
    def _known(self) -> tuple[dict[str, int], np.ndarray]:
        """The number of each sensor, and the ranges by number, shape ``(3, s + 1)``; NaN at -1."""
        numbers = {sensor: number for number, sensor in enumerate(self.sensors)}
        return numbers, np.append(self.range_values.T, np.full((3, 1), np.nan), axis=1)

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
        numbers = self.numbers(sensors)
        rows, features = describe_judged(times, values, numbers, wanted, **self.settings)
        scores = np.full(len(values), np.nan)
        if len(rows):
            scores[rows] = self._judged(self._standard(features, numbers[rows]))
        scores = beyond(scores, outside_range(values, self.ranges_of(numbers)))
        if wanted is not None:
            scores, numbers = scores[wanted], numbers[wanted]
        is_missing = np.isnan(scores)
        flags = _FLAGS[np.where(is_missing, 2, scores > 1)]
        reasons = _REASONS[np.where(is_missing, numbers < 0, 2)]
        return {"score": scores, "is_anomaly": flags, "reason": reasons}

    def explained(self, columns: Columns, wanted: np.ndarray | None = None) -> Explainable:
        """Return what scores are made of, as ``kedro_azure_mlops.explain`` asks.

        What is usual is that of the sensor. A reading with too little history has its value alone.
        """
        times, sensors, values = (columns[name] for name in READING)
        numbers = self.numbers(sensors)
        rows, features = describe_judged(times, values, numbers, wanted, **self.settings)
        asked = np.flatnonzero(np.ones(len(values), bool) if wanted is None else wanted)
        numbers, is_judged = numbers[asked], np.isin(asked, rows)
        usual, spread = self.profile_values[numbers].transpose(1, 0, 2)
        described = usual.copy()
        described[:, 0] = values[asked]
        described[np.searchsorted(asked, rows)] = features

        def score(mixed: np.ndarray, rows: np.ndarray) -> np.ndarray:
            outside = outside_range(mixed[:, 0], self.ranges_of(numbers[rows]))
            scores = self._judged(self._standard(mixed, numbers[rows]))
            return np.where(is_judged[rows], beyond(scores, outside), outside)

        def in_words(row: int, feature: int) -> str:
            value, (least, most, _) = described[row, 0], self.ranges_of(numbers[row])
            if feature == 0 and value > most:
                return f"{value:g} is {value - most:.4g} above the highest usual reading"
            if feature == 0 and value < least:
                return f"{value:g} is {least - value:.4g} below the lowest usual reading"
            spreads = (described[row, feature] - usual[row, feature]) / spread[row, feature]
            side = "above" if spreads >= 0 else "below"
            return f"{IN_WORDS[FEATURES[feature]]} {abs(spreads):.1f} spreads {side} usual"

        return Explainable("score", FEATURES, described, usual, score, in_words)

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
        described, enough = features[FEATURES].to_numpy(), features[ENOUGH].to_numpy(bool)
        return self.scores_of(described, enough, self.numbers(features["sensor_id"]))

    def scores_of(
        self, described: np.ndarray, enough: np.ndarray, numbers: np.ndarray
    ) -> np.ndarray:
        """Score as ``model_scores``, by the ``numbers`` of the sensors."""
        known = enough & (numbers >= 0)
        scores = np.full(len(numbers), np.nan)
        scores[known] = self._judged(self._standard(described[known], numbers[known]))
        return scores

    def outside(self, features: pd.DataFrame) -> np.ndarray:
        """Score rows by ``outside_range``; missing where training did not know the sensor."""
        usual = self.ranges_of(self.numbers(features["sensor_id"]))
        return outside_range(features["temperature"].to_numpy(float), usual)

    def numbers(self, sensors: Iterable[str]) -> np.ndarray:
        """Return the numbers of sensors, -1 for those that training did not know."""
        return np.fromiter(map(self._known[0].get, sensors, repeat(-1)), np.int64)

    def ranges_of(self, numbers: np.ndarray) -> np.ndarray:
        """Return the usual ranges of sensors by their numbers, shape ``(3, n)``; NaN at -1."""
        return self._known[1].take(numbers, 1)

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

    def _standard(self, features: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Express features as distances from their sensor's usual value, in its usual spreads."""
        profiles = self.profile_values[numbers]
        return (features - profiles[:, 0]) / profiles[:, 1]

    def _judged(self, standard: np.ndarray) -> np.ndarray:
        """Score standardised features, shape ``(n, 7)``."""
        if not len(standard):
            return np.zeros(0)
        return (raw_scores(self.estimator, standard) - self.centre) / (self.threshold - self.centre)


def raw_scores(estimator: Any, standard: np.ndarray) -> np.ndarray:
    """Score standardised features by the estimator alone, on all cores: higher is more unusual."""
    method = next(getattr(estimator, name) for name in SCORES if hasattr(estimator, name))
    if len(standard) <= _BLOCK:
        return -np.ravel(method(standard))
    blocks = [standard[start : start + _BLOCK] for start in range(0, len(standard), _BLOCK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return -np.concatenate([np.ravel(part) for part in pool.map(method, blocks)])
