"""Git's lock on the index names its update, so that later ones recognise a dead process."""

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.processes import Process
from kedro_azure_mlops.update.git import Repository
from kedro_azure_mlops.update.journal import drop_dead_lock
from kedro_azure_mlops.update.worktree import HOLDER, Index, lock_of


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    identity = ("-c", "user.name=A", "-c", "user.email=a@localhost")
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    for arguments in (["init", "-q"], ["add", "a.txt"], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    return Repository.around(tmp_path)


def write_lock(repository: Repository, process: Process) -> None:
    text = f"{HOLDER} {json.dumps(process.tags())}\n"
    lock_of(repository).write_text(text, encoding="utf-8")


def ended_process() -> Process:
    child = subprocess.Popen(["git", "--version"], stdout=subprocess.DEVNULL)
    process = Process.here(child.pid)
    child.wait()
    return process


def test_the_lock_of_a_running_update_is_respected_and_named(repository: Repository) -> None:
    with (
        Index(repository),
        pytest.raises(OperationError, match="another update is running") as error,
    ):
        drop_dead_lock(repository)
    assert str(lock_of(repository)) in str(error.value)
    assert not lock_of(repository).exists()


def test_the_lock_of_an_update_that_ended_is_removed(repository: Repository) -> None:
    write_lock(repository, ended_process())
    drop_dead_lock(repository)
    assert not lock_of(repository).exists()


def test_a_reused_process_id_does_not_hold_the_lock(repository: Repository) -> None:
    write_lock(repository, dataclasses.replace(Process.me(), started="at another time"))
    drop_dead_lock(repository)
    assert not lock_of(repository).exists()


def test_a_process_of_another_machine_counts_as_running(repository: Repository) -> None:
    write_lock(repository, dataclasses.replace(ended_process(), machine="another"))
    with pytest.raises(OperationError, match="another update is running"):
        drop_dead_lock(repository)
    assert lock_of(repository).exists()


def test_a_partial_lock_is_removed_but_a_lock_of_git_is_not(
    repository: Repository,
) -> None:
    lock_of(repository).write_text(f"{HOLDER} {{", encoding="utf-8")
    drop_dead_lock(repository)
    assert not lock_of(repository).exists()
    lock_of(repository).touch()
    drop_dead_lock(repository)
    assert lock_of(repository).exists()
