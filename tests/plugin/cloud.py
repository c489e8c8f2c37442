"""Shared by tests of cloud commands: command results and changes in Azure."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kedro_azure_mlops.testing import StandIn
from tests.plugin.helpers import Project


@dataclass(frozen=True)
class Result:
    """The exit status, output and errors of a command."""

    status: int
    out: str
    err: str


Command = Callable[..., Result]


def group(azure: StandIn) -> str:
    """Return the id of the resource group."""
    return azure.group


def properties(azure: StandIn, path: str = "") -> Any:
    """Return the properties of the workspace, or of a resource in it; None if it is missing."""
    kind = "Microsoft.MachineLearningServices/workspaces"
    id = f"{group(azure)}/providers/{kind}/{azure.workspace}/{path}".rstrip("/")
    return azure.resources[id]["properties"] if id in azure.resources else None


def versions(azure: StandIn, collection: str) -> list[Any]:
    """Return the properties of all versions in a collection, such as ``data``."""
    bodies = azure.resources.items()
    return [body["properties"] for id, body in bodies if f"/{collection}/" in id]


def changes(azure: StandIn) -> list[str]:
    """List the requests that change resources."""
    sent = [request for request in azure.requests if not request.host.startswith("login.")]
    return [f"{r.method} {r.path}" for r in sent if r.method not in {"GET", "HEAD"}]


def configure(project: Project, lines: str) -> None:
    """Add lines to the dev configuration, which ends with keys of ``workspace``."""
    file = project.path / "conf/dev/azureml.yml"
    file.write_text(file.read_text(encoding="utf-8") + lines, encoding="utf-8")


_PROVISIONED: dict[str, Any] = {}


def provision(azure: StandIn, mlops: Command) -> None:
    """Call ``provision`` for the project; later calls copy the resources of the first one."""
    if not _PROVISIONED:
        before = set(azure.resources)
        assert mlops("provision").status == 0
        created = {id: body for id, body in azure.resources.items() if id not in before}
        _PROVISIONED.update(copy.deepcopy(created))
    azure.resources.update(copy.deepcopy(_PROVISIONED))
    azure.forget()
