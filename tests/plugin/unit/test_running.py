"""Runs that conflict because they use the same files, and runs that do not."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from kedro.io import MemoryDataset
from kedro_datasets.pandas import CSVDataset
from kedro_datasets.partitions import PartitionedDataset

from kedro_azure_mlops.models import ModelDataset, TrainedModel
from kedro_azure_mlops.running import FOLDER, WAIT, BusyError, claim, place_of
from tests.plugin.helpers import new_shell

_KILLED = """
import os, signal, sys
from pathlib import Path
from kedro_azure_mlops.running import claim
held = claim(Path(sys.argv[1]), writes=[sys.argv[2]])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_conflicting_run_is_rejected_naming_the_running_one(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("a.csv", "b.csv")]
    with claim(tmp_path, writes=paths), pytest.raises(BusyError) as error:
        claim(tmp_path, writes=paths)
    message = str(error.value)
    assert f"process {os.getpid()} on {os.uname().nodename}, since 20" in message
    assert Path(sys.argv[0]).parent.name in message or Path(sys.argv[0]).name in message
    assert "It writes a.csv and 1 more that this run writes too." in message
    assert message.endswith("Nothing was run."), "this process would wait for itself"
    claim(tmp_path, writes=paths).release()


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        ({"writes": ["a"]}, {"writes": ["a"]}, "It writes a that this run writes too"),
        ({"writes": ["a"]}, {"reads": ["a"]}, "It writes a that this run reads"),
        ({"reads": ["a"]}, {"writes": ["a"]}, "It reads a that this run writes"),
        ({"writes": ["folder"]}, {"reads": ["folder/a"]}, "It writes folder/a that this"),
        ({"reads": ["folder/a"]}, {"writes": ["folder"]}, "It reads folder that this"),
        ({"writes": ["s3://x/a"]}, {"writes": ["s3://x/a"]}, "It writes s3://x/a that"),
        ({"writes": ["a"]}, {"writes": ["b/../a"]}, "It writes a that"),
    ],
    ids=str,
)
def test_conflicting_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: dict, second: dict, word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with claim(tmp_path, **{"writes": [], **first}), pytest.raises(BusyError, match=word):
        claim(tmp_path, **{"writes": [], **second})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"writes": ["a"]}, {"writes": ["b"]}),
        ({"writes": ["a"]}, {"writes": ["a.csv"]}),
        ({"writes": ["a"], "reads": ["raw"]}, {"writes": ["b"], "reads": ["raw"]}),
        ({"reads": ["a"]}, {"reads": ["a"]}),
        ({"writes": ["s3://x/a"]}, {"writes": ["s3://y/a"]}),
        ({"writes": ["a"]}, {}),
    ],
    ids=str,
)
def test_paths_that_do_not_conflict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: dict, second: dict
) -> None:
    monkeypatch.chdir(tmp_path)
    with claim(tmp_path, **{"writes": [], **first}), claim(tmp_path, **{"writes": [], **second}):
        pass


def test_the_second_run_waits_for_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WAIT, "1")
    first, lines = claim(tmp_path, writes=["a"]), []
    waiting = threading.Event()

    def wait() -> None:
        def say(text: str) -> None:
            lines.append(text)
            waiting.set()

        with claim(tmp_path, writes=["a"], say=say):
            lines.append("running")

    second = threading.Thread(target=wait)
    second.start()
    assert waiting.wait(60)
    assert lines[0].startswith("Waiting for another run: `")
    assert len(lines) == 1
    first.release()
    second.join(60)
    assert lines[1:] == ["running"]


@pytest.mark.parametrize("text", ["0", "no", "False"])
def test_waiting_can_be_switched_off_by_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(WAIT, text)
    with (
        claim(tmp_path, writes=["a"]),
        monkeypatch.context() as patch,
        pytest.raises(BusyError, match="Run the command again when it has ended"),
    ):
        patch.delenv("KEDRO_MLOPS_WITHIN")
        patch.setattr("os.getpid", lambda: 1)  # as if from another process
        claim(tmp_path, writes=["a"])


def test_a_run_does_not_wait_for_the_run_that_started_it(tmp_path: Path) -> None:
    program = "from pathlib import Path; from kedro_azure_mlops.running import claim; "
    command = [sys.executable, "-c", f"{program}claim(Path(), writes=['a'])"]
    with claim(tmp_path, writes=[str(tmp_path / "a")]):
        inner = subprocess.run(
            command, cwd=tmp_path, env=new_shell(), capture_output=True, text=True, check=False
        )
    assert "Nothing was run." in inner.stderr
    assert "KEDRO_MLOPS_WITHIN" not in os.environ
    subprocess.run(command, cwd=tmp_path, env=new_shell(), check=True)


def test_a_killed_process_holds_no_claim(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    command = [sys.executable, "-c", _KILLED, str(tmp_path), path]
    killed = subprocess.run(command, env=new_shell(), check=False)
    assert killed.returncode == -9
    (record,) = (tmp_path / FOLDER).glob("*.json")
    with claim(tmp_path, writes=[path]):
        assert not record.exists()


def test_claims_leave_no_files_and_are_ignored_by_git(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    status = ["git", "-C", str(tmp_path), "status", "--porcelain", "--untracked-files=all"]
    with claim(tmp_path, writes=["a"]), claim(tmp_path, writes=["b"]):
        assert len(list((tmp_path / FOLDER).glob("*.json"))) == 2
        assert subprocess.run(status, capture_output=True, check=True).stdout == b""
    assert sorted(path.name for path in tmp_path.iterdir()) == [".git"]


def test_other_files_in_the_build_folder_are_kept(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "mine").touch()
    claim(tmp_path, writes=["a"]).release()
    assert [path.name for path in (tmp_path / "build").iterdir()] == ["mine"]


def test_an_unreadable_record_does_not_block_a_run(tmp_path: Path) -> None:
    with claim(tmp_path, writes=["a"]):
        (record,) = (tmp_path / FOLDER).glob("*.json")
        record.write_text('{"of": "a newer release"}', encoding="utf-8")
        claim(tmp_path, writes=["a"]).release()


def test_without_write_access_there_are_no_claims(tmp_path: Path) -> None:
    (tmp_path / "build").write_text("a file", encoding="utf-8")
    with claim(tmp_path, writes=["a"]), claim(tmp_path, writes=["a"]):
        assert (tmp_path / "build").read_text(encoding="utf-8") == "a file"


def test_the_command_is_printed_without_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = "hunter2" * 3
    command = ["/x/kedro/__main__.py", "run", "--params", f"password={hidden}"]
    monkeypatch.setattr(sys, "argv", command)
    with claim(tmp_path, writes=["a"]), pytest.raises(BusyError) as error:
        claim(tmp_path, writes=["a"])
    assert "`python -m kedro run --params" in str(error.value)
    assert hidden not in str(error.value)


def test_the_paths_of_datasets(tmp_path: Path) -> None:
    inside = tmp_path.as_posix()
    assert place_of(CSVDataset(filepath=f"{inside}/a.csv")) == f"{inside}/a.csv"
    assert str(place_of(CSVDataset(filepath="memory://b/a.csv"))).startswith("memory://")
    assert place_of(ModelDataset(filepath=f"{inside}/model")) == f"{inside}/model"
    assert place_of(TrainedModel(path=f"{inside}/model")) == f"{inside}/model"
    parts = PartitionedDataset(path=f"{inside}/parts", dataset="pandas.CSVDataset")
    assert place_of(parts) == f"{inside}/parts"
    assert place_of(MemoryDataset()) is None
