"""Tracking against a real MLflow server on loopback, and against one that is down or breaks off."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml

from {{ cookiecutter.package_name }}.tracking.hook import MlflowTracking, TrackingError

from operation.tests.helpers import Project
from operation.tests.mlflow_server import Server, free_port

NAME = "{{ cookiecutter.project_slug }}"
SMALL = {"n_estimators": 10}


def test_a_server_named_in_the_environment_gets_everything(
    project: Project, server: Server
) -> None:
    project.run(detector=SMALL)
    client = mlflow.MlflowClient(server.uri)
    version = client.get_model_version_by_alias(NAME, "champion")
    (run,) = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    assert version.run_id == run.info.run_id
    assert run.data.metrics["average_precision"] > 0.3
    assert project.nothing_tracked()
    project.run(detector=SMALL)
    assert project.gate()["champion_version"] == "1"
    assert client.get_model_version_by_alias(NAME, "champion").version == "2"


def test_a_server_that_breaks_off_does_not_lose_the_model(
    project: Project, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    _before_filling(monkeypatch, server.stop)
    with pytest.raises(TrackingError, match="Nothing is lost"):
        project.run(detector=SMALL)
    assert project.processed("model/MLmodel").exists()
    assert project.processed("report.txt").exists()


def test_a_server_that_breaks_off_can_be_a_warning(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _warn(project)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    gone = f"http://127.0.0.1:{free_port()}"
    _before_filling(monkeypatch, lambda: mlflow.set_tracking_uri(gone))
    project.run(detector=SMALL)
    assert project.processed("report.txt").exists()
    assert "Nothing is lost" in caplog.text


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a server that is not there."""
    uri = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return uri


def test_a_server_that_is_down_stops_the_run_before_it_starts(
    project: Project, nobody: str
) -> None:
    with pytest.raises(TrackingError, match=f"MLflow at {nobody} failed.*") as refusal:
        project.run()
    assert "No run was started" in str(refusal.value)
    assert "when_unreachable: warn" in str(refusal.value)
    assert not (project.path / "data/interim").exists()


def test_a_server_that_is_down_can_be_a_warning(
    project: Project, nobody: str, caplog: pytest.LogCaptureFixture
) -> None:
    _warn(project)
    project.run(detector=SMALL)
    assert f"MLflow at {nobody} failed" in caplog.text
    assert project.processed("model/MLmodel").exists()
    assert not project.gate()["passed"], "a champion that cannot be seen is not beaten"


def test_an_empty_address_in_the_environment_means_the_configured_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    project.run(detector=SMALL)
    assert not project.nothing_tracked()


def test_a_database_that_cannot_be_read_is_a_clear_error(project: Project) -> None:
    (project.path / "mlruns.db").write_bytes(b"not a database" * 100)
    with pytest.raises(TrackingError, match=r"mlruns\.db failed"):
        project.run()
    assert not project.processed("model").exists()


def test_a_run_that_is_broken_off_by_hand_is_not_finished(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ctrl_c(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    registered: list[Callable[[], None]] = []
    monkeypatch.setattr("atexit.register", registered.append)
    monkeypatch.setattr("kedro.runner.SequentialRunner._run", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        project.run()
    for leave in reversed(registered):
        leave()
    client = project.client()
    (run,) = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    assert run.info.status == "KILLED"


def test_tracking_can_be_switched_off(project: Project) -> None:
    _change(project, "enabled: true", "enabled: false")
    project.run(detector=SMALL)
    assert project.processed("report.txt").exists()
    assert project.nothing_tracked()
    assert not project.gate()["passed"], "without a server there is no champion to compare with"


def test_a_run_says_what_it_was_made_of_and_what_it_made(ran: Project) -> None:
    client = ran.client()
    (run,) = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    tags = run.data.tags
    assert tags["kedro.env"] == "local"
    assert tags["kedro.pipelines"] == "__default__"
    assert tags["scores.digest"] == sha256(ran.processed("scores.csv"))
    for name, path in (("raw_temperatures", "temperatures.csv"), ("labels", "labels.csv")):
        assert tags[f"data.path.{name}"] == f"data/raw/{path}"
        assert tags[f"data.file.{name}"] == sha256(ran.path / "data/raw" / path)
    assert "data.from_earlier_runs" not in tags
    version = client.get_model_version_by_alias(NAME, "champion")
    assert version.tags["data.file.labels"] == tags["data.file.labels"]


def test_the_parameters_of_a_run_are_a_file_that_gives_them_again(project: Project) -> None:
    project.run("pre_processing", train_rows=400, gate={"must_beat": ["random"]})
    client = project.client()
    (run,) = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    text = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/parameters.yml")
    project.configure("local", "parameters.yml", text)
    project.run("pre_processing")
    newest, _ = client.search_runs([run.info.experiment_id])
    assert newest.data.params == run.data.params
    assert newest.data.params["train_rows"] == "400"
    assert newest.data.params["gate.must_beat"] == "['random']"
    assert yaml.safe_load(text)["labels_file"] == "data/raw/labels.csv"
    assert run.data.tags["kedro.params"] == "train_rows=400,gate.must_beat=[random]"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("when_unreachable: error", "when_unreachable: maybe", "when_unreachable"),
        ("enabled: true", "enable: true", "enable: Extra inputs are not permitted"),
    ],
    ids=["value", "key"],
)
def test_a_wrong_line_in_mlflow_yml_is_named(
    project: Project, old: str, new: str, message: str
) -> None:
    _change(project, old, new)
    with pytest.raises(Exception, match=r"mlflow\.yml") as refusal:
        project.run()
    assert message in str(refusal.value)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _before_filling(monkeypatch: pytest.MonkeyPatch, accident: Callable[[], None]) -> None:
    fill = MlflowTracking._fill

    def accident_then_fill(self: MlflowTracking, *arguments: Any) -> None:
        accident()
        fill(self, *arguments)

    monkeypatch.setattr(MlflowTracking, "_fill", accident_then_fill)


def _warn(project: Project) -> None:
    _change(project, "when_unreachable: error", "when_unreachable: warn")


def _change(project: Project, old: str, new: str) -> None:
    path = project.path / "operation/configuration/base/mlflow.yml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
