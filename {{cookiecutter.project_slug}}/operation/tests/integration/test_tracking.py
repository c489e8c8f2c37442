"""Tracking against a real MLflow server on loopback, and against one that is down or breaks off."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest

from {{ cookiecutter.package_name }} import tracking
from {{ cookiecutter.package_name }}.tracking import (
    MlflowTracking,
    TrackingError,
    code_version,
)

from operation.tests.helpers import Project

NAME = "{{ cookiecutter.project_slug }}"
SMALL = {"n_estimators": 10}


@dataclass
class Server:
    """An MLflow server of its own process."""

    uri: str
    process: subprocess.Popen[str]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{folder.as_posix()}/server.db"),
            *("--artifacts-destination", str(folder / "artifacts")),
        ],
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )
    assert process.stdout
    said = []
    for line in process.stdout:  # ends with the process, so a server that fails does not hang this
        said.append(line)
        if "Application startup complete" in line:
            break
    else:
        pytest.fail("mlflow server did not start:\n" + "".join(said))
    server = Server(f"http://127.0.0.1:{port}", process)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    yield server
    if process.poll() is None:
        server.stop()
    process.stdout.close()


def test_a_server_named_in_the_environment_gets_everything(
    project: Project, server: Server
) -> None:
    project.run(detector=SMALL)
    client = mlflow.MlflowClient(server.uri)
    version = client.get_model_version_by_alias(NAME, "champion")
    (run,) = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    assert version.run_id == run.info.run_id
    assert run.data.metrics["average_precision"] > 0.3
    assert project.nothing_tracked()
    project.run(detector=SMALL)
    assert project.gate()["champion_version"] == "1"
    assert client.get_model_version_by_alias(NAME, "champion").version == "2"


def test_a_server_that_breaks_off_does_not_lose_the_model(
    project: Project, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    _before_filling(monkeypatch, server.stop)
    with pytest.raises(TrackingError, match="Nothing is lost"):
        project.run(detector=SMALL)
    assert project.processed("model/MLmodel").exists()
    assert project.processed("report.txt").exists()


def test_a_server_that_breaks_off_can_be_a_warning(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _warn(project)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    gone = f"http://127.0.0.1:{free_port()}"
    _before_filling(monkeypatch, lambda: mlflow.set_tracking_uri(gone))
    project.run(detector=SMALL)
    assert project.processed("report.txt").exists()
    assert "Nothing is lost" in caplog.text


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a server that is not there."""
    uri = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return uri


def test_a_server_that_is_down_stops_the_run_before_it_starts(
    project: Project, nobody: str
) -> None:
    with pytest.raises(TrackingError, match=f"MLflow at {nobody} failed.*") as refusal:
        project.run()
    assert "No run was started" in str(refusal.value)
    assert "when_unreachable: warn" in str(refusal.value)
    assert not (project.path / "data/interim").exists()


def test_a_server_that_is_down_can_be_a_warning(
    project: Project, nobody: str, caplog: pytest.LogCaptureFixture
) -> None:
    _warn(project)
    project.run(detector=SMALL)
    assert f"MLflow at {nobody} failed" in caplog.text
    assert project.processed("model/MLmodel").exists()
    assert not project.gate()["passed"], "a champion that cannot be seen is not beaten"


def test_an_empty_address_in_the_environment_means_the_configured_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    project.run(detector=SMALL)
    assert not project.nothing_tracked()


def test_a_database_that_cannot_be_read_is_a_clear_error(project: Project) -> None:
    (project.path / "mlruns.db").write_bytes(b"not a database" * 100)
    with pytest.raises(TrackingError, match=r"mlruns\.db failed"):
        project.run()
    assert not project.processed("model").exists()


def test_a_run_that_is_broken_off_by_hand_is_not_finished(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ctrl_c(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    registered: list[Callable[[], None]] = []
    monkeypatch.setattr("atexit.register", registered.append)
    monkeypatch.setattr("kedro.runner.SequentialRunner._run", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        project.run()
    for leave in reversed(registered):
        leave()
    client = project.client()
    (run,) = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    assert run.info.status == "KILLED"


def test_tracking_can_be_switched_off(project: Project) -> None:
    _change(project, "enabled: true", "enabled: false")
    project.run(detector=SMALL)
    assert project.processed("report.txt").exists()
    assert project.nothing_tracked()
    assert not project.gate()["passed"], "without a server there is no champion to compare with"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("when_unreachable: error", "when_unreachable: maybe", "when_unreachable"),
        ("enabled: true", "enable: true", "enable: Extra inputs are not permitted"),
    ],
    ids=["value", "key"],
)
def test_a_wrong_line_in_mlflow_yml_is_named(
    project: Project, old: str, new: str, message: str
) -> None:
    _change(project, old, new)
    with pytest.raises(Exception, match=r"mlflow\.yml") as refusal:
        project.run()
    assert message in str(refusal.value)


def test_the_code_version_says_commit_and_whether_files_differ(tmp_path: Path) -> None:
    assert code_version(tmp_path) == {}
    identity = ["-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    clean = code_version(tmp_path)
    assert len(clean["git.commit"]) == 40
    assert clean["git.dirty"] == "false"
    (tmp_path / "new").touch()
    assert code_version(tmp_path) == clean | {"git.dirty": "true"}


def test_git_that_is_not_installed_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert tracking.code_version(tmp_path) == {}


def _before_filling(monkeypatch: pytest.MonkeyPatch, accident: Callable[[], None]) -> None:
    fill = MlflowTracking._fill

    def accident_then_fill(self: MlflowTracking, *arguments: Any) -> None:
        accident()
        fill(self, *arguments)

    monkeypatch.setattr(MlflowTracking, "_fill", accident_then_fill)


def _warn(project: Project) -> None:
    _change(project, "when_unreachable: error", "when_unreachable: warn")


def _change(project: Project, old: str, new: str) -> None:
    path = project.path / "operation/configuration/base/mlflow.yml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
