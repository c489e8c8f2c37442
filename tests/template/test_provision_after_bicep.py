"""``provision`` finds the resources of a Bicep deployment as they are configured."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kedro_azure_mlops.azure.provisioning import provision
from kedro_azure_mlops.testing import StandIn
from tests.helpers import BakedProject
from tests.template.bicep_values import GROUP, deploy

INFRASTRUCTURE = "operation/infrastructure"
NEEDED = (INFRASTRUCTURE, "operation/configuration", "requirements", "src", "wheels")
MORE = {
    "clusters": {"cpu-cluster": {"max_instances": 2, "idle_seconds": 600}},
    "datastores": {"raw": {"account_name": "stcold", "container_name": "raw"}},
}


@pytest.fixture
def project(
    baked: Callable[..., BakedProject], azure_stand_in: StandIn, tmp_path: Path
) -> BakedProject:
    """A project whose resource group is the stand-in's and holds nothing yet."""
    azure, path = azure_stand_in, tmp_path / "project"
    for name in NEEDED:
        shutil.copytree(baked().path / name, path / name)
    shutil.copy(baked().path / "pyproject.toml", path)
    file = path / "operation/configuration/dev/azureml.yml"
    dev = yaml.safe_load(file.read_text(encoding="utf-8"))
    names = {"resource_group": azure.resource_group, "name": azure.workspace}
    dev["workspace"] |= names | {"storage_account": "stcold", "container_registry": "crcold"}
    file.write_text(yaml.safe_dump(dev | MORE), encoding="utf-8")
    for id in [id for id in azure.resources if id.startswith(f"{azure.group}/")]:
        del azure.resources[id]
    return BakedProject(path)


def deployed(project: BakedProject, azure: StandIn) -> None:
    """Put into the stand-in what a deployment of the Bicep files would make."""
    folder = project.path / INFRASTRUCTURE
    for one in deploy(folder / "main.bicep", folder / "dev.bicepparam"):
        if "Microsoft.Authorization" not in one.type:
            azure._resources.put(one.id.replace(GROUP, azure.group), _elsewhere(one.body, azure))


def _elsewhere(body: Any, azure: StandIn) -> Any:
    """Name another resource group in all ids of a body."""
    return json.loads(json.dumps(body).replace(GROUP, azure.group))


def planned(project: BakedProject) -> dict[str, str]:
    """Return the state of each kind of resource in the plan."""
    items = provision("dev", dry_run=True, root=project.path, say=lambda _: None)
    return {item.kind: item.state for item in items}


def test_what_bicep_made_is_as_configured(project: BakedProject, azure_stand_in: StandIn):
    deployed(project, azure_stand_in)

    there = dict.fromkeys(("workspace", "compute cluster", "container"), "exists")
    # what Bicep leaves to `provision`
    missing = dict.fromkeys(("environment", "datastore"), "will be created")
    assert planned(project) == there | missing


def test_what_bicep_made_under_other_names_would_be_found(
    project: BakedProject, azure_stand_in: StandIn
):
    main = project.path / INFRASTRUCTURE / "main.bicep"
    text = main.read_text(encoding="utf-8")
    other = text.replace("name: names.container_registry", "name: 'crother'")
    other = other.replace("vmSize: one.value.size", "vmSize: 'Standard_DS4_v2'")
    assert other.count("crother") == other.count("DS4_v2") == 1
    main.write_text(other, encoding="utf-8")
    deployed(project, azure_stand_in)

    found = planned(project)

    assert "differs: container_registry crother -> crcold" in found["workspace"]
    assert re.search("size Standard_DS4_v2 -> Standard_DS3_v2", found["compute cluster"])
