"""``provision`` recognises the resources of a Bicep deployment."""

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
FOLDERS = (INFRASTRUCTURE, "operation/configuration", "requirements", "src", "wheels")
EXTRA_SECTIONS = {
    "clusters": {"cpu-cluster": {"max_instances": 2, "idle_seconds": 600}},
    "datastores": {"raw": {"account_name": "stcold", "container_name": "raw"}},
}


@pytest.fixture
def project(
    baked: Callable[..., BakedProject], azure_stand_in: StandIn, tmp_path: Path
) -> BakedProject:
    """A project in the resource group of the stand-in, which is still empty."""
    azure, path = azure_stand_in, tmp_path / "project"
    for name in FOLDERS:
        shutil.copytree(baked().path / name, path / name)
    shutil.copy(baked().path / "pyproject.toml", path)
    file = path / "operation/configuration/dev/azureml.yml"
    dev = yaml.safe_load(file.read_text(encoding="utf-8"))
    names = {"resource_group": azure.resource_group, "name": azure.workspace}
    dev["workspace"] |= names | {"storage_account": "stcold", "container_registry": "crcold"}
    file.write_text(yaml.safe_dump(dev | EXTRA_SECTIONS), encoding="utf-8")
    for id in [id for id in azure.resources if id.startswith(f"{azure.group}/")]:
        del azure.resources[id]
    return BakedProject(path)


def deploy_to_stand_in(project: BakedProject, azure: StandIn) -> None:
    """Create in the stand-in the resources that the Bicep files deploy."""
    folder = project.path / INFRASTRUCTURE
    for one in deploy(folder / "main.bicep", folder / "dev.bicepparam"):
        if "Microsoft.Authorization" not in one.type:
            azure._resources.put(
                one.id.replace(GROUP, azure.group), _with_resource_group(one.body, azure)
            )


def _with_resource_group(body: Any, azure: StandIn) -> Any:
    """Replace the resource group in all ids of a body."""
    return json.loads(json.dumps(body).replace(GROUP, azure.group))


def planned(project: BakedProject) -> dict[str, str]:
    """Return the state of each kind of resource in the plan."""
    items = provision("dev", dry_run=True, root=project.path, say=lambda _: None)
    return {item.kind: item.state for item in items}


def test_bicep_resources_exist_as_configured(project: BakedProject, azure_stand_in: StandIn):
    deploy_to_stand_in(project, azure_stand_in)

    existing = dict.fromkeys(("workspace", "compute cluster", "container"), "exists")
    # created only by `provision`
    missing = dict.fromkeys(("environment", "datastore"), "will be created")
    assert planned(project) == existing | missing


def test_differences_from_the_bicep_resources_are_reported(
    project: BakedProject, azure_stand_in: StandIn
):
    main = project.path / INFRASTRUCTURE / "main.bicep"
    text = main.read_text(encoding="utf-8")
    changed = text.replace("name: names.container_registry", "name: 'crother'")
    changed = changed.replace("vmSize: one.value.size", "vmSize: 'Standard_DS4_v2'")
    assert changed.count("crother") == changed.count("DS4_v2") == 1
    main.write_text(changed, encoding="utf-8")
    deploy_to_stand_in(project, azure_stand_in)

    plan = planned(project)

    assert "differs: container_registry crother -> crcold" in plan["workspace"]
    assert re.search("size Standard_DS4_v2 -> Standard_DS3_v2", plan["compute cluster"])
