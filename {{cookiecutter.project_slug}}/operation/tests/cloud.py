"""What the tests of the cloud verbs share: what a verb said, and what it changed in Azure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from operation.tests.azure import StandIn
from operation.tests.helpers import Project


@dataclass(frozen=True)
class Said:
    """The exit status of a verb and what it said."""

    status: int
    out: str
    err: str


Verb = Callable[..., Said]


def group(azure: StandIn) -> str:
    """Return the id of the resource group."""
    return f"/subscriptions/{azure.subscription}/resourceGroups/{azure.resource_group}"


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
    file = project.path / "operation/configuration/dev/azureml.yml"
    file.write_text(file.read_text(encoding="utf-8") + more, encoding="utf-8")
