"""Values that `deploy online` reports to later steps of a CI run, for a rollback."""

from pathlib import Path
from typing import Any

import pytest

from kedro_azure_mlops.testing import StandIn
from kedro_azure_mlops.testing.messages import Answer
from tests.plugin.helpers import outputs_reader
from tests.plugin.integration.deployment.conftest import ENDPOINT, Site


@pytest.fixture
def reported(served: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the values reported since the last call; the last value of a name counts."""
    return outputs_reader(monkeypatch, tmp_path / "outputs")


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


def test_a_rollout_that_was_undone_is_reported_as_not_moved(
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


def test_traffic_that_moved_is_reported_even_if_the_cleaning_fails(
    served: Site, azure: StandIn, reported: Any
) -> None:
    (old,) = served.deployments
    assert served.deploy().status == 0
    hold = served.body(f"onlineEndpoints/{ENDPOINT}")["tags"]
    hold[f"keep.{old}"] = "2020-01-01T00:00:00+00:00"
    served.registry.champion_number = "3"
    azure.fail("DELETE", "/deployments/", 403, times=9)
    reported()
    assert served.deploy().status == 2
    assert reported()["moved"] == "true"
    (name,) = served.traffic
    assert name.startswith("v3-")


def test_a_rollout_that_could_not_be_undone_is_reported_and_can_go_back(
    served: Site, azure: StandIn, reported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = served.deployments
    put = azure.endpoints._put_endpoint

    def first(request: Any) -> Answer:
        monkeypatch.setattr(azure.endpoints, "_put_endpoint", put)
        azure.fail("PUT", rf"/onlineEndpoints/{ENDPOINT}$", 403, 2)
        return put(request)

    monkeypatch.setattr(azure.endpoints, "_put_endpoint", first)
    result = served.deploy()
    assert "Undoing it failed too" in result.err
    assert set(served.traffic) != {old}
    assert reported()["moved"] == "true"
    assert served.deploy("--back").status == 0
    assert served.traffic == {old: 100}
    assert served.deployments == [old]


def test_a_leftover_deployment_without_traffic_is_reported_as_not_moved(
    served: Site, azure: StandIn, reported: Any
) -> None:
    before = served.traffic
    (old,) = served.deployments

    def broken(name: str, answer: Answer) -> Answer:
        return answer if name == old else Answer(500, {})

    azure.endpoints.spoil = broken
    azure.fail("DELETE", "/deployments/", 403)
    result = served.deploy()
    assert "Undoing it failed too" in result.err
    assert reported()["moved"] == "false"
    assert served.traffic == before


def test_a_killed_rollout_has_reported_that_traffic_moved(
    served: Site, azure: StandIn, reported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CI agent kills it after traffic has begun to move, so that nothing is undone."""
    (old,) = served.deployments
    azure.endpoints.spoil = lambda name, answer: (
        answer if served.traffic == {old: 100} else Answer(500, {})
    )
    with monkeypatch.context() as patch:
        patch.setattr("kedro_azure_mlops.deploy.rollout.undo", _killed)
        served.deploy()
    outputs = reported()
    assert outputs["moved"] == "true"
    assert set(served.traffic) == {old, outputs["deployment"]}
    assert served.deploy("--back", "--if-deployment", outputs["deployment"]).status == 0
    assert served.traffic == {old: 100}
    assert served.deployments == [old]


def _killed(*_: Any) -> None:
    raise OSError("as if the process had been killed")


def test_a_rollback_works_with_a_closed_output(
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


def test_going_back_from_the_rollout_of_another_call_is_refused(
    served: Site, reported: Any
) -> None:
    (first,) = served.deployments
    assert served.deploy().status == 0
    second = reported()["deployment"]
    served.registry.champion_number = "3"
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
