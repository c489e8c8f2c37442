"""Concurrent and killed runs of one project: the stored model is always the judged one."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from click import ClickException

from kedro_azure_mlops.contract import digest
from kedro_azure_mlops.hooks import hooks
from kedro_azure_mlops.running import FOLDER, BusyError, claim
from tests.plugin.helpers import Project

_KILLED = """
import os, signal, sys
from pathlib import Path
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
import {module} as module

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

{owner}.{name} = die
bootstrap_project(Path.cwd())
with KedroSession.create(project_path=Path.cwd()) as session:
    session.run(pipeline_names=["prepare", "train"])
"""


def kill_in(project: Project, module: str, name: str, owner: str = "module") -> None:
    """Run in a process that is killed when a function is called."""
    program = _KILLED.format(module=module, name=name, owner=owner)
    killed = project.python("-c", program)
    assert killed.returncode == -signal.SIGKILL, killed.stderr


def test_a_run_is_refused_while_another_one_writes_the_same_files(project: Project) -> None:
    model = str(project.processed("model"))
    with claim(project.path, writes=[model]):
        with pytest.raises(BusyError, match="It writes data/model that this run writes") as refusal:
            project.run()
        assert isinstance(refusal.value, ClickException)
        assert refusal.value.exit_code == 2
        assert not project.processed("clean_hours.parquet").exists()
        assert project.nothing_tracked()
        project.run("prepare")  # which writes other files
    project.run()
    assert project.gate()["digest"] == digest(project.processed("model"))


def test_a_run_that_reads_is_refused_while_its_data_is_written(project: Project) -> None:
    project.run("prepare")
    with (
        claim(project.path, writes=[str(project.processed("train.parquet"))]),
        pytest.raises(BusyError, match=r"It writes data/train\.parquet that this run reads"),
    ):
        project.run("train")
    with claim(project.path, writes=[], reads=[str(project.processed("train.parquet"))]):
        project.run("train")


def test_a_failed_run_releases_its_claim(project: Project) -> None:
    with pytest.raises(Exception, match="no_such_file"):
        project.run(raw_file="data/raw/no_such_file.csv")
    assert not (project.path / FOLDER).exists()
    with pytest.raises(Exception, match="there is no parameter"):
        project.run(no_such_parameter=1)
    claim(project.path, writes=[str(project.path)]).release()


def test_the_claim_of_an_interrupted_run_is_released_by_the_next_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "to_parquet", interrupt)
        with pytest.raises(KeyboardInterrupt):
            project.run("prepare")
    project.run("prepare")
    assert sorted(path.name for path in project.processed("x").parent.iterdir()) == [
        *("clean_hours.parquet", "cleaning_report.json", "raw", "test.parquet", "train.parquet"),
    ]


def test_a_project_without_mlops_yml_is_left_alone(project: Project) -> None:
    for file in (project.path / "conf").rglob("mlops.yml"):
        file.unlink()
    with claim(project.path, writes=[str(project.path)]):
        project.run("prepare")


def test_the_command_names_the_other_run_and_exits_with_2(project: Project) -> None:
    with claim(project.path, writes=[str(project.processed("model"))]):
        run = project.kedro("run")
    assert run.returncode == 2
    assert f"process {os.getpid()} on {os.uname().nodename}, since " in " ".join(run.stderr.split())
    assert "Traceback" not in run.stdout + run.stderr


def test_concurrent_first_runs_wait_for_one_another_and_succeed(project: Project) -> None:
    (project.path / "mlruns.db").unlink()
    with ThreadPoolExecutor() as pool:
        alphas = [f"model.arguments.alpha={alpha}" for alpha in (1, 2, 3)]
        futures = [pool.submit(project.kedro, "run", "--params", alpha) for alpha in alphas]
    for run in (one.result() for one in futures):
        assert run.returncode == 0, run.stdout + run.stderr
    assert project.gate()["digest"] == digest(project.processed("model"))
    versions = project.client().search_model_versions("name='plant'")
    assert len({version.tags["digest"] for version in versions}) == 3
    assert {version.tags["gate"] for version in versions} <= {"passed", "refused"}
    assert not (project.path / "build").exists()


def test_waiting_is_an_option_of_the_command(project: Project) -> None:
    assert hooks.waits is None
    from kedro_azure_mlops.cli.run import run

    (option,) = [one for one in run.params if one.name == "wait"]
    assert (option.opts, option.secondary_opts) == (["--wait"], ["--no-wait"])


def test_a_partial_model_of_a_killed_run_is_removed(project: Project) -> None:
    project.run()
    before = digest(project.processed("model"))
    kill_in(project, "kedro_azure_mlops.models", "normalise_folder")
    partial = project.processed("model.new")
    assert (partial / "MLmodel").exists()
    assert digest(project.processed("model")) == before
    project.run("evaluate")  # it reads the model, and does not write it
    assert project.gate()["digest"] == before
    project.run()
    assert not partial.exists()
    assert not (project.path / FOLDER).exists()


def test_a_run_that_is_killed_while_writing_keeps_the_earlier_table(project: Project) -> None:
    project.run()
    before = project.processed("clean_hours.parquet").read_bytes()
    kill_in(project, "kedro_azure_mlops.hooks.whole", "end", owner="module.WholeFiles")
    assert project.processed("clean_hours.parquet").read_bytes() == before
    partial: Path = project.processed(".clean_hours.new.parquet")
    assert partial.exists()
    project.run("prepare")
    assert not partial.exists()
