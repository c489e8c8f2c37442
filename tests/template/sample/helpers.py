"""The rendered sample, copies of it to run in this process, and generated series."""

import atexit
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from cookiecutter.main import cookiecutter
from kedro.config import OmegaConfigLoader
from kedro.io import AbstractDataset

from kedro_azure_mlops.testing.projects import ProjectCopy

REPOSITORY = Path(__file__).parents[3]
NAME = "temperature-anomalies"
FILES = (
    ".amlignore",
    ".telemetry",
    "data/raw",
    "operation",
    "pyproject.toml",
    "requirements",
    "src",
)
FOREST = "sklearn.ensemble.IsolationForest"


@cache
def rendered() -> Path:
    """Render the sample once for this process and make its package importable."""
    folder = Path(tempfile.mkdtemp(prefix="sample-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = cookiecutter(
        str(REPOSITORY),
        no_input=True,
        default_config=True,
        output_dir=str(folder),
        accept_hooks=False,
    )
    sys.path.insert(0, str(Path(path) / "src"))
    return Path(path)


@cache
def _catalog() -> dict[str, Any]:
    from temperature_anomalies.settings import CONFIG_LOADER_ARGS

    source = str(rendered() / "operation/configuration")
    return dict(OmegaConfigLoader(source, **CONFIG_LOADER_ARGS)["catalog"])


def entry(name: str, **changes: Any) -> Any:
    """Create a dataset of the sample's catalog with some options changed."""
    config = {key: value for key, value in _catalog()[name].items() if key != "validator"}
    return AbstractDataset.from_config(name, config | changes)


@dataclass
class Project:
    """A project on disk and how to run it."""

    path: Path
    run = ProjectCopy.run

    def configure(self, env: str, file: str, text: str) -> None:
        target = self.path / "operation" / "configuration" / env / file
        target.write_text(text, encoding="utf-8")

    def write(self, name: str, text: str) -> str:
        target = self.path / "data" / "raw" / name
        target.write_text(text, encoding="utf-8")
        return target.relative_to(self.path).as_posix()

    def processed(self, name: str) -> Path:
        return self.path / "data" / "processed" / name

    def scores(self) -> pd.DataFrame:
        return pd.read_csv(self.processed("scores.csv"), parse_dates=["timestamp"])

    def read(self, name: str) -> Any:
        """Read one of the JSON files that a run writes: gate, metrics, cost."""
        return json.loads(self.processed(f"{name}.json").read_text(encoding="utf-8"))

    def rule(self, name: str) -> dict[str, Any]:
        return next(rule for rule in self.read("gate")["rules"] if rule["rule"] == name)

    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(f"sqlite:///{(self.path / 'mlruns.db').as_posix()}")

    def champion(self, name: str = NAME) -> str | None:
        version = self.client().get_registered_model(name).aliases.get("champion")
        return None if version is None else str(version)

    def nothing_tracked(self) -> bool:
        return [e.name for e in self.client().search_experiments()] == ["Default"]

    @classmethod
    def copy_to(cls, target: Path, database: Path) -> "Project":
        """Copy what a run needs, and an empty database."""
        for name in FILES:
            source = rendered() / name
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target / name)
        shutil.copy(database, target / "mlruns.db")
        return cls(target)


def series(
    rows: int = 600, sensor: str = "hall", step: str = "30min", seed: int = 0
) -> pd.DataFrame:
    """Generate readings of one sensor: a daily cycle with noise."""
    times = pd.date_range("2024-01-01", periods=rows, freq=step)
    hours = (times - times[0]) / pd.Timedelta("1h")
    noise = np.random.default_rng(seed).normal(0, 0.3, rows)
    values = 20 + 3 * np.sin(2 * np.pi * hours.to_numpy() / 24) + noise
    return pd.DataFrame({"timestamp": times, "sensor_id": sensor, "temperature": values.round(2)})
