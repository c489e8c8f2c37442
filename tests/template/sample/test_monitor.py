"""The monitor on the sample as it is shipped: what is an alarm, what is named and explained."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from kedro_azure_mlops.config import bootstrap
from kedro_azure_mlops.monitor.look import monitor_model
from kedro_azure_mlops.monitor.result import MonitorReport
from tests.template.sample.helpers import Project

Look = Callable[[pd.DataFrame], MonitorReport]
NEWEST = "2024-02-04"  # two days before the end of the sample


@pytest.fixture
def look(ran: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Look at readings with the champion of the shipped sample; the project stays as it is."""
    monkeypatch.chdir(ran.path)

    def of(rows: pd.DataFrame) -> MonitorReport:
        rows.to_csv(tmp_path / "new.csv", index=False)
        bootstrap(ran.path)
        return monitor_model("local", inputs=[tmp_path / "new.csv"], root=ran.path)

    return of


@pytest.fixture
def readings(ran: Project) -> pd.DataFrame:
    return pd.read_csv(ran.path / "data/raw/temperatures.csv")


def test_the_sample_itself_is_no_alarm_and_is_measured_by_its_labels(
    look: Look, readings: pd.DataFrame
) -> None:
    found = look(readings)
    assert found.reasons == []
    assert {"average_precision", "event_recall", "share_flagged"} <= {*found.metrics}
    assert found.slices.index.tolist() == ["boiler", "cold_room", "hall", "outdoor"]
    assert found.slices["average_precision"].notna().any()


def test_flagged_readings_are_explained_by_sensor(look: Look, readings: pd.DataFrame) -> None:
    flagged = look(readings).flagged
    assert 10 < len(flagged) <= 20
    for row in flagged.itertuples():
        assert row.explanation.startswith(f"{row.sensor_id}: ")
    assert flagged["explanation"].str.contains("spreads|usual reading").all()


def test_readings_20_degrees_higher_than_in_training_are_an_alarm(
    look: Look, readings: pd.DataFrame
) -> None:
    found = look(readings.assign(temperature=readings["temperature"] + 20))
    assert found.drifted and found.retrain
    assert {one.key for one in found.findings} >= {*readings["sensor_id"].unique()}


def test_one_sensor_that_rises_by_12_degrees_is_the_one_that_is_named(
    look: Look, readings: pd.DataFrame
) -> None:
    risen = (readings["sensor_id"] == "boiler") & (readings["timestamp"] >= NEWEST)
    rows = readings.assign(temperature=readings["temperature"] + 12 * risen)
    found = look(rows)
    assert found.reasons[0].startswith("boiler: temperature moved")
    assert {one.key for one in found.findings} <= {"boiler", None}


def test_a_sensor_that_is_stuck_is_nothing_to_train_on(look: Look, readings: pd.DataFrame) -> None:
    stuck = (readings["sensor_id"] == "hall") & (readings["timestamp"] >= NEWEST)
    found = look(readings.assign(temperature=readings["temperature"].mask(stuck, 21.37)))
    assert found.quality and not found.retrain
    assert found.reasons[0].startswith("hall: temperature is stuck")
