"""A project that sends jobs to the stand-in for Azure, by commands in this process."""

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
    """A project and the Azure it talks to."""

    azure: StandIn
    project: Project

    def mlops(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Return a command's exit status, output and errors."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main([str(argument) for argument in arguments])
        return status, out.getvalue(), err.getvalue()

    def configure(self, **config: Any) -> None:
        """Set keys of dev's ``azureml.yml``, besides those of its workspace."""
        names = {
            "subscription_id": self.azure.subscription,
            "resource_group": self.azure.resource_group,
            "name": self.azure.workspace,
        }
        self.project.configure("dev", "azureml.yml", yaml.safe_dump({"workspace": names} | config))

    def commit(self) -> str:
        """Commit all there is, and return the commit."""
        (self.project.path / ".gitignore").write_text(IGNORED, encoding="utf-8")
        self._git("init", "--quiet")
        self._git("add", "--all")
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
        self._git(*who, "commit", "--quiet", "--message", "All there is")
        return self._git("rev-parse", "HEAD").strip()

    def found(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the properties of all resources of a kind, by the end of their ids."""
        start = f"{self._workspace}/{kind}/"
        return {
            id.removeprefix(start): body["properties"]
            for id, body in self.azure.resources.items()
            if id.startswith(start)
        }

    def job(self) -> str:
        """Name the job that was sent last."""
        return list(self.found("jobs"))[-1]

    def changed(self) -> set[str]:
        """Name the kinds of resources that were put since the last ``forget``."""
        start = f"{self._workspace}/"
        put = [r.path for r in self.azure.requests if r.method == "PUT"]
        return {path.removeprefix(start).split("/")[0] for path in put if path.startswith(start)}

    @property
    def _workspace(self) -> str:
        kind = "Microsoft.MachineLearningServices/workspaces"
        return f"{self.azure.group}/providers/{kind}/{self.azure.workspace}"

    def _git(self, *arguments: str) -> str:
        folder = self.project.path
        done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)
        return done.stdout.decode()


@contextmanager
def sender_in(folder: Path, database: Path, *, identity: bool = False) -> Iterator[Sender]:
    """Copy the project, which becomes the current folder, and lead this process to a stand-in."""
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
