"""A step is reused if, and only if, nothing that its result depends on has changed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kedro_azure_mlops.local.run import ReadChampion
from kedro_azure_mlops.local.tracking import NoTracking
from tests.plugin.tiny_job import FOLDER, TinyJob, two_step_job

Change = Callable[[TinyJob], object]


def first(job: TinyJob) -> dict:
    return job.steps["first"]


CAUSES: dict[str, Change] = {
    "code: a file": lambda job: (job.project / "code.txt").write_text("other"),
    "code: a new file": lambda job: (job.project / "new.txt").touch(),
    "code: a file's name": lambda job: (job.project / "code.txt").rename(job.project / "x.txt"),
    "command": lambda job: first(job).update(command=first(job)["command"] + " "),
    "environment": lambda job: first(job).update(environment="azureml:some:2"),
    "environment variables": lambda job: first(job).update(environment_variables={"X": "1"}),
    "parameters": lambda job: job.inputs.update(letter="y"),
    "data": lambda job: job.data("raw.txt", "z"),
    "data: another file": lambda job: job.inputs.update(raw={"path": job.data("other.txt", "z")}),
    "outputs: type": lambda job: first(job)["outputs"].update(half={"type": "custom_model"}),
    "distribution": lambda job: first(job).update(distribution={"type": "mpi"}),
    "instances": lambda job: first(job).update(resources={"instance_count": 2}),
    "not deterministic": lambda job: first(job).update(is_deterministic=False),
    "force_rerun": lambda job: job.settings.update(force_rerun=True),
    "its outputs": lambda job: (job.work / "first/outputs/half/half.txt").write_text("edited"),
    "its outputs are gone": lambda job: (job.work / "first/outputs/half/half.txt").unlink(),
    "its record": lambda job: (job.work / "first/succeeded.json").write_text("{"),
}
NO_CAUSES: dict[str, Change] = {
    "nothing": lambda job: None,
    "a modification time": lambda job: os.utime(job.project / "code.txt", (0, 0)),
    "an ignored file": lambda job: (job.project / "x.ignored").touch(),
    "an empty folder": lambda job: (job.project / "empty").mkdir(),
    "another input": lambda job: job.inputs.update(unused=2),
    "data of the same content": lambda job: job.inputs.update(
        raw={"path": job.data("other.txt", "a")}
    ),
    "compute": lambda job: first(job).update(compute="azureml:other"),
    "display name": lambda job: first(job).update(display_name="other"),
    "limits": lambda job: first(job).update(limits={"timeout": 500}),
    "memory": lambda job: first(job).update(resources={"shm_size": "2g"}),
    "identity": lambda job: first(job).update(identity={"type": "managed"}),
    "a log": lambda job: (job.work / "first/log.txt").unlink(),
    "an unrelated variable": lambda job: os.environ.update(SOMETHING="1"),
}


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyJob:
    """A job that has run once."""
    monkeypatch.setenv("SOMETHING", "0")
    job = two_step_job(tmp_path)
    (job.project / ".amlignore").write_text("*.ignored\n.amlignore\n", encoding="utf-8")
    assert job.run().succeeded
    return job


@pytest.mark.parametrize("change", CAUSES.values(), ids=CAUSES)
def test_a_changed_dependency_runs_a_step_again(job: TinyJob, change: Change) -> None:
    change(job)
    assert job.statuses(job.run())["first"] == "finished"


@pytest.mark.parametrize("change", NO_CAUSES.values(), ids=NO_CAUSES)
def test_other_changes_do_not_run_a_step_again(job: TinyJob, change: Change) -> None:
    change(job)
    assert job.statuses(job.run()) == {"first": "reused", "second": "reused"}
    assert "first: reused, nothing it depends on has changed (1 of 2)" in job.lines


def test_a_step_is_reused_if_a_repeated_earlier_step_returns_the_same(
    job: TinyJob,
) -> None:
    first(job)["environment_variables"] = {"X": "1"}
    assert job.statuses(job.run()) == {"first": "finished", "second": "reused"}


def test_the_reason_for_running_a_step_again_is_reported(job: TinyJob) -> None:
    job.inputs["letter"] = "y"
    first(job)["command"] += " "
    job.run()
    assert "first: started, its command and parameters changed" in job.lines
    assert "second: started, its data changed" in job.lines


def test_force_reuses_nothing(job: TinyJob) -> None:
    assert job.statuses(job.run(force=True)) == {"first": "finished", "second": "finished"}


def test_outputs_of_a_reused_step_are_outputs_of_the_job(job: TinyJob) -> None:
    assert (job.run().outputs["word"] / "word.txt").read_text() == "abc\n"


def test_a_failed_step_is_tried_again(job: TinyJob) -> None:
    good = first(job)["command"]
    first(job)["command"] = "exit 1"
    assert job.statuses(job.run()) == {"first": "failed", "second": "not started"}
    assert job.statuses(job.run()) == {"first": "failed", "second": "not started"}
    first(job)["command"] = good
    assert job.statuses(job.run()) == {"first": "finished", "second": "reused"}


def test_the_result_of_a_single_step_is_reused(job: TinyJob) -> None:
    job.inputs["letter"] = "y"
    assert job.run(only="first").succeeded
    assert job.statuses(job.run()) == {"first": "reused", "second": "finished"}


def test_values_of_environment_variables_are_not_recorded(job: TinyJob) -> None:
    first(job)["environment_variables"] = {"X": "do not write me"}
    job.run()
    assert "do not write me" not in (job.work / "first/succeeded.json").read_text()


def test_a_component_can_declare_that_it_is_not_deterministic(tmp_path: Path) -> None:
    job = TinyJob(tmp_path)
    for name, reuse in (("always", False), ("once", True)):
        job.step(name, "true", {"x": FOLDER})
        step = job.steps[name]
        component = {key: step.pop(key) for key in ("code", "command", "environment", "outputs")}
        step["component"] = component | {"type": "command", "is_deterministic": reuse}
    job.run()
    assert job.statuses(job.run()) == {"always": "finished", "once": "reused"}
    assert "always: started, it is never reused" in job.lines


class FakeServer(NoTracking):
    """A server that returns a champion, or None if it is unreachable."""

    def __init__(self, champion: str | None) -> None:
        self.current = champion

    def champion(self, model: str) -> str | None:
        return self.current if model == "the model" else None


def status_with_champion(job: TinyJob, champion: str | None) -> str:
    """Run a step that compares with the champion and return its status."""
    first(job)["is_deterministic"] = False
    reader = ReadChampion("the model", ["first"])
    return job.statuses(job.run(tracking=FakeServer(champion), champion=reader))["first"]


def test_a_step_that_reads_the_champion_is_reused_until_the_champion_changes(
    tmp_path: Path,
) -> None:
    job = two_step_job(tmp_path)
    champions = ["none yet", "none yet", "a", "a", "b", None, "b", "b"]
    run, reused = "finished", "reused"
    assert [status_with_champion(job, champion) for champion in champions] == [
        run, reused, run, reused, run, run, run, reused,
    ]  # fmt: skip
    assert status_with_champion(job, "c") == run
    assert "first: started, its champion changed" in job.lines


def test_a_step_not_listed_as_champion_reader_is_never_reused(tmp_path: Path) -> None:
    job = two_step_job(tmp_path)
    assert [status_with_champion(job, "a") for _ in range(2)] == ["finished", "reused"]
    other_reader = ReadChampion("the model", ["second"])
    verdict = job.run(tracking=FakeServer("a"), champion=other_reader)
    assert job.statuses(verdict)["first"] == "finished"
    assert "first: started, it is never reused" in job.lines
