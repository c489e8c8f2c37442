"""The resources of one environment, compared with its configuration."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, TypeVar

from kedro_azure_mlops.azure.identity import credential
from kedro_azure_mlops.azure.workspace import azure_errors
from kedro_azure_mlops.config import AzureML
from kedro_azure_mlops.errors import OperationError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.rest import HttpResponse

_HOST = "https://management.azure.com"
# The API version for each type of resource, to read and to write it.
_VERSIONS = {
    "Microsoft.Storage/storageAccounts": "2023-05-01",
    "Microsoft.KeyVault/vaults": "2023-07-01",
    "Microsoft.ContainerRegistry/registries": "2023-07-01",
    "Microsoft.OperationalInsights/workspaces": "2023-09-01",
    "Microsoft.Insights/components": "2020-02-02",
    "Microsoft.MachineLearningServices/workspaces": "2024-10-01",
}
_GROUP_VERSION = "2022-09-01"
_POLLING_SECONDS = 5


class ResourceManager:
    """Read and create resources by ARM id; raises ``azure.core.exceptions``.

    For resources that azure-ai-ml does not create, or creates under generated names.
    """

    def __init__(self) -> None:
        from azure.core import PipelineClient
        from azure.core.pipeline import Pipeline
        from azure.core.pipeline.policies import (
            BearerTokenCredentialPolicy,
            RequestIdPolicy,
            RetryPolicy,
        )
        from azure.core.pipeline.transport import RequestsTransport

        signing = BearerTokenCredentialPolicy(credential(), f"{_HOST}/.default")
        policies: list[Any] = [RequestIdPolicy(), RetryPolicy(), signing]
        self._pipeline: Pipeline[Any, Any] = Pipeline(RequestsTransport(), policies)
        self._client: PipelineClient[Any, Any] = PipelineClient(_HOST, pipeline=self._pipeline)

    def get(self, id: str) -> dict[str, Any] | None:
        """Return a resource, or None if it is missing from an existing resource group."""
        response = self.response(id)
        if response.status_code == 404 and "ResourceGroupNotFound" not in response.text():
            return None
        response.raise_for_status()
        return response.json()

    def require(self, id: str) -> dict[str, Any]:
        """Return a resource that must exist."""
        response = self.response(id)
        response.raise_for_status()
        return response.json()

    def response(self, id: str) -> "HttpResponse":
        """Request a resource and return the response, even an error."""
        return self._client.send_request(_request("GET", id))

    def put(self, id: str, body: dict[str, Any]) -> None:
        """Create or change a resource, and wait for completion."""
        from azure.core.polling import LROPoller
        from azure.mgmt.core.polling.arm_polling import ARMPolling

        response = self._pipeline.run(_request("PUT", id, body), stream=False)
        response.http_response.raise_for_status()
        polling = ARMPolling(timeout=_POLLING_SECONDS)
        LROPoller(self._client, response, lambda result: result, polling).result()


def _request(method: str, id: str, body: dict[str, Any] | None = None) -> Any:
    from azure.core.rest import HttpRequest

    version = next((v for kind, v in _VERSIONS.items() if kind in id), _GROUP_VERSION)
    return HttpRequest(method, f"{_HOST}{id}", params={"api-version": version}, json=body)


EXISTS, MISSING = "exists", "will be created"
_LOCATION = "westeurope"  # suggested for a resource group, if none is configured
# The resources that a workspace is built on, by the keys of `workspace`.
_TYPES = {
    "storage_account": "Microsoft.Storage/storageAccounts",
    "key_vault": "Microsoft.KeyVault/vaults",
    "container_registry": "Microsoft.ContainerRegistry/registries",
    "application_insights": "Microsoft.Insights/components",
}
_LOGS = {"log_analytics": "Microsoft.OperationalInsights/workspaces"}
Found = TypeVar("Found")


@dataclass(frozen=True)
class Item:
    """One resource: its kind, name and state, and the call that creates or changes it."""

    kind: str
    name: str
    state: str
    make: Callable[[], Any] | None = None

    @property
    def is_stuck(self) -> bool:
        """Return whether it differs from its configuration and cannot be changed."""
        return self.state != EXISTS and self.make is None


@dataclass(frozen=True)
class Site:
    """The workspace and resource group of an environment, and its configuration."""

    client: "MLClient"
    root: Path
    config: AzureML
    manager: ResourceManager = field(default_factory=ResourceManager)

    @property
    def group(self) -> str:
        """The ARM id of the resource group."""
        client = self.client
        return (
            f"/subscriptions/{client.subscription_id}/resourceGroups/{client.resource_group_name}"
        )

    def id(self, key: str) -> str | None:
        """Return the ARM id that ``workspace.<key>`` names, in the group if it is a bare name."""
        name = getattr(self.config.workspace, key)
        if not name or name.startswith("/"):
            return name
        return f"{self.group}/providers/{(_TYPES | _LOGS)[key]}/{name}"

    def ids(self) -> dict[str, str | None]:
        """Return the ARM ids that a workspace is created with."""
        return {key: self.id(key) for key in _TYPES}

    def location(self) -> str:
        """Return the location for new resources: the configured one, else the group's."""
        return self.config.workspace.location or self.manager.require(self.group)["location"]

    def look(self, what: str, ask: Callable[[], Found], id: str | None = None) -> Found | None:
        """Return the result of a look-up, or None if it finds nothing.

        Parameters
        ----------
        id
            The ARM id, if it may be in another group than the workspace.

        Raises
        ------
        OperationError
            If the subscription or group is missing, or Azure refuses or cannot be reached.
        """
        with self.errors(f"looking for the {what}", id):
            return _or_none(ask)

    def errors(self, doing: str, id: str | None = None) -> AbstractContextManager[None]:
        """Turn Azure's errors into sentences that end with the command to run."""
        scope = "/".join((id or self.group).split("/")[:5])
        location = quote(self.config.workspace.location or _LOCATION)
        _, _, subscription, _, group = map(quote, scope.split("/"))
        advice = {
            404: "There is no such subscription, or no such resource group. Create one: az group "
            f"create --name {group} --location {location} --subscription {subscription}",
            403: "You do not have permission. Ask an owner of the resource group to run: az "
            f"role assignment create --assignee YOU --role Contributor --scope {quote(scope)}",
        }
        return azure_errors(doing, advice)


def differences(found: Any, wanted: Mapping[str, Any]) -> str:
    """Return ``differs: size A -> B``, or an empty text."""
    changes = [
        f"{key} {_short(actual)} -> {_short(value)}"
        for key, value in wanted.items()
        if _normalized(actual := getattr(found, key, None)) != _normalized(value)
    ]
    return f"differs: {', '.join(changes)}" if changes else ""


def _normalized(value: Any) -> Any:
    """Return a value without case and without the spaces of ``West Europe``."""
    return value.lower().replace(" ", "") if isinstance(value, str) else value


def _short(value: Any) -> str:
    """Return a number without ``.0``, or the last part of an ARM id."""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).rsplit("/", 1)[-1]


def _or_none(ask: Callable[[], Found]) -> Found | None:
    from azure.core.exceptions import ResourceNotFoundError

    try:
        return ask()
    except ResourceNotFoundError as error:
        if "ResourceGroupNotFound" in str(error) or "SubscriptionNotFound" in str(error):
            raise
        return None


Body = dict[str, Any]


def stores(site: Site) -> list[Item]:
    """Plan the resources of a new workspace that azure-ai-ml would create under generated names.

    Raises
    ------
    OperationError
        If Application Insights would be created without a workspace for its logs, or Azure refuses
        or cannot be reached.
    """
    # Application Insights is built on the logs, so they come first.
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
            f"Application Insights {insights.name} cannot be created without a workspace for "
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
    if site.look(f"{kind} {name}", lambda: site.manager.get(id), id):
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
