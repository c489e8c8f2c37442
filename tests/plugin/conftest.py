"""Fixtures: projects that are run in this process, each with a tracking database of its own."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from kedro_azure_mlops.cli import main
from kedro_azure_mlops.config import bootstrap
from tests.plugin.helpers import Project
from tests.plugin.history import Ask, History, make_history
from tests.plugin.mlflow_server import Server, serving

_OF_A_JOB = (
    *("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"),
    *("RANK", "OMPI_COMM_WORLD_RANK", "TF_CONFIG", "WORLD_SIZE", "OMPI_COMM_WORLD_SIZE"),
)
# With these a command reports to the CI run that the tests themselves are a part of.
_OF_CI = (
    *("CI", "TF_BUILD", "GITHUB_ACTIONS", "GITHUB_OUTPUT", "SYSTEM_ACCESSTOKEN"),
    *("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "SYSTEM_OIDCREQUESTURI"),
)


@pytest.fixture(scope="session", autouse=True)
def _outside_of_ci() -> None:
    for name in _OF_CI:
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _own_tracking() -> Iterator[None]:
    """Keep a tracking server of the developer's, and that of one test, out of the next test."""
    mlflow.set_tracking_uri(None)
    for name in (*_OF_A_JOB, "MLFLOW_TRACKING_URI", "KEDRO_ENV"):
        os.environ.pop(name, None)  # for good: MLflow sets one, which must not come back
    yield
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty tracking database: MLflow takes seconds to make one, a copy takes none."""
    path = tmp_path_factory.mktemp("database") / "mlruns.db"
    with contextlib.chdir(path.parent):  # where the files of the default experiment go
        mlflow.MlflowClient(f"sqlite:///{path.as_posix()}").search_experiments()
    return path


@pytest.fixture
def project(tmp_path: Path, database: Path) -> Project:
    """A fresh copy of the project that was never run."""
    return Project.copy_to(tmp_path / "project", database)


@pytest.fixture(scope="session")
def _ran(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    project = Project.copy_to(tmp_path_factory.mktemp("ran") / "project", database)
    project.run()
    return project


@pytest.fixture
def ran(_ran: Project) -> Project:
    """A copy of the project that was run once as it is; tests look at it and change nothing."""
    bootstrap(_ran.path)  # a test before may have configured Kedro for another project
    return _ran


@pytest.fixture
def server(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    """A tracking server that the environment names."""
    with serving(tmp_path_factory.mktemp("server")) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield server


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory, database: Path) -> History:
    """A repository with a past; tests leave it as they find it."""
    return make_history(Project.copy_to(tmp_path_factory.mktemp("history") / "project", database))


@pytest.fixture
def ask(
    history: History, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Ask:
    """Call ``reproduce`` in that repository: exit status, what it prints, what it complains of."""
    monkeypatch.chdir(history.project.path)

    def call(*arguments: str) -> tuple[int, str, str]:
        mlflow.set_tracking_uri(None)  # as it is in a process of its own
        status = main(["reproduce", "--run", *arguments])
        return status, *capfd.readouterr()

    return call
