"""The verb ``local`` on the project itself: its result, its runs in MLflow, its failures."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from operation.execution.__main__ import main
from operation.tests.helpers import ROOT, Project, new_shell

NAME = "{{ cookiecutter.project_slug }}-dev"
BAD_DATA = ROOT / "operation/tests/data_validation/fixtures/wrong_columns.csv"
STEPS = {
    "prepare": {"pipelines": ["pre_processing", "data_engineering"]},
    "train": {"pipelines": ["data_science", "metrics"]},
}
# for a test, many trees are only slow
PARAMETERS = json.dumps({"model_name": NAME, "detector": {"n_estimators": 10}})


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    """A project in git whose job of two steps has run here once."""
    project = Project.copy_to(tmp_path_factory.mktemp("local") / "project", database)
    (project.path / ".gitignore").write_text("build/\nmlruns.db\n", encoding="utf-8")
    project.configure("dev", "azureml.yml", json.dumps({"steps": STEPS}))  # JSON is YAML
    project.configure("dev", "parameters.yml", PARAMETERS)
    for words in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "-m", "first"]):
        who = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
        subprocess.run(["git", *who, *words], cwd=project.path, check=True)
    ran = project.verb("local", "--env", "dev")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return project


def outputs_of_train(project: Project) -> Path:
    return project.path / "build/local/dev/train/outputs"


def runs(project: Project) -> list:
    client = project.client()
    experiment = client.get_experiment_by_name(NAME)
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])


def test_the_job_makes_what_kedro_run_makes(local: Project, project: Project) -> None:
    project.configure("dev", "parameters.yml", PARAMETERS)
    project.run(env="dev")
    for name in ("scores.csv", "comparison.csv", "metrics.json"):
        made = outputs_of_train(local) / Path(name).stem / name
        assert made.read_bytes() == project.processed(name).read_bytes()
    gate = json.loads((outputs_of_train(local) / "gate/gate.json").read_text(encoding="utf-8"))
    origin, expected = gate.pop("origin"), project.gate()
    assert origin["data.fingerprint"] == expected.pop("origin")["data.fingerprint"]
    assert gate == expected
    assert (outputs_of_train(local) / "detector/MLmodel").is_file()


def test_nothing_is_written_where_kedro_run_would_write(local: Project) -> None:
    assert not (local.path / "data/processed").exists()
    assert not (local.path / "data/interim").exists()


def test_each_step_has_a_run_below_that_of_the_job(local: Project) -> None:
    job, *steps = runs(local)[:3]
    assert [step.info.run_name for step in steps] == list(STEPS)
    assert {step.data.tags["mlflow.parentRunId"] for step in steps} == {job.info.run_id}
    assert {run.info.status for run in (job, *steps)} == {"FINISHED"}
    assert "average_precision" in steps[1].data.metrics
    commit = job.data.tags["git.commit"]
    assert {step.data.tags["git.commit"] for step in steps} == {commit}
    assert len(job.data.tags["data.raw_temperatures"]) == 64
    version = local.client().get_model_version_by_alias(NAME, "champion")
    assert version.run_id in {step.info.run_id for step in steps}


def test_a_second_run_makes_nothing_anew_that_cannot_have_changed(local: Project) -> None:
    before = len(runs(local))
    again = local.verb("local", "--env", "dev")
    assert again.returncode == 0
    reused = [line for line in again.stdout.splitlines() if ": reused," in line]
    assert [line.split(":")[0] for line in reused] == ["prepare"]
    # it asks for the champion, which changes by itself
    assert [run.info.run_name for run in runs(local)[before:]][1:] == ["train"]


def test_any_parameter_can_be_given_for_once(local: Project) -> None:
    compiled = local.path / "build/azureml/dev.yml"
    before = compiled.read_bytes()
    step = ("--step", "prepare", "--params", "validation.minimum=-50")
    ran = local.verb("local", "--env", "dev", *step)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    log = (local.path / "build/local/dev/prepare/log.txt").read_text(encoding="utf-8")
    assert "validation.minimum=-50" in log.splitlines()[0]
    assert compiled.read_bytes() == before


def test_a_failed_step_is_repeated_by_the_command_that_is_shown(local: Project) -> None:
    failed = local.verb("local", "--env", "dev", "--input", f"raw_temperatures={BAD_DATA}")
    assert failed.returncode == 1
    command = f"local --env dev --input raw_temperatures={BAD_DATA} --step prepare"
    assert f"python -m operation.execution {command}" in failed.stdout
    again = local.verb(*command.split())
    assert again.returncode == 1
    assert "prepare ! " in again.stdout
    assert [run.info.status for run in runs(local)[-2:]] == ["FAILED", "FAILED"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--step", "gone"], "no step gone; the steps are: prepare, train"),
        (["--from-outputs", "x"], "--from-outputs DIR goes with --step NAME"),
        (["--params", "gone=1"], "there is no parameter gone"),
        (["--input", "labels"], "--input labels: write NAME=PATH"),
        (["--file", "gone.yml"], "no job file gone.yml"),
    ],
)
def test_what_cannot_be_tried_is_said(
    local: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(local.path)
    assert main(["local", "--env", "dev", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_ends_the_verb_ends_the_job(project: Project, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "operation.execution", "local", "--env", "dev"],
        cwd=project.path,
        env=new_shell(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
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
