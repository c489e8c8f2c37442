"""``reproduce`` finds the data that a run has read, or reports which data it was."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kedro_azure_mlops.azure import fetch
from kedro_azure_mlops.errors import OperationError
from tests.plugin.history import SHA, History, Reproduce


@pytest.fixture
def original_data(history: History, tmp_path: Path) -> Iterator[Path]:
    """A copy of the rows that the run has read, after the project's file was replaced."""
    raw = history.project.path / "data/raw/hours.csv"
    shutil.copy(raw, tmp_path / "kept.csv")
    raw.write_text("load,pressure,energy\n", encoding="utf-8")
    yield tmp_path / "kept.csv"
    shutil.copy(tmp_path / "kept.csv", raw)


def test_changed_data_is_refused_until_the_original_file_is_named(
    history: History, reproduce: Reproduce, original_data: Path
) -> None:
    status, _, error = reproduce(history.run)
    assert status == 2
    assert "raw_hours was data/raw/hours.csv with SHA-256" in error
    assert "Give the original file: --data PATH" in error
    status, commands, _ = reproduce(history.run, "--data", str(original_data))
    assert status == 0
    target = f"build/reproduce/{history.run}.data/raw_hours/hours.csv"
    assert f"cp -r {original_data} {target}\n" in commands
    assert f"BIND__raw_hours={history.project.path / target} " in commands


def test_a_file_that_the_run_has_not_read_is_refused(
    history: History, reproduce: Reproduce, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("load\n", encoding="utf-8")
    status, _, error = reproduce(history.run, "--data", str(other))
    assert status == 2
    assert "is not among the data of the run" in error
    status, _, error = reproduce(history.run, "--data", str(tmp_path / "none.csv"))
    assert status == 2
    assert f"--data names {tmp_path / 'none.csv'}, which does not exist" in error


@pytest.mark.usefixtures("original_data")
def test_a_data_asset_is_fetched(
    history: History, reproduce: Reproduce, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = history.clone(history.run, data__raw_hours="hours:4f2a")
    status, commands, _ = reproduce(run)
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


def test_an_asset_that_cannot_be_downloaded_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise OperationError("no such asset")

    monkeypatch.setattr(fetch, "download_asset", refuse)
    with pytest.raises(SystemExit) as end:
        fetch.main(["--env", "dev", "hours:4f2a", str(tmp_path / "hours.csv")])
    assert end.value.code == 2
    assert "fetch: no such asset" in capsys.readouterr().err


def test_remote_data_is_read_again_with_a_warning(history: History, reproduce: Reproduce) -> None:
    run = history.clone(
        history.run,
        data__path__raw_hours="abfs://raw@store/hours.csv",
        data__file__raw_hours=SHA,
    )
    status, commands, warning = reproduce(run)
    assert status == 0
    assert "BIND__raw_hours" not in commands
    assert "read again from abfs://raw@store/hours.csv" in warning


def test_unrecorded_data_is_a_warning(history: History, reproduce: Reproduce) -> None:
    without = {name: None for name in history.tags(history.run) if name.startswith("data.")}
    status, commands, warning = reproduce(
        history.clone(history.run, **{name.replace(".", "__"): None for name in without})
    )
    assert status == 0
    assert "BIND__raw" not in commands
    assert "the run did not record its data" in warning
