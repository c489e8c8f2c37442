"""Fixtures: renders of the sample that are run in this process, with tracking of their own."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from tests.template.sample.helpers import Project, rendered

rendered()  # before the test modules import its package


@pytest.fixture(autouse=True)
def _own_tracking() -> Iterator[None]:
    """Keep a tracking server of the developer's, and that of one test, out of the next test."""
    mlflow.set_tracking_uri(None)
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_TRACKING_URI", "KEDRO_ENV"):
        os.environ.pop(name, None)
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
    """A fresh copy of the sample that was never run."""
    return Project.copy_to(tmp_path / "project", database)


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    """A copy of the sample that was run once as it is; tests look at it and change nothing."""
    project = Project.copy_to(tmp_path_factory.mktemp("ran") / "project", database)
    project.run()
    return project
