"""A project that submits jobs to the stand-in for Azure, by commands in this process."""

import hashlib
import io
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from kedro_azure_mlops.cli import main
from kedro_azure_mlops.testing import StandIn
from kedro_azure_mlops.testing.stand_in import connected
from tests.plugin.helpers import Project

NOT_TRACKED = "tracking: {enabled: false}\n"
IGNORED = "build/\ndata/*\n!data/raw/\nmlruns.db\noutputs/\nlater/\n"


@dataclass
class Sender:
    """A project and the stand-in for Azure that it uses."""

    azure: StandIn
    project: Project

    def mlops(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Return a command's exit status, output and errors."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main([str(argument) for argument in arguments])
        return status, out.getvalue(), err.getvalue()

    def configure(self, **config: Any) -> None:
        """Write dev's ``azureml.yml`` with its workspace and other keys."""
        names = {
            "subscription_id": self.azure.subscription,
            "resource_group": self.azure.resource_group,
            "name": self.azure.workspace,
        }
        self.project.configure("dev", "azureml.yml", yaml.safe_dump({"workspace": names} | config))

    def commit(self) -> str:
        """Commit all files and return the commit."""
        (self.project.path / ".gitignore").write_text(IGNORED, encoding="utf-8")
        self._git("init", "--quiet")
        self._git("add", "--all")
        author = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        self._git(*author, "commit", "--quiet", "--message", "All there is")
        return self._git("rev-parse", "HEAD").strip()

    def resources(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the properties of all resources of a type, by the ends of their ids."""
        start = f"{self._workspace}/{kind}/"
        return {
            id.removeprefix(start): body["properties"]
            for id, body in self.azure.resources.items()
            if id.startswith(start)
        }

    def job(self) -> str:
        """Return the name of the job that was submitted last."""
        return list(self.resources("jobs"))[-1]

    def changed_kinds(self) -> set[str]:
        """Return the types of the resources that were written since the last ``forget``."""
        start = f"{self._workspace}/"
        put = [r.path for r in self.azure.requests if r.method == "PUT"]
        return {path.removeprefix(start).split("/")[0] for path in put if path.startswith(start)}

    @property
    def _workspace(self) -> str:
        kind = "Microsoft.MachineLearningServices/workspaces"
        return f"{self.azure.group}/providers/{kind}/{self.azure.workspace}"

    def _git(self, *arguments: str) -> str:
        folder = self.project.path
        result = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)
        return result.stdout.decode()


@contextmanager
def sender_in(folder: Path, database: Path, *, identity: bool = False) -> Iterator[Sender]:
    """Copy the project, make it the current folder, and connect this process to a stand-in."""
    project = Project.copy_to(folder / "project", database)
    project.configure("dev", "mlops.yml", NOT_TRACKED)
    with StandIn(folder / "azure", identity=identity) as azure, connected(azure) as client:
        from azure.ai.ml.entities import AmlCompute

        cluster = AmlCompute(name="cpu-cluster", size="STANDARD_DS3_V2")
        client.compute.begin_create_or_update(cluster).result()
        azure.forget()
        sender = Sender(azure, project)
        sender.configure()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(project.path)
            yield sender
        assert azure.refused == []


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
