"""The stand-in's endpoints as the real client sees them, with the refusals of the service."""

from typing import TYPE_CHECKING

import pytest

from kedro_azure_mlops.testing import StandIn

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

ML = "Microsoft.MachineLearningServices/workspaces"


@pytest.fixture
def endpoint(ml: "MLClient", azure: StandIn) -> str:
    """An endpoint with two deployments that are stored without being started."""
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    ml.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="heat")).result()
    group = f"/subscriptions/{azure.subscription}/resourceGroups/{azure.resource_group}"
    id = f"{group}/providers/{ML}/{azure.workspace}/onlineEndpoints/heat"
    for name in ("blue", "green"):
        properties = {"endpointComputeType": "Managed", "provisioningState": "Succeeded"}
        properties["scaleSettings"] = {"scaleType": "Default"}
        body = {"properties": properties, "sku": {"name": "Default", "capacity": 1}}
        azure._resources.put(f"{id}/deployments/{name}", body)
    return "heat"


def route(ml: "MLClient", traffic: dict[str, int], mirror: dict[str, int] | None = None) -> None:
    endpoint = ml.online_endpoints.get("heat")
    endpoint.traffic, endpoint.mirror_traffic = traffic, mirror or {}
    ml.online_endpoints.begin_create_or_update(endpoint).result()


def test_traffic_is_stored(ml: "MLClient", endpoint: str) -> None:
    route(ml, {"blue": 90, "green": 10})
    assert ml.online_endpoints.get(endpoint).traffic == {"blue": 90, "green": 10}
    assert [each.name for each in ml.online_deployments.list(endpoint)] == ["blue", "green"]


@pytest.mark.parametrize(
    ("traffic", "mirror", "message"),
    [
        ({"blue": 60}, {}, "sums to 60"),
        ({"blue": 90, "green": 20}, {}, "sums to 110"),
        ({"red": 100}, {}, "There is no deployment red"),
        ({"blue": 100}, {"green": 60}, "at most 50 percent"),
        ({"blue": 90, "green": 10}, {"green": 10}, "cannot be mirrored to"),
    ],
)
def test_invalid_traffic_is_refused(
    ml: "MLClient", endpoint: str, traffic: dict[str, int], mirror: dict[str, int], message: str
) -> None:
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError, match=message):
        route(ml, traffic, mirror)


def test_a_deployment_with_traffic_cannot_be_deleted(ml: "MLClient", endpoint: str) -> None:
    from azure.core.exceptions import HttpResponseError

    route(ml, {"blue": 100})
    with pytest.raises(HttpResponseError, match="set that to 0 first"):
        ml.online_deployments.begin_delete("blue", endpoint).result()
    ml.online_deployments.begin_delete("green", endpoint).result()
    assert [each.name for each in ml.online_deployments.list(endpoint)] == ["blue"]


def test_an_endpoint_has_keys(ml: "MLClient", endpoint: str) -> None:
    assert ml.online_endpoints.get_keys(endpoint).primary_key


def put(ml: "MLClient", **more: object) -> None:
    """Create a deployment of a model and an environment that do not exist."""
    from azure.ai.ml.entities import ManagedOnlineDeployment

    deployment = ManagedOnlineDeployment(
        name="red", endpoint_name="heat", model="azureml:m:1", environment="azureml:e:1", **more
    )
    ml.online_deployments.begin_create_or_update(deployment).result()


@pytest.mark.parametrize(
    ("names", "keywords", "message"),
    [
        ([], {}, "has no collections"),
        (["request"], {"sampling_rate": 1.5}, "is not between 0 and 1"),
        (["request"], {"rolling_rate": "year"}, "There is no rolling rate"),
        ([f"c{n}" for n in range(6)], {}, "At most 5 collections"),
    ],
)
def test_an_invalid_collector_is_refused(
    ml: "MLClient", endpoint: str, names: list[str], keywords: dict[str, object], message: str
) -> None:
    from azure.ai.ml.entities import DataCollector, DeploymentCollection
    from azure.core.exceptions import HttpResponseError

    collections = {name: DeploymentCollection(enabled="true") for name in names}
    with pytest.raises(HttpResponseError, match=message):
        put(ml, data_collector=DataCollector(collections, **keywords))
    assert [each.name for each in ml.online_deployments.list(endpoint)] == ["blue", "green"]


def test_an_unknown_property_is_refused(ml: "MLClient", azure: StandIn, endpoint: str) -> None:
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError, match="egressPublicNetworkAccess"):
        put(ml, egress_public_network_access="disabled")
    assert azure.refused == ["PUT a deployment with egressPublicNetworkAccess"]
    azure.refused.clear()


def put_on_cluster(ml: "MLClient", azure: StandIn, **keywords: object) -> None:
    from azure.ai.ml.entities import KubernetesOnlineEndpoint

    azure.attach_kubernetes("aks")
    endpoint = KubernetesOnlineEndpoint(**({"name": "cold", "compute": "aks"} | keywords))
    ml.online_endpoints.begin_create_or_update(endpoint).result()


def test_an_endpoint_on_a_cluster_has_the_address_and_tokens_of_the_cluster(
    ml: "MLClient", azure: StandIn
) -> None:
    put_on_cluster(ml, azure, auth_mode="aml_token")

    endpoint = ml.online_endpoints.get("cold")

    assert endpoint.scoring_uri == "https://aks.cluster.example/api/v1/endpoint/cold/score"
    assert ml.online_endpoints.get_keys("cold").access_token
    assert ml.compute.get("aks").namespace == "default"


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"auth_mode": "aad_token"}, "Key or AMLToken"),
        ({"compute": "edge"}, "was not found"),
    ],
)
def test_an_endpoint_that_no_cluster_accepts_is_refused(
    ml: "MLClient", azure: StandIn, keywords: dict[str, object], message: str
) -> None:
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError, match=message):
        put_on_cluster(ml, azure, name="icy", **keywords)


def test_a_cluster_accepts_no_managed_deployment_and_no_mirror(
    ml: "MLClient", azure: StandIn
) -> None:
    from azure.ai.ml.entities import ManagedOnlineDeployment
    from azure.core.exceptions import HttpResponseError

    put_on_cluster(ml, azure)
    managed = ManagedOnlineDeployment(
        name="red", endpoint_name="cold", model="azureml:m:1", environment="azureml:e:1"
    )
    with pytest.raises(HttpResponseError, match="of the type Kubernetes"):
        ml.online_deployments.begin_create_or_update(managed).result()
    id = next(id for id in azure.resources if id.endswith("/onlineEndpoints/cold"))
    properties = {"endpointComputeType": "Kubernetes", "provisioningState": "Succeeded"}
    properties |= {"scaleSettings": {"scaleType": "Default"}, "containerResourceRequirements": {}}
    azure._resources.put(f"{id}/deployments/red", {"properties": properties})
    endpoint = ml.online_endpoints.get("cold")
    endpoint.traffic, endpoint.mirror_traffic = {}, {"red": 10}
    with pytest.raises(HttpResponseError, match="cannot mirror traffic"):
        ml.online_endpoints.begin_create_or_update(endpoint).result()
