"""A lasting change causes an alarm and one refresh; bad data never trains a model."""

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
DAYS, CHANGE = 42, 12.0  # of the first training; degrees of the lasting rise of one sensor
START, DAY = pd.Timestamp("2024-01-01"), pd.Timedelta("1D")
FAULT = ("2024-02-05 03:00", "2024-02-05 09:00")  # held out by the first training only
LABELS = f"sensor_id,start,end\ncold,{FAULT[0]},{FAULT[1]}\n"
POLICY = UpdatePolicy("local", "drift", "local")


def readings(days: int, changed_on: int | None = DAYS) -> pd.DataFrame:
    """Generate half-hourly readings with one labelled fault and a lasting rise of the hall."""
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
class Lifecycle:
    """A project that is trained, monitored and scored over time."""

    project: Project
    client: mlflow.MlflowClient

    def train(self, days: int) -> None:
        self.project.write("temperatures.csv", readings(days).to_csv(index=False))
        self.project.write("labels.csv", LABELS)
        self.project.run()

    def monitor(self, rows: pd.DataFrame) -> MonitorReport:
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
        scores = pd.read_csv(self.project.processed("new_scores.csv"), parse_dates=["timestamp"])
        newest = scores["timestamp"] >= START + (days - 1) * DAY
        return float((scores[newest & (scores["sensor_id"] == "hall")]["is_anomaly"] == 1).mean())


def decide(report: MonitorReport, policy: UpdatePolicy = POLICY) -> Refresh:
    since = datetime.now(UTC) - timedelta(days=30)
    return decide_refresh(
        policy, drifted=report.drifted, quality=report.quality, champion_since=since
    )


@pytest.fixture(scope="module")
def lifecycle(tmp_path_factory: pytest.TempPathFactory, database) -> Lifecycle:
    project = Project.copy_to(tmp_path_factory.mktemp("lifecycle") / "project", database)
    client = mlflow.MlflowClient(f"sqlite:///{(project.path / 'mlruns.db').as_posix()}")
    created = Lifecycle(project, client)
    created.train(DAYS)
    assert created.version() == "1"
    return created


def test_an_ordinary_day_raises_no_alarm(lifecycle: Lifecycle) -> None:
    report = lifecycle.monitor(readings(DAYS + 1, changed_on=None))
    assert report.reasons == []
    assert decide(report) == Refresh(False, "nothing has drifted in local")


def test_bad_data_raises_an_alarm_but_trains_nothing(lifecycle: Lifecycle) -> None:
    rows = readings(DAYS + 1, changed_on=None)
    newest = rows["timestamp"] >= START + DAYS * DAY
    stuck = rows.assign(
        temperature=rows["temperature"].mask(newest & (rows["sensor_id"] == "roof"), 20.0)
    )
    fahrenheit = rows.assign(
        temperature=rows["temperature"].mask(newest, rows["temperature"] * 1.8 + 32)
    )
    for wrong, word in ((stuck, "roof"), (fahrenheit, "°F")):
        report = lifecycle.monitor(wrong)
        assert report.quality
        assert any(word in reason for reason in report.reasons)
        assert decide(report) == Refresh(
            False, "the quality of the data is in doubt: fix that first"
        )


def test_a_lasting_change_is_learned_once(lifecycle: Lifecycle) -> None:
    first = lifecycle.champion()
    alarm = lifecycle.monitor(readings(DAYS + 1))
    assert alarm.drifted
    assert not alarm.quality
    assert "hall" in alarm.reasons[0]
    assert decide(alarm).is_due
    days = DAYS + 21
    lifecycle.monitor(readings(days))
    assert lifecycle.share_flagged(days) > 0.9, "the champion flags the new level"

    lifecycle.train(days)
    second = lifecycle.champion()
    assert lifecycle.version() == "2"
    assert second.tags["digest"] != first.tags["digest"]
    assert second.tags[REFIT] == digest(lifecycle.project.path / "data/interim/challenger")
    assert second.tags["gate"] == "passed", "by the rules without labels, which the new days lack"
    assert "no new labels" in second.tags["gate.reasons"]

    quiet = lifecycle.monitor(readings(days + 1))
    assert quiet.reasons == []
    assert not decide(quiet).is_due
    assert lifecycle.share_flagged(days + 1) < 0.05
    lifecycle.train(days)
    assert lifecycle.version() == "2", "the same data gives the same model"
    assert len(lifecycle.client.search_model_versions(f"name='{NAME}'")) == 2


def test_a_common_shift_of_all_sensors_raises_an_alarm(lifecycle: Lifecycle) -> None:
    rows = readings(DAYS + 21)
    newest = rows["timestamp"] >= START + (DAYS + 20) * DAY
    report = lifecycle.monitor(
        rows.assign(temperature=np.where(newest, 20, 0) + rows["temperature"])
    )
    assert report.alarm
