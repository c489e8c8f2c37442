"""Kubernetes clusters, AKS or Arc, that are attached to a workspace to serve models."""

from typing import TYPE_CHECKING

from kedro_azure_mlops.azure.workspace import azure_errors
from kedro_azure_mlops.config import Kubernetes
from kedro_azure_mlops.errors import OperationError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_KIND = "kubernetes"
_KEY = "mlops.yml: deployment.kubernetes"


def refuse_unattached(client: "MLClient", cluster: Kubernetes) -> None:
    """Refuse a cluster that is not attached, is not Kubernetes or lacks the instance type.

    Raises
    ------
    OperationError
        If it cannot serve, naming the key of ``mlops.yml``, the existing clusters and the command
        that attaches one; also if Azure refuses or cannot be reached.
    """
    from azure.core.exceptions import ResourceNotFoundError

    name, workspace = cluster.compute, client.workspace_name
    with azure_errors(f"looking for the compute {name}"):
        try:
            compute = client.compute.get(name)
        except ResourceNotFoundError:
            raise OperationError(
                f"{_KEY}.compute: there is no {name} in the workspace {workspace}; attached "
                f"clusters: {_attached(client)}. {_how_to_attach(client, name)}"
            ) from None
    if str(compute.type).lower() != _KIND:
        raise OperationError(
            f"{_KEY}.compute: {name} has the type {compute.type} and is not a Kubernetes "
            f"cluster; attached clusters: {_attached(client)}. {_how_to_attach(client, 'NAME')}"
        )
    state = str(getattr(compute.provisioning_state, "value", compute.provisioning_state))
    if state != "Succeeded":
        raise OperationError(
            f"{_KEY}.compute: Azure reports {name} as {state}. See why in the "
            "Studio, under Compute; then detach it and attach it again, with the same name."
        )
    known = dict(compute.properties or {}).get("instanceTypes")  # may be missing
    if known and cluster.instance_type not in known:
        raise OperationError(
            f"{_KEY}.instance_type: {name} has no {cluster.instance_type}; it has: "
            f"{', '.join(sorted(known))}. To create one: kubectl apply -f a file of kind "
            "InstanceType."
        )


def _attached(client: "MLClient") -> str:
    with azure_errors("listing the computes"):
        names = [each.name for each in client.compute.list() if str(each.type).lower() == _KIND]
    return ", ".join(map(str, names)) or "none"


def _how_to_attach(client: "MLClient", name: str) -> str:
    return (
        f"To attach a cluster: az ml compute attach --type Kubernetes --name {name} --resource-id "
        f"ID --namespace NAMESPACE --identity-type SystemAssigned --workspace-name "
        f"{client.workspace_name} --resource-group {client.resource_group_name}"
    )
