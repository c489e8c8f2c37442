"""Plans of a deployment, given the state of the endpoint."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kedro_azure_mlops.config import Deployment
from kedro_azure_mlops.deploy.endpoint import Found, State
from kedro_azure_mlops.deploy.plan import (
    AB,
    BEFORE,
    KEEP,
    NEW,
    divided,
    expired,
    forgotten,
    kept,
    make_plan,
    plan_lines,
    say_if_test_is_over,
    tags_after,
    traffic_as_tag,
    traffic_of_tag,
)
from kedro_azure_mlops.errors import OperationError

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
CONFIG = Deployment(
    endpoint="heat",
    instance_type="small",
    environment={"name": "serving", "image": "python"},
    traffic=[10, 50, 100],
    seconds_between_steps=0,
    keep_old_hours=2,
    mirror={"percent": 10, "seconds": 60},
    batch={"compute": "cpu-cluster"},
)


def state(traffic: dict[str, int], *others: str, failed: str = "", **tags: str) -> State:
    names = [*traffic, *others]
    deployments = {n: Found(n, "Failed" if n == failed else "Succeeded", {}, "") for n in names}
    return State(True, {n: s for n, s in traffic.items() if s}, {}, tags, deployments)


def plan(current: State, new: str = "new", **more: Any) -> Any:
    return make_plan(current, new, CONFIG, NOW, **more)


def test_the_first_deployment_gets_all_traffic_in_one_step() -> None:
    planned = plan(State())
    assert (planned.creates_endpoint, planned.creates, planned.steps) == (True, True, [100])
    assert not planned.mirrors
    assert plan_lines(planned, CONFIG)[0] == "create the endpoint heat"


def test_a_second_deployment_gets_traffic_in_steps() -> None:
    planned = plan(state({"old": 100}))
    assert (planned.creates, planned.steps, planned.mirrors) == (True, [10, 50, 100], True)
    assert plan_lines(planned, CONFIG) == [
        "create the deployment new at 0 % on 1 x small",
        "smoke test of new, here and after each step",
        "mirror 10 % for 60 s",
        "traffic old 90 %, new 10 %",
        "traffic old 50 %, new 50 %",
        "traffic new 100 %",
        "keep old at 0 % for 2 h",
    ]


def test_a_deployment_with_all_traffic_needs_no_change() -> None:
    assert plan(state({"new": 100})).is_nothing


def test_an_existing_deployment_without_traffic_is_not_recreated() -> None:
    planned = plan(state({"old": 100}, "new"))
    assert (planned.creates, planned.steps) == (False, [10, 50, 100])


def test_a_failed_deployment_is_recreated() -> None:
    planned = plan(state({"old": 100}, "new", failed="new"))
    assert (planned.replaces_failed, planned.creates) == (True, True)


def test_an_interrupted_rollout_continues() -> None:
    interrupted = state({"old": 90, "new": 10}, **{NEW: "new", BEFORE: "old=100"})
    planned = plan(interrupted)
    assert (planned.steps, planned.before, planned.mirrors) == ([50, 100], {"old": 100}, False)
    assert planned.tags == {}


def test_a_rollout_that_stopped_after_its_last_step_is_finished() -> None:
    stopped = state({"new": 100}, "old", **{NEW: "new", BEFORE: "old=100"})
    planned = plan(stopped)
    assert (planned.creates, planned.steps, planned.before) == (False, [100], {"old": 100})
    assert (planned.tags, planned.forgotten) == ({}, [])
    assert "keep old at 0 % for 2 h" in plan_lines(planned, CONFIG)
    assert plan(state({"new": 100}, "old")).forgotten == ["old"]


@pytest.mark.parametrize("tags", [{AB: "old b"}, {NEW: "other", BEFORE: "old=100"}])
def test_a_rollout_is_rejected_while_another_one_is_in_progress(tags: dict[str, str]) -> None:
    with pytest.raises(OperationError, match=r"under way|not finished"):
        plan(state({"old": 100}, "b", **tags))


def test_an_ab_test_with_a_deleted_deployment_is_over() -> None:
    current = state({"old": 100}, **{AB: "old b", "team": "ml"})
    assert plan(current).tags == {"team": "ml"}
    heard: list[str] = []
    say_if_test_is_over(current, heard.append)
    say_if_test_is_over(state({"old": 80, "b": 20}, **{AB: "old b"}), heard.append)
    say_if_test_is_over(state({"old": 100}), heard.append)
    assert heard == ["the A/B test of old and b is over (deleted: b)"]


def test_no_traffic_is_moved_if_none_is_requested() -> None:
    planned = plan(state({"old": 100}), traffic=False)
    assert (planned.creates, planned.steps, planned.mirrors) == (True, [], False)


@pytest.mark.parametrize(
    ("before", "share", "after"),
    [
        ({"old": 100}, 10, {"old": 90, "new": 10}),
        ({"old": 100}, 100, {"new": 100}),
        ({"a": 70, "b": 30}, 50, {"a": 35, "b": 15, "new": 50}),
        ({"a": 33, "b": 33, "c": 34}, 10, {"a": 31, "b": 29, "c": 30, "new": 10}),
        ({"old": 90, "new": 10}, 50, {"old": 50, "new": 50}),
        ({}, 10, {"new": 100}),
    ],
)
def test_traffic_always_sums_to_a_hundred(
    before: dict[str, int], share: int, after: dict[str, int]
) -> None:
    assert divided(before, "new", share) == after
    assert sum(after.values()) == 100


def test_held_deployments_expire_and_unheld_ones_are_forgotten() -> None:
    past, future = (NOW + timedelta(hours=h) for h in (-1, 1))
    tags = {KEEP + "a": past.isoformat(), KEEP + "b": future.isoformat(), KEEP + "on": "soon"}
    current = state({"on": 100}, "a", "b", "c", **tags)
    assert expired(current, NOW) == ["a"]
    assert forgotten(current) == ["c"]
    assert kept(current) == ["b", "a"]


def test_tags_hold_the_previous_deployment_and_drop_a_finished_ab_test() -> None:
    current = state(
        {"old": 60, "new": 40}, "older", **{KEEP + "older": "x", AB: "a b", "team": "ml"}
    )
    assert tags_after(current, ["new"], CONFIG, NOW) == {
        "team": "ml",
        KEEP + "older": "x",
        KEEP + "old": "2026-01-01T14:00:00+00:00",
    }


def test_traffic_is_written_to_a_tag_and_read_back() -> None:
    traffic = {"v1-a": 90, "v2-b": 10}
    assert traffic_of_tag(traffic_as_tag(traffic)) == traffic
    assert traffic_of_tag(traffic_as_tag({})) == {}


def test_a_deployment_without_traffic_is_held_again_by_each_run() -> None:
    planned = plan(state({"old": 100}, "new"), traffic=False)
    assert (planned.holds, planned.is_nothing) == (True, False)
    assert plan_lines(planned, CONFIG) == ["keep new at 0 % for 2 h"]
    assert plan(state({"new": 100}), traffic=False).is_nothing
