"""The plan of a deployment as plain data; nothing here queries or changes Azure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from kedro_azure_mlops.config import Deployment
from kedro_azure_mlops.deploy.endpoint import SUCCEEDED, State, format_shares
from kedro_azure_mlops.errors import OperationError

# Tags of an endpoint: Azure stores them, so that any machine can continue.
KEEP = "keep."  # plus the name of a deployment without traffic; its value is when it may be deleted
NEW, BEFORE = "rollout.new", "rollout.before"  # while traffic is being moved
AB = "ab"  # champion and challenger
_OWN = (NEW, BEFORE, AB)
_ALL = 100


@dataclass(frozen=True)
class Plan:
    """A planned rollout; ``steps`` are the shares that ``new`` gets, one after the other."""

    new: str
    before: Mapping[str, int]
    tags: Mapping[str, str]
    creates_endpoint: bool
    creates: bool
    replaces_failed: bool
    steps: Sequence[int]
    mirrors: bool
    retired: Sequence[str]
    forgotten: Sequence[str] = field(default_factory=list)
    holds: bool = False  # whether ``new`` stays without traffic, and is kept from now on

    @property
    def is_nothing(self) -> bool:
        """Return whether there is nothing to do."""
        return not (self.creates or self.steps or self.retired or self.holds)


def make_plan(
    state: State, new: str, config: Deployment, now: datetime, *, traffic: bool = True
) -> Plan:
    """Plan how a deployment gets the traffic of an endpoint.

    Parameters
    ----------
    traffic
        Whether it receives traffic; otherwise it is only created and tested.

    Raises
    ------
    OperationError
        If an A/B test, or another deployment, is under way, or the endpoint has another target.
    """
    _refuse_other_target(state, config)
    refuse_if_under_way(state, new)
    found = state.deployments.get(new)
    share = state.traffic.get(new, 0)
    others = {name: part for name, part in state.traffic.items() if name != new}
    # if no other deployment has traffic, there are no callers to protect
    wanted = [step for step in config.traffic if step > share] if others else [_ALL]
    # a rollout that was killed after its last step still has to keep the others
    is_unfinished = share < _ALL or NEW in state.tags
    steps = wanted if traffic and is_unfinished else []
    return Plan(
        new=new,
        before=_traffic_before(state),
        tags={key: value for key, value in state.tags.items() if key not in _OWN},
        creates_endpoint=not state.exists,
        creates=found is None or found.state != SUCCEEDED,
        replaces_failed=found is not None and found.state != SUCCEEDED,
        steps=steps,
        mirrors=bool(steps and others and not share and config.mirror),
        retired=[name for name in expired(state, now) if name != new],
        forgotten=[name for name in forgotten(state) if name != new],
        holds=not traffic and not share,
    )


def plan_lines(plan: Plan, config: Deployment, recorded: Sequence[str] = ()) -> list[str]:
    """Return a plan as lines of text; ``recorded`` names the collections that Azure stores."""
    lines = [f"create the endpoint {config.endpoint}"] if plan.creates_endpoint else []
    if plan.replaces_failed:
        lines.append(f"delete the deployment {plan.new}, which has failed")
    if plan.creates:
        lines += [f"create the deployment {plan.new} at 0 % on {config.machines}"]
        lines += [f"its {' and '.join(recorded)} are stored in the workspace"] if recorded else []
    if plan.creates or plan.steps:
        lines.append(f"smoke test of {plan.new}, here and after each step")
    if plan.mirrors and config.mirror:
        lines.append(f"mirror {config.mirror.percent} % for {config.mirror.seconds} s")
    lines += [
        f"traffic {format_shares(divided(plan.before, plan.new, step))}" for step in plan.steps
    ]
    if plan.steps and (old := [name for name in plan.before if name != plan.new]):
        lines.append(f"keep {', '.join(old)} at 0 % for {config.keep_old_hours:g} h")
    if plan.holds:
        lines.append(f"keep {plan.new} at 0 % for {config.keep_old_hours:g} h")
    lines += [
        f"delete the deployment {name}, whose retention period (keep_old_hours) is over"
        for name in plan.retired
    ]
    return lines


def divided(before: Mapping[str, int], new: str, share: int) -> dict[str, int]:
    """Assign ``share`` to one deployment and divide the rest among the others as before."""
    others = {name: part for name, part in before.items() if name != new and part}
    total, left = sum(others.values()), _ALL - share
    parts = {name: left * part // total for name, part in others.items()} if total else {}
    if parts:
        parts[next(iter(parts))] += left - sum(parts.values())
    own = {new: share if parts else _ALL}
    return {name: part for name, part in (parts | own).items() if part}


def expired(state: State, now: datetime) -> list[str]:
    """Return the deployments without traffic whose retention period is over."""
    kept = {n: _hold_end(state, n) for n in state.deployments if not _in_use(state, n)}
    return [name for name, until in kept.items() if until and until <= now]


def forgotten(state: State) -> list[str]:
    """Return the deployments that have neither traffic nor a retention period."""
    return [n for n in state.deployments if not _in_use(state, n) and not _hold_end(state, n)]


def kept(state: State) -> list[str]:
    """Return the kept deployments, the most recent one first."""
    holds = {n: _hold_end(state, n) for n in state.deployments if not _in_use(state, n)}
    found = [(until, name) for name, until in holds.items() if until]
    return [name for _, name in sorted(found, reverse=True)]


def tags_after(
    state: State, serving: Sequence[str], config: Deployment, now: datetime
) -> dict[str, str]:
    """Return an endpoint's tags once ``serving`` has the traffic: how long the others are kept.

    They mark no rollout or A/B test as under way.
    """
    until = (now + timedelta(hours=config.keep_old_hours)).isoformat(timespec="seconds")
    tags = {k: v for k, v in state.tags.items() if k not in _OWN and not k.startswith(KEEP)}
    for name in state.deployments:
        old = state.tags.get(KEEP + name)
        if name not in serving and (old or name in state.traffic):
            tags[KEEP + name] = until if name in state.traffic else str(old)
    return tags


def traffic_as_tag(traffic: Mapping[str, int]) -> str:
    """Return traffic as the value of a tag."""
    return " ".join(f"{name}={share}" for name, share in traffic.items())


def traffic_of_tag(text: str) -> dict[str, int]:
    """Parse the traffic that ``traffic_as_tag`` wrote."""
    pairs = (part.partition("=") for part in text.split())
    return {name: int(share) for name, _, share in pairs}


def tested(state: State) -> list[str]:
    """Return champion and challenger of the A/B test under way, if both still exist."""
    names = state.tags.get(AB, "").split()
    return names if len(names) == 2 and set(names) <= set(state.deployments) else []


def say_if_test_is_over(state: State, say: Callable[[str], None]) -> None:
    """Say that a deployment of the A/B test was deleted, which ends the test."""
    if AB in state.tags and not tested(state):
        names = state.tags[AB].split()
        gone = [name for name in names if name not in state.deployments]
        say(f"the A/B test of {' and '.join(names)} is over (deleted: {', '.join(gone)})")


def refuse_if_under_way(state: State, new: str) -> None:
    """Refuse to change traffic while another change of it is under way.

    Raises
    ------
    OperationError
        If an A/B test, or the rollout of another deployment, has begun and not ended.
    """
    if names := tested(state):
        raise OperationError(
            f"An A/B test of {' and '.join(names)} is under way. End it first: "
            f"kedro mlops ab --env {state.env} --end champion"
        )
    if state.tags.get(NEW, new) != new:
        raise OperationError(
            f"The rollout of {state.tags[NEW]} was started but not finished. If no one is running "
            f"it any more, undo it: kedro mlops deploy online --env {state.env} --back"
        )


def _refuse_other_target(state: State, config: Deployment) -> None:
    wanted = config.cluster.compute if config.cluster else ""
    if not state.exists or state.compute.lower() == wanted.lower():
        return
    current = f"on the Kubernetes cluster {state.compute}" if state.compute else "managed by Azure"
    requested = f"target kubernetes on {wanted}" if wanted else "target managed"
    raise OperationError(
        f"The endpoint {config.endpoint} is {current}, but the deployment asks for {requested}: an "
        f"endpoint cannot change its target. Name another deployment.endpoint in {state.env}/"
        "mlops.yml, to serve in parallel until callers have moved, or set its current target."
    )


def _traffic_before(state: State) -> dict[str, int]:
    """Return the previous traffic, as recorded by an interrupted rollout of this deployment."""
    return traffic_of_tag(state.tags[BEFORE]) if BEFORE in state.tags else dict(state.traffic)


def _in_use(state: State, name: str) -> bool:
    # an unfinished rollout can be undone only while the previous deployments exist
    return name in state.traffic or name in state.mirror or name in _traffic_before(state)


def _hold_end(state: State, name: str) -> datetime | None:
    text = state.tags.get(KEEP + name)
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except ValueError:
        return None
