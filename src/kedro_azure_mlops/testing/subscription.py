"""Resource Manager around workspaces: resource groups and the resources a workspace depends on.

Covers storage accounts with their containers, key vaults, registries, Application Insights and its
logs, deployments, the tenant, virtual machine sizes, quota, and the error that distinguishes a
missing resource group from a missing workspace.
"""

import re
from typing import Any

from kedro_azure_mlops.testing import login
from kedro_azure_mlops.testing.messages import Answer, Request
from kedro_azure_mlops.testing.resources import ML, Body, Resources

# name: family, cores, memory in GB
_SIZES = {
    "STANDARD_DS3_V2": ("standardDSv2Family", 4, 14),
    "STANDARD_DS4_V2": ("standardDSv2Family", 8, 28),
    "STANDARD_E4S_V3": ("standardESv3Family", 4, 32),
    "STANDARD_NC6S_V3": ("standardNCSv3Family", 6, 112),
}

_STORAGE = "Microsoft.Storage/storageAccounts"
_VAULT = "Microsoft.KeyVault/vaults"
_REGISTRY = "Microsoft.ContainerRegistry/registries"
_INSIGHTS = "Microsoft.Insights/components"
_LOGS = "Microsoft.OperationalInsights/workspaces"
_PLAIN = "|".join((_STORAGE, _VAULT, _REGISTRY, _INSIGHTS, _LOGS))
_STORES = rf"/providers/({_STORAGE}/[^/]+/blobServices/default/containers/[^/]+|({_PLAIN})/[^/]+)$"
# parameter of the workspace's template -> type of the resource that it names
_DEPENDENCIES = {
    "storageAccount": _STORAGE,
    "keyVault": _VAULT,
    "containerRegistry": _REGISTRY,
    "applicationInsights": _INSIGHTS,
}
_ALWAYS = ("storageAccount", "keyVault")  # the template creates them if they are missing
_WORKSPACE = r"/providers/Microsoft.MachineLearningServices/workspaces/[^/]+$"
_DEPLOYMENT = r"/providers/Microsoft.Resources/deployments/[^/]+$"


class Subscription:
    """Adds its routes to those of the resources; ``quota`` is the core limit by quota name."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self.quota = {
            "Total Cluster Dedicated Regional vCPUs": 100,
            "Standard DSv2 Family Cluster Dedicated vCPUs": 24,
            "Standard ESv3 Family Cluster Dedicated vCPUs": 24,
            "Standard NCSv3 Family Cluster Dedicated vCPUs": 0,
        }
        resources.routes += [
            ("PUT", _DEPLOYMENT, self._make_workspace),
            ("GET", _DEPLOYMENT, self._get_any_case),
            ("GET", r"/deployments/[^/]+/operations$", lambda request: Answer(body={"value": []})),
            ("GET", r"^/subscriptions/[^/]+/resource[gG]roups/[^/]+$", self._get_any_case),
            ("GET", r"/locations/[^/]+/usages$", self._usages),
            ("GET", r"/locations/[^/]+/vmSizes$", self._sizes),
            ("GET", rf"{ML}/workspaces$", self._workspaces),
            ("GET", r"^/subscriptions/[^/]+$", self._subscription),
            ("GET", _STORES, self._get),
            ("PUT", _STORES, self._put),
            ("GET", _WORKSPACE, self._get),
        ]

    def create_group(self, id: str, location: str) -> None:
        """Create a resource group."""
        self._resources.put(id, {"location": location})

    def create_workspace(self, group: str, name: str, location: str, **given: Any) -> None:
        """Create a workspace with the default datastores."""
        account = given.pop("account", "") or re.sub("[^a-z0-9]", "", name.lower())
        storage = f"{group}/providers/Microsoft.Storage/storageAccounts/{account}"
        properties = {
            "discoveryUrl": f"https://{location}.api.azureml.ms/discovery",
            "workspaceId": name,
            "storageAccount": storage,
        }
        id = f"{group}{ML}/workspaces/{name}"
        self._resources.put(id, {"location": location, "properties": properties} | given)
        for store in ("workspaceblobstore", "workspaceartifactstore"):
            body = _datastore(account, is_default=store == "workspaceblobstore")
            self._resources.put(f"{id}/datastores/{store}", {"properties": body})

    def _deploy(self, request: Request) -> Answer:
        """Create the workspace described by the parameters of the client's template."""
        group = self._canonical(request.path.split("/providers/")[0])
        self._resources.get(group)
        given = request.json()["properties"]["parameters"]
        name, location = given["workspaceName"]["value"], given["location"]["value"]
        options = {
            "tags": given["tagValues"]["value"],
            "account": given["storageAccountName"]["value"],
        }
        self.create_workspace(group, name, location, **options)
        state = {"provisioningState": "Succeeded"}
        return Answer(
            201, self._resources.put(self._canonical(request.path), {"properties": state})
        )

    def _get_any_case(self, request: Request) -> Answer:
        return Answer(body=self._resources.get(self._canonical(request.path)))

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
        made["properties"]["provisioningState"] = "Succeeded"  # by the next request
        return answer

    def _refuse_no_logs(self, body: dict[str, Any]) -> None:
        """Reject Application Insights if its log workspace does not exist."""
        if logs := body.get("properties", {}).get("WorkspaceResourceId"):
            self._resources.get(logs)

    def _make_workspace(self, request: Request) -> Answer:
        """Create a workspace from its template, and record its dependencies, which must exist."""
        given = {key: v.get("value") for key, v in _parameters(request).items()}
        ids = {
            key: _id(request, given, key, type)
            for key, type in _DEPENDENCIES.items()
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
        message = f"Resource group '{group.rsplit('/', 1)[1]}' could not be found."
        return Answer(404, {"error": {"code": "ResourceGroupNotFound", "message": message}})

    def _canonical(self, path: str) -> str:
        """Return a path, which is case-insensitive, in the case that ids use."""
        return re.sub("/resourcegroups/", "/resourceGroups/", path, flags=re.IGNORECASE)

    def _workspaces(self, request: Request) -> Answer:
        group = request.path.split("/providers/")[0]
        every = list(self._resources.all.values())
        found = [body for body in every if body["type"] == "workspaces"]
        return Answer(body={"value": [body for body in found if body["id"].startswith(group)]})

    def _usages(self, request: Request) -> Answer:
        return Answer(body={"value": [_usage(*item) for item in self.quota.items()]})

    def _sizes(self, request: Request) -> Answer:
        return Answer(body={"value": [_size(name, *about) for name, about in _SIZES.items()]})


def _parameters(request: Request) -> dict[str, dict[str, Any]]:
    return request.json()["properties"]["parameters"]


def _id(request: Request, given: dict[str, Any], key: str, type: str) -> str:
    """Build the ARM id of a resource from the parts in the template's parameters."""
    subscription = re.match("/subscriptions/[^/]+", request.path)
    group = f"{subscription and subscription[0]}/resourceGroups/{given[f'{key}ResourceGroupName']}"
    return f"{group}/providers/{type}/{given[f'{key}Name']}"


def _datastore(account: str, *, is_default: bool) -> Body:
    return {
        "datastoreType": "AzureBlob",
        "accountName": account,
        "containerName": "azureml",
        "isDefault": is_default,
        "credentials": {"credentialsType": "AccountKey"},
    }


def _usage(name: str, limit: int) -> Body:
    names = {"value": name, "localizedValue": name}
    return {"name": names, "unit": "Count", "currentValue": 0, "limit": limit}


def _size(name: str, family: str, cores: int, memory: int) -> Body:
    return {
        "name": name,
        "family": family,
        "vCPUs": cores,
        "memoryGB": memory,
        "gpus": int(name.startswith("STANDARD_N")),
        "lowPriorityCapable": True,
        "supportedComputeTypes": ["AmlCompute"],
    }
