"""Git's lock on the index says which update holds it, so that a later one knows a dead process."""

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
    who = ("-c", "user.name=A", "-c", "user.email=a@localhost")
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    for words in (["init", "-q"], ["add", "a.txt"], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return Repository.around(tmp_path)


def hold(repository: Repository, process: Process) -> None:
    text = f"{HOLDER} {json.dumps(process.tags())}\n"
    lock_of(repository).write_text(text, encoding="utf-8")


def ended() -> Process:
    child = subprocess.Popen(["git", "--version"], stdout=subprocess.DEVNULL)
    process = Process.here(child.pid)
    child.wait()
    return process


def test_the_lock_of_a_running_update_is_respected_and_named(repository: Repository) -> None:
    with (
        Index(repository),
        pytest.raises(OperationError, match="another update is running") as found,
    ):
        drop_dead_lock(repository)
    assert str(lock_of(repository)) in str(found.value)
    assert not lock_of(repository).exists()


def test_the_lock_of_an_update_that_ended_is_removed(repository: Repository) -> None:
    hold(repository, ended())
    drop_dead_lock(repository)
    assert not lock_of(repository).exists()


def test_another_process_of_the_same_number_does_not_hold_it(repository: Repository) -> None:
    hold(repository, dataclasses.replace(Process.me(), started="at another time"))
    drop_dead_lock(repository)
    assert not lock_of(repository).exists()


def test_a_process_of_another_machine_is_not_taken_for_dead(repository: Repository) -> None:
    hold(repository, dataclasses.replace(ended(), machine="another"))
    with pytest.raises(OperationError, match="another update is running"):
        drop_dead_lock(repository)
    assert lock_of(repository).exists()


def test_a_lock_that_was_half_written_is_removed_and_that_of_git_is_not(
    repository: Repository,
) -> None:
    lock_of(repository).write_text(f"{HOLDER} {{", encoding="utf-8")
    drop_dead_lock(repository)
    assert not lock_of(repository).exists()
    lock_of(repository).touch()
    drop_dead_lock(repository)
    assert lock_of(repository).exists()
