"""Steps of another orchestrator, such as Airflow, are nested runs of one run for the job."""

from collections.abc import Callable

import pytest
from kedro.framework.session import KedroSession
from mlflow.entities import Run

from kedro_azure_mlops.config import bootstrap
from kedro_azure_mlops.hooks.run import JOB
from tests.plugin.helpers import Project

NAME = "plant"
JOB_NAME = "manual '29 Nov'"  # the quotation mark must not break the search
Step = Callable[..., None]


@pytest.fixture
def step(project: Project, monkeypatch: pytest.MonkeyPatch) -> Step:
    """Run some nodes as a step of a job."""
    monkeypatch.setenv(JOB, JOB_NAME)
    bootstrap(project.path)

    def run(*nodes: str, **parameters: object) -> None:
        with KedroSession.create(project.path, runtime_params=parameters) as session:
            session.run(node_names=list(nodes))

    return run


def runs_of(project: Project) -> tuple[list[Run], list[Run]]:
    """Return the runs of jobs and those of steps, the oldest first."""
    client = project.client()
    runs = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])[::-1]
    steps = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return [run for run in runs if run not in steps], steps


def test_a_model_made_in_several_steps_is_recorded_like_that_of_one_run(
    project: Project, step: Step
) -> None:
    step("clean", "split")
    step("fit", "predict")
    step("compare", "decide")
    step("summarise", "report")
    (job,), steps = runs_of(project)
    assert {run.data.tags["mlflow.parentRunId"] for run in steps} == {job.info.run_id}
    assert [run.info.run_name for run in steps][2] == "compare+decide"
    assert {run.info.status for run in [job, *steps]} == {"FINISHED"}
    fingerprint = steps[0].data.tags["data.fingerprint"]
    assert project.gate()["origin"]["data.fingerprint"] == fingerprint
    version = project.client().get_model_version_by_alias(NAME, "champion")
    assert version.tags["data.fingerprint"] == fingerprint
    assert float(version.tags["metrics.r2"]) == pytest.approx(project.metrics()["r2"])


def test_separate_runs_do_not_share_their_origin_and_metrics(
    project: Project, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(JOB)
    step("clean", "split")
    step("fit", "predict")
    step("compare", "decide")
    step("summarise", "report")
    assert not runs_of(project)[1]
    assert project.gate()["origin"] == {}
    version = project.client().get_model_version_by_alias(NAME, "champion")
    assert "metrics.r2" not in version.tags


def test_metrics_of_another_job_are_not_added(
    project: Project, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    step("clean", "split", "fit", "predict", "compare", "decide")
    monkeypatch.setenv(JOB, "the next one")
    step("summarise", "report")
    assert [job.info.run_name for job in runs_of(project)[0]] == [JOB_NAME, "the next one"]
    assert "metrics.r2" not in project.client().get_model_version(NAME, "1").tags


def test_a_job_has_failed_until_its_failed_step_is_run_again(project: Project, step: Step) -> None:
    with pytest.raises(Exception, match=r"gone\.csv"):
        step("clean", raw_file="data/raw/gone.csv")
    assert [run.info.status for run in runs_of(project)[0]] == ["FAILED"]
    step("clean")
    (job,), steps = runs_of(project)
    assert [run.info.status for run in steps] == ["FAILED", "FINISHED"]
    assert job.info.status == "FINISHED"


def test_a_job_is_running_while_one_of_its_steps_is(project: Project, step: Step) -> None:
    client = project.client()
    step("clean")
    (job,), _ = runs_of(project)
    nested = {"mlflow.parentRunId": job.info.run_id}
    other = client.create_run(job.info.experiment_id, run_name="elsewhere", tags=nested)
    step("split")
    assert client.get_run(job.info.run_id).info.status == "RUNNING"
    client.set_terminated(other.info.run_id)
    step("split")
    assert client.get_run(job.info.run_id).info.status == "FINISHED"
