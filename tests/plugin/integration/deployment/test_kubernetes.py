"""`deploy online` to an attached Kubernetes cluster: the same steps and the same way back."""

from typing import Any

import pytest

from kedro_azure_mlops.testing import StandIn
from kedro_azure_mlops.testing.messages import Answer
from tests.plugin.cloud import Said, changes, found
from tests.plugin.integration.deployment.conftest import ENDPOINT, Site

CLUSTER = {"compute": "aks"}
TYPES = {"small": ("1", "1Gi")}
ATTACH = "az ml compute attach --type Kubernetes --name"


@pytest.fixture
def attached(site: Site, azure: StandIn) -> Site:
    """The site, beside a cluster that is attached and chosen by ``deployment.target``."""
    azure.attach_kubernetes("aks", TYPES)
    site.configure(target="kubernetes", kubernetes=CLUSTER)
    azure.forget()
    return site


@pytest.fixture(params=["managed", "kubernetes"])
def placed(request: pytest.FixtureRequest, attached: Site) -> Site:
    """Version 1 deployed to machines of Azure or to the cluster, and version 2 the champion."""
    attached.configure(target=request.param, kubernetes=CLUSTER)
    assert attached.deploy().status == 0
    attached.registry.champions_number = "2"
    attached.azure.forget()
    return attached


def is_cluster(site: Site) -> bool:
    return bool(site.endpoint.get("compute"))


def test_traffic_moves_in_steps_and_goes_back(placed: Site) -> None:
    (old,) = placed.deployments

    said = placed.deploy()

    assert said.status == 0, said.err
    (new,) = set(placed.deployments) - {old}
    assert placed.routed() == [{old: 90, new: 10}, {old: 50, new: 50}, {new: 100}, {new: 100}]
    assert set(placed.tags) == {f"keep.{old}"}
    made = placed.body(f"onlineEndpoints/{ENDPOINT}/deployments/{new}")
    kind = "Kubernetes" if is_cluster(placed) else "Managed"
    assert made["properties"]["endpointComputeType"] == kind
    assert placed.deploy().out.endswith("nothing to change\n")
    assert placed.deploy("--back").status == 0
    assert placed.traffic == {old: 100}
    assert set(placed.tags) == {f"keep.{new}"}


def test_what_fails_before_or_under_traffic_leaves_all_as_it_was(placed: Site) -> None:
    (old,) = placed.deployments
    before, endpoints = placed.state, placed.azure.endpoints

    endpoints.spoil = lambda name, answer: Answer(500, {}) if name != old else answer
    said = placed.deploy()
    assert said.status == 1
    assert "returns 500 for a valid request" in said.err
    assert (placed.state, placed.routed()) == (before, [])

    endpoints.spoil = lambda name, answer: (
        Answer(500, {}) if placed.traffic.get(name, 0) == 50 else answer
    )
    assert placed.deploy().status == 1
    assert [len(traffic) for traffic in placed.routed()] == [2, 2, 1]
    assert placed.state == before

    endpoints.spoil = None
    assert placed.deploy().status == 0


def test_two_are_compared_and_asked(placed: Site) -> None:
    assert placed.deploy("--no-traffic").status == 0
    champion, challenger = sorted(placed.deployments)

    assert placed.call("ab", "--env", "dev", "--share", "20").status == 0
    assert placed.traffic == {champion: 80, challenger: 20}
    said = placed.call("ab", "--env", "dev", "--compare")
    assert said.status == 0, said.err
    assert ("measured by the cluster aks" in said.out) == is_cluster(placed)
    assert ("from Azure Monitor" in said.out) != is_cluster(placed)
    assert "energy differs in" in said.out
    said = placed.call("invoke", "--env", "dev", "--deployment", challenger)
    assert f"deployment {challenger}" in said.out
    assert placed.call("ab", "--env", "dev", "--end", "challenger").status == 0
    assert placed.traffic == {challenger: 100}


def test_the_cluster_is_asked_for_what_the_settings_say(attached: Site, azure: StandIn) -> None:
    limits = {"cpu": 1, "memory": "1Gi"}
    small = {
        "instance_type": "small",
        "limits": limits,
        "requests": {"cpu": "250m", "memory": "1G"},
    }
    attached.configure(target="kubernetes", kubernetes=CLUSTER | small, instance_count=2)

    said = attached.deploy()

    assert said.status == 0, said.err
    assert "at 0 % on 2 x small of aks" in said.out
    (made,) = attached.put("deployments")
    assert made["sku"] == {"name": "Default", "capacity": 2}
    assert made["properties"]["instanceType"] == "small"
    assert made["properties"]["containerResourceRequirements"] == {
        "containerResourceRequests": {"cpu": "250m", "memory": "1G"},
        "containerResourceLimits": {"cpu": "1", "memory": "1Gi"},
    }
    assert attached.endpoint["compute"].endswith("/computes/aks")
    assert attached.endpoint["authMode"] == "AMLToken"
    (asked, *_) = [request for request in azure.requests if request.path.endswith("/score")]
    assert (asked.host, asked.path) == ("aks.cluster.example", f"/api/v1/endpoint/{ENDPOINT}/score")


def test_the_newest_deployment_is_known_though_the_client_drops_its_date(
    attached: Site, azure: StandIn
) -> None:
    attached.deploy()
    for version in ("3", "2"):
        assert attached.deploy("--no-traffic", "--version", version).status == 0
    newest = next(name for name in attached.deployments if name.startswith("v3-"))
    made = attached.body(f"onlineEndpoints/{ENDPOINT}/deployments/{newest}")
    made["tags"]["created"] = "2999-01-01T00:00:00+00:00"

    assert attached.call("ab", "--env", "dev", "--share", "20").status == 0

    assert attached.traffic[newest] == 20


def test_the_option_overrides_the_file(site: Site, azure: StandIn) -> None:
    azure.attach_kubernetes("aks")
    site.configure(kubernetes=CLUSTER | {"auth_mode": "key"})

    said = site.deploy("--target", "kubernetes")

    assert said.status == 0, said.err
    assert is_cluster(site)
    assert site.endpoint["authMode"].lower() == "key"
    assert site.deploy("--back").status == 1, "none is kept, and the target is that of the endpoint"


def test_an_address_without_tls_is_said(
    attached: Site, azure: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure.endpoints.without_tls = True
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, azure.environment["HTTPS_PROXY"])

    said = attached.deploy()

    assert said.status == 0, said.err
    assert "is called without TLS, at http://aks." in said.out


def refused(said: Said, azure: StandIn, *texts: str) -> None:
    assert said.status == 2
    for text in texts:
        assert text in said.err
    assert changes(azure) == []
    assert found(azure, f"onlineEndpoints/{ENDPOINT}") is None


def test_a_cluster_that_is_not_attached_is_refused(attached: Site, azure: StandIn) -> None:
    attached.configure(target="kubernetes", kubernetes={"compute": "edge"})

    refused(
        attached.deploy(),
        azure,
        "mlops.yml: deployment.kubernetes.compute: there is no edge in the workspace",
        "attached are: aks",
        f"{ATTACH} edge",
    )


def test_a_compute_of_another_kind_is_refused(attached: Site, azure: StandIn) -> None:
    azure.attach_kubernetes("nodes")
    attached.body("computes/nodes")["properties"] = {"computeType": "AmlCompute", "properties": {}}
    attached.configure(target="kubernetes", kubernetes={"compute": "nodes"})

    refused(
        attached.deploy(), azure, "nodes is a compute of the type amlcompute", "attached are: aks"
    )


def test_a_cluster_that_failed_to_attach_is_refused(attached: Site, azure: StandIn) -> None:
    attached.body("computes/aks")["properties"]["provisioningState"] = "Failed"

    refused(attached.deploy(), azure, "Azure reports aks as Failed", "attach it again")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"instance_type": "large"}, "aks has no large; there are: defaultinstancetype, small"),
        ({"instance_type": "Standard_DS3_v2"}, "not the size of a virtual machine"),
        ({"auth_mode": "aad_token"}, "must be 'aml_token' or 'key'"),
        ({"requests": {"cpu": "0", "memory": "1Gi"}}, "requests.cpu: write it as Kubernetes does"),
        ({"limits": {"cpu": 1, "memory": "1 GB"}}, "limits.memory: write it as Kubernetes does"),
        ({"namespace": "team"}, "unknown key 'namespace'; allowed are compute, instance_type"),
    ],
)
def test_settings_that_no_cluster_takes_are_refused(
    attached: Site, azure: StandIn, more: dict[str, Any], said: str
) -> None:
    attached.configure(target="kubernetes", kubernetes=CLUSTER | more)

    refused(attached.deploy(), azure, "mlops.yml: deployment.kubernetes", said)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "target kubernetes needs the attached cluster, as in kubernetes: {compute: aks}"),
        (
            {"kubernetes": CLUSTER, "mirror": {"percent": 20, "seconds": 0}},
            "Azure cannot mirror the traffic of target kubernetes: set mirror: null",
        ),
    ],
)
def test_a_target_without_what_it_needs_is_refused_in_the_file_and_by_the_option(
    site: Site, azure: StandIn, keys: dict[str, Any], said: str
) -> None:
    site.configure(**keys)
    refused(site.deploy("--target", "kubernetes"), azure, "conf/dev/mlops.yml: deployment", said)
    site.configure(target="kubernetes", **keys)
    refused(site.deploy(), azure, "conf/dev/mlops.yml: deployment", said)


def test_more_than_the_instance_type_gives_is_taken_back(attached: Site) -> None:
    big = {"requests": {"cpu": "4", "memory": "1Gi"}}
    attached.configure(target="kubernetes", kubernetes=CLUSTER | big)

    said = attached.deploy()

    assert said.status == 2
    assert "defaultinstancetype offers 2 cpu, not 4" in said.err
    assert attached.state == ({}, {}, {}, [])


def test_an_endpoint_stays_where_it_was_made(placed: Site, azure: StandIn) -> None:
    before = placed.state
    there = "on the Kubernetes cluster aks" if is_cluster(placed) else "managed by Azure"
    other = "managed" if is_cluster(placed) else "kubernetes"

    said = placed.deploy("--target", other)

    assert said.status == 2
    assert f"The endpoint {ENDPOINT} is {there}" in said.err
    assert "Name another deployment.endpoint in dev/mlops.yml" in said.err
    assert (placed.state, changes(azure)) == (before, [])
    placed.configure(endpoint="heat-too", kubernetes=CLUSTER)
    assert placed.deploy("--target", other).status == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["online", "--back"], "--target cannot be combined with --back or --clean"),
        (["batch"], "--target is only an option of: deploy online"),
    ],
)
def test_the_option_is_of_deployments_that_are_made(
    attached: Site, arguments: list[str], said: str
) -> None:
    answer = attached.call("deploy", *arguments, "--env", "dev", "--target", "kubernetes")

    assert answer.status == 2
    assert said in answer.err
