"""The special rules of online endpoints on an attached Kubernetes cluster.

The compute must be an attached Kubernetes cluster; the endpoint accepts keys or tokens of Azure ML,
not of Entra ID, and cannot mirror traffic; a deployment names an instance type of the cluster,
requests no more resources than this type has, and has no egress settings.

References
----------
https://learn.microsoft.com/azure/machine-learning/how-to-attach-kubernetes-to-workspace
https://learn.microsoft.com/azure/machine-learning/how-to-manage-kubernetes-instance-types
https://learn.microsoft.com/azure/machine-learning/how-to-authenticate-online-endpoint
"""

import re

from kedro_azure_mlops.testing.messages import Request, ServiceError
from kedro_azure_mlops.testing.resources import Body, Resources

HOST = "cluster.example"
_PATH = re.compile(r"/api/v1/endpoint/([^/]+)(/score)$")
_DEFAULT = "defaultinstancetype"
_TYPES = {_DEFAULT: ("2", "2Gi")}  # present in every attached cluster
_REQUIREMENTS = "containerResourceRequirements"
_PARTS = ("containerResourceRequests", "containerResourceLimits")
_UNITS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def attached(
    cluster: str, namespace: str = "default", types: dict[str, tuple[str, str]] | None = None
) -> Body:
    """Return an attached cluster as a compute; ``types`` maps instance types to CPU and memory."""
    limits = {
        name: {"resources": {"limits": {"cpu": cpu, "memory": memory}}}
        for name, (cpu, memory) in (_TYPES | (types or {})).items()
    }
    return {
        "location": "westeurope",
        "properties": {
            "computeType": "Kubernetes",
            "resourceId": cluster,
            "properties": {
                "namespace": namespace,
                "defaultInstanceType": _DEFAULT,
                "instanceTypes": limits,
            },
        },
    }


def address(scheme: str, compute: str, endpoint: str) -> str:
    """Return the address of an endpoint on a cluster's router."""
    return f"{scheme}://{compute.rsplit('/', 1)[1]}.{HOST}/api/v1/endpoint/{endpoint}/score"


def endpoint_of(request: Request) -> tuple[str, str] | None:
    """Return the endpoint and the path inside it, if the request is to a cluster."""
    found = _PATH.match(request.path) if request.host.endswith(HOST) else None
    return (found[1], found[2]) if found else None


def check_endpoint(resources: Resources, properties: Body, old: Body | None) -> None:
    """Check the properties of an online endpoint that is created or changed.

    Raises
    ------
    ServiceError
        If the service would reject them.
    """
    compute = properties.get("compute")
    if old and old["properties"].get("compute") != compute:
        raise ServiceError(400, "The compute of an endpoint cannot be changed.")
    if not compute:
        return
    if resources.get(compute)["properties"]["computeType"] != "Kubernetes":
        raise ServiceError(400, f"{compute} is not a Kubernetes compute.")
    if properties["authMode"].lower() == "aadtoken":
        raise ServiceError(400, "AADToken is for managed online endpoints. Use Key or AMLToken.")
    if properties["mirrorTraffic"]:
        raise ServiceError(400, "Kubernetes online endpoints cannot mirror traffic.")


def check_deployment(resources: Resources, endpoint: str, properties: Body) -> set[str]:
    """Check the properties of an online deployment; return those allowed only on a cluster.

    Raises
    ------
    ServiceError
        If the service would reject them.
    """
    compute = resources.get(endpoint)["properties"].get("compute")
    kind = "Kubernetes" if compute else "Managed"
    if properties["endpointComputeType"] != kind:
        raise ServiceError(400, f"The endpoint accepts deployments of the type {kind}.")
    if not compute:
        return set()
    types = resources.get(compute)["properties"]["properties"]["instanceTypes"]
    name = properties.setdefault("instanceType", _DEFAULT) or _DEFAULT
    if name not in types:
        raise ServiceError(400, f"The cluster has no instance type {name}.")
    most = types[name]["resources"]["limits"]
    for part in _PARTS:
        request = properties.get(_REQUIREMENTS, {}).get(part) or {}
        for resource in ("cpu", "memory"):
            if _number(request.get(resource) or "0") > _number(most[resource]):
                raise ServiceError(
                    400, f"{name} offers {most[resource]} {resource}, not {request[resource]}."
                )
    return {_REQUIREMENTS}


def _number(quantity: str) -> float:
    number = quantity.rstrip("mkKiMG")
    return float(number) * _UNITS[quantity.removeprefix(number)]
