"""Check the sign-in, workspace, clusters and quota in Azure; each problem states its fix."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_azure_mlops.azure.attached import refuse_unattached
from kedro_azure_mlops.azure.doctor import Check
from kedro_azure_mlops.azure.identity import credential
from kedro_azure_mlops.azure.resources import ResourceManager
from kedro_azure_mlops.azure.workspace import azure_errors, workspace
from kedro_azure_mlops.config import SERVERLESS, AzureML, Cluster, read_azureml, read_mlops
from kedro_azure_mlops.errors import OperationError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Usage, VmSize

_PROVISION = "kedro mlops provision --env"
_SCOPE = "https://management.azure.com/.default"
_CLOCK_MAY_DIFFER = timedelta(minutes=5)  # as Microsoft Entra allows


def sign_in() -> Check:
    """Check that Azure issues a token to the identity configured here."""
    try:
        signed_in = credential()
        with azure_errors("signing in"):
            signed_in.get_token(_SCOPE)
    except OperationError as error:
        return Check(False, str(error))
    return Check(True, "sign-in works")


def check_cloud(root: Path, env: str) -> Iterator[Check]:
    """Check an environment's workspace, its clusters, their quota and its attached cluster."""
    try:
        client = workspace(env, root)
        yield from _workspace(client, env)
        config = read_azureml(root, env)
        for name in sorted(_computes(config)):
            yield _compute(client, env, name)
        yield from _quotas(client, config)
        yield from _attached(client, root, env)
    except OperationError as error:
        yield Check(False, str(error))


def clock(date: str, now: datetime) -> Check:
    """Compare the clock with the ``Date`` of an answer from Azure."""
    ahead = now - parsedate_to_datetime(date)
    if abs(ahead) <= _CLOCK_MAY_DIFFER:
        return Check(True, "the clock agrees with Azure's")
    minutes = round(abs(ahead).total_seconds() / 60)
    side = "ahead of" if ahead > timedelta() else "behind"
    return Check(
        False,
        f"the clock is {minutes} minutes {side} Azure's, which then refuses the sign-in. Set it: "
        "sudo timedatectl set-ntp true (on Windows: w32tm /resync)",
    )


def _workspace(client: "MLClient", env: str) -> Iterator[Check]:
    name = client.workspace_name
    advice = {404: f"It does not exist. Create it: {_PROVISION} {env}"}
    id = (
        f"/subscriptions/{client.subscription_id}/resourceGroups/{client.resource_group_name}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{name}"
    )
    with azure_errors(f"looking for the workspace {name}", advice):
        response = ResourceManager().response(id)
        checked = clock(response.headers["Date"], datetime.now(UTC))
        if not checked.is_ok:
            yield checked
        response.raise_for_status()
    yield Check(True, f"the workspace {name} answers, and the clock agrees with Azure's")


def _computes(config: AzureML) -> set[str]:
    """Return the names of the clusters that steps run on."""
    named = {step.compute for step in config.steps.values() if step and step.compute}
    return (named | {config.compute}) - {SERVERLESS}


def _compute(client: "MLClient", env: str, name: str) -> Check:
    from azure.core.exceptions import ResourceNotFoundError

    with azure_errors(f"looking for the compute {name}"):
        try:
            compute = client.compute.get(name)
        except ResourceNotFoundError:
            return Check(False, f"there is no compute {name}. Create it: {_PROVISION} {env}")
    if compute.provisioning_state == "Failed":
        return Check(False, f"the compute {name} failed to start: see the reason in the Studio")
    return Check(True, f"the compute {name} exists")


def _attached(client: "MLClient", root: Path, env: str) -> Iterator[Check]:
    """Check the attached cluster that models of the environment are deployed to."""
    deployment = read_mlops(root, env).deployment
    if deployment.endpoint and deployment.kubernetes:  # also if only --target selects it
        cluster = deployment.kubernetes
        try:
            refuse_unattached(client, cluster)
        except OperationError as error:
            yield Check(deployment.cluster is None, str(error), is_note=True)
        else:
            yield Check(True, f"the Kubernetes cluster {cluster.compute} is attached")


def _quotas(client: "MLClient", config: AzureML) -> Iterator[Check]:
    if not config.clusters:
        return
    with azure_errors("looking up the quota"):
        sizes = {str(size.name).lower(): size for size in client.compute.list_sizes()}
        usages = list(client.compute.list_usage())
    for name, cluster in config.clusters.items():
        size = sizes.get(cluster.size.lower())
        if size is None:
            yield Check(
                False,
                f"clusters.{name} in azureml.yml: there is no {cluster.size} in this region. To "
                "list the sizes: az ml compute list-sizes",
            )
            continue
        limits = _limits(cluster, str(_rest_field(size, "family")), usages)
        yield quota(name, cluster, int(_rest_field(size, "vCPUs")), limits)


def quota(name: str, cluster: Cluster, cores: int, limits: Mapping[str, tuple[int, int]]) -> Check:
    """Compare the cores that a cluster needs with the quota.

    Parameters
    ----------
    cores
        The cores of one instance.
    limits
        Name of a quota -> the cores that it allows, and those that are in use now.
    """
    needed = cluster.max_instances * cores
    for quota_name, (limit, used) in limits.items():
        if limit < cores:
            return Check(
                False,
                f"the cluster {name} cannot start: {cluster.size} has {cores} cores, and the quota "
                f"{quota_name} allows {limit}. Name another size in azureml.yml, or ask for more: "
                "https://ml.azure.com/quota",
            )
        if limit - used < needed:
            most = max(limit - used, 0) // cores
            return Check(
                True,
                f"the quota allows {name} {most} more instances now, of {cluster.max_instances} "
                f"({quota_name}: {used} of {limit} cores are in use)",
            )
    return Check(True, f"the quota allows the {cluster.max_instances} instances of {name}")


def _limits(cluster: Cluster, family: str, usages: list["Usage"]) -> dict[str, tuple[int, int]]:
    """Return the quotas that apply to a cluster: for its machine family, and in total."""
    prefixes: tuple[str, ...]
    if cluster.tier == "low_priority":
        prefixes = ("total cluster lowpriority regional",)
    else:
        prefixes = (f"{family} cluster dedicated", "total cluster dedicated regional")
    by_name = {(usage.name or {})["value"]: usage for usage in usages}
    return {
        name: (int(_rest_field(usage, "limit")), int(_rest_field(usage, "currentValue")))
        for name, usage in by_name.items()
        if _normalized(name).startswith(tuple(map(_normalized, prefixes)))
    }


def _normalized(name: str) -> str:
    """Return a quota's name without case and spaces, which the API writes differently."""
    return "".join(name.lower().split())


def _rest_field(entity: "Usage | VmSize", name: str) -> Any:
    """Return a field, which azure-ai-ml 1.35 stores under its REST API name or its own name.

    Its own names are ``current_value`` for ``currentValue`` and ``v_cp_us`` for ``vCPUs``.
    """
    own = {"currentValue": "current_value", "vCPUs": "v_cp_us"}.get(name, name)
    fields = vars(entity)
    return fields[name] if fields.get(name) is not None else fields[own]
