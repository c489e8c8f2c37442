"""Two deployments that share the traffic of an endpoint, and how they compare."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from operation.deployment.config import Deployment
from operation.deployment.endpoint import SUCCEEDED, OnlineEndpoint, State, shares
from operation.deployment.monitor import measure
from operation.deployment.plan import AB, KEEP, refuse_what_is_under_way, tags_after
from operation.deployment.smoke import flags_of, refuse_other_digest
from operation.errors import OperationError, RefusedError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_ALL = 100
_HOURS = 24


@dataclass(frozen=True)
class Pair:
    """The names of the deployments: the champion has had the traffic."""

    champion: str
    challenger: str


def start(
    endpoint: OnlineEndpoint,
    share: int,
    challenger: str | None,
    body: bytes,
    say: Callable[[str], None],
) -> Pair:
    """Give the challenger a share of the traffic; a test that runs gets another share.

    Raises
    ------
    RefusedError
        If the challenger does not answer.
    OperationError
        If there are no two deployments, or Azure refuses or cannot be reached.
    """
    state = endpoint.read()
    pair = _pair(state, challenger)
    traffic = {pair.champion: _ALL - share, pair.challenger: share}
    if dict(state.traffic) == traffic and AB in state.tags:
        say(f"traffic is {shares(traffic)}, nothing to change")
        return pair
    digest = state.deployments[pair.challenger].tags.get("digest", "")
    refuse_other_digest(endpoint, body, pair.challenger, digest)
    kept = {k: v for k, v in state.tags.items() if k not in (KEEP + pair.challenger, AB)}
    endpoint.route(traffic, {**kept, AB: f"{pair.champion} {pair.challenger}"})
    say(f"traffic is {shares(traffic)}")
    return pair


def end(
    endpoint: OnlineEndpoint, config: Deployment, winner: str, say: Callable[[str], None]
) -> None:
    """Give all traffic to the champion or the challenger; the other one is kept for a while.

    Raises
    ------
    OperationError
        If no test is under way, or Azure refuses or cannot be reached.
    """
    state = endpoint.read()
    pair = running(state, endpoint.name)
    name = pair.challenger if winner == "challenger" else pair.champion
    endpoint.route({name: _ALL}, tags_after(state, [name], config, datetime.now(UTC)))
    say(f"traffic is {name} {_ALL} %; the other is kept for {config.keep_old_hours:g} h")


def running(state: State, endpoint: str) -> Pair:
    """Return the pair of the test that is under way.

    Raises
    ------
    OperationError
        If there is none.
    """
    names = state.tags.get(AB, "").split()
    if len(names) != 2 or not set(names) <= set(state.deployments):
        raise OperationError(
            f"No A/B test is under way at {endpoint}. Start one: "
            f"python -m operation.execution ab --env {state.env} --share 20"
        )
    return Pair(*names)


def compare(
    endpoint: OnlineEndpoint, client: "MLClient", body: bytes, config: Deployment
) -> list[str]:
    """Write what the service has measured of both, and how often their flags differ here.

    Raises
    ------
    OperationError
        If no test is under way, or Azure refuses or cannot be reached.
    """
    pair = running(endpoint.read(), endpoint.name)
    names = (pair.champion, pair.challenger)
    now = datetime.now(UTC)
    measured = measure(client, endpoint.name, config.metrics, now - timedelta(hours=_HOURS), now)
    width = max(map(len, names))
    lines = [f"{'':12}  {names[0]:>{width}}  {names[1]:>{width}}"]
    for metric in config.metrics:
        cells = [_cell(measured.get(metric, {}), name) for name in names]
        lines.append(f"{metric:12}  {cells[0]:>{width}}  {cells[1]:>{width}}")
    lines.append(f"of the last {_HOURS} hours, as Azure Monitor has them")
    return [*lines, _differences(endpoint, names, body)]


def _pair(state: State, challenger: str | None) -> Pair:
    """Find the champion, which has most of the traffic, and the newest other that is ready."""
    if AB in state.tags:
        pair = Pair(*state.tags[AB].split())
        if challenger not in (None, pair.challenger):
            raise OperationError(
                f"A test of {pair.champion} and {pair.challenger} is under way: end it first, "
                "with --end champion or --end challenger."
            )
        return pair
    refuse_what_is_under_way(state, "")
    if not state.traffic:
        raise OperationError(
            "No deployment has traffic, type: "
            f"python -m operation.execution deploy online --env {state.env}"
        )
    champion = max(state.traffic, key=lambda name: state.traffic[name])
    found = [each for each in state.deployments.values() if each.state == SUCCEEDED]
    others = [each.name for each in sorted(found, key=lambda d: d.created) if each.name != champion]
    if challenger and challenger not in others:
        raise OperationError(f"There is no {challenger} that is ready; there are: {others}.")
    if not others:
        raise OperationError(
            "There is one deployment only. Deploy the other version beside it: "
            f"python -m operation.execution deploy online --env {state.env} --version N "
            "--no-traffic"
        )
    return Pair(champion, challenger or others[-1])


def _cell(by_deployment: Mapping[str, float], name: str) -> str:
    value = by_deployment.get(name)
    return "-" if value is None else f"{value:.4g}"


def _differences(endpoint: OnlineEndpoint, names: tuple[str, str], body: bytes) -> str:
    answers: list[list[Any]] = []
    for name in names:
        reply = endpoint.score(body, name)
        if reply.status != 200:
            raise RefusedError(f"{name} answers {reply.status} to the newest readings")
        answers.append(flags_of(name, reply.body))
    if len(answers[0]) != len(answers[1]):
        raise RefusedError(f"{' and '.join(names)} give different numbers of scores")
    differ = sum(one != other for one, other in zip(*answers, strict=True))
    flagged = " and ".join(str(sum(map(bool, flags))) for flags in answers)
    return (
        f"of the {len(answers[0])} newest readings they flag {flagged}; the flags of {differ} "
        "differ"
    )
