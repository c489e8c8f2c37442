"""Tracking in a step of a cloud job, whose run the platform starts and ends."""

import json
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import yaml

from kedro_azure_mlops.contract import digest
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks.tracking import TrackingError
from tests.plugin.helpers import Project
from tests.plugin.mlflow_job import SUBMITTED, Job

NAME = "plant"


@pytest.fixture
def job(project: Project, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.chdir(project.path)
    return Job(project.client(), monkeypatch)


def test_the_run_of_the_job_is_filled_and_otherwise_left_alone(project: Project, job: Job) -> None:
    project.run(model={"arguments": {"alpha": 2.5}})
    assert job.is_untouched()
    data = job.step().data
    assert data.metrics == pytest.approx(project.metrics())
    assert data.params["model.arguments.alpha"] == "2.5"
    assert yaml.safe_load(job.text("parameters.yml"))["model"]["arguments"]["alpha"] == 2.5
    version = job.client.get_model_version_by_alias(NAME, "champion")
    assert version.run_id == job.id
    assert version.tags["digest"] == digest(project.processed("model"))


def test_commit_and_data_come_from_the_job(project: Project, job: Job) -> None:
    project.run("prepare", "train")
    known = {name: text for name, text in SUBMITTED.items() if not name.startswith("azureml")}
    step = job.step().data.tags
    version = job.client.get_model_version(NAME, "1").tags
    assert {name: step.get(name) for name in known} == known
    assert {name: version.get(name) for name in known} == known
    assert "azureml.nodeid" not in step
    assert step["data.fingerprint"] == version["data.fingerprint"]


def test_a_run_outside_a_job_reads_git_and_not_a_parent(project: Project) -> None:
    project.run("prepare")
    client = project.client()
    (run,) = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    assert "git.commit" not in run.data.tags, "the copy is not in a repository"
    assert run.info.status == "FINISHED"


def test_a_failed_step_is_ended_by_the_platform(project: Project, job: Job) -> None:
    with pytest.raises(Exception, match="only a half"):
        project.run("prepare", train_fraction="only a half")
    with pytest.raises(Exception, match=r"gone\.csv"):
        project.run("prepare", raw_file="data/raw/gone.csv")
    assert job.is_untouched()


def test_the_end_of_the_process_does_not_end_the_run(project: Project, job: Job) -> None:
    command = [str(Path(sys.executable).with_name("kedro")), "run", "--pipelines", "prepare"]
    subprocess.run(command, cwd=project.path, check=True, capture_output=True)
    assert job.is_untouched()
    assert job.step().data.tags["kedro.pipelines"] == "prepare"


def test_a_step_that_is_retried_keeps_the_records_of_both_attempts(
    project: Project, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    project.run("prepare")
    assert "keeps different values" not in caplog.text
    project.run("prepare", train_fraction=0.5)
    assert "keeps different values of train_fraction" in caplog.text
    assert "attempt_2/parameters.yml" in caplog.text
    assert job.step().data.params["train_fraction"] == "0.7"
    assert yaml.safe_load(job.text("parameters.yml"))["train_fraction"] == 0.7
    assert yaml.safe_load(job.text("attempt_2/parameters.yml"))["train_fraction"] == 0.5
    assert job.step().data.tags["kedro.attempt"] == "2"


def test_a_model_of_a_second_attempt_is_registered_from_its_own_files(
    project: Project, job: Job
) -> None:
    for share in (0.7, 0.69):
        project.run(train_fraction=share)
    fetched = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}/2"))
    assert digest(fetched) == digest(project.processed("model"))
    assert job.client.get_model_version(NAME, "2").source.endswith("attempt_2/model")


def test_a_parent_that_cannot_be_read_is_a_warning(
    project: Project, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    job.client.set_tag(job.id, "mlflow.parentRunId", "0" * 32)
    project.run("prepare")
    assert "lacks the tags of its parent run" in caplog.text
    assert job.step().data.tags["kedro.pipelines"] == "prepare"


def test_a_run_that_does_not_exist_stops_the_step(
    project: Project, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    with pytest.raises(TrackingError, match="No run was started"):
        project.run()
    assert job.has_no_other_runs()


@pytest.mark.parametrize(
    ("variable", "first", "other"),
    [
        ("RANK", "0", "1"),
        ("OMPI_COMM_WORLD_RANK", "0", "3"),
        (
            "TF_CONFIG",
            json.dumps({"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 0}}),
            json.dumps({"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 1}}),
        ),
    ],
)
def test_only_the_first_of_many_processes_tracks(
    project: Project,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    first: str,
    other: str,
) -> None:
    for count in ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.setenv(count, "4")
    monkeypatch.setenv(variable, other)
    project.run("prepare")
    assert not job.step().data.params
    monkeypatch.setenv(variable, first)
    project.run("prepare")
    assert job.step().data.params


def test_an_invalid_rank_stops_the_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(OperationError, match="RANK is 'first'"):
        project.run("prepare")
