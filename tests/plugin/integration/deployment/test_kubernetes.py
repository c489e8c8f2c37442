"""`deploy online` to an attached Kubernetes cluster: the same steps and the same rollback."""

from typing import Any

import pytest

from kedro_azure_mlops.testing import StandIn
from kedro_azure_mlops.testing.messages import Answer
from tests.plugin.cloud import Result, changes, properties
from tests.plugin.integration.deployment.conftest import ENDPOINT, Site

CLUSTER = {"compute": "aks"}
TYPES = {"small": ("1", "1Gi")}
ATTACH = "az ml compute attach --type Kubernetes --name"


@pytest.fixture
def attached(site: Site, azure: StandIn) -> Site:
    """The site, with an attached cluster that ``deployment.target`` selects."""
    azure.attach_kubernetes("aks", TYPES)
    site.configure(target="kubernetes", kubernetes=CLUSTER)
    azure.forget()
    return site


@pytest.fixture(params=["managed", "kubernetes"])
def placed(request: pytest.FixtureRequest, attached: Site) -> Site:
    """Version 1 deployed to machines of Azure or to the cluster, and version 2 as the champion."""
    attached.configure(target=request.param, kubernetes=CLUSTER)
    assert attached.deploy().status == 0
    attached.registry.champion_number = "2"
    attached.azure.forget()
    return attached


def is_cluster(site: Site) -> bool:
    return bool(site.endpoint.get("compute"))


def test_traffic_moves_in_steps_and_goes_back(placed: Site) -> None:
    (old,) = placed.deployments

    result = placed.deploy()

    assert result.status == 0, result.err
    (new,) = set(placed.deployments) - {old}
    assert placed.routed() == [{old: 90, new: 10}, {old: 50, new: 50}, {new: 100}, {new: 100}]
    assert set(placed.tags) == {f"keep.{old}"}
    deployment = placed.body(f"onlineEndpoints/{ENDPOINT}/deployments/{new}")
    kind = "Kubernetes" if is_cluster(placed) else "Managed"
    assert deployment["properties"]["endpointComputeType"] == kind
    assert placed.deploy().out.endswith("nothing to change\n")
    assert placed.deploy("--back").status == 0
    assert placed.traffic == {old: 100}
    assert set(placed.tags) == {f"keep.{new}"}


def test_failures_before_or_under_traffic_are_rolled_back(placed: Site) -> None:
    (old,) = placed.deployments
    before, endpoints = placed.state, placed.azure.endpoints

    endpoints.spoil = lambda name, answer: Answer(500, {}) if name != old else answer
    result = placed.deploy()
    assert result.status == 1
    assert "returns 500 for a valid request" in result.err
    assert (placed.state, placed.routed()) == (before, [])

    endpoints.spoil = lambda name, answer: (
        Answer(500, {}) if placed.traffic.get(name, 0) == 50 else answer
    )
    assert placed.deploy().status == 1
    assert [len(traffic) for traffic in placed.routed()] == [2, 2, 1]
    assert placed.state == before

    endpoints.spoil = None
    assert placed.deploy().status == 0


def test_two_deployments_are_compared_and_invoked(placed: Site) -> None:
    assert placed.deploy("--no-traffic").status == 0
    champion, challenger = sorted(placed.deployments)

    assert placed.call("ab", "--env", "dev", "--share", "20").status == 0
    assert placed.traffic == {champion: 80, challenger: 20}
    result = placed.call("ab", "--env", "dev", "--compare")
    assert result.status == 0, result.err
    assert ("measured by the cluster aks" in result.out) == is_cluster(placed)
    assert ("from Azure Monitor" in result.out) != is_cluster(placed)
    assert "energy differs in" in result.out
    result = placed.call("invoke", "--env", "dev", "--deployment", challenger)
    assert f"deployment {challenger}" in result.out
    assert placed.call("ab", "--env", "dev", "--end", "challenger").status == 0
    assert placed.traffic == {challenger: 100}


def test_the_settings_are_sent_to_the_cluster(attached: Site, azure: StandIn) -> None:
    limits = {"cpu": 1, "memory": "1Gi"}
    small = {
        "instance_type": "small",
        "limits": limits,
        "requests": {"cpu": "250m", "memory": "1G"},
    }
    attached.configure(target="kubernetes", kubernetes=CLUSTER | small, instance_count=2)

    result = attached.deploy()

    assert result.status == 0, result.err
    assert "at 0 % on 2 x small of aks" in result.out
    (deployment,) = attached.put("deployments")
    assert deployment["sku"] == {"name": "Default", "capacity": 2}
    assert deployment["properties"]["instanceType"] == "small"
    assert deployment["properties"]["containerResourceRequirements"] == {
        "containerResourceRequests": {"cpu": "250m", "memory": "1G"},
        "containerResourceLimits": {"cpu": "1", "memory": "1Gi"},
    }
    assert attached.endpoint["compute"].endswith("/computes/aks")
    assert attached.endpoint["authMode"] == "AMLToken"
    (scoring, *_) = [request for request in azure.requests if request.path.endswith("/score")]
    assert (scoring.host, scoring.path) == (
        "aks.cluster.example",
        f"/api/v1/endpoint/{ENDPOINT}/score",
    )


def test_the_newest_deployment_is_found_although_the_client_drops_its_date(
    attached: Site, azure: StandIn
) -> None:
    attached.deploy()
    for version in ("3", "2"):
        assert attached.deploy("--no-traffic", "--version", version).status == 0
    newest = next(name for name in attached.deployments if name.startswith("v3-"))
    deployment = attached.body(f"onlineEndpoints/{ENDPOINT}/deployments/{newest}")
    deployment["tags"]["created"] = "2999-01-01T00:00:00+00:00"

    assert attached.call("ab", "--env", "dev", "--share", "20").status == 0

    assert attached.traffic[newest] == 20


def test_the_option_overrides_the_file(site: Site, azure: StandIn) -> None:
    azure.attach_kubernetes("aks")
    site.configure(kubernetes=CLUSTER | {"auth_mode": "key"})

    result = site.deploy("--target", "kubernetes")

    assert result.status == 0, result.err
    assert is_cluster(site)
    assert site.endpoint["authMode"].lower() == "key"
    assert site.deploy("--back").status == 1, (
        "no deployment is kept, and the endpoint keeps its target"
    )


def test_an_address_without_tls_is_reported(
    attached: Site, azure: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure.endpoints.without_tls = True
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, azure.environment["HTTPS_PROXY"])

    result = attached.deploy()

    assert result.status == 0, result.err
    assert "is called without TLS, at http://aks." in result.out


def assert_refused(result: Result, azure: StandIn, *texts: str) -> None:
    assert result.status == 2
    for text in texts:
        assert text in result.err
    assert changes(azure) == []
    assert properties(azure, f"onlineEndpoints/{ENDPOINT}") is None


def test_a_cluster_that_is_not_attached_is_refused(attached: Site, azure: StandIn) -> None:
    attached.configure(target="kubernetes", kubernetes={"compute": "edge"})

    assert_refused(
        attached.deploy(),
        azure,
        "mlops.yml: deployment.kubernetes.compute: there is no edge in the workspace",
        "attached clusters: aks",
        f"{ATTACH} edge",
    )


def test_a_compute_of_another_type_is_refused(attached: Site, azure: StandIn) -> None:
    azure.attach_kubernetes("nodes")
    attached.body("computes/nodes")["properties"] = {"computeType": "AmlCompute", "properties": {}}
    attached.configure(target="kubernetes", kubernetes={"compute": "nodes"})

    assert_refused(
        attached.deploy(), azure, "nodes has the type amlcompute", "attached clusters: aks"
    )


def test_a_cluster_that_failed_to_attach_is_refused(attached: Site, azure: StandIn) -> None:
    attached.body("computes/aks")["properties"]["provisioningState"] = "Failed"

    assert_refused(attached.deploy(), azure, "Azure reports aks as Failed", "attach it again")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"instance_type": "large"}, "aks has no large; it has: defaultinstancetype, small"),
        ({"instance_type": "Standard_DS3_v2"}, "not the size of a virtual machine"),
        ({"auth_mode": "aad_token"}, "must be 'aml_token' or 'key'"),
        ({"requests": {"cpu": "0", "memory": "1Gi"}}, "requests.cpu: use the Kubernetes format"),
        ({"limits": {"cpu": 1, "memory": "1 GB"}}, "limits.memory: use the Kubernetes format"),
        ({"namespace": "team"}, "unknown key 'namespace'; allowed keys: compute, instance_type"),
    ],
)
def test_settings_that_no_cluster_accepts_are_refused(
    attached: Site, azure: StandIn, more: dict[str, Any], message: str
) -> None:
    attached.configure(target="kubernetes", kubernetes=CLUSTER | more)

    assert_refused(attached.deploy(), azure, "mlops.yml: deployment.kubernetes", message)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "target kubernetes needs the attached cluster, as in kubernetes: {compute: aks}"),
        (
            {"kubernetes": CLUSTER, "mirror": {"percent": 20, "seconds": 0}},
            "Azure cannot mirror the traffic of target kubernetes: set mirror: null",
        ),
    ],
)
def test_an_incomplete_target_is_refused_in_the_file_and_as_an_option(
    site: Site, azure: StandIn, keys: dict[str, Any], message: str
) -> None:
    site.configure(**keys)
    assert_refused(
        site.deploy("--target", "kubernetes"), azure, "conf/dev/mlops.yml: deployment", message
    )
    site.configure(target="kubernetes", **keys)
    assert_refused(site.deploy(), azure, "conf/dev/mlops.yml: deployment", message)


def test_a_request_that_exceeds_the_instance_type_is_rolled_back(attached: Site) -> None:
    big = {"requests": {"cpu": "4", "memory": "1Gi"}}
    attached.configure(target="kubernetes", kubernetes=CLUSTER | big)

    result = attached.deploy()

    assert result.status == 2
    assert "defaultinstancetype offers 2 cpu, not 4" in result.err
    assert attached.state == ({}, {}, {}, [])


def test_an_endpoint_cannot_change_its_target(placed: Site, azure: StandIn) -> None:
    before = placed.state
    location = "on the Kubernetes cluster aks" if is_cluster(placed) else "managed by Azure"
    other = "managed" if is_cluster(placed) else "kubernetes"

    result = placed.deploy("--target", other)

    assert result.status == 2
    assert f"The endpoint {ENDPOINT} is {location}" in result.err
    assert "Name another deployment.endpoint in dev/mlops.yml" in result.err
    assert (placed.state, changes(azure)) == (before, [])
    placed.configure(endpoint="heat-too", kubernetes=CLUSTER)
    assert placed.deploy("--target", other).status == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["online", "--back"], "--target cannot be combined with --back or --clean"),
        (["batch"], "--target applies only to: deploy online"),
    ],
)
def test_the_target_option_only_applies_to_new_deployments(
    attached: Site, arguments: list[str], message: str
) -> None:
    answer = attached.call("deploy", *arguments, "--env", "dev", "--target", "kubernetes")

    assert answer.status == 2
    assert message in answer.err
