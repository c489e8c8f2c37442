"""What the tests share: a project in a folder of its own, and series to feed it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

ROOT = Path(__file__).parents[2]
FILES = (
    ".amlignore",
    ".telemetry",
    "data/raw",
    "operation",
    "pyproject.toml",
    "requirements",
    "src",
)


@dataclass
class Project:
    """A project on disk and how to run it."""

    path: Path

    def run(self, *pipelines: str, env: str | None = None, **parameters: Any) -> dict[str, Any]:
        bootstrap_project(self.path)
        with KedroSession.create(
            project_path=self.path, env=env, runtime_params=parameters
        ) as session:
            return session.run(pipeline_names=list(pipelines) or None)

    def verb(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Call a verb as a person would, in a process of its own."""
        return self.python("-m", "operation.execution", *arguments, **environment)

    def kedro(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Call Kedro as a person would, in a process of its own."""
        return self.python("-m", "kedro", *arguments, **environment)

    def python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Start Python in the project's folder."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.path,
            env=new_shell() | environment,
            capture_output=True,
            text=True,
            check=False,
        )

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

    def gate(self) -> dict[str, Any]:
        return json.loads(self.processed("gate.json").read_text(encoding="utf-8"))

    def metrics(self) -> dict[str, float]:
        return json.loads(self.processed("metrics.json").read_text(encoding="utf-8"))

    def cost(self) -> dict[str, float]:
        return json.loads(self.processed("cost.json").read_text(encoding="utf-8"))

    def nothing_tracked(self) -> bool:
        return [e.name for e in self.client().search_experiments()] == ["Default"]

    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(f"sqlite:///{(self.path / 'mlruns.db').as_posix()}")

    @classmethod
    def copy_to(cls, target: Path, database: Path) -> "Project":
        """Copy what a run needs, without the results of other runs, and an empty database."""
        for name in FILES:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=_only_what_is_shipped)
            else:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target / name)
        shutil.copy(database, target / "mlruns.db")
        return cls(target)


def told_by(monkeypatch: pytest.MonkeyPatch, file: Path) -> Callable[[], dict[str, str]]:
    """Return what reads the values that were told since the last look; the last word counts."""
    monkeypatch.setenv("GITHUB_OUTPUT", str(file))

    def read() -> dict[str, str]:
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return dict(line.split("=", maxsplit=1) for line in lines)

    return read


def new_shell() -> dict[str, str]:
    """Return the environment without what Kedro has put there for the projects of other tests."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _only_what_is_shipped(folder: str, names: list[str]) -> set[str]:
    """Leave out what is the developer's own: local configuration, data, compiled files."""
    if Path(folder).parts[-2:] == ("configuration", "local"):
        return set(names) - {"README.md"}
    if Path(folder) == ROOT / "operation":
        return {"__pycache__", "tests"}
    if Path(folder).name == "raw":
        return set(names) - {"temperatures.csv", "labels.csv"}
    return {"__pycache__"}.intersection(names)


def series(
    rows: int = 600, sensor: str = "hall", step: str = "30min", seed: int = 0
) -> pd.DataFrame:
    """A clean daily swing with noise: ``timestamp, sensor_id, temperature``."""
    random = np.random.default_rng(seed)
    times = pd.date_range("2024-01-01", periods=rows, freq=step)
    hours = (times - times[0]) / pd.Timedelta("1h")
    wave = 20 + 3 * np.sin(2 * np.pi * hours.to_numpy() / 24)
    return pd.DataFrame(
        {
            "timestamp": times,
            "sensor_id": sensor,
            "temperature": (wave + random.normal(0, 0.3, rows)).round(2),
        }
    )
