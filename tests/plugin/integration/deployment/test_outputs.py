"""Values that `deploy online` reports to later steps of a CI run, for a rollback."""

from pathlib import Path
from typing import Any

import pytest

from kedro_azure_mlops.testing import StandIn
from kedro_azure_mlops.testing.messages import Answer
from tests.plugin.helpers import reported_by
from tests.plugin.integration.deployment.conftest import ENDPOINT, Site


@pytest.fixture
def reported(served: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Read the values that were reported since the last look; of each the last counts."""
    return reported_by(monkeypatch, tmp_path / "outputs")


def test_traffic_that_moved_is_reported_once(served: Site, reported: Any) -> None:
    assert served.deploy("--dry-run").status == 0
    name = reported()["deployment"]
    assert served.deploy("--no-traffic").status == 0
    assert reported() == {"deployment": name, "moved": "false"}
    assert served.deploy().status == 0
    assert reported() == {"deployment": name, "moved": "true"}
    assert served.traffic == {name: 100}
    assert served.deploy().status == 0
    assert reported() == {"deployment": name, "moved": "false"}, "not by this call"
    assert served.deploy("--back").status == 0
    assert reported() == {}


def test_what_took_itself_back_has_moved_nothing(
    served: Site, azure: StandIn, reported: Any
) -> None:
    before = served.state
    (old,) = served.deployments

    def broken(name: str, answer: Answer) -> Answer:
        return answer if name == old or served.traffic == {old: 100} else Answer(500, {})

    azure.endpoints.spoil = broken
    assert served.deploy().status == 1
    assert served.state == before
    assert reported()["moved"] == "false"


def test_traffic_that_moved_is_reported_though_the_cleaning_fails(
    served: Site, azure: StandIn, reported: Any
) -> None:
    (old,) = served.deployments
    assert served.deploy().status == 0
    hold = served.body(f"onlineEndpoints/{ENDPOINT}")["tags"]
    hold[f"keep.{old}"] = "2020-01-01T00:00:00+00:00"
    served.registry.champions_number = "3"
    azure.fail("DELETE", "/deployments/", 403, times=9)
    reported()
    assert served.deploy().status == 2
    assert reported()["moved"] == "true"
    (name,) = served.traffic
    assert name.startswith("v3-")


def test_what_could_not_take_itself_back_is_reported_as_moved_and_goes_back(
    served: Site, azure: StandIn, reported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = served.deployments
    put = azure.endpoints._put_endpoint

    def first(request: Any) -> Answer:
        monkeypatch.setattr(azure.endpoints, "_put_endpoint", put)
        azure.fail("PUT", rf"/onlineEndpoints/{ENDPOINT}$", 403, 2)
        return put(request)

    monkeypatch.setattr(azure.endpoints, "_put_endpoint", first)
    said = served.deploy()
    assert "Undoing it failed too" in said.err
    assert set(served.traffic) != {old}
    assert reported()["moved"] == "true"
    assert served.deploy("--back").status == 0
    assert served.traffic == {old: 100}
    assert served.deployments == [old]


def test_a_deployment_without_traffic_that_stays_behind_has_moved_nothing(
    served: Site, azure: StandIn, reported: Any
) -> None:
    before = served.traffic
    (old,) = served.deployments

    def broken(name: str, answer: Answer) -> Answer:
        return answer if name == old else Answer(500, {})

    azure.endpoints.spoil = broken
    azure.fail("DELETE", "/deployments/", 403)
    said = served.deploy()
    assert "Undoing it failed too" in said.err
    assert reported()["moved"] == "false"
    assert served.traffic == before


def test_a_rollout_that_is_cut_off_has_reported_that_there_is_a_way_back(
    served: Site, azure: StandIn, reported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the agent kills it: nothing of ours runs any more once traffic has begun to move."""
    (old,) = served.deployments
    azure.endpoints.spoil = lambda name, answer: (
        answer if served.traffic == {old: 100} else Answer(500, {})
    )
    with monkeypatch.context() as patch:
        patch.setattr("kedro_azure_mlops.deploy.rollout.undo", _killed)
        served.deploy()
    found = reported()
    assert found["moved"] == "true"
    assert set(served.traffic) == {old, found["deployment"]}
    assert served.deploy("--back", "--if-deployment", found["deployment"]).status == 0
    assert served.traffic == {old: 100}
    assert served.deployments == [old]


def _killed(*_: Any) -> None:
    raise OSError("as if it were not there any more")


def test_the_way_back_needs_no_one_who_listens(
    served: Site, azure: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = served.state
    (old,) = served.deployments
    azure.endpoints.spoil = lambda name, answer: (
        answer if name == old or served.traffic == {old: 100} else Answer(500, {})
    )

    def closed(text: str) -> None:
        if "back" in text or "deleting" in text:
            raise BrokenPipeError(text)

    monkeypatch.setattr("kedro_azure_mlops.cli.deploy._say", closed)
    assert served.deploy().status == 1
    assert served.state == before


def test_going_back_from_another_rollout_than_the_own_is_refused(
    served: Site, reported: Any
) -> None:
    (first,) = served.deployments
    assert served.deploy().status == 0
    second = reported()["deployment"]
    served.registry.champions_number = "3"
    assert served.deploy().status == 0
    third = reported()["deployment"]
    before = served.state
    refused = served.deploy("--back", "--if-deployment", second)
    assert refused.status == 1
    assert f"does not serve {second}" in refused.err
    assert served.state == before
    assert served.deploy("--back", "--if-deployment", third).status == 0
    assert third not in {name for name, share in served.traffic.items() if share}
    assert first
