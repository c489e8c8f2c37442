"""Runs of a job that runs here: opened, nested and ended, or done without."""

import logging
import socket
from pathlib import Path

import pytest

from operation.azureml.local.job_file import Job
from operation.azureml.local.tracking import NoTracking, tracking_of
from operation.errors import OperationError
from operation.tests.helpers import Project

JOB = Job(Path("dev.yml"), "a job", "an experiment", {}, {})


def mlflow_yml(project: Project, **changes: str) -> None:
    text = "\n".join(f"{name}: {value}" for name, value in changes.items())
    project.configure("dev", "mlflow.yml", text + "\n")


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a server that is not there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return uri


def test_runs_are_nested_in_the_projects_own_store(project: Project) -> None:
    tracking = tracking_of(project.path, "dev")
    tracking.begin(JOB, {"data.raw": "a digest"})
    variables = tracking.start("first")
    tracking.end("first", "FAILED")
    tracking.close("FAILED")
    client = project.client()
    assert variables["MLFLOW_TRACKING_URI"] == f"sqlite:///{project.path.as_posix()}/mlruns.db"
    assert variables["MLFLOW_EXPERIMENT_NAME"] == "an experiment"
    experiment = client.get_experiment(variables["MLFLOW_EXPERIMENT_ID"])
    assert experiment.artifact_location == (project.path / "mlartifacts/an experiment").as_uri()
    run = client.get_run(variables["MLFLOW_RUN_ID"])
    job = client.get_run(run.data.tags["mlflow.parentRunId"])
    assert (job.info.run_name, job.info.status) == ("a job", "FAILED")
    assert (run.info.run_name, run.info.status) == ("first", "FAILED")
    assert job.data.tags["data.raw"] == "a digest"
    assert job.data.tags["env"] == "dev"


def test_a_job_that_runs_nothing_has_no_run(project: Project) -> None:
    tracking = tracking_of(project.path, "dev")
    tracking.begin(JOB, {})
    tracking.close("FINISHED")
    assert project.nothing_tracked()


def test_nothing_is_tracked_if_it_is_switched_off(project: Project) -> None:
    mlflow_yml(project, enabled="false")
    tracking = tracking_of(project.path, "dev")
    assert isinstance(tracking, NoTracking)
    assert tracking.start("first") == {}


def test_a_wrong_key_is_named(project: Project) -> None:
    mlflow_yml(project, enabeld="false")
    with pytest.raises(OperationError, match=r"mlflow\.yml of environment dev: enabeld"):
        tracking_of(project.path, "dev")


def test_a_relative_store_is_the_same_one_for_every_step(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlruns.db")
    tracking = tracking_of(project.path, "dev")
    tracking.begin(JOB, {})
    variables = tracking.start("first")
    assert variables["MLFLOW_TRACKING_URI"] == f"sqlite:///{project.path.as_posix()}/mlruns.db"


def test_a_server_that_is_down_stops_the_job(project: Project, nobody: str) -> None:
    tracking = tracking_of(project.path, "dev")
    tracking.begin(JOB, {})
    with pytest.raises(OperationError, match=f"MLflow at {nobody} failed"):
        tracking.start("first")


def test_a_server_that_is_down_can_be_a_warning(
    project: Project, nobody: str, caplog: pytest.LogCaptureFixture
) -> None:
    mlflow_yml(project, when_unreachable="warn")
    tracking = tracking_of(project.path, "dev")
    tracking.begin(JOB, {})
    with caplog.at_level(logging.WARNING):
        assert tracking.start("first") == {"MLFLOW_TRACKING_URI": nobody}
        assert tracking.start("second") == {"MLFLOW_TRACKING_URI": nobody}
    tracking.end("first", "FINISHED")
    tracking.close("FINISHED")
    assert caplog.text.count(f"MLflow at {nobody} failed") == 1
