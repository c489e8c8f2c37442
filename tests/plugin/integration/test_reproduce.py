"""``reproduce``: the same scores from the commit, the data and the parameters of an earlier run."""

import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from kedro_azure_mlops.cli import main
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.reproduce.plan import Command
from tests.plugin.helpers import Project
from tests.plugin.history import SHA, History, Reproduce

NAME = "plant"


def test_the_printed_commands_make_the_same_scores(history: History, reproduce: Reproduce) -> None:
    before = history.state()
    status, commands, errors = reproduce(history.run)
    assert (status, errors) == (0, "")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    terminal = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW")} | {"PATH": path}
    subprocess.run(["bash", "-euc", commands], check=True, env=terminal, cwd=history.project.path)
    folder = history.project.path / "build/reproduce" / history.run
    client = mlflow.MlflowClient(f"sqlite:///{(folder / 'mlruns.db').as_posix()}")
    (reproduced,) = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    assert reproduced.data.tags["scores.digest"] == history.tags(history.run)["scores.digest"]
    assert history.state() == before
    assert history.tags(history.run)["scores.digest"] in commands


def test_go_reproduces_a_job_in_steps_and_compares_its_scores(
    history: History, reproduce: Reproduce, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, text, _ = reproduce(history.job, "--go")
    assert status == 0, text
    assert f"the same scores as run {history.step}" in text
    assert "train_fraction=0.5" in text
    assert "git worktree remove" not in text
    # The commands have just been run, so only the changed tag makes the scores differ.
    monkeypatch.setattr(Command, "run", lambda *_: None)
    recorded = history.tags(history.step)["scores.digest"]
    history.client.set_tag(history.step, "scores.digest", SHA)
    status, text, _ = reproduce(history.step, "--go")
    history.client.set_tag(history.step, "scores.digest", recorded)
    assert status == 1
    assert f"then {SHA}" in text
    assert recorded in text
    assert f"git worktree remove --force build/reproduce/{history.step}" in text


@pytest.mark.parametrize("program", ["false", "no-such-program"])
def test_a_failing_command_is_reported(tmp_path: Path, program: str) -> None:
    (tmp_path / "a b").mkdir()
    command = Command((program, "x y"), "a b", {"A": "1"})
    with pytest.raises(OperationError, match="This command failed") as error:
        command.run(tmp_path)
    assert str(error.value).endswith(f"\n(cd 'a b' && env A=1 {program} 'x y')")


def test_a_command_does_not_inherit_the_variables_of_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_RUN_ID", "BIND__x", "RANK", "PYTHONPATH", "KEPT"):
        monkeypatch.setenv(name, "1")
    Command(("bash", "-c", "env > seen"), variables={"OWN": "2"}).run(tmp_path)
    seen = (tmp_path / "seen").read_text(encoding="utf-8").splitlines()
    assert {"KEPT=1", "OWN=2"} <= set(seen)
    assert not [
        line for line in seen if line.startswith(("MLFLOW_RUN_ID", "BIND_", "RANK", "PYTHONPATH"))
    ]


def test_an_unknown_run_is_refused(history: History, reproduce: Reproduce) -> None:
    status, _, error = reproduce(SHA[:32])
    assert status == 2
    assert f"{SHA[:32]} cannot be read" in error
    assert "MLFLOW_TRACKING_URI" in error


def test_a_missing_store_is_reported_and_not_created(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.path / "mlruns.db").unlink()
    monkeypatch.chdir(project.path)
    assert main(["reproduce", "--run", SHA[:32]]) == 2
    assert "No run is tracked" in capsys.readouterr().err
    assert not (project.path / "mlruns.db").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"git__commit": None}, "has no commit"),
        ({"git__commit": SHA[:40]}, "is not in this clone: fetch it with git fetch"),
        ({"git__dirty": "true"}, "To try without them, add --anyway"),
        ({"scores__digest": None}, "has no scores.digest"),
        ({"data__from_earlier_runs": "clean_hours"}, "started from clean_hours"),
        ({"data__file__raw_hours": SHA}, "raw_hours was data/raw/hours.csv with SHA-256 0123"),
    ],
    ids=["no commit", "other clone", "dirty", "no scores", "part of a run", "other data"],
)
def test_a_run_that_cannot_be_reproduced_is_refused(
    history: History, reproduce: Reproduce, changes: dict[str, str | None], message: str
) -> None:
    status, printed, error = reproduce(history.clone(history.run, **changes))
    assert (status, printed) == (2, "")
    assert message in error
    assert reproduce(history.clone(history.run))[0] == 0


def test_either_a_run_or_a_job_is_required(
    history: History, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(history.project.path)
    for arguments in ([], ["--run", "a", "--job", "b"]):
        assert main(["reproduce", *arguments]) == 2
        assert "give either --run ID or --job NAME" in capsys.readouterr().err


def test_a_project_without_configured_scores_cannot_be_compared(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.configure("local", "mlops.yml", "tracking: {scores: null}\n")
    monkeypatch.chdir(project.path)
    assert main(["reproduce", "--run", SHA[:32]]) == 2
    assert "tracking.scores in conf/base/mlops.yml names no catalog entry" in (
        capsys.readouterr().err
    )


def test_anyway_ignores_uncommitted_changes(history: History, reproduce: Reproduce) -> None:
    status, commands, _ = reproduce(history.clone(history.run, git__dirty="true"), "--anyway")
    assert status == 0
    assert "git worktree add" in commands
