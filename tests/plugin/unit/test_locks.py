"""File locks: one holder at a time, shared locks, and locks of killed processes."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kedro_azure_mlops.locks import alone, lock, open_alone, unlock
from tests.plugin.helpers import new_shell

_KILLED_HOLDER = """
import os, signal, sys
from pathlib import Path
from kedro_azure_mlops.locks import open_alone
held = open_alone(Path(sys.argv[1]))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_one_thread_at_a_time_holds_the_lock_and_each_gets_it(tmp_path: Path) -> None:
    inside, most, total = 0, 0, 0

    def acquire_repeatedly() -> None:
        nonlocal inside, most, total
        for _ in range(5):
            with alone(tmp_path / "lock"):
                inside += 1
                most = max(most, inside)
                total += 1
                inside -= 1

    threads = [threading.Thread(target=acquire_repeatedly) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, total) == (1, 20)
    with pytest.raises(ValueError, match="inside"), alone(tmp_path / "lock"):
        raise ValueError("inside")
    assert list(tmp_path.iterdir()) == []
    for error in (FileNotFoundError, PermissionError):
        with pytest.raises(error), alone(tmp_path / "lock") as is_alone:
            assert is_alone
            raise error
    with alone(tmp_path / "no/such/folder/lock") as is_alone:
        assert not is_alone


def test_a_shared_lock_excludes_only_exclusive_ones(tmp_path: Path) -> None:
    path = tmp_path / "record"
    path.touch()
    with path.open("rb") as first, path.open("rb") as second, path.open("rb") as third:
        assert lock(first, shared=True, wait=False)
        assert lock(second, shared=True, wait=False)
        assert not lock(third, shared=False, wait=False)
        unlock(first)
        unlock(second)
        assert lock(third, shared=False, wait=False)
        assert not lock(first, shared=True, wait=False)


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED_HOLDER, str(path)], env=new_shell(), check=False
    ).returncode
    assert killed == -signal.SIGKILL
    assert path.exists(), "the killed process cannot remove it"
    with open_alone(path) as file:
        assert os.path.samestat(os.fstat(file.fileno()), path.stat())
