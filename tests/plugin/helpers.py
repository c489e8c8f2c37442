"""Shared by the plugin's tests: copies of the small project ``plant``."""

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
import pandas as pd
import pytest

from kedro_azure_mlops.testing.projects import ProjectCopy

REPOSITORY = Path(__file__).parents[2]
ROOT = Path(__file__).parent / "project"
CONFIGURATION = "conf"


@dataclass
class Project:
    """A project on disk, with methods to run and inspect it."""

    path: Path
    run = ProjectCopy.run

    def mlops(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Call a command as a user would, in a new process."""
        return self.python("-m", "kedro_azure_mlops", *arguments, **environment)

    def kedro(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Call Kedro as a user would, in a new process."""
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
        target = self.path / CONFIGURATION / env / file
        target.write_text(text, encoding="utf-8")

    def write(self, name: str, text: str) -> str:
        target = self.path / "data" / "raw" / name
        target.write_text(text, encoding="utf-8")
        return target.relative_to(self.path).as_posix()

    def processed(self, name: str) -> Path:
        return self.path / "data" / name

    def predictions(self) -> pd.DataFrame:
        return pd.read_csv(self.processed("predictions.csv"))

    def gate(self) -> dict[str, Any]:
        return json.loads(self.processed("gate.json").read_text(encoding="utf-8"))

    def metrics(self) -> dict[str, float]:
        return json.loads(self.processed("metrics.json").read_text(encoding="utf-8"))

    def nothing_tracked(self) -> bool:
        return [e.name for e in self.client().search_experiments()] == ["Default"]

    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(f"sqlite:///{(self.path / 'mlruns.db').as_posix()}")

    @classmethod
    def copy_to(cls, target: Path, database: Path) -> "Project":
        """Copy the project and an empty tracking database."""
        shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(database, target / "mlruns.db")
        return cls(target)


def outputs_reader(monkeypatch: pytest.MonkeyPatch, file: Path) -> Callable[[], dict[str, str]]:
    """Return a reader of the outputs since its last call; the last value of a name wins."""
    monkeypatch.setenv("GITHUB_OUTPUT", str(file))

    def read() -> dict[str, str]:
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return dict(line.split("=", maxsplit=1) for line in lines)

    return read


def new_shell() -> dict[str, str]:
    """Return the environment without the ``PYTHONPATH`` that Kedro set for other tests."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
