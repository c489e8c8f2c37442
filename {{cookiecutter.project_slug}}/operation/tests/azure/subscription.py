"""What Resource Manager knows around workspaces: groups, deployments, virtual machines, quota."""

import re
from typing import Any

from operation.tests.azure.kinds import Body
from operation.tests.azure.messages import Answer, Request
from operation.tests.azure.resources import ML, Resources

# name: family, cores, memory in GB
_SIZES = {
    "STANDARD_DS3_V2": ("standardDSv2Family", 4, 14),
    "STANDARD_DS4_V2": ("standardDSv2Family", 8, 28),
    "STANDARD_E4S_V3": ("standardESv3Family", 4, 32),
    "STANDARD_NC6S_V3": ("standardNCSv3Family", 6, 112),
}


class Subscription:
    """Adds its routes to those of the resources; ``quota`` is how many cores a name may have."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self.quota = {
            "Total Cluster Dedicated Regional vCPUs": 100,
            "Standard DSv2 Family Cluster Dedicated vCPUs": 24,
            "Standard ESv3 Family Cluster Dedicated vCPUs": 24,
            "Standard NCSv3 Family Cluster Dedicated vCPUs": 0,
        }
        resources.routes += [
            ("PUT", r"/providers/Microsoft.Resources/deployments/[^/]+$", self._deploy),
            ("GET", r"/providers/Microsoft.Resources/deployments/[^/]+$", self._found),
            ("GET", r"/deployments/[^/]+/operations$", lambda request: Answer(body={"value": []})),
            ("GET", r"^/subscriptions/[^/]+/resource[gG]roups/[^/]+$", self._found),
            ("GET", r"/locations/[^/]+/usages$", self._usages),
            ("GET", r"/locations/[^/]+/vmSizes$", self._sizes),
            ("GET", rf"{ML}/workspaces$", self._workspaces),
        ]

    def create_group(self, id: str, location: str) -> None:
        """Make a resource group."""
        self._resources.put(id, {"location": location})

    def create_workspace(self, group: str, name: str, location: str, **given: Any) -> None:
        """Make a workspace with the datastores that every new one has."""
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
        """Make the workspace that the client's template describes in its parameters."""
        group = self._canonical(request.path.split("/providers/")[0])
        self._resources.get(group)
        given = request.json()["properties"]["parameters"]
        name, location = given["workspaceName"]["value"], given["location"]["value"]
        known = {
            "tags": given["tagValues"]["value"],
            "account": given["storageAccountName"]["value"],
        }
        self.create_workspace(group, name, location, **known)
        done = {"provisioningState": "Succeeded"}
        return Answer(201, self._resources.put(self._canonical(request.path), {"properties": done}))

    def _found(self, request: Request) -> Answer:
        return Answer(body=self._resources.get(self._canonical(request.path)))

    def _canonical(self, path: str) -> str:
        """Spell a path, in which case does not count, as the ids are spelled."""
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
