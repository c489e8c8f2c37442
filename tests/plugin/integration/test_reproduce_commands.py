"""The commands that ``reproduce`` prints for different types of runs."""

from pathlib import Path

import mlflow
import pytest

from kedro_azure_mlops.cli import main
from tests.plugin.helpers import Project
from tests.plugin.history import SHA, History, Reproduce, git


def test_other_versions_of_packages_are_a_warning(history: History, reproduce: Reproduce) -> None:
    lock = history.project.path / "requirements/run.txt"
    text = lock.read_text(encoding="utf-8")
    head = git(history.project.path, "rev-parse", "HEAD")
    lock.write_text("mlflow==1.0 \\\n    --hash=sha256:0\nnot-here==2.0\n", encoding="utf-8")
    git(history.project.path, "commit", "-q", "-a", "-m", "older packages")
    older = git(history.project.path, "rev-parse", "HEAD")
    git(history.project.path, "reset", "-q", "--hard", head)
    assert lock.read_text(encoding="utf-8") == text
    status, commands, warning = reproduce(history.clone(history.run, git__commit=older))
    assert status == 0
    assert f"mlflow 1.0 (here {mlflow.__version__}), not-here 2.0 (here none)" in warning
    assert "uv venv build/reproduce/" in warning
    assert older in commands


def test_the_filters_of_a_run_are_repeated(history: History, reproduce: Reproduce) -> None:
    run = history.clone(history.run, kedro__filters="--to-nodes=predict", kedro__pipelines="a,b")
    _, commands, _ = reproduce(run)
    assert "kedro run --env local --to-nodes=predict --pipelines a,b)" in commands


def test_a_second_attempt_has_its_own_parameters(history: History, reproduce: Reproduce) -> None:
    run = history.clone(history.run, kedro__attempt="2")
    _, commands, _ = reproduce(run)
    folder = f"build/reproduce/{run}/conf/local"
    assert f"--artifact-path attempt_2/parameters.yml --dst-path {folder}\n" in commands
    assert f"mv {folder}/attempt_2/parameters.yml {folder}/parameters.yml\n" in commands


def test_a_project_may_be_in_a_subfolder_of_a_repository(
    tmp_path: Path, database: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    project = Project.copy_to(tmp_path / "some" / "where", database)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit = {"git.commit": git(tmp_path, "rev-parse", "HEAD")}
    tags = commit | {"scores.digest": SHA, "kedro.env": "dev", "kedro.pipelines": "__default__"}
    run = project.client().create_run("0", tags=tags).info.run_id
    monkeypatch.chdir(project.path)
    assert main(["reproduce", "--run", run]) == 0
    commands = capsys.readouterr().out.splitlines()
    inside = f"build/reproduce/{run}/some/where"
    assert f"git worktree add --force --detach build/reproduce/{run} {commit['git.commit']}" in (
        commands
    )
    assert f"rm {inside}/conf/dev/parameters.yml" not in commands
    assert any(command.startswith(f"(cd {inside} && env MLFLOW") for command in commands)


def test_other_parameter_files_are_removed(history: History, reproduce: Reproduce) -> None:
    more = history.project.path / "conf/local/parameters_more.yml"
    head = git(history.project.path, "rev-parse", "HEAD")
    more.write_text("train_fraction: 0.4\n", encoding="utf-8")
    git(history.project.path, "add", "-f", str(more))
    git(history.project.path, "commit", "-q", "-m", "more parameters")
    newest = git(history.project.path, "rev-parse", "HEAD")
    git(history.project.path, "reset", "-q", "--hard", head)
    run = history.clone(history.run, git__commit=newest)
    _, commands, _ = reproduce(run)
    folder = f"build/reproduce/{run}/conf/local"
    assert f"rm {folder}/parameters_more.yml" in commands.splitlines()
    assert "parameters_more.yml" not in reproduce(history.run)[1]


def test_the_tags_of_a_cloud_job_name_its_data_and_parameters(
    history: History, reproduce: Reproduce
) -> None:
    """The step that had prepared the data was reused, so it has no run in this job."""
    recorded = history.tags(history.run)
    digest = recorded["data.file.raw_hours"]
    submitted = {
        "git.commit": recorded["git.commit"],
        "git.dirty": "false",
        "params": "train_fraction=0.4,model__arguments__alpha=7,model_name=other",
        "data.raw_hours": f"raw_hours:{digest[:20]}",
        "data.digest.raw_hours": digest,
    }
    job = history.client.create_run("0", tags=submitted).info.run_id
    step = history.clone(history.step, mlflow__parentRunId=job, kedro__params="model_name=another")
    status, commands, _ = reproduce(job)
    assert status == 0
    hours = history.project.path / "data/raw/hours.csv"
    assert f"build/reproduce/{step}" in commands
    assert f"BIND__raw_hours={hours} kedro run" in commands
    other = history.client.create_run("0", tags={"mlflow.parentRunId": job}).info.run_id
    assert reproduce(other)[1] == commands
    parameters = "train_fraction=0.4,model.arguments.alpha=7,model_name=another"
    assert f"--to-outputs predictions --params {parameters})" in commands
