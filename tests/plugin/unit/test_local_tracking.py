"""Tracking of a local job: its runs are opened, nested and ended, unless tracking is disabled."""

import logging
import socket
from pathlib import Path

import pytest

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.local.job_file import Job
from kedro_azure_mlops.local.tracking import NoTracking, tracking_of
from kedro_azure_mlops.registry.versions import make_champion, register
from tests.plugin.helpers import Project

JOB = Job(Path("dev.yml"), "a job", "an experiment", {}, {})


def tracking_section(project: Project, **changes: str) -> None:
    text = ", ".join(f"{name}: {value}" for name, value in changes.items())
    project.configure("dev", "mlops.yml", f"tracking: {{{text}}}\n")


@pytest.fixture
def unreachable_uri(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of a server that is down."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return uri


def test_runs_are_nested_in_the_store_of_the_project(project: Project) -> None:
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


def test_nothing_is_tracked_if_tracking_is_disabled(project: Project) -> None:
    tracking_section(project, enabled="false")
    tracking = tracking_of(project.path, "dev")
    assert isinstance(tracking, NoTracking)
    assert tracking.start("first") == {}


def test_an_unknown_key_is_named(project: Project) -> None:
    tracking_section(project, enabeld="false")
    with pytest.raises(
        OperationError, match=r"conf/dev/mlops\.yml: tracking: unknown key 'enabeld'"
    ):
        tracking_of(project.path, "dev")


def test_a_relative_store_is_resolved_for_every_step(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlruns.db")
    tracking = tracking_of(project.path, "dev")
    tracking.begin(JOB, {})
    variables = tracking.start("first")
    assert variables["MLFLOW_TRACKING_URI"] == f"sqlite:///{project.path.as_posix()}/mlruns.db"


def test_a_server_that_is_down_stops_the_job(project: Project, unreachable_uri: str) -> None:
    tracking = tracking_of(project.path, "dev")
    tracking.begin(JOB, {})
    with pytest.raises(OperationError, match=f"MLflow at {unreachable_uri} failed"):
        tracking.start("first")


def test_a_server_that_is_down_can_cause_only_a_warning(
    project: Project, unreachable_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    tracking_section(project, when_unreachable="warn")
    tracking = tracking_of(project.path, "dev")
    tracking.begin(JOB, {})
    with caplog.at_level(logging.WARNING):
        assert tracking.start("first") == {"MLFLOW_TRACKING_URI": unreachable_uri}
        assert tracking.start("second") == {"MLFLOW_TRACKING_URI": unreachable_uri}
    tracking.end("first", "FINISHED")
    tracking.close("FINISHED")
    assert caplog.text.count(f"MLflow at {unreachable_uri} failed") == 1


def test_a_project_without_mlops_yml_is_not_tracked(project: Project) -> None:
    for file in project.path.glob("conf/*/mlops.yml"):
        file.unlink()
    assert isinstance(tracking_of(project.path, "dev"), NoTracking)


def test_the_champion_is_identified_by_its_digest(project: Project) -> None:
    def champion() -> str | None:
        return tracking_of(project.path, "dev").champion("model")

    client = project.client()
    run = client.create_run("0").info
    assert champion() == "none yet"
    source = f"{run.artifact_uri}/model"
    for tags in ({"digest": "abc"}, {"digest": "abc"}, {}):
        version = register(client, "model", source, run.run_id, tags)
        make_champion(client, "model", version)
        assert champion() == tags.get("digest", "version 3")
    assert NoTracking().champion("model") == NoTracking().champion("model") is not None


def test_a_champion_that_cannot_be_looked_up_is_unknown(
    project: Project, unreachable_uri: str
) -> None:
    assert tracking_of(project.path, "dev").champion("model") is None
