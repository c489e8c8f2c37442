"""A repository with an earlier run and an earlier job, for the tests of ``reproduce``."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest

from tests.plugin.helpers import Project

SHA = "0123456789abcdef" * 4
Reproduce = Callable[..., tuple[int, str, str]]
IGNORED = "/build/\n/data/*\n!/data/raw/\n/mlruns.db*\n/mlartifacts/\n/conf/local/*\n__pycache__/\n"
_MODEL = {"arguments": {"alpha": 2.0}}


@dataclass
class History:
    """A repository whose newest commit cannot run, and runs tracked before that commit."""

    project: Project
    run: str
    job: str
    step: str

    @property
    def client(self) -> mlflow.MlflowClient:
        return self.project.client()

    def tags(self, run: str) -> dict[str, str]:
        return dict(self.client.get_run(run).data.tags)

    def clone(self, run: str, **changes: str | None) -> str:
        """Create a run with the tags of another one, some of them changed or removed."""
        tags = self.tags(run) | {name.replace("__", "."): text for name, text in changes.items()}
        remaining = {name: text for name, text in tags.items() if text is not None}
        return self.client.create_run("0", tags=remaining).info.run_id

    def state(self) -> str:
        """Return the commit and the uncommitted changes of the user's checkout."""
        return git(self.project.path, "rev-parse", "HEAD") + git(
            self.project.path, "status", "--porcelain"
        )


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "commit.gpgsign=false"]
    command = ["git", *identity, *arguments]
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def make_history(project: Project) -> History:
    """Run once alone and once as a job of two steps; then commit code that cannot run."""
    (project.path / ".gitignore").write_text(IGNORED, encoding="utf-8")
    git(project.path, "init", "-q")
    git(project.path, "add", ".")
    git(project.path, "commit", "-q", "-m", "first")
    project.run(model=_MODEL)
    client = project.client()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (run,) = client.search_runs(experiments)
    job, step = _run_in_steps(project, run.data.tags)
    parameters = project.path / "conf/base/parameters.yml"
    text = parameters.read_text(encoding="utf-8")
    parameters.write_text(text.replace("alpha: 1.0", "alpha: 100.0"), encoding="utf-8")
    for nodes in project.path.glob("src/*/nodes.py"):
        nodes.write_text('raise RuntimeError("not the code of that run")\n', encoding="utf-8")
    git(project.path, "commit", "-q", "-a", "-m", "second")
    return History(project, run.info.run_id, job, step)


def _run_in_steps(project: Project, origin: dict[str, str]) -> tuple[str, str]:
    """Run the steps of a job, each with its own parameters only."""
    client = project.client()
    submitted = {name: origin[name] for name in ("git.commit", "git.dirty")}
    job = client.create_run("0", tags=submitted).info.run_id
    parameters_of_steps = {
        ("prepare",): {"train_fraction": 0.5},
        ("train",): {"model": _MODEL},
    }
    for pipelines, parameters in parameters_of_steps.items():
        step = client.create_run("0", tags={"mlflow.parentRunId": job}).info.run_id
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_RUN_ID", step)
            project.run(*pipelines, **parameters)
    return job, step
