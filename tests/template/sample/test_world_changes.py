"""The world changes for good: an alarm, one refresh, quiet. Data at fault train nothing."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import mlflow
import numpy as np
import pandas as pd
import pytest

from kedro_azure_mlops import decide_refresh, monitor_model
from kedro_azure_mlops.config import bootstrap
from kedro_azure_mlops.contract import digest
from kedro_azure_mlops.monitor.result import MonitorReport
from kedro_azure_mlops.refresh import Refresh, UpdatePolicy
from kedro_azure_mlops.registry.facts import REFIT
from tests.template.sample.helpers import NAME, Project, series

SENSORS = ("cold", "hall", "roof")
DAYS, CHANGE = 42, 12.0  # of the first training; degrees by which one sensor rises for good
START, DAY = pd.Timestamp("2024-01-01"), pd.Timedelta("1D")
FAULT = ("2024-02-05 03:00", "2024-02-05 09:00")  # held out by the first training only
LABELS = f"sensor_id,start,end\ncold,{FAULT[0]},{FAULT[1]}\n"
POLICY = UpdatePolicy("local", "drift", "local")


def readings(days: int, changed_on: int | None = DAYS) -> pd.DataFrame:
    """Make half-hourly readings with one labelled fault; the hall rises on a day for good."""
    parts = []
    for number, sensor in enumerate(SENSORS):
        rows = series(48 * days, sensor=sensor, seed=number)
        if sensor == "cold":
            rows.loc[rows["timestamp"].between(*FAULT), "temperature"] -= 4
        if sensor == "hall" and changed_on is not None:
            rows.loc[rows["timestamp"] >= START + changed_on * DAY, "temperature"] += CHANGE
        parts.append(rows)
    return pd.concat(parts).sort_values(["timestamp", "sensor_id"], kind="stable")


@dataclass
class Lived:
    """A project, and what was seen at each turn of its life."""

    project: Project
    client: mlflow.MlflowClient

    def train(self, days: int) -> None:
        self.project.write("temperatures.csv", readings(days).to_csv(index=False))
        self.project.write("labels.csv", LABELS)
        self.project.run()

    def look(self, rows: pd.DataFrame) -> MonitorReport:
        file = self.project.path / self.project.write("new.csv", rows.to_csv(index=False))
        bootstrap(self.project.path)
        return monitor_model("local", inputs=[file], root=self.project.path)

    def champion(self) -> mlflow.entities.model_registry.ModelVersion:
        return self.client.get_model_version_by_alias(NAME, "champion")

    def version(self) -> str:
        return str(self.champion().version)

    def share_flagged(self, days: int) -> float:
        """Return the share of the newest day's readings of the hall that the champion flags."""
        self.project.run("score", score={"input": "data/raw/new.csv"})
        found = pd.read_csv(self.project.processed("new_scores.csv"), parse_dates=["timestamp"])
        newest = found["timestamp"] >= START + (days - 1) * DAY
        return float((found[newest & (found["sensor_id"] == "hall")]["is_anomaly"] == 1).mean())


def due(found: MonitorReport, policy: UpdatePolicy = POLICY) -> Refresh:
    since = datetime.now(UTC) - timedelta(days=30)
    return decide_refresh(
        policy, drifted=found.drifted, quality=found.quality, champion_since=since
    )


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, database) -> Lived:
    project = Project.copy_to(tmp_path_factory.mktemp("lived") / "project", database)
    client = mlflow.MlflowClient(f"sqlite:///{(project.path / 'mlruns.db').as_posix()}")
    found = Lived(project, client)
    found.train(DAYS)
    assert found.version() == "1"
    return found


def test_an_ordinary_day_raises_no_alarm(lived: Lived) -> None:
    found = lived.look(readings(DAYS + 1, changed_on=None))
    assert found.reasons == []
    assert due(found) == Refresh(False, "nothing has drifted in local")


def test_data_at_fault_are_an_alarm_that_trains_nothing(lived: Lived) -> None:
    rows = readings(DAYS + 1, changed_on=None)
    newest = rows["timestamp"] >= START + DAYS * DAY
    stuck = rows.assign(
        temperature=rows["temperature"].mask(newest & (rows["sensor_id"] == "roof"), 20.0)
    )
    fahrenheit = rows.assign(
        temperature=rows["temperature"].mask(newest, rows["temperature"] * 1.8 + 32)
    )
    for wrong, word in ((stuck, "roof"), (fahrenheit, "°F")):
        found = lived.look(wrong)
        assert found.quality
        assert any(word in reason for reason in found.reasons)
        assert due(found) == Refresh(False, "the quality of the data is in doubt: fix that first")


def test_a_change_for_good_is_learned_once(lived: Lived) -> None:
    first = lived.champion()
    alarm = lived.look(readings(DAYS + 1))
    assert alarm.drifted
    assert not alarm.quality
    assert "hall" in alarm.reasons[0]
    assert due(alarm).is_due
    days = DAYS + 21
    lived.look(readings(days))
    assert lived.share_flagged(days) > 0.9, "the model in service takes the new level for faults"

    lived.train(days)
    second = lived.champion()
    assert lived.version() == "2"
    assert second.tags["digest"] != first.tags["digest"]
    assert second.tags[REFIT] == digest(lived.project.path / "data/interim/challenger")
    assert second.tags["gate"] == "passed", "by the rules without labels: the new days have none"
    assert "nothing newly labelled" in second.tags["gate.reasons"]

    quiet = lived.look(readings(days + 1))
    assert quiet.reasons == []
    assert not due(quiet).is_due
    assert lived.share_flagged(days + 1) < 0.05
    lived.train(days)
    assert lived.version() == "2", "the same data yield the model in service"
    assert len(lived.client.search_model_versions(f"name='{NAME}'")) == 2


def test_all_that_moves_together_is_no_all_clear(lived: Lived) -> None:
    rows = readings(DAYS + 21)
    newest = rows["timestamp"] >= START + (DAYS + 20) * DAY
    found = lived.look(rows.assign(temperature=np.where(newest, 20, 0) + rows["temperature"]))
    assert found.alarm
