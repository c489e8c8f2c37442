"""``reproduce`` finds the very data that a run has read, or says which it was."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kedro_azure_mlops.azure import fetch
from kedro_azure_mlops.errors import OperationError
from tests.plugin.history import SHA, Ask, History


@pytest.fixture
def moved(history: History, tmp_path: Path) -> Iterator[Path]:
    """Put other rows in the place of those that the run has read."""
    raw = history.project.path / "data/raw/hours.csv"
    shutil.copy(raw, tmp_path / "kept.csv")
    raw.write_text("load,pressure,energy\n", encoding="utf-8")
    yield tmp_path / "kept.csv"
    shutil.copy(tmp_path / "kept.csv", raw)


def test_other_data_is_refused_until_the_file_is_named(
    history: History, ask: Ask, moved: Path
) -> None:
    status, _, complaint = ask(history.run)
    assert status == 2
    assert "raw_hours was data/raw/hours.csv with SHA-256" in complaint
    assert "Name the file of that time: --data PATH" in complaint
    status, commands, _ = ask(history.run, "--data", str(moved))
    assert status == 0
    place = f"build/reproduce/{history.run}.data/raw_hours/hours.csv"
    assert f"cp -r {moved} {place}\n" in commands
    assert f"BIND__raw_hours={history.project.path / place} " in commands


def test_a_file_that_the_run_has_not_read_is_refused(
    history: History, ask: Ask, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("load\n", encoding="utf-8")
    status, _, complaint = ask(history.run, "--data", str(other))
    assert status == 2
    assert "is not among the data of that run" in complaint
    status, _, complaint = ask(history.run, "--data", str(tmp_path / "none.csv"))
    assert status == 2
    assert f"--data names {tmp_path / 'none.csv'}, which does not exist" in complaint


@pytest.mark.usefixtures("moved")
def test_a_data_asset_is_fetched(
    history: History, ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = history.like(history.run, data__raw_hours="hours:4f2a")
    status, commands, _ = ask(run)
    target = f"build/reproduce/{run}.data/raw_hours/hours.csv"
    command = f"python -m kedro_azure_mlops.azure.fetch --env local hours:4f2a {target}"
    assert status == 0
    assert command in commands.splitlines()

    def download(env: str, name: str, version: str, folder: Path) -> Path:
        file = folder / version / "other.csv"
        file.parent.mkdir()
        file.write_text(f"{env} {name}", encoding="utf-8")
        return file

    monkeypatch.setattr(fetch, "download_asset", download)
    fetch.main(["--env", "dev", "hours:4f2a", str(tmp_path / "new" / "hours.csv")])
    assert (tmp_path / "new/hours.csv").read_text(encoding="utf-8") == "dev hours"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["hours.csv"]


def test_an_asset_that_cannot_be_had_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise OperationError("no such asset")

    monkeypatch.setattr(fetch, "download_asset", refuse)
    with pytest.raises(SystemExit) as end:
        fetch.main(["--env", "dev", "hours:4f2a", str(tmp_path / "hours.csv")])
    assert end.value.code == 2
    assert "fetch: no such asset" in capsys.readouterr().err


def test_data_behind_an_address_is_read_there_again_with_a_warning(
    history: History, ask: Ask
) -> None:
    run = history.like(
        history.run,
        data__path__raw_hours="abfs://raw@store/hours.csv",
        data__file__raw_hours=SHA,
    )
    status, commands, warning = ask(run)
    assert status == 0
    assert "BIND__raw_hours" not in commands
    assert "read from abfs://raw@store/hours.csv again" in warning


def test_nothing_known_about_the_data_is_a_warning(history: History, ask: Ask) -> None:
    without = {name: None for name in history.tags(history.run) if name.startswith("data.")}
    status, commands, warning = ask(
        history.like(history.run, **{name.replace(".", "__"): None for name in without})
    )
    assert status == 0
    assert "BIND__raw" not in commands
    assert "the data that the run read is not recorded" in warning
