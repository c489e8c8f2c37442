"""Going back to the kept deployment, and deleting those that are no longer needed."""

from typing import Any

import pytest

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.testing import StandIn
from kedro_azure_mlops.testing.messages import Answer
from tests.plugin.cloud import changes
from tests.plugin.integration.deployment.conftest import ENDPOINT, Site

LONG_AGO = "2020-01-01T00:00:00+00:00"


def test_traffic_goes_back_to_the_kept_deployment_and_forth_again(served: Site) -> None:
    (old,) = served.deployments
    served.deploy()
    (new,) = served.traffic

    assert served.deploy("--back").status == 0
    assert served.traffic == {old: 100}
    assert set(served.tags) == {f"keep.{new}"}

    assert served.deploy("--back").status == 0
    assert served.traffic == {new: 100}
    assert set(served.tags) == {f"keep.{old}"}


def test_without_a_kept_deployment_going_back_is_refused(served: Site, azure: StandIn) -> None:
    result = served.deploy("--back")

    assert result.status == 1
    assert "keeps no deployment to go back to" in result.err
    assert changes(azure) == []


def test_during_an_ab_test_going_back_is_refused(served: Site, azure: StandIn) -> None:
    served.deploy()
    served.body(f"onlineEndpoints/{ENDPOINT}")["tags"]["ab"] = " ".join(served.deployments)
    azure.forget()

    assert served.deploy("--back").status == 2
    assert changes(azure) == []


def test_a_kept_deployment_that_does_not_answer_gets_no_traffic(
    served: Site, azure: StandIn
) -> None:
    (old,) = served.deployments
    served.deploy()
    before = served.state

    def dead(name: str, answer: Answer) -> Answer:
        return Answer(503, {}) if name == old else answer

    azure.endpoints.spoil = dead
    result = served.deploy("--back")

    assert result.status == 1
    assert f"{old} returns 503" in result.err
    assert served.state == before


def test_clean_deletes_deployments_that_are_not_kept(served: Site) -> None:
    (old,) = served.deployments
    served.deploy()
    served.deploy("--no-traffic", "--version", "3")
    (new,) = served.traffic
    (tried,) = set(served.deployments) - {old, new}
    before = served.state
    assert set(served.tags) == {f"keep.{old}", f"keep.{tried}"}

    assert "nothing deleted" in served.deploy("--clean").out
    assert served.state == before

    tags = served.body(f"onlineEndpoints/{ENDPOINT}")["tags"]
    tags[f"keep.{old}"] = LONG_AGO
    del tags[f"keep.{tried}"]
    result = served.deploy("--clean")

    assert result.status == 0
    assert served.deployments == [new]
    assert served.traffic == {new: 100}
    assert served.tags == {}


def test_a_deployment_without_traffic_is_tested_and_kept(served: Site) -> None:
    before = served.traffic

    result = served.deploy("--no-traffic")

    assert result.status == 0
    assert "smoke test of v2-" in result.out
    assert served.traffic == before
    assert len(served.deployments) == 2


def test_a_kept_deployment_is_reused_if_it_is_deployed_again(served: Site) -> None:
    (old,) = served.deployments
    served.deploy()
    served.registry.champion_number = "1"
    served.azure.forget()

    assert served.deploy().status == 0

    assert served.put("deployments") == []
    assert served.traffic == {old: 100}


def test_a_kept_deployment_that_fails_is_not_deleted(served: Site, azure: StandIn) -> None:
    (old,) = served.deployments
    served.deploy()
    before = served.state
    served.registry.champion_number = "1"

    def fails(name: str, answer: Answer) -> Answer:
        return Answer(500, {}) if name == old else answer

    azure.endpoints.spoil = fails
    assert served.deploy().status == 1
    assert served.state == before


@pytest.mark.parametrize("has_model", [True, False])
def test_going_back_needs_no_registry(
    served: Site, azure: StandIn, monkeypatch: pytest.MonkeyPatch, has_model: bool
) -> None:
    (old,) = served.deployments
    served.deploy()

    def down(*_: Any) -> Any:
        raise OperationError("the registry is down")

    monkeypatch.setattr("kedro_azure_mlops.deploy.artifact.open_registry", down)
    if not has_model:
        azure.fail("GET", "/models/", 404)
    azure.forget()
    result = served.deploy("--back")

    assert result.status == 0, result.err
    assert ("without a smoke test" in result.out) != has_model
    assert any(r.path == "/score" for r in azure.requests) == has_model
    assert served.traffic == {old: 100}


def test_an_unfinished_rollout_is_undone_without_a_champion(served: Site) -> None:
    (old,) = served.deployments
    tags = served.body(f"onlineEndpoints/{ENDPOINT}")["tags"]
    tags |= {"rollout.new": "v2-x", "rollout.before": f"{old}=100"}
    served.registry.champion_number = None

    result = served.deploy("--back")

    assert result.status == 0, result.err
    assert "champion" not in result.out
    assert served.tags == {}


def test_a_deployment_that_is_requested_again_is_kept_and_not_deleted(served: Site) -> None:
    (old,) = served.deployments
    served.deploy("--no-traffic")
    served.deploy("--no-traffic", "--version", "3")
    requested = next(name for name in served.deployments if name.startswith("v2-"))
    other = next(name for name in served.deployments if name.startswith("v3-"))
    tags = served.body(f"onlineEndpoints/{ENDPOINT}")["tags"]
    tags |= {f"keep.{requested}": LONG_AGO, f"keep.{other}": LONG_AGO}

    result = served.deploy("--no-traffic")

    assert result.status == 0, result.err
    assert set(served.deployments) == {old, requested}
    assert set(served.tags) == {f"keep.{requested}"}
    assert served.tags[f"keep.{requested}"] > LONG_AGO
