"""Where a workspace keeps its files, secrets, images and logs."""

from collections.abc import Callable
from typing import Any

from operation.azureml.site.names import EXISTS, MISSING, Item, Site
from operation.errors import OperationError

Body = dict[str, Any]


def stores(site: Site) -> list[Item]:
    """Plan what a new workspace needs and azure-ai-ml would give names of its own.

    Raises
    ------
    OperationError
        If Application Insights is to be made and its logs have no place, or if Azure refuses or
        cannot be reached.
    """
    # Application Insights is made upon the logs, so they come first.
    bodies = {
        "storage_account": _storage_account,
        "key_vault": _key_vault,
        "container_registry": _container_registry,
        "log_analytics": _log_analytics,
        "application_insights": _application_insights,
    }
    items = {
        key: _item(site, key.replace("_", " "), id, body)
        for key, body in bodies.items()
        if (id := site.id(key))
    }
    insights = items.get("application_insights")
    if insights and insights.make and "log_analytics" not in items:
        raise OperationError(
            f"Application Insights {insights.name} is to be made, and nothing says where it keeps "
            "its logs: name workspace.log_analytics in azureml.yml, or leave out "
            "workspace.application_insights."
        )
    return list(items.values())


def container(site: Site, name: str) -> Item:
    """Plan a container of the workspace's own storage account.

    Raises
    ------
    OperationError
        If Azure refuses or cannot be reached.
    """
    id = f"{site.id('storage_account')}/blobServices/default/containers/{name}"
    return _item(site, "container", id, lambda _: {})


def _item(site: Site, kind: str, id: str, body: Callable[[Site], Body]) -> Item:
    name = id.rsplit("/", 1)[1]
    if site.look(f"{kind} {name}", lambda: site.manager.get(id)):
        return Item(kind, name, EXISTS)
    return Item(kind, name, MISSING, lambda: site.manager.put(id, body(site)))


def _storage_account(site: Site) -> Body:
    return {
        "location": site.location(),
        "kind": "StorageV2",
        "sku": {"name": "Standard_LRS"},
        "properties": {
            "minimumTlsVersion": "TLS1_2",
            "allowBlobPublicAccess": False,
            "supportsHttpsTrafficOnly": True,
        },
    }


def _key_vault(site: Site) -> Body:
    subscription = site.manager.require(f"/subscriptions/{site.client.subscription_id}")
    return {
        "location": site.location(),
        "properties": {
            "tenantId": subscription["tenantId"],
            "sku": {"family": "A", "name": "standard"},
            "enableRbacAuthorization": True,
        },
    }


def _container_registry(site: Site) -> Body:
    return {
        "location": site.location(),
        "sku": {"name": "Basic"},
        "properties": {"adminUserEnabled": False},
    }


def _log_analytics(site: Site) -> Body:
    return {
        "location": site.location(),
        "properties": {"sku": {"name": "PerGB2018"}, "retentionInDays": 30},
    }


def _application_insights(site: Site) -> Body:
    return {
        "location": site.location(),
        "kind": "web",
        "properties": {
            "Application_Type": "web",
            "WorkspaceResourceId": site.id("log_analytics"),
        },
    }
