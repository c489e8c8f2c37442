"""The place in Azure that belongs to one environment, and how what is there is compared."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from operation.azureml.config import AzureML
from operation.azureml.site.arm import ResourceManager
from operation.azureml.utils import azure_errors

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

EXISTS, MISSING = "exists", "will be created"
_LOCATION = "westeurope"  # where a resource group is suggested, if the configuration says nothing
# what a workspace is made upon, by its names in `workspace`
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
    """One resource: its kind and name, how it is, and what makes it as it should be."""

    kind: str
    name: str
    state: str
    make: Callable[[], Any] | None = None

    @property
    def is_stuck(self) -> bool:
        """Whether it is not as configured, and cannot be made so."""
        return self.state != EXISTS and self.make is None


@dataclass(frozen=True)
class Site:
    """Workspace and resource group of an environment, and what its configuration wants there."""

    client: "MLClient"
    root: Path
    config: AzureML
    manager: ResourceManager = field(default_factory=ResourceManager)

    @property
    def group(self) -> str:
        """The ARM id of the resource group."""
        of = self.client
        return f"/subscriptions/{of.subscription_id}/resourceGroups/{of.resource_group_name}"

    def id(self, key: str) -> str | None:
        """Return the ARM id of what ``workspace.<key>`` names; a bare name is of the group."""
        name = getattr(self.config.workspace, key)
        if not name or name.startswith("/"):
            return name
        return f"{self.group}/providers/{(_TYPES | _LOGS)[key]}/{name}"

    def ids(self) -> dict[str, str | None]:
        """Return the ARM ids of all that a workspace is told of when it is made."""
        return {key: self.id(key) for key in _TYPES}

    def location(self) -> str:
        """Return where things are made: as configured, else where the resource group is."""
        return self.config.workspace.location or self.manager.require(self.group)["location"]

    def look(self, what: str, ask: Callable[[], Found]) -> Found | None:
        """Ask for something; None if it is not there.

        Raises
        ------
        OperationError
            If all around it is not there either, or Azure refuses or cannot be reached.
        """
        with self.errors(f"looking for the {what}"):
            return _or_none(ask)

    def errors(self, doing: str) -> AbstractContextManager[None]:
        """Turn Azure's errors into sentences that end with what to type here."""
        location = self.config.workspace.location or _LOCATION
        group, subscription = self.client.resource_group_name, self.client.subscription_id
        advice = {
            404: "There is no such subscription, or no such resource group. Make one: az group "
            f"create --name {group} --location {location} --subscription {subscription}",
            403: "You may not do that. Let an owner of the resource group type: az role assignment "
            f"create --assignee YOU --role Contributor --scope {self.group}",
        }
        return azure_errors(doing, advice)


def differences(found: Any, wanted: Mapping[str, Any]) -> str:
    """Write ``differs: size A -> B``, or nothing."""
    changes = [
        f"{key} {_short(there)} -> {_short(value)}"
        for key, value in wanted.items()
        if _plain(there := getattr(found, key, None)) != _plain(value)
    ]
    return f"differs: {', '.join(changes)}" if changes else ""


def _plain(value: Any) -> Any:
    """Leave out what does not count: case, and blanks as in ``West Europe``."""
    return value.lower().replace(" ", "") if isinstance(value, str) else value


def _short(value: Any) -> str:
    """Write a number without ``.0``, and of an ARM id its last part."""
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
