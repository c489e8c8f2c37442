"""A reading far outside its sensor's range is flagged even without history; others need history.

The model of the sample scores its sensors from a file, from a request and as stored.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from temperature_anomalies.detector import Detector

from kedro_azure_mlops.contract import Scorer, digest, load_proven_scorer
from kedro_azure_mlops.models import load_model
from kedro_azure_mlops.serve.batches import score_pieces
from kedro_azure_mlops.serve.score import Model, answer
from tests.template.sample.helpers import Project

SENSORS = ("boiler", "cold_room", "hall", "outdoor")
TRUSTED = ["temperature_anomalies.detector.Detector"]
HISTORIES = (0, 1, 24, 2000)


@pytest.fixture(scope="module")
def folder(_ran: Project) -> Path:
    return _ran.processed("model")


@pytest.fixture(scope="module")
def stored(folder: Path) -> Detector:
    return load_model(folder, TRUSTED)


@pytest.fixture(scope="module")
def exported(folder: Path) -> Scorer:
    return load_proven_scorer(folder, "temperature_anomalies.score:load")[0]


@pytest.fixture(scope="module")
def served(exported: Scorer, folder: Path) -> Model:
    return Model(exported, digest(folder))


@pytest.fixture(scope="module")
def readings(_ran: Project) -> pd.DataFrame:
    table = pd.read_csv(_ran.path / "data/raw/temperatures.csv")
    return table[table["timestamp"] < "2024-01-22"]


def newest_readings(
    table: pd.DataFrame, sensor: str, earlier: int, value: float | None
) -> pd.DataFrame:
    """Return the newest readings of a sensor, with the last value replaced."""
    rows = table[table["sensor_id"] == sensor].tail(earlier + 1).reset_index(drop=True)
    if value is not None:
        rows.loc[earlier, "temperature"] = round(value, 2)
    return rows


def online(served: Model, rows: pd.DataFrame) -> dict[str, object]:
    """Send the rows as one request, and return the answer for the last row."""
    response = answer(served, json.dumps({"data": rows.to_dict("records")}))
    assert response.status == 200, response.body
    return response.body["data"][-1]


def beyond(ranges: np.ndarray, spreads: float) -> float:
    low, high, spread = ranges
    return low + spreads * spread if spreads < 0 else high + spreads * spread


@pytest.mark.parametrize("earlier", HISTORIES)
@pytest.mark.parametrize("sensor", SENSORS)
def test_a_far_reading_is_flagged_and_scored_by_its_distance(
    served: Model, stored: Detector, readings: pd.DataFrame, sensor: str, earlier: int
) -> None:
    for sign in (-1, 1):
        scores = []
        for spreads in (1, 3, 10):
            value = beyond(stored.ranges[sensor], sign * spreads)
            result = online(served, newest_readings(readings, sensor, earlier, value))
            assert result["is_anomaly"] is True
            assert result["reason"] is None
            scores.append(result["score"])
        assert 1 < scores[0] < scores[1] < scores[2]


@pytest.mark.parametrize("earlier", HISTORIES)
@pytest.mark.parametrize("sensor", SENSORS)
def test_a_normal_reading_is_scored_only_with_enough_history(
    served: Model, readings: pd.DataFrame, sensor: str, earlier: int
) -> None:
    result = online(served, newest_readings(readings, sensor, earlier, None))
    if earlier == 2000:
        assert result["is_anomaly"] is False
        assert result["score"] < 1
        assert result["reason"] is None
    else:
        assert result["is_anomaly"] is result["score"] is None
        assert "needs 5 earlier readings" in result["reason"]


@pytest.mark.parametrize(
    ("sensor", "value"),
    [("hall", 300.0), ("hall", 90.0), ("boiler", 0.0), ("outdoor", 60.0), ("cold_room", 85.0)],
)
def test_a_single_absurd_reading_is_flagged(served: Model, sensor: str, value: float) -> None:
    row = pd.DataFrame([{"timestamp": "2024-03-01", "sensor_id": sensor, "temperature": value}])
    assert online(served, row)["is_anomaly"] is True


def test_thirty_hours_of_history_are_required(served: Model, readings: pd.DataFrame) -> None:
    assert online(served, newest_readings(readings, "hall", 4 * 30, None))["score"] is not None
    assert online(served, newest_readings(readings, "hall", 4 * 30 - 1, None))["score"] is None
    sparse = newest_readings(readings, "hall", 2000, None).iloc[::200]  # every other day
    assert online(served, sparse.tail(6))["score"] is not None
    assert online(served, sparse.tail(5))["score"] is None


def test_file_request_and_stored_model_give_the_same_answers(
    served: Model, stored: Detector, exported: Scorer, readings: pd.DataFrame
) -> None:
    parts = [
        newest_readings(readings, sensor, 300, beyond(stored.ranges[sensor], spreads))
        for sensor, spreads in zip(SENSORS, (1, -3, 10, 0.5), strict=True)
    ]
    rows = pd.concat(parts, ignore_index=True).sort_values("timestamp", kind="stable")
    requested = answer(served, json.dumps({"data": rows.to_dict("records")})).body["data"]
    whole, *_ = score_pieces([rows], exported, "1")
    for name in ("score", "is_anomaly", "reason"):
        from_file = [None if pd.isna(value) else value for value in whole[name].tolist()]
        assert from_file == [row[name] for row in requested]
    for scorer in (exported, stored):
        pieces = [rows[start : start + 7] for start in range(0, len(rows), 7)]
        cut = pd.concat(score_pieces(pieces, scorer, "1"))
        pd.testing.assert_frame_equal(cut, whole)
