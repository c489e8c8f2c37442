"""A submitted job is cancelled by the command, or with the CI run that waits for it."""

import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.plugin.sender import Sender, sender_in

SUBMIT = ("submit", "--env", "dev")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Iterator[Sender]:
    """A stand-in that accepts jobs but does not run them."""
    with sender_in(tmp_path_factory.mktemp("cancel"), database) as cloud, cloud.azure.hold():
        yield cloud


@pytest.fixture
def job(cloud: Sender) -> str:
    """A job that Azure reports as running."""
    status, _, err = cloud.mlops(*SUBMIT)
    assert status == 0, err
    return cloud.job()


def status_of(cloud: Sender, job: str) -> str:
    return str(cloud.resources("jobs")[job]["status"])


def cancellations(cloud: Sender) -> int:
    return sum(r.method == "POST" and r.path.endswith("/cancel") for r in cloud.azure.requests)


def test_a_job_is_cancelled_once(cloud: Sender, job: str) -> None:
    before = cancellations(cloud)
    status, out, err = cloud.mlops("cancel", "--env", "dev", "--job", job)
    assert (status, err) == (0, "")
    assert f"cancel: the job {job} is being cancelled" in out
    assert status_of(cloud, job) == "Canceled"
    status, out, _ = cloud.mlops("cancel", "--env", "dev", "--job", job)
    assert status == 0
    assert f"the job {job} has already ended: it is Canceled" in out
    assert cancellations(cloud) == before + 1


def test_a_job_that_ends_during_cancelling_is_reported_as_ended(
    cloud: Sender, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from azure.ai.ml.operations import JobOperations
    from azure.core.exceptions import HttpResponseError

    def too_late(self: JobOperations, name: str, **_: object) -> None:
        cloud.resources("jobs")[name]["status"] = "Completed"
        raise HttpResponseError("The job has ended.")

    monkeypatch.setattr(JobOperations, "begin_cancel", too_late)
    status, out, err = cloud.mlops("cancel", "--env", "dev", "--job", job)
    assert (status, err) == (0, "")
    assert "has already ended: it is Completed" in out


def test_an_unknown_job_cannot_be_cancelled(cloud: Sender) -> None:
    status, _, err = cloud.mlops("cancel", "--env", "dev", "--job", "gone")
    assert status == 2
    assert "looking for the job gone" in err


def test_a_refused_cancellation_is_reported_and_the_job_keeps_running(
    cloud: Sender, job: str
) -> None:
    cloud.azure.fail("POST", r"/cancel$", 403)
    status, _, err = cloud.mlops("cancel", "--env", "dev", "--job", job)
    assert status == 2
    assert f"cancelling the job {job}: You do not have permission" in err
    assert status_of(cloud, job) == "Running"


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("in_ci", [True, False])
def test_cancelling_a_ci_run_cancels_its_job(
    cloud: Sender, job: str, monkeypatch: pytest.MonkeyPatch, ended_by: int, in_ci: bool
) -> None:
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("asked without a terminal"))
    if in_ci:
        monkeypatch.setenv("TF_BUILD", "True")
    clock = SimpleNamespace(sleep=lambda _: signal.raise_signal(ended_by))
    monkeypatch.setattr("kedro_azure_mlops.azure.follow.time", clock)
    status, out, _ = cloud.mlops(*SUBMIT, "--job", job)
    assert status == 130
    assert status_of(cloud, job) == ("Canceled" if in_ci else "Running")
    assert (f"the job {job} is being cancelled" in out) == in_ci


def test_a_second_signal_does_not_interrupt_cancelling(
    cloud: Sender, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from azure.ai.ml.operations import JobOperations

    begin = JobOperations.begin_cancel

    def impatient(self: JobOperations, name: str, **options: object) -> object:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        return begin(self, name, **options)

    monkeypatch.setattr(JobOperations, "begin_cancel", impatient)
    monkeypatch.setenv("CI", "true")
    clock = SimpleNamespace(sleep=lambda _: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr("kedro_azure_mlops.azure.follow.time", clock)
    assert cloud.mlops(*SUBMIT, "--job", job)[0] == 130
    assert status_of(cloud, job) == "Canceled"


def test_a_submitted_job_is_reported_to_later_steps(
    cloud: Sender, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "outputs"))
    assert cloud.mlops(*SUBMIT)[0] == 0
    lines = (tmp_path / "outputs").read_text(encoding="utf-8").splitlines()
    reported = dict(line.split("=", maxsplit=1) for line in lines)
    studio = reported.pop("studio")
    assert reported == {
        "job": cloud.job(),
        "resource_group": cloud.azure.resource_group,
        "workspace": cloud.azure.workspace,
        "location": "westeurope",
    }
    assert studio.startswith(f"https://ml.azure.com/runs/{cloud.job()}?")


def test_a_job_that_was_not_submitted_is_not_reported(
    cloud: Sender, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "outputs"))
    cloud.azure.fail("PUT", r"/jobs/[^/]+$", 403)
    assert cloud.mlops(*SUBMIT)[0] == 2
    assert not (tmp_path / "outputs").exists()
