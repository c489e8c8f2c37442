"""Runs that would meet on the same places, and runs that would not."""

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

_CHILD = """
import os, signal, sys
from pathlib import Path
from kedro_azure_mlops.running import claim
held = claim(Path(sys.argv[1]), writes=[sys.argv[2]])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_who_would_write_the_same_is_refused_and_who_is_at_work_is_named(tmp_path: Path) -> None:
    places = [str(tmp_path / name) for name in ("a.csv", "b.csv")]
    with claim(tmp_path, writes=places), pytest.raises(BusyError) as refusal:
        claim(tmp_path, writes=places)
    message = str(refusal.value)
    assert f"process {os.getpid()} on {os.uname().nodename}, since 20" in message
    assert Path(sys.argv[0]).parent.name in message or Path(sys.argv[0]).name in message
    assert "It writes a.csv and 1 more that this run writes too." in message
    assert message.endswith("Nothing was run."), "this process would wait for itself"
    claim(tmp_path, writes=places).release()


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
def test_places_that_meet(
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
def test_places_that_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: dict, second: dict
) -> None:
    monkeypatch.chdir(tmp_path)
    with claim(tmp_path, **{"writes": [], **first}), claim(tmp_path, **{"writes": [], **second}):
        pass


def test_the_first_one_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WAIT, "1")
    first, said = claim(tmp_path, writes=["a"]), []
    begun = threading.Event()

    def wait() -> None:
        def say(text: str) -> None:
            said.append(text)
            begun.set()

        with claim(tmp_path, writes=["a"], say=say):
            said.append("mine")

    second = threading.Thread(target=wait)
    second.start()
    assert begun.wait(60)
    assert said[0].startswith("Waiting for another run: `")
    assert len(said) == 1
    first.release()
    second.join(60)
    assert said[1:] == ["mine"]


@pytest.mark.parametrize("text", ["0", "no", "False"])
def test_a_variable_says_not_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(WAIT, text)
    with (
        claim(tmp_path, writes=["a"]),
        monkeypatch.context() as elsewhere,
        pytest.raises(BusyError, match="Type the command again when it has ended"),
    ):
        elsewhere.delenv("KEDRO_MLOPS_WITHIN")
        elsewhere.setattr("os.getpid", lambda: 1)  # as if from another process
        claim(tmp_path, writes=["a"])


def test_a_run_does_not_wait_for_the_one_that_started_it(tmp_path: Path) -> None:
    program = "from pathlib import Path; from kedro_azure_mlops.running import claim; "
    command = [sys.executable, "-c", f"{program}claim(Path(), writes=['a'])"]
    with claim(tmp_path, writes=[str(tmp_path / "a")]):
        inner = subprocess.run(
            command, cwd=tmp_path, env=new_shell(), capture_output=True, text=True, check=False
        )
    assert "Nothing was run." in inner.stderr
    assert "KEDRO_MLOPS_WITHIN" not in os.environ
    subprocess.run(command, cwd=tmp_path, env=new_shell(), check=True)


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    place = str(tmp_path / "a")
    command = [sys.executable, "-c", _CHILD, str(tmp_path), place]
    killed = subprocess.run(command, env=new_shell(), check=False)
    assert killed.returncode == -9
    (record,) = (tmp_path / FOLDER).glob("*.json")
    with claim(tmp_path, writes=[place]):
        assert not record.exists()


def test_nothing_is_left_and_git_sees_nothing_meanwhile(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    status = ["git", "-C", str(tmp_path), "status", "--porcelain", "--untracked-files=all"]
    with claim(tmp_path, writes=["a"]), claim(tmp_path, writes=["b"]):
        assert len(list((tmp_path / FOLDER).glob("*.json"))) == 2
        assert subprocess.run(status, capture_output=True, check=True).stdout == b""
    assert sorted(path.name for path in tmp_path.iterdir()) == [".git"]


def test_what_else_lies_in_the_build_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "mine").touch()
    claim(tmp_path, writes=["a"]).release()
    assert [path.name for path in (tmp_path / "build").iterdir()] == ["mine"]


def test_a_record_that_cannot_be_read_is_in_nobodys_way(tmp_path: Path) -> None:
    with claim(tmp_path, writes=["a"]):
        (record,) = (tmp_path / FOLDER).glob("*.json")
        record.write_text('{"of": "a newer release"}', encoding="utf-8")
        claim(tmp_path, writes=["a"]).release()


def test_a_project_that_cannot_be_written_has_no_claims(tmp_path: Path) -> None:
    (tmp_path / "build").write_text("a file", encoding="utf-8")
    with claim(tmp_path, writes=["a"]), claim(tmp_path, writes=["a"]):
        assert (tmp_path / "build").read_text(encoding="utf-8") == "a file"


def test_the_command_is_shown_without_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = "hunter2" * 3
    typed = ["/x/kedro/__main__.py", "run", "--params", f"password={hidden}"]
    monkeypatch.setattr(sys, "argv", typed)
    with claim(tmp_path, writes=["a"]), pytest.raises(BusyError) as refusal:
        claim(tmp_path, writes=["a"])
    assert "`python -m kedro run --params" in str(refusal.value)
    assert hidden not in str(refusal.value)


def test_the_places_of_datasets(tmp_path: Path) -> None:
    inside = tmp_path.as_posix()
    assert place_of(CSVDataset(filepath=f"{inside}/a.csv")) == f"{inside}/a.csv"
    assert str(place_of(CSVDataset(filepath="memory://b/a.csv"))).startswith("memory://")
    assert place_of(ModelDataset(filepath=f"{inside}/model")) == f"{inside}/model"
    assert place_of(TrainedModel(path=f"{inside}/model")) == f"{inside}/model"
    parts = PartitionedDataset(path=f"{inside}/parts", dataset="pandas.CSVDataset")
    assert place_of(parts) == f"{inside}/parts"
    assert place_of(MemoryDataset()) is None
