"""Copies of a project for its tests, run in this process, each with its own tracking database.

A project's ``conftest.py`` imports the fixtures it needs, and ``own_tracking`` for all of its
tests. They expect the project in pytest's root folder.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kedro_azure_mlops.config import bootstrap, configuration_folder

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ProjectCopy", "new_project", "own_tracking", "project"]

_TRACKING_VARIABLES = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_TRACKING_URI", "KEDRO_ENV")
_FILES = ("pyproject.toml", ".amlignore", ".telemetry", "requirements")  # copied if they exist
_JUNK = ("__pycache__", "*.egg-info", "credentials*")


@dataclass
class ProjectCopy:
    """A copy of the project and how to run it."""

    path: Path

    def run(self, *pipelines: str, env: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Run pipelines, overriding some parameters; nested ones as ``{group: {...}}``."""
        from kedro.framework.session import KedroSession

        bootstrap(self.path)
        with KedroSession.create(
            project_path=self.path, env=env, runtime_params=parameters
        ) as session:
            return session.run(pipeline_names=list(pipelines) or None)

    def write(self, name: str, table: "pd.DataFrame") -> str:
        """Write a CSV file into ``data/raw`` and return its path for use in parameters."""
        file = self.path / "data" / "raw" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(file, index=False)
        return file.relative_to(self.path).as_posix()

    def configure(self, file: str, **values: Any) -> None:
        """Set values in a configuration file of every environment."""
        import yaml

        for folder in (self.path / configuration_folder(self.path)).iterdir():
            target = folder / file
            existing = yaml.safe_load(target.read_text("utf-8")) if target.is_file() else None
            text = yaml.safe_dump((existing or {}) | values, sort_keys=False, allow_unicode=True)
            target.write_text(text, encoding="utf-8")

    def processed(self, name: str) -> Path:
        """Return the path of a result in ``data/processed``."""
        return self.path / "data" / "processed" / name

    def read(self, name: str) -> Any:
        """Read a JSON file from ``data/processed``."""
        return json.loads(self.processed(name).read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def own_tracking() -> Iterator[None]:
    """Isolate each test from the developer's tracking server and from earlier tests."""
    import mlflow

    for name in _TRACKING_VARIABLES:
        os.environ.pop(name, None)
    mlflow.set_tracking_uri(None)
    yield
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="session")
def new_project(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], ProjectCopy]:
    """Return a function that copies the project without results or a developer's settings."""
    import mlflow

    # MLflow takes seconds to create an empty database; copying one is instant.
    database = tmp_path_factory.mktemp("database") / "mlruns.db"
    with contextlib.chdir(database.parent):  # the folder for files of the default experiment
        mlflow.MlflowClient(f"sqlite:///{database.as_posix()}").search_experiments()
    root = request.config.rootpath
    configuration = configuration_folder(root)
    sources = Path(bootstrap(root).source_dir).relative_to(root)

    def copy() -> ProjectCopy:
        path = tmp_path_factory.mktemp("copy") / "project"
        for name in (*_FILES, configuration, sources):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            if (root / name).is_dir():
                shutil.copytree(root / name, path / name, ignore=shutil.ignore_patterns(*_JUNK))
            elif (root / name).is_file():
                shutil.copy(root / name, path / name)
        for file in (path / configuration / "local").glob("*.yml"):
            file.unlink()
        shutil.copy(database, path / "mlruns.db")
        return ProjectCopy(path)

    return copy


@pytest.fixture
def project(new_project: Callable[[], ProjectCopy]) -> ProjectCopy:
    """Return a fresh copy of the project."""
    return new_project()
