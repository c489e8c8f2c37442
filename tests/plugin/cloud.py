"""Shared by tests of cloud commands: what a command printed and changed in Azure."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kedro_azure_mlops.testing import StandIn
from tests.plugin.helpers import Project


@dataclass(frozen=True)
class Said:
    """The exit status of a command and what it printed."""

    status: int
    out: str
    err: str


Command = Callable[..., Said]


def group(azure: StandIn) -> str:
    """Return the id of the resource group."""
    return azure.group


def found(azure: StandIn, path: str = "") -> Any:
    """Return the properties of what lies in the workspace, or None."""
    kind = "Microsoft.MachineLearningServices/workspaces"
    id = f"{group(azure)}/providers/{kind}/{azure.workspace}/{path}".rstrip("/")
    return azure.resources[id]["properties"] if id in azure.resources else None


def versions(azure: StandIn, collection: str) -> list[Any]:
    """Return the properties of all versions of all assets of a kind, such as ``data``."""
    bodies = azure.resources.items()
    return [body["properties"] for id, body in bodies if f"/{collection}/" in id]


def changes(azure: StandIn) -> list[str]:
    """List the requests that change something."""
    asked = [request for request in azure.requests if not request.host.startswith("login.")]
    return [f"{r.method} {r.path}" for r in asked if r.method not in {"GET", "HEAD"}]


def configure(project: Project, more: str) -> None:
    """Add lines to the dev configuration, which ends with keys of ``workspace``."""
    file = project.path / "conf/dev/azureml.yml"
    file.write_text(file.read_text(encoding="utf-8") + more, encoding="utf-8")


_PROVISIONED: dict[str, Any] = {}


def provisioned(azure: StandIn, mlops: Command) -> None:
    """Make what ``provision`` makes for the project; after the first time copied, not made."""
    if not _PROVISIONED:
        before = set(azure.resources)
        assert mlops("provision").status == 0
        made = {id: body for id, body in azure.resources.items() if id not in before}
        _PROVISIONED.update(copy.deepcopy(made))
    azure.resources.update(copy.deepcopy(_PROVISIONED))
    azure.forget()
