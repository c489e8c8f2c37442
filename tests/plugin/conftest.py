"""Fixtures: projects that run in this process, each with its own tracking database."""

import os
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from kedro_azure_mlops.cli import main
from tests.plugin.helpers import Project
from tests.plugin.history import History, Reproduce, make_history
from tests.plugin.mlflow_server import Server, serving
from tests.projects import fixtures_of

# With these a command would report to the CI run that runs these tests.
_CI_VARIABLES = (
    *("CI", "TF_BUILD", "GITHUB_ACTIONS", "GITHUB_OUTPUT", "SYSTEM_ACCESSTOKEN"),
    *("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "SYSTEM_OIDCREQUESTURI"),
)


@pytest.fixture(scope="session", autouse=True)
def _without_ci_variables() -> None:
    for name in _CI_VARIABLES:
        os.environ.pop(name, None)


project, _ran, ran = fixtures_of(Project)


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
    """A repository with earlier runs, which tests do not change."""
    return make_history(Project.copy_to(tmp_path_factory.mktemp("history") / "project", database))


@pytest.fixture
def reproduce(
    history: History, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Reproduce:
    """Call ``reproduce`` in that repository and return the exit status, output and errors."""
    monkeypatch.chdir(history.project.path)

    def call(*arguments: str) -> tuple[int, str, str]:
        mlflow.set_tracking_uri(None)  # as in a new process
        status = main(["reproduce", "--run", *arguments])
        return status, *capfd.readouterr()

    return call
