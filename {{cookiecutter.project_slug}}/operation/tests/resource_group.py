"""What the stand-in for Azure knows of a resource group beside workspaces, for `provision`.

Storage accounts with their containers, key vaults, registries, Application Insights and its logs,
the tenant of a subscription, and the error that tells a missing group from a missing workspace.
"""

import re
from typing import Any

from operation.tests.azure import StandIn, login
from operation.tests.azure.messages import Answer, Request

_STORAGE = "Microsoft.Storage/storageAccounts"
_VAULT = "Microsoft.KeyVault/vaults"
_REGISTRY = "Microsoft.ContainerRegistry/registries"
_INSIGHTS = "Microsoft.Insights/components"
_LOGS = "Microsoft.OperationalInsights/workspaces"
_PLAIN = "|".join((_STORAGE, _VAULT, _REGISTRY, _INSIGHTS, _LOGS))
_STORES = rf"/providers/({_STORAGE}/[^/]+/blobServices/default/containers/[^/]+|({_PLAIN})/[^/]+)$"
# what the parameters of a workspace's template name, and as what
_UPON = {
    "storageAccount": _STORAGE,
    "keyVault": _VAULT,
    "containerRegistry": _REGISTRY,
    "applicationInsights": _INSIGHTS,
}
_ALWAYS = ("storageAccount", "keyVault")  # the template makes them, if they are not there
_WORKSPACE = r"/providers/Microsoft.MachineLearningServices/workspaces/[^/]+$"
_DEPLOYMENT = r"/providers/Microsoft.Resources/deployments/[^/]+$"


class ResourceGroup:
    """Puts its routes before those of the stand-in."""

    def __init__(self, azure: StandIn) -> None:
        self._resources = azure._resources
        (self._deploy,) = (
            handler
            for method, pattern, handler in self._resources.routes
            if method == "PUT" and "Microsoft.Resources/deployments" in pattern
        )
        self._resources.routes[:0] = [
            ("GET", r"^/subscriptions/[^/]+$", self._subscription),
            ("GET", _STORES, self._get),
            ("PUT", _STORES, self._put),
            ("GET", _WORKSPACE, self._get),
            ("PUT", _DEPLOYMENT, self._make_workspace),
        ]

    def _subscription(self, request: Request) -> Answer:
        return Answer(body={"id": request.path, "tenantId": login.TENANT})

    def _get(self, request: Request) -> Answer:
        return self._without_group(request) or Answer(body=self._resources.get(request.path))

    def _put(self, request: Request) -> Answer:
        missing = self._without_group(request)
        if missing:
            return missing
        self._refuse_no_logs(request.json())
        made = self._resources.put(request.path, request.json())
        answer = Answer(201, made | {"properties": {"provisioningState": "Creating"}})
        made["properties"]["provisioningState"] = "Succeeded"  # when it is asked for the next time
        return answer

    def _refuse_no_logs(self, body: dict[str, Any]) -> None:
        """Refuse Application Insights whose place for logs is not there."""
        if logs := body.get("properties", {}).get("WorkspaceResourceId"):
            self._resources.get(logs)

    def _make_workspace(self, request: Request) -> Answer:
        """Let the stand-in make it, then note what it is made upon: that must be there."""
        given = {key: v.get("value") for key, v in _parameters(request).items()}
        ids = {
            key: _id(request, given, key, type)
            for key, type in _UPON.items()
            if key in _ALWAYS or given.get(f"{key}Option") == "existing"
        }
        for key, id in ids.items():
            if given.get(f"{key}Option") == "existing":
                self._resources.get(id)
        answer = self._deploy(request)
        name = f"/workspaces/{given['workspaceName']}"
        (workspace,) = (body for id, body in self._resources.all.items() if id.endswith(name))
        workspace["properties"] |= ids
        return answer

    def _without_group(self, request: Request) -> Answer | None:
        group = request.path.split("/providers/")[0]
        if group in self._resources.all:
            return None
        said = f"Resource group '{group.rsplit('/', 1)[1]}' could not be found."
        return Answer(404, {"error": {"code": "ResourceGroupNotFound", "message": said}})


def _parameters(request: Request) -> dict[str, dict[str, Any]]:
    return request.json()["properties"]["parameters"]


def _id(request: Request, given: dict[str, Any], key: str, type: str) -> str:
    """Write the ARM id of a resource that the template's parameters name in parts."""
    subscription = re.match("/subscriptions/[^/]+", request.path)
    group = f"{subscription and subscription[0]}/resourceGroups/{given[f'{key}ResourceGroupName']}"
    return f"{group}/providers/{type}/{given[f'{key}Name']}"
