"""Fixtures: copies of the project that are run in this process, and readings to feed them.

Tests bring their own data and look at relations, so a change of a parameter, of the data or of the
estimator breaks none of them. What knows the sample's pipelines is in ``test_sample_*``.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

ROOT = Path(__file__).parents[2]
FILES = (
    ".amlignore",
    ".telemetry",
    "operation/configuration",
    "pyproject.toml",
    "requirements",
    "src",
)
ROWS = 48 * 28
FAULT = slice(48 * 24, 48 * 24 + 6)  # half-hours of the first sensor


@dataclass
class Project:
    """A copy of the project and how to run it."""

    path: Path

    def run(self, *pipelines: str, env: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Run pipelines with other values of some parameters; nested ones as ``{group: {...}}``."""
        bootstrap_project(self.path)
        with KedroSession.create(
            project_path=self.path, env=env, runtime_params=parameters
        ) as session:
            return session.run(pipeline_names=list(pipelines) or None)

    def write(self, name: str, table: pd.DataFrame) -> str:
        """Write a file of data, and return the path that parameters name it by."""
        file = self.path / "data" / "raw" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(file, index=False)
        return file.relative_to(self.path).as_posix()

    def configure(self, file: str, **values: Any) -> None:
        """Set values of a configuration file in every environment."""
        for folder in (self.path / "operation" / "configuration").iterdir():
            target = folder / file
            found = yaml.safe_load(target.read_text("utf-8")) if target.is_file() else None
            text = yaml.safe_dump((found or {}) | values, sort_keys=False, allow_unicode=True)
            target.write_text(text, encoding="utf-8")

    def processed(self, name: str) -> Path:
        """Return where a result lies."""
        return self.path / "data" / "processed" / name

    def read(self, name: str) -> Any:
        """Read one of the JSON files that a run leaves."""
        return json.loads(self.processed(name).read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _own_tracking() -> Iterator[None]:
    """Keep a developer's tracking server, and that of one test, out of the next test."""
    import mlflow

    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_TRACKING_URI", "KEDRO_ENV"):
        os.environ.pop(name, None)
    mlflow.set_tracking_uri(None)
    yield
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="session")
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Project]:
    """Return what copies the project, without the results of other runs."""
    import mlflow

    # MLflow takes seconds to make an empty database, a copy takes none
    database = tmp_path_factory.mktemp("database") / "mlruns.db"
    mlflow.MlflowClient(f"sqlite:///{database.as_posix()}").search_experiments()
    junk = shutil.ignore_patterns("__pycache__", "*.egg-info", "credentials*")

    def copy() -> Project:
        path = tmp_path_factory.mktemp("copy") / "project"
        for name in FILES:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, path / name, ignore=junk)
            elif (ROOT / name).is_file():
                shutil.copy(ROOT / name, path / name)
        for file in (path / "operation" / "configuration" / "local").glob("*.yml"):
            file.unlink()
        shutil.copy(database, path / "mlruns.db")
        return Project(path)

    return copy


@pytest.fixture
def project(new_project: Callable[[], Project]) -> Project:
    """A copy of the project that was never run."""
    return new_project()


@pytest.fixture(scope="session")
def series() -> Callable[..., pd.DataFrame]:
    """Return what makes readings of one sensor: a daily swing and noise."""

    def make(rows: int, step: str = "30min", sensor: str = "one", seed: int = 0) -> pd.DataFrame:
        times = pd.date_range("2024-01-01", periods=rows, freq=step)
        hours = ((times - times[0]) / pd.Timedelta("1h")).to_numpy()
        noise = np.random.default_rng(seed).normal(0, 0.3, rows)
        values = 20 + 3 * np.sin(2 * np.pi * hours / 24) + noise
        columns = {"timestamp": times, "sensor_id": sensor, "temperature": values.round(2)}
        return pd.DataFrame(columns)

    return make


@pytest.fixture(scope="session")
def readings(series: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    """Four weeks of two sensors, of which the first has a fault in the last week."""
    one, two = series(ROWS), series(ROWS, sensor="two", seed=1)
    one.loc[FAULT.start : FAULT.stop - 1, "temperature"] += 15
    both = pd.concat([one, two]).sort_values("timestamp", kind="stable", ignore_index=True)
    return both.astype({"timestamp": str})


@pytest.fixture(scope="session")
def fault(readings: pd.DataFrame) -> pd.Series:
    """Which of the readings belong to the fault: booleans."""
    return (readings["sensor_id"] == "one") & (readings["temperature"] > 30)


@pytest.fixture(scope="session")
def labels(readings: pd.DataFrame, fault: pd.Series) -> pd.DataFrame:
    """The fault as people label it."""
    times = readings.loc[fault, "timestamp"]
    return pd.DataFrame({"sensor_id": ["one"], "start": [times.min()], "end": [times.max()]})


@pytest.fixture(scope="session")
def with_data(
    new_project: Callable[[], Project], readings: pd.DataFrame, labels: pd.DataFrame
) -> Callable[[], Project]:
    """Return what copies the project and makes it read the readings above."""

    def copy() -> Project:
        project = new_project()
        project.configure(
            "parameters.yml",
            raw_file=project.write("readings.csv", readings),
            labels_file=project.write("labels.csv", labels),
            train_rows=None,
            train_fraction=0.6,
            validation={"minimum": -50.0, "maximum": 100.0, "stuck_clock_rows": 10},
        )
        return project

    return copy


@pytest.fixture(scope="session")
def ran(with_data: Callable[[], Project]) -> Project:
    """A project that was run once; tests look at it and change nothing."""
    project = with_data()
    project.run()
    return project
