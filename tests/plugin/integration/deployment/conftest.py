"""Fixtures: three models, and an endpoint to deploy them to.

The registry consists of three folders; other tests use real registries.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from kedro_azure_mlops.contract import digest
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.registry import Version
from kedro_azure_mlops.testing import StandIn
from tests.plugin.cloud import Command, Result, group, properties
from tests.plugin.deployed import SCORER, copy_linear_model, save_linear_model
from tests.plugin.helpers import Project

STEPS = [10, 50, 100]
ENDPOINT = "heat"


@dataclass
class Folders:
    """A registry with one folder per version."""

    folders: dict[str, Path]
    champion_number: str | None = "1"

    def champion(self) -> Version | None:
        return self.version(self.champion_number) if self.champion_number else None

    def version(self, name: str) -> Version:
        return Version("plant-dev", name, digest(self.folders[name]))

    def fetch(self, version: Version, target: Path) -> Path:
        if digest(self.folders[version.number]) != version.digest:
            raise OperationError(f"{version} is not what was registered.")
        return Path(shutil.copytree(self.folders[version.number], target))


@dataclass
class Site:
    """A project and the endpoint of its environment dev."""

    project: Project
    azure: StandIn
    call: Command
    registry: Folders

    def deploy(self, *arguments: str) -> Result:
        return self.call("deploy", "online", "--env", "dev", *arguments)

    def configure(self, **more: Any) -> None:
        """Write the ``mlops.yml`` of dev; keywords are further keys of ``deployment``."""
        keys = {
            "endpoint": ENDPOINT,
            "environment": {"name": "plant-serving", "image": "python:3.12-slim"},
            "traffic": STEPS,
            "seconds_between_steps": 0,
            "keep_old_hours": 1,
            "metrics": ["requests", "errors", "latency_p50", "latency_p95"],
            "batch": {"compute": "cpu-cluster"},
        }
        text = yaml.safe_dump({"scorer": SCORER, "deployment": keys | more})
        self.project.configure("dev", "mlops.yml", text)

    @property
    def endpoint(self) -> Any:
        return properties(self.azure, f"onlineEndpoints/{ENDPOINT}")

    @property
    def traffic(self) -> dict[str, int]:
        return {name: share for name, share in self.endpoint["traffic"].items() if share}

    @property
    def tags(self) -> dict[str, str]:
        return self.body(f"onlineEndpoints/{ENDPOINT}")["tags"]

    def id(self, path: str) -> str:
        kind = "Microsoft.MachineLearningServices/workspaces"
        return f"{group(self.azure)}/providers/{kind}/{self.azure.workspace}/{path}"

    def body(self, path: str) -> Any:
        return self.azure.resources[self.id(path)]

    def delete(self, name: str) -> None:
        """Delete a deployment without traffic, as the portal does."""
        self.azure.endpoints.served.pop(name).stop()
        del self.azure.resources[self.id(f"onlineEndpoints/{ENDPOINT}/deployments/{name}")]

    @property
    def deployments(self) -> list[str]:
        ids = [id for id in self.azure.resources if f"/{ENDPOINT}/deployments/" in id]
        return [id.rsplit("/", 1)[1] for id in ids]

    @property
    def state(self) -> Any:
        """Everything that callers of the endpoint depend on."""
        return self.traffic, self.endpoint["mirrorTraffic"], self.tags, self.deployments

    def put(self, kind: str = "onlineEndpoints") -> list[Any]:
        """Return the bodies of successful PUT requests, in order."""
        requests = [r for r in self.azure.requests if r.method == "PUT" and r.status in (200, 201)]
        return [r.json() for r in requests if r.path.split("/")[-2] == kind]

    def routed(self) -> list[dict[str, int]]:
        """Return the traffic settings, in order."""
        return [body["properties"]["traffic"] for body in self.put()]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three models that differ in their threshold."""
    folder = tmp_path_factory.mktemp("models")
    first = save_linear_model(folder / "1")
    others = {
        version: copy_linear_model(first, folder / version, threshold)
        for version, threshold in (("2", 420.0), ("3", 440.0))
    }
    return {"1": first, **others}


@pytest.fixture
def site(
    cloud_project: Project,
    azure: StandIn,
    models: dict[str, Path],
    mlops: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> Site:
    """The project, whose endpoint does not exist yet; version 1 is the champion."""
    registry = Folders(models)
    monkeypatch.setattr("kedro_azure_mlops.deploy.artifact.open_registry", lambda *_: registry)
    site = Site(cloud_project, azure, mlops, registry)
    site.configure()
    return site


@pytest.fixture
def served(site: Site) -> Site:
    """The same with version 1 deployed, and with version 2 as the champion to deploy next."""
    assert site.deploy().status == 0
    site.registry.champion_number = "2"
    site.azure.forget()
    return site
