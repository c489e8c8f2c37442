"""``kedro run`` as a person types it: what it prints and its exit status."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project

from {{ cookiecutter.package_name }}.cli import run

from operation.execution.__main__ import main
from operation.tests.helpers import ROOT, Project


def kedro_run(project: Project, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.chdir(project.path)
    bootstrap_project(project.path)
    return CliRunner().invoke(run, arguments)


def test_a_run_ends_with_its_report(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    result = kedro_run(project, monkeypatch, "--params", "detector.n_estimators=10")
    assert result.exit_code == 0
    assert "13,824 readings of 4 sensor(s) from data/raw/temperatures.csv" in result.output
    assert "Held out: 5,532 readings" in result.output
    assert "Gate: PASSED" in result.output


@pytest.mark.parametrize(
    ("parameters", "exit_code", "message"),
    [
        ("raw_file=data/raw/none.csv", 2, "There is no file data/raw/none.csv"),
        ("raw_file=data/raw/bad.csv", 1, "data/raw/bad.csv: 1 of 2 readings cannot be used"),
        ("train_row=5", 2, "there is no parameter train_row. Did you mean train_rows?"),
        ("detector.seed=abc", 2, "Parameter 'detector'"),
        ("detector.refit_every=often", 2, "often"),
        ("train_fraction=2", 2, "train_fraction=2: give a number between 0 and 1"),
    ],
)
def test_what_a_person_can_mend_is_said_without_a_traceback(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    parameters: str,
    exit_code: int,
    message: str,
) -> None:
    project.write("bad.csv", "timestamp,temperature\n2024-01-01,1\n2024-01-02,hot\n")
    result = kedro_run(project, monkeypatch, "--params", parameters)
    assert result.exit_code == exit_code
    assert message in result.output
    assert isinstance(result.exception, SystemExit), "no bug, which would keep its traceback"
    assert not project.processed("model").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env", "stagee"], "stagee"),
        (["--pipelines", "metrcs"], "There is no pipeline metrcs; see: kedro registry list"),
        (["--runner", "ParallelRunner"], "--runner ThreadRunner"),
    ],
    ids=["environment", "pipeline", "runner"],
)
def test_a_wrong_option_is_said_without_a_traceback(
    project: Project, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    result = kedro_run(project, monkeypatch, *arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_threads_give_the_same_metrics(
    project: Project, ran: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kedro_run(project, monkeypatch, "--runner", "ThreadRunner").exit_code == 0
    assert project.metrics() == pytest.approx(ran.metrics())


def test_a_step_without_its_input_is_said_without_a_traceback(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = kedro_run(project, monkeypatch, "--pipelines", "data_science")
    assert result.exit_code == 2
    assert "train.parquet" in result.output


def test_a_bug_keeps_its_traceback(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(**_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("kedro.framework.cli.project.run.callback", bug)
    result = kedro_run(project, monkeypatch)
    assert isinstance(result.exception, KeyError)


def test_the_gate_verb_answers_with_its_exit_status(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.path)
    assert main(["gate"]) == 2
    assert "no run has reached the gate" in capsys.readouterr().err
    project.run(detector={"n_estimators": 10})
    assert main(["gate"]) == 0
    assert "Gate: PASSED" in capsys.readouterr().out
    assert main(["gate", "--env", "prod"]) == 2
    assert "not of" in capsys.readouterr().err
    assert main(["gate", "--env", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
    project.run(gate={"minimum": {"average_precision": 0.99}})
    assert main(["gate"]) == 1
    assert "Gate: REFUSED" in capsys.readouterr().out


def test_nothing_is_reported_to_anybody() -> None:
    code = """
import os
from {{ cookiecutter.package_name }} import settings
print(os.environ["MLFLOW_DISABLE_TELEMETRY"], *settings.DISABLE_HOOKS_FOR_PLUGINS)
"""
    asked = {k: v for k, v in os.environ.items() if k != "MLFLOW_DISABLE_TELEMETRY"}
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env=asked | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"true", "kedro-telemetry"} <= set(answer.stdout.split())
    assert "consent: false" in (ROOT / ".telemetry").read_text(encoding="utf-8").splitlines()


def test_an_unknown_verb_is_refused_with_the_ones_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["gait"])
    assert end.value.code == 2
    assert "gate" in capsys.readouterr().err
