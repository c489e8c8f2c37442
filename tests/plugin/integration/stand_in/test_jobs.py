"""The stand-in for Azure runs the pipeline jobs that the real client submits."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kedro_azure_mlops.testing import StandIn
from kedro_azure_mlops.testing.stand_in import CLUSTER
from tests.plugin.small_job import OUTPUTS, PREPARE, STEPS, TRAIN, ref, submit

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


def error(ml: "MLClient", name: str) -> str:
    from azure.ai.ml.exceptions import JobException

    with pytest.raises(JobException) as failure:
        ml.jobs.stream(name)
    return str(failure.value)


def statuses(ml: "MLClient", name: str) -> dict[str, str]:
    return {step.display_name: step.status for step in ml.jobs.list(parent_job_name=name)}


def log(ml: "MLClient", step: str, folder: Path) -> str:
    ml.jobs.download(step, download_path=folder)
    return (folder / "artifacts" / "user_logs" / "std_log.txt").read_text()


def test_a_job_runs_from_the_uploaded_files(
    ml: "MLClient", azure: StandIn, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = submit(ml, small, STEPS, outputs=OUTPUTS)
    ml.jobs.stream(name)
    assert f"Completing processing run id {name}_train: Completed" in capsys.readouterr().out
    assert ml.jobs.get(name).status == "Completed"
    assert statuses(ml, name) == {"prepare": "Completed", "train": "Completed"}
    assert sorted(Path(key).name for key in azure.uploads) == ["double.py", "raw.csv"]
    assert log(ml, f"{name}_prepare", small / "log") == "doubling\n"


def test_a_job_needs_no_cluster_and_may_use_an_environment_of_a_registry(
    ml: "MLClient", small: Path
) -> None:
    from azure.core.exceptions import HttpResponseError

    shared = "azureml://registries/azureml/environments/sklearn-1.5/versions/9"
    serverless = {"settings": {"default_compute": "serverless"}}
    name = submit(ml, small, {"one": {"command": "true", "environment": shared}}, **serverless)
    ml.jobs.stream(name)
    assert ml.jobs.get(name).status == "Completed"
    with pytest.raises(HttpResponseError, match="does not exist"):
        submit(ml, small, {"one": {"command": "true", "environment": "azureml:none:1"}})


def test_tags_can_be_added_later(ml: "MLClient", small: Path) -> None:
    name = submit(ml, small, {"one": {"command": "true"}}, tags={"a": "1"})
    ml.jobs.update(name, tags={"b": "2"})
    assert ml.jobs.get(name).tags == {"a": "1", "b": "2"}
    assert name in [job.name for job in ml.jobs.list()]


def test_a_failing_step_fails_the_job(ml: "MLClient", small: Path) -> None:
    failing = PREPARE | {"command": f"echo no luck >&2; cat {ref('inputs.raw')}; exit 3"}
    name = submit(ml, small, {"prepare": failing, "train": TRAIN}, outputs=OUTPUTS)
    assert "Failed nodes: /prepare" in error(ml, name)
    assert statuses(ml, name) == {"prepare": "Failed"}
    assert log(ml, f"{name}_prepare", small / "log") == "no luck\n1,2\n"


@pytest.mark.parametrize(("continues", "ran"), [(True, ["bad", "good"]), (False, ["bad"])])
def test_independent_steps_run_after_a_failure_if_the_job_allows_it(
    ml: "MLClient", small: Path, continues: bool, ran: list[str]
) -> None:
    settings = {"default_compute": CLUSTER, "continue_on_step_failure": continues}
    steps = {"bad": {"command": "exit 1"}, "good": {"command": "exit 0"}}
    name = submit(ml, small, steps, settings=settings)
    error(ml, name)
    assert sorted(statuses(ml, name)) == ran


def test_the_client_refuses_a_command_with_an_unknown_input(ml: "MLClient", small: Path) -> None:
    from azure.ai.ml.exceptions import MlException

    with pytest.raises(MlException, match="Invalid data binding expression"):
        submit(ml, small, {"bad": PREPARE | {"command": f"echo {ref('inputs.nothing')}"}})


def test_a_step_that_exceeds_its_limit_is_ended(
    ml: "MLClient", azure: StandIn, small: Path
) -> None:
    step = {"command": "echo first; tail -f /dev/null", "limits": {"timeout": 1}}
    error(ml, submit(ml, small, {"slow": step}))
    assert (azure.steps["slow"].status, azure.steps["slow"].log) == ("Failed", "first\n")


def test_a_held_job_is_canceled_before_a_step_starts(
    ml: "MLClient", azure: StandIn, small: Path
) -> None:
    with azure.hold():
        name = submit(ml, small, STEPS, outputs=OUTPUTS)
        assert ml.jobs.get(name).status == "Running"
        ml.jobs.begin_cancel(name).result()
        assert ml.jobs.get(name).status == "Canceled"
    assert statuses(ml, name) == {}


def test_a_released_job_continues(ml: "MLClient", azure: StandIn, small: Path) -> None:
    with azure.hold():
        name = submit(ml, small, STEPS, outputs=OUTPUTS)
    ml.jobs.stream(name)
    assert ml.jobs.get(name).status == "Completed"


def test_a_running_command_is_canceled(ml: "MLClient", azure: StandIn, small: Path) -> None:
    os.mkfifo(small / "started")
    command = f"echo > {small}/started; tail -f /dev/null"
    name = submit(ml, small, {"long": {"command": command}})
    (small / "started").read_text()  # waits until the step writes
    ml.jobs.begin_cancel(name).result()
    assert (ml.jobs.get(name).status, azure.steps["long"].status) == ("Canceled", "Canceled")
