"""The command ``local`` on the project itself: its result, its runs in MLflow, its failures."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import pytest

from kedro_azure_mlops.cli import main
from kedro_azure_mlops.contract import digest
from kedro_azure_mlops.models import load_model
from tests.plugin.helpers import Project, new_shell

NAME = "plant-dev"
STEPS = {
    "prepare": {"pipelines": ["prepare"]},
    "train": {"pipelines": ["train", "evaluate"]},
}


@dataclass
class Local:
    """A git project whose job of two steps runs in this process, each step in its own."""

    project: Project
    printed: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.project.path

    def local(self, *arguments: str) -> int:
        """Call ``local`` and keep the lines it prints."""
        self.printed.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.path)
            patch.setattr("kedro_azure_mlops.cli.local.show_log", self.printed.append)
            mlflow.set_tracking_uri(None)  # as in a new process
            return main(["local", "--env", "dev", *arguments])

    def outputs(self) -> Path:
        return self.path / "build/local/dev/train/outputs"

    def runs(self) -> list[Any]:
        return runs(self.project)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Iterator[Local]:
    """The project after one run of its job."""
    project = Project.copy_to(tmp_path_factory.mktemp("local") / "project", database)
    (project.path / ".gitignore").write_text("build/\nmlruns.db\n", encoding="utf-8")
    project.configure("dev", "azureml.yml", json.dumps({"steps": STEPS}))  # JSON is valid YAML
    for words in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "-m", "first"]):
        who = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
        subprocess.run(["git", *who, *words], cwd=project.path, check=True)
    git_project = Local(project)
    assert git_project.local() == 0, "\n".join(git_project.printed)
    yield git_project
    mlflow.set_tracking_uri(None)


def runs(project: Project) -> list[Any]:
    client = project.client()
    experiment = client.get_experiment_by_name(NAME)
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])


def test_the_job_makes_the_same_results_as_kedro_run(local: Local, project: Project) -> None:
    project.run(env="dev")
    for name in ("predictions.csv", "comparison.csv", "metrics.json"):
        made = local.outputs() / Path(name).stem / name
        assert made.read_bytes() == project.processed(name).read_bytes()
    gate = json.loads((local.outputs() / "gate/gate.json").read_text(encoding="utf-8"))
    origin, expected = gate.pop("origin"), project.gate()
    assert origin["data.fingerprint"] == expected.pop("origin")["data.fingerprint"]
    # the last bit of the coefficients depends on the memory address of an array
    assert gate.pop("digest") == digest(local.outputs() / "model")
    assert expected.pop("digest") == digest(project.processed("model"))
    assert gate == expected
    made, expected_model = (
        load_model(f) for f in (local.outputs() / "model", project.processed("model"))
    )
    assert made.coef_ == pytest.approx(expected_model.coef_, rel=1e-12)


def test_the_job_writes_nothing_into_the_data_folder(local: Local) -> None:
    assert [path.name for path in (local.path / "data").iterdir()] == ["raw"]


def test_each_step_has_a_run_nested_in_the_run_of_the_job(local: Local) -> None:
    job, *steps = local.runs()[:3]
    assert [step.info.run_name for step in steps] == list(STEPS)
    assert {step.data.tags["mlflow.parentRunId"] for step in steps} == {job.info.run_id}
    assert {run.info.status for run in (job, *steps)} == {"FINISHED"}
    assert "r2" in steps[1].data.metrics
    commit = job.data.tags["git.commit"]
    assert {step.data.tags["git.commit"] for step in steps} == {commit}
    assert len(job.data.tags["data.raw_hours"]) == 64
    version = local.project.client().get_model_version_by_alias(NAME, "champion")
    assert version.run_id in {step.info.run_id for step in steps}


def test_steps_are_reused_unless_their_inputs_or_the_champion_changed(local: Local) -> None:
    before = len(local.runs())
    assert local.local() == 0
    # it read the champion before there was one
    assert "train: started, its champion changed" in local.printed
    assert [run.info.run_name for run in local.runs()[before:]][1:] == ["train"]
    before = len(local.runs())
    assert local.local() == 0
    assert {name: f"{name}: reused," in "\n".join(local.printed) for name in STEPS} == {
        "prepare": True,
        "train": True,
    }
    assert len(local.runs()) == before


def test_the_printed_command_repeats_a_failed_step_with_its_parameters(
    local: Local, tmp_path: Path
) -> None:
    compiled = local.path / "build/azureml/dev.yml"
    before = compiled.read_bytes()
    bad = tmp_path / "bad.csv"
    bad.write_text("load\n1\n1,2,3\n", encoding="utf-8")
    parameters = "model.estimator=sklearn.linear_model.Lasso,raw_file=data/raw/hours.csv"
    options = ("--params", parameters, "--input", f"raw_hours={bad}")
    assert local.local(*options) == 1
    command = f"kedro mlops local --env dev {' '.join(options)} --step prepare"
    assert f"prepare: to repeat only this step, run: {command}" in local.printed
    assert local.local(*options, "--step", "prepare") == 1
    assert any(line.startswith("prepare ! ") for line in local.printed)
    assert [run.info.status for run in local.runs()[-2:]] == ["FAILED", "FAILED"]
    log = (local.path / "build/local/dev/prepare/log.txt").read_text(encoding="utf-8")
    assert "raw_file=data/raw/hours.csv" in log.splitlines()[0]
    assert "model.estimator" not in log.splitlines()[0], "only another step reads it"
    assert compiled.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--step", "gone"], "no step gone; the steps are: prepare, train"),
        (["--from-outputs", "x"], "--from-outputs DIR requires --step NAME"),
        (["--params", "gone=1"], "there is no parameter gone"),
        (["--input", "raw_hours"], "--input raw_hours: write NAME=PATH"),
        (["--file", "gone.yml"], "no job file gone.yml"),
        (["--job", "j", "--file", "gone.yml"], "--job cannot be combined with"),
    ],
)
def test_invalid_options_are_reported(
    local: Local, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert local.local(*arguments) == 2
    assert message in capsys.readouterr().err


def _end_by(number: signal.Signals) -> Callable[[], None]:
    """Make a signal end a process, even if this one ignores it (``nohup ... &``)."""
    return lambda: signal.signal(number, signal.SIG_DFL)  # type: ignore[func-returns-value]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_the_command_ends_the_job(project: Project, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "kedro_azure_mlops", "local", "--env", "dev"],
        cwd=project.path,
        env=new_shell(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_end_by(number),  # noqa: PLW1509 - no thread of this process holds a lock
    ) as process:
        for line in process.stdout or ():
            if line.startswith("pipeline | "):
                process.send_signal(number)
                break
        _, error = process.communicate()
    assert process.returncode == 130
    assert "local: interrupted" in error
    assert [run.info.status for run in runs(project)] == ["KILLED", "KILLED"]
    assert not (project.path / "build/local/dev/pipeline/succeeded.json").exists()
