"""`deploy online` creates everything in order, and does nothing twice."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kedro_azure_mlops.testing import StandIn
from tests.plugin.cloud import changes, versions
from tests.plugin.integration.deployment.conftest import ENDPOINT, Site


def scored(azure: StandIn) -> list[str | None]:
    """Return the deployments that requests named, None for those routed by the traffic."""
    requests = [r for r in azure.requests if r.path == "/score"]
    return [r.headers.get("azureml-model-deployment") for r in requests]


def test_the_champion_is_deployed_with_all_it_needs(site: Site, azure: StandIn) -> None:
    result = site.deploy()

    assert result.status == 0, result.err
    (name,) = site.deployments
    assert site.traffic == {name: 100}
    (deployment,) = site.put("deployments")
    assert deployment["properties"]["environmentVariables"] == {
        "MODEL_DIGEST": site.registry.version("1").digest,
        "MODEL_VERSION": "1",
        "APP_INSIGHTS_LOG_RESPONSE_ENABLED": "false",
    }
    script = deployment["properties"]["codeConfiguration"]["scoringScript"]
    assert script == "kedro_azure_mlops/serve/online.py"
    assert deployment["sku"] == {"name": "Default", "capacity": 1}
    (model,) = versions(azure, "models")
    assert model["tags"]["digest"] == site.registry.version("1").digest
    (environment,) = versions(azure, "environments")
    assert environment["inferenceConfig"]["scoringRoute"] == {"port": 5001, "path": "/score"}
    assert site.endpoint["authMode"] == "AADToken"


def test_traffic_comes_after_the_smoke_test(site: Site, azure: StandIn) -> None:
    site.deploy()

    requests = [
        f"{r.method} {r.path.rsplit('/', 1)[1]}"
        for r in azure.requests
        if r.path == "/score" or (r.method == "PUT" and "Endpoints/" in r.path)
    ]
    (name,) = site.deployments
    first_traffic = [i for i, line in enumerate(requests) if line == f"PUT {ENDPOINT}"][1]
    assert requests[: first_traffic + 1] == [
        f"PUT {ENDPOINT}",
        f"PUT {name}",
        "POST score",  # the example of the model
        "POST score",  # and a malformed request
        f"PUT {ENDPOINT}",
    ]


def test_a_second_call_changes_nothing(site: Site, azure: StandIn) -> None:
    site.deploy()
    azure.forget()

    result = site.deploy()

    assert result.status == 0
    assert changes(azure) == azure.uploads == []
    assert "nothing to change" in result.out


def test_a_new_champion_gets_the_traffic_in_steps(served: Site, azure: StandIn) -> None:
    (old,) = served.deployments

    result = served.deploy()

    assert result.status == 0, result.err
    (new,) = set(served.deployments) - {old}
    routed = [{old: 90, new: 10}, {old: 50, new: 50}, {new: 100}, {new: 100}]
    assert served.routed() == routed
    assert served.traffic == {new: 100}
    assert set(served.tags) == {f"keep.{old}"}
    until = datetime.fromisoformat(served.tags[f"keep.{old}"])
    left = until - datetime.now(UTC)
    assert timedelta(minutes=55) < left <= timedelta(hours=1)
    # two at 0 %; then, after each step, two more and one that is routed by the traffic
    assert scored(azure) == [new] * 2 + [new, new, None] * 3


def test_the_old_deployment_is_deleted_when_its_hold_has_expired(served: Site) -> None:
    (old,) = served.deployments
    served.deploy()
    before = served.state

    assert served.deploy().status == 0
    assert served.state == before  # not yet

    hold = served.body(f"onlineEndpoints/{ENDPOINT}")["tags"]
    hold[f"keep.{old}"] = "2020-01-01T00:00:00+00:00"
    result = served.deploy()
    assert f"deleting the deployment {old}" in result.out
    assert old not in served.deployments
    assert served.tags == {}


def test_a_dry_run_prints_the_plan_and_sends_only_reads(served: Site, azure: StandIn) -> None:
    (old,) = served.deployments

    result = served.deploy("--dry-run")

    assert result.status == 0
    assert changes(azure) == azure.uploads == []
    assert "create the deployment v2-" in result.out
    assert f"traffic {old} 90 %, v2-" in result.out
    assert f"keep {old} at 0 % for 1 h" in result.out


def test_a_dry_run_of_the_first_deployment(site: Site, azure: StandIn) -> None:
    result = site.deploy("--dry-run")

    assert result.status == 0
    assert changes(azure) == []
    assert f"create the endpoint {ENDPOINT}" in result.out


@pytest.mark.parametrize(
    ("more", "key", "expected"),
    [
        ({"instance_count": 2}, "sku", 2),
        ({"request_timeout_seconds": 9}, "requestSettings", "PT9S"),
    ],
)
def test_changed_settings_create_another_deployment(
    served: Site, more: dict[str, Any], key: str, expected: Any
) -> None:
    served.registry.champion_number = "1"
    served.configure(**more)

    assert served.deploy().status == 0

    (deployment,) = served.put("deployments")
    assert (
        expected
        in (deployment[key] if key in deployment else deployment["properties"][key]).values()
    )
    assert len(served.deployments) == 2


def test_a_named_version_is_deployed_instead_of_the_champion(served: Site) -> None:
    result = served.deploy("--version", "3")

    assert result.status == 0
    (new,) = served.traffic
    assert served.azure.endpoints.served[new].is_ready
    deployment = served.body(f"onlineEndpoints/{ENDPOINT}/deployments/{new}")
    assert deployment["tags"]["digest"] == served.registry.version("3").digest


def test_traffic_is_mirrored_before_it_moves(served: Site) -> None:
    served.configure(mirror={"percent": 20, "seconds": 0})

    assert served.deploy().status == 0

    mirrored = [body["properties"]["mirrorTraffic"] for body in served.put()]
    (new,) = served.traffic
    assert mirrored == [{new: 20}, {}, {}, {}, {}]


def test_an_endpoint_with_keys_is_called_with_a_key(site: Site) -> None:
    site.configure(auth_mode="key")

    assert site.deploy().status == 0
    assert site.endpoint["authMode"].lower() == "key"


def test_without_a_champion_there_is_nothing_to_deploy(site: Site, azure: StandIn) -> None:
    site.registry.champion_number = None

    result = site.deploy()

    assert result.status == 2
    assert "dev has no champion to deploy" in result.err
    assert changes(azure) == []


def test_during_an_ab_test_nothing_is_deployed(served: Site, azure: StandIn) -> None:
    served.deploy("--no-traffic")
    served.body(f"onlineEndpoints/{ENDPOINT}")["tags"]["ab"] = " ".join(served.deployments)
    azure.forget()

    result = served.deploy()

    assert result.status == 2
    assert "An A/B test" in result.err
    assert changes(azure) == []


def test_the_environment_local_has_no_endpoint(site: Site) -> None:
    result = site.call("deploy", "online", "--env", "local")

    assert result.status == 2
    assert "local/mlops.yml does not set deployment.endpoint" in result.err
