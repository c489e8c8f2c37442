"""Fixtures: projects that are run in this process, each with a tracking database of its own."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from operation.tests.helpers import Project


@pytest.fixture(autouse=True)
def _own_tracking(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep a tracking server of the developer's, and that of one test, out of the next test."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "KEDRO_ENV"):
        monkeypatch.delenv(name, raising=False)
    yield
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty tracking database: MLflow takes seconds to make one, a copy takes none."""
    path = tmp_path_factory.mktemp("database") / "mlruns.db"
    mlflow.MlflowClient(f"sqlite:///{path.as_posix()}").search_experiments()
    return path


@pytest.fixture
def project(tmp_path: Path, database: Path) -> Project:
    """A fresh copy of the project that was never run."""
    return Project.copy_to(tmp_path / "project", database)


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    """A copy of the project that was run once as it is; tests look at it and change nothing."""
    project = Project.copy_to(tmp_path_factory.mktemp("ran") / "project", database)
    project.run()
    return project
