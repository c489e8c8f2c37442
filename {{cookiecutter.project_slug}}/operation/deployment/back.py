"""Giving the traffic back: after a failure, by hand, and deleting what nobody keeps."""

from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from operation.deployment.artifact import fetch
from operation.deployment.config import Deployment
from operation.deployment.endpoint import OnlineEndpoint, State, shares
from operation.deployment.invocation import newest_readings
from operation.deployment.plan import (
    BEFORE,
    KEEP,
    NEW,
    Plan,
    expired,
    forgotten,
    kept,
    read,
    refuse_what_is_under_way,
    tags_after,
)
from operation.deployment.smoke import expected_of, refuse_other_digest
from operation.errors import RefusedError

Say = Callable[[str], None]


def take_back(endpoint: OnlineEndpoint, plan: Plan, say: Say) -> None:
    """Give traffic and tags back as they were, and delete what was made.

    Raises
    ------
    OperationError
        If Azure refuses or cannot be reached.
    """

    def tell(text: str) -> None:
        with suppress(OSError):  # a cancelled CI run has closed the stream, the way back goes on
            say(text)

    state = endpoint.read()
    if (state.traffic, state.mirror, state.tags) != (plan.before, {}, plan.tags):
        tell(f"giving the traffic back: {shares(plan.before)}")
        endpoint.route(plan.before, plan.tags)
    made_here = plan.creates or KEEP + plan.new not in plan.tags
    if plan.new in state.deployments and made_here and not plan.before.get(plan.new):
        tell(f"deleting the deployment {plan.new}")
        endpoint.delete(plan.new)


def body_at_hand(env: str, root: Path, say: Say) -> bytes | None:
    """Make a request to try a deployment with: of the champion, else of readings; None without.

    Who goes back may do so because of the champion, so its files are of use but not needed.
    """
    ways: dict[str, Callable[[], bytes]] = {
        "the champion": lambda: expected_of(fetch(env, root, None).folder).body,
        "the newest readings": lambda: newest_readings(root, env, say),
    }
    for what, make in ways.items():
        try:
            return make()
        except Exception as error:  # noqa: BLE001, nothing of it may bar the way back
            say(f"a smoke test cannot be made of {what}: {error}")
    return None


def go_back(
    endpoint: OnlineEndpoint,
    config: Deployment,
    body: Callable[[], bytes | None],
    say: Say,
    only_from: str | None = None,
) -> str | None:
    """Give the traffic to the deployment that is kept; None if there is none.

    What an interrupted rollout has changed is given back instead. ``body`` makes a request to try
    the kept one with; it is asked only then, and without a request there is no smoke test.
    ``only_from`` names the deployment to go back from, for who cannot know whether another rollout
    has come in between.

    Raises
    ------
    RefusedError
        If the kept deployment does not answer with its model, or the traffic is not, or no longer,
        that of ``only_from``; nothing is changed then.
    OperationError
        If an A/B test is under way, or Azure refuses or cannot be reached.
    """
    state = endpoint.read()
    if only_from:
        _refuse_other(endpoint, state, only_from)
    refuse_what_is_under_way(state, state.tags.get(NEW, ""))
    if NEW in state.tags:
        new, before = state.tags[NEW], read(state.tags[BEFORE])
        tags = {key: value for key, value in state.tags.items() if key not in {NEW, BEFORE}}
        plan = Plan(
            *(new, before, tags),
            creates_endpoint=False,
            creates=False,
            replaces_failed=False,
            steps=(),
            mirrors=False,
            retired=(),
        )
        take_back(endpoint, plan, say)
        return shares(before)
    if not (names := kept(state)):
        return None
    digest = state.deployments[names[0]].tags.get("digest", "")
    if (request := body()) is None:
        say(f"{names[0]} gets the traffic without a smoke test")
    else:
        refuse_other_digest(endpoint, request, names[0], digest)
    say(f"traffic: {names[0]} 100 %")
    endpoint.route({names[0]: 100}, tags_after(state, names[:1], config, datetime.now(UTC)))
    return shares({names[0]: 100})


def _refuse_other(endpoint: OnlineEndpoint, state: State, name: str) -> None:
    """Refuse to go back from another rollout than the one that is named."""
    serves = state.tags[NEW] == name if NEW in state.tags else state.traffic.get(name, 0) > 0
    if not serves:
        raise RefusedError(
            f"{endpoint.name} does not serve {name}, nor is it on its way there: traffic is "
            f"{shares(state.traffic)}. Nothing was changed."
        )


def clean(
    endpoint: OnlineEndpoint, say: Say, *, also_forgotten: bool, keep: Collection[str] = ()
) -> list[str]:
    """Delete deployments whose hold has passed, perhaps those without one too; not ``keep``.

    Raises
    ------
    OperationError
        If Azure refuses or cannot be reached.
    """
    state = endpoint.read()
    found = expired(state, datetime.now(UTC)) + (forgotten(state) if also_forgotten else [])
    names = [name for name in found if name not in keep]
    for name in names:
        say(f"deleting the deployment {name}")
        endpoint.delete(name)
    if tags := {KEEP + name for name in names} & set(state.tags):
        left = {key: value for key, value in state.tags.items() if key not in tags}
        endpoint.route(state.traffic, left, state.mirror)
    return names


def what_is_where(
    endpoint: OnlineEndpoint, plan: Plan, error: BaseException, second: BaseException
) -> str:
    """Say exactly what is where, when going back has failed too."""
    first = str(error) or "it was interrupted"
    said = f"{plan.new} was not deployed: {first}\nTaking it back failed too: {second}\n"
    way = "--back"
    try:
        state = endpoint.read()
        # where no traffic was moved there is only a deployment to be deleted
        way = "--back" if NEW in state.tags else "--clean"
        there = ", ".join(state.deployments) or "none"
        now = f"Traffic is {shares(state.traffic)}; deployments there are: {there}."
    except BaseException:  # noqa: BLE001, what is known is told
        now = f"How {endpoint.name} is cannot be read; before, traffic was {shares(plan.before)}."
    return (
        f"{said}{now} When Azure answers again, type: "
        f"python -m operation.execution deploy online --env {endpoint.env} {way}"
    )
