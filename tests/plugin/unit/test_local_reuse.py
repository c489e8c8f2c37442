"""A step is reused if, and only if, nothing that its result depends on has changed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kedro_azure_mlops.local.run import ReadChampion
from kedro_azure_mlops.local.tracking import NoTracking
from tests.plugin.tiny_job import FOLDER, TinyJob, in_a_row

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
    "data elsewhere": lambda job: job.inputs.update(raw={"path": job.data("other.txt", "z")}),
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
    "a time": lambda job: os.utime(job.project / "code.txt", (0, 0)),
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
    "another variable here": lambda job: os.environ.update(SOMETHING="1"),
}


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyJob:
    """A job that has run once."""
    monkeypatch.setenv("SOMETHING", "0")
    job = in_a_row(tmp_path)
    (job.project / ".amlignore").write_text("*.ignored\n.amlignore\n", encoding="utf-8")
    assert job.run().succeeded
    return job


@pytest.mark.parametrize("change", CAUSES.values(), ids=CAUSES)
def test_what_a_step_depends_on_makes_it_run_again(job: TinyJob, change: Change) -> None:
    change(job)
    assert job.statuses(job.run())["first"] == "finished"


@pytest.mark.parametrize("change", NO_CAUSES.values(), ids=NO_CAUSES)
def test_nothing_else_makes_it_run_again(job: TinyJob, change: Change) -> None:
    change(job)
    assert job.statuses(job.run()) == {"first": "reused", "second": "reused"}
    assert "first: reused, nothing it depends on has changed (1 of 2)" in job.said


def test_a_step_that_is_given_the_same_is_reused_though_the_one_before_is_not(
    job: TinyJob,
) -> None:
    first(job)["environment_variables"] = {"X": "1"}
    assert job.statuses(job.run()) == {"first": "finished", "second": "reused"}


def test_it_is_said_why_a_step_runs_again(job: TinyJob) -> None:
    job.inputs["letter"] = "y"
    first(job)["command"] += " "
    job.run()
    assert "first: started, its command and parameters changed" in job.said
    assert "second: started, its data changed" in job.said


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


def test_one_step_alone_leaves_a_result_that_is_reused(job: TinyJob) -> None:
    job.inputs["letter"] = "y"
    assert job.run(only="first").succeeded
    assert job.statuses(job.run()) == {"first": "reused", "second": "finished"}


def test_no_value_of_a_variable_is_written_beside_the_outputs(job: TinyJob) -> None:
    first(job)["environment_variables"] = {"X": "do not write me"}
    job.run()
    assert "do not write me" not in (job.work / "first/succeeded.json").read_text()


def test_a_component_says_that_it_is_not_deterministic(tmp_path: Path) -> None:
    job = TinyJob(tmp_path)
    for name, reuse in (("always", False), ("once", True)):
        job.step(name, "true", {"x": FOLDER})
        step = job.steps[name]
        component = {key: step.pop(key) for key in ("code", "command", "environment", "outputs")}
        step["component"] = component | {"type": "command", "is_deterministic": reuse}
    job.run()
    assert job.statuses(job.run()) == {"always": "finished", "once": "reused"}
    assert "always: started, it is never reused" in job.said


class Knowing(NoTracking):
    """A server that knows a champion, or does not answer (None)."""

    def __init__(self, champion: str | None) -> None:
        self.now = champion

    def champion(self, model: str) -> str | None:
        return self.now if model == "the model" else None


def compared(job: TinyJob, champion: str | None) -> str:
    """Run a step that compares with the champion, and say how it ended."""
    first(job)["is_deterministic"] = False
    of = ReadChampion("the model", ["first"])
    return job.statuses(job.run(tracking=Knowing(champion), champion=of))["first"]


def test_a_step_that_reads_the_champion_is_reused_while_that_is_the_same(tmp_path: Path) -> None:
    job = in_a_row(tmp_path)
    given = ["none yet", "none yet", "a", "a", "b", None, "b", "b"]
    run, reused = "finished", "reused"
    assert [compared(job, champion) for champion in given] == [
        run, reused, run, reused, run, run, run, reused,
    ]  # fmt: skip
    assert compared(job, "c") == run
    assert "first: started, its champion changed" in job.said


def test_what_is_not_known_to_read_the_champion_alone_is_never_reused(tmp_path: Path) -> None:
    job = in_a_row(tmp_path)
    assert [compared(job, "a") for _ in range(2)] == ["finished", "reused"]
    of_another = ReadChampion("the model", ["second"])
    verdict = job.run(tracking=Knowing("a"), champion=of_another)
    assert job.statuses(verdict)["first"] == "finished"
    assert "first: started, it is never reused" in job.said
