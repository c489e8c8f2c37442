"""Monitoring the shipped sample: alarms, the sensors they name and explanations."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from kedro_azure_mlops.config import bootstrap
from kedro_azure_mlops.monitor.look import monitor_model
from kedro_azure_mlops.monitor.result import MonitorReport
from tests.template.sample.helpers import Project

Monitor = Callable[[pd.DataFrame], MonitorReport]
NEWEST = "2024-02-04"  # two days before the end of the sample


@pytest.fixture
def monitor(ran: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Monitor:
    """Return a function that monitors readings with the sample's champion, changing nothing."""
    monkeypatch.chdir(ran.path)

    def run(rows: pd.DataFrame) -> MonitorReport:
        rows.to_csv(tmp_path / "new.csv", index=False)
        bootstrap(ran.path)
        return monitor_model("local", inputs=[tmp_path / "new.csv"], root=ran.path)

    return run


@pytest.fixture
def readings(ran: Project) -> pd.DataFrame:
    return pd.read_csv(ran.path / "data/raw/temperatures.csv")


def test_the_sample_raises_no_alarm_and_is_measured_by_its_labels(
    monitor: Monitor, readings: pd.DataFrame
) -> None:
    report = monitor(readings)
    assert report.reasons == []
    assert {"average_precision", "event_recall", "share_flagged"} <= {*report.metrics}
    assert report.slices.index.tolist() == ["boiler", "cold_room", "hall", "outdoor"]
    assert report.slices["average_precision"].notna().any()


def test_flagged_readings_are_explained_by_sensor(monitor: Monitor, readings: pd.DataFrame) -> None:
    flagged = monitor(readings).flagged
    assert 10 < len(flagged) <= 20
    for row in flagged.itertuples():
        assert row.explanation.startswith(f"{row.sensor_id}: ")
    assert flagged["explanation"].str.contains("spreads|usual reading").all()


def test_readings_20_degrees_higher_than_in_training_raise_an_alarm(
    monitor: Monitor, readings: pd.DataFrame
) -> None:
    report = monitor(readings.assign(temperature=readings["temperature"] + 20))
    assert report.drifted and report.retrain
    assert {one.key for one in report.findings} >= {*readings["sensor_id"].unique()}


def test_an_alarm_names_the_sensor_that_rose_by_12_degrees(
    monitor: Monitor, readings: pd.DataFrame
) -> None:
    risen = (readings["sensor_id"] == "boiler") & (readings["timestamp"] >= NEWEST)
    rows = readings.assign(temperature=readings["temperature"] + 12 * risen)
    report = monitor(rows)
    assert report.reasons[0].startswith("boiler: temperature shifted")
    assert {one.key for one in report.findings} <= {"boiler", None}


def test_a_stuck_sensor_raises_an_alarm_without_retraining(
    monitor: Monitor, readings: pd.DataFrame
) -> None:
    stuck = (readings["sensor_id"] == "hall") & (readings["timestamp"] >= NEWEST)
    report = monitor(readings.assign(temperature=readings["temperature"].mask(stuck, 21.37)))
    assert report.quality and not report.retrain
    assert report.reasons[0].startswith("hall: temperature is stuck")
