"""A full disk is recognised and described; other errors are unchanged."""

import errno
import logging
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from kedro.io import DatasetError
from mlflow import MlflowException
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.models import RegisteredChampion
from kedro_azure_mlops.serve.wheels import Wheels
from kedro_azure_mlops.writing import (
    OutOfSpaceError,
    full_disk_in,
    name_full_disks_of_logs,
    naming_a_full_disk,
    out_of_space,
    shown_size,
)

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def full_database(tmp_path: Path) -> Iterator[Exception]:
    """Return SQLAlchemy's error for a full disk: SQLite's page limit causes the same one."""
    engine = create_engine(f"sqlite:///{tmp_path / 'full.db'}")
    with engine.connect() as store, pytest.raises(OperationalError) as error:
        store.execute(text("PRAGMA max_page_count = 2"))
        store.execute(text("CREATE TABLE one (x)"))
        store.execute(text("CREATE TABLE two (x)"))
    engine.dispose()
    yield error.value


def wrapped(cause: BaseException, *kinds: type[Exception]) -> Exception:
    for kind in kinds:
        try:
            raise kind("the model could not be serialized in the skops format") from cause
        except kind as error:
            cause = error
    assert isinstance(cause, Exception)
    return cause


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        wrapped(FULL, MlflowException, DatasetError),
        shutil.Error([("a", "b", f"[Errno 28] {os.strerror(errno.ENOSPC)}: 'a' -> 'b'")]),
        wrapped(OperationError("it cannot be fetched"), DatasetError).with_traceback(None),
    ],
    ids=["plain", "wrapped", "copied folder", "other cause"],
)
def test_a_full_disk_is_found_among_the_causes(tmp_path: Path, error: Exception) -> None:
    found = out_of_space(error, [tmp_path / "not" / "there"], "the table")
    if "fetched" in str(error.__cause__):
        assert found is None
        return
    assert str(found).startswith(f"No space left in {tmp_path}: the table needs more than the ")
    assert str(found).endswith("Free some space and run the same command again.")
    assert found is not None
    assert found.exit_code == 2


def test_a_full_database_is_a_full_disk_and_other_errors_are_not(
    tmp_path: Path, full_database: Exception
) -> None:
    assert out_of_space(wrapped(full_database, MlflowException), [tmp_path])
    with sqlite3.connect(tmp_path / "a.db") as store, pytest.raises(sqlite3.Error) as other:
        store.execute("SELECT no_such_column")
    assert out_of_space(other.value, [tmp_path]) is None


def test_the_fullest_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = {tmp_path / "roomy": 10**12, tmp_path / "full": 1500}
    for folder in free:
        folder.mkdir()
    monkeypatch.setattr(
        shutil, "disk_usage", lambda place: SimpleNamespace(free=free.get(place, 10**9))
    )
    named = OSError(errno.ENOSPC, "", str(tmp_path / "roomy" / "source"), None, str(tmp_path))
    found = out_of_space(named, [tmp_path / "full" / "file"])
    assert f"No space left in {tmp_path / 'full'}: " in str(found)
    assert "more than the 1.5 kB that are free there" in str(found)


def test_without_a_path_no_disk_with_free_space_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**12))
    found = out_of_space(FULL, (), "the report")
    assert str(found) == "No space left on the disk that the report goes to."


def test_exceeded_quotas_and_exhausted_inodes_are_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = out_of_space(OSError(errno.EDQUOT, ""), [tmp_path], "the table")
    assert f"Your quota for {tmp_path} is used up: the table does not fit" in str(quota)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_files=9, f_favail=0))
    assert "its disk cannot hold more files" in str(out_of_space(FULL, [tmp_path]))
    monkeypatch.delattr(os, "statvfs")  # as on Windows
    assert "needs more than" in str(out_of_space(FULL, [tmp_path]))


def test_a_full_disk_is_described_without_a_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", fail)
    assert f"No space left in {tmp_path}" in str(out_of_space(FULL, [tmp_path]))


def test_an_error_that_already_describes_a_full_disk_is_unchanged(tmp_path: Path) -> None:
    full = out_of_space(FULL, [tmp_path], "the model")
    assert full is not None
    assert out_of_space(wrapped(full, DatasetError), [tmp_path], "all") is full
    with_consequence = OperationError(f"{full}\nNothing is lost.")
    with_consequence.__cause__ = full
    assert out_of_space(with_consequence, [tmp_path], "all") is with_consequence
    with pytest.raises(OperationError) as raised, naming_a_full_disk(tmp_path, what="all"):
        raise with_consequence
    assert raised.value is with_consequence
    with pytest.raises(ValueError, match="no full disk"), naming_a_full_disk(tmp_path, what="all"):
        raise ValueError("no full disk")


def test_a_full_disk_is_recognised_in_the_output_of_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert full_disk_in("no route to host") is None
    output = f"ERROR: Could not install: [Errno 28] {os.strerror(errno.ENOSPC)}"
    completed = SimpleNamespace(returncode=1, stdout=output, stderr=output)
    monkeypatch.setattr("kedro_azure_mlops.serve.wheels.subprocess.run", lambda *_, **__: completed)
    wheels, expected = Wheels("linux_x86_64", "3.12"), f"No space left in {tmp_path}: the bundle"
    with (
        pytest.raises(OutOfSpaceError, match=expected),
        naming_a_full_disk(tmp_path, what="the bundle"),
    ):
        wheels.download(tmp_path / "requirements.txt", tmp_path / "wheels", tmp_path)


def test_a_full_disk_is_not_reported_as_a_faulty_champion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: str) -> str:
        raise wrapped(FULL, MlflowException)

    mlflow.set_tracking_uri("http://127.0.0.1:1")
    monkeypatch.setattr("mlflow.artifacts.download_artifacts", fail)
    with pytest.raises(OutOfSpaceError, match="No space left"):
        RegisteredChampion(name="plant")._fetch(SimpleNamespace(version=1, tags={}))


def test_other_errors_of_log_handlers_are_reported_as_before(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            try:
                raise ValueError("this handler is broken")
            except ValueError:
                self.handleError(record)

    logger = logging.getLogger("a.broken.log")
    logger.propagate = False
    logger.addHandler(Broken())
    name_full_disks_of_logs()
    logger.warning("a line")
    assert "this handler is broken" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 bytes"), (999, "999 bytes"), (4096, "4.1 kB"), (2.5e6, "2.5 MB"), (7e13, "70000.0 GB")],
)
def test_sizes_are_shown_with_a_unit(count: float, shown: str) -> None:
    assert shown_size(count) == shown
