"""A/B tests: two deployments that share the traffic of an endpoint, and how they compare."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import requests

from kedro_azure_mlops.azure.identity import credential
from kedro_azure_mlops.azure.workspace import azure_errors, workspace
from kedro_azure_mlops.config import deployment_of
from kedro_azure_mlops.contract import Column, Contract
from kedro_azure_mlops.deploy.artifact import Say, download_contract
from kedro_azure_mlops.deploy.endpoint import SUCCEEDED, OnlineEndpoint, State, format_shares
from kedro_azure_mlops.deploy.invocation import newest_rows
from kedro_azure_mlops.deploy.plan import (
    AB,
    KEEP,
    refuse_if_under_way,
    say_if_test_is_over,
    tags_after,
    tested,
)
from kedro_azure_mlops.deploy.smoke import Expected, is_close, rows_of_answer, smoke
from kedro_azure_mlops.errors import OperationError, RefusedError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_ALL = 100
_HOURS = 24
_HOST = "https://management.azure.com"
_VERSION = "2023-10-01"
_TIMEOUT = (5, 60)  # seconds to connect, and to read
# The model's own status: Azure returns 424 to callers for any status other than 200.
_REQUESTS, _STATUS = "RequestsPerMinute", "modelStatusCode"
_LATENCIES = {"latency_p50": "RequestLatency_P50", "latency_p95": "RequestLatency_P95"}
Measured = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Pair:
    """The names of the deployments: the champion is the one that had the traffic."""

    champion: str
    challenger: str


def share_traffic(
    env: str,
    percent: int,
    root: Path | None = None,
    *,
    challenger: str | None = None,
    say: Say = print,
) -> Pair:
    """Start an A/B test: give the challenger a share of the traffic, or change its share.

    Parameters
    ----------
    percent
        The share of the challenger, 1 to 99 percent.
    challenger
        A deployment; by default the newest one that is ready, other than the champion.

    Raises
    ------
    RefusedError
        If the challenger does not pass its smoke test.
    OperationError
        If there are not two deployments, or Azure refuses or cannot be reached.
    """
    if not 1 <= percent < _ALL:
        raise OperationError(f"--share {percent}: write 1 to 99.")
    root = root or Path.cwd()
    client = workspace(env, root)
    endpoint = OnlineEndpoint(client, deployment_of(root, env), env)
    state = endpoint.read()
    say_if_test_is_over(state, say)
    pair = _choose_pair(state, challenger)
    traffic = {pair.champion: _ALL - percent, pair.challenger: percent}
    if dict(state.traffic) == traffic and tested(state):
        say(f"traffic is {format_shares(traffic)}, nothing to change")
        return pair
    tags = state.deployments[pair.challenger].tags
    expected = Expected(tags.get("digest", ""), download_contract(client, tags))
    smoke(endpoint, expected, pair.challenger)
    kept = {k: v for k, v in state.tags.items() if k not in (KEEP + pair.challenger, AB)}
    endpoint.route(traffic, {**kept, AB: f"{pair.champion} {pair.challenger}"})
    say(f"traffic is {format_shares(traffic)}")
    return pair


def end_sharing(
    env: str,
    winner: Literal["champion", "challenger"],
    root: Path | None = None,
    *,
    say: Say = print,
) -> str:
    """End an A/B test: give all traffic to one of the two and keep the other for a while.

    If one of the two was deleted, the test is over, but the other can still get all traffic.

    Returns
    -------
    The name of the deployment that has the traffic now.

    Raises
    ------
    OperationError
        If no test is under way, the winner was deleted, or Azure refuses or cannot be reached.
    """
    root = root or Path.cwd()
    config = deployment_of(root, env)
    endpoint = OnlineEndpoint(workspace(env, root), config, env)
    state = endpoint.read()
    say_if_test_is_over(state, say)
    pair = _pair_to_end(state, endpoint.name)
    name, other = pair.champion, pair.challenger
    if winner == "challenger":
        name, other = other, name
    if name not in state.deployments:
        raise OperationError(
            f"The {winner} {name} was deleted. To give all traffic to {other}: kedro mlops ab "
            f"--env {env} --end {'champion' if winner == 'challenger' else 'challenger'}"
        )
    endpoint.route({name: _ALL}, tags_after(state, [name], config, datetime.now(UTC)))
    kept = f"; the other is kept for {config.keep_old_hours:g} h"
    say(f"traffic is {name} {_ALL} %{kept if other in state.deployments else ''}")
    return name


def compare_deployments(env: str, root: Path | None = None, *, say: Say = print) -> list[str]:
    """Compare the two deployments of an A/B test; return lines of text.

    A table shows Azure Monitor's measurements of both in the last 24 hours: requests, the share
    that failed, latencies in milliseconds; it does not measure Kubernetes endpoints. Then both
    score the newest rows of the project's data (or the model's example if there are none), and
    the differences between their answers are counted.

    Raises
    ------
    RefusedError
        If one of them does not answer.
    OperationError
        If no test is under way, or Azure refuses or cannot be reached.
    """
    root = root or Path.cwd()
    config, client = deployment_of(root, env), workspace(env, root)
    endpoint = OnlineEndpoint(client, config, env)
    state = endpoint.read()
    pair = _running_pair(state, endpoint.name)
    names = (pair.champion, pair.challenger)
    if state.compute:
        lines = [f"requests and latencies are measured by the cluster {state.compute}, not Azure"]
    else:
        lines = _table(client, endpoint.name, config.metrics, names)
    contract = download_contract(client, state.deployments[pair.champion].tags)
    label, rows = _rows(root, env, contract, say)
    return [*lines, *_differences(endpoint, names, contract, label, rows)]


def _table(
    client: "MLClient", endpoint: str, metrics: Sequence[str], names: tuple[str, str]
) -> list[str]:
    """Return Azure Monitor's measurements of two deployments, a line per metric."""
    now = datetime.now(UTC)
    measured = _measure(client, endpoint, metrics, now - timedelta(hours=_HOURS), now)
    width = max(map(len, names))
    lines = [f"{'':12}  {names[0]:>{width}}  {names[1]:>{width}}"]
    for metric in metrics:
        cells = [_cell(measured.get(metric, {}), name) for name in names]
        lines.append(f"{metric:12}  {cells[0]:>{width}}  {cells[1]:>{width}}")
    return [*lines, f"over the last {_HOURS} hours, from Azure Monitor"]


def _rows(
    root: Path, env: str, contract: Contract, say: Say
) -> tuple[str, Sequence[Mapping[str, Any]]]:
    try:
        rows = newest_rows(root, env, contract.schema, say)
    except OperationError as error:
        say(f"the model's example is sent instead of the newest rows: {error}")
        return "rows of the example", contract.example
    return "newest rows", rows


def _running_pair(state: State, endpoint: str) -> Pair:
    if names := tested(state):
        return Pair(*names)
    raise OperationError(
        f"No A/B test is under way at {endpoint}. Start one: "
        f"kedro mlops ab --env {state.env} --share 20"
    )


def _pair_to_end(state: State, endpoint: str) -> Pair:
    """Return the pair of a test; one of the two may have been deleted."""
    names = state.tags.get(AB, "").split()
    is_left = len(names) == 2 and set(names) & set(state.deployments)
    return Pair(*names) if is_left else _running_pair(state, endpoint)


def _choose_pair(state: State, challenger: str | None) -> Pair:
    """Return the champion, which has the most traffic, and the newest other one that is ready."""
    if names := tested(state):
        pair = Pair(*names)
        if challenger not in (None, pair.challenger):
            raise OperationError(
                f"A test of {pair.champion} and {pair.challenger} is under way: end it first, "
                "with --end champion or --end challenger."
            )
        return pair
    refuse_if_under_way(state, "")
    if not state.traffic:
        raise OperationError(
            f"No deployment has traffic. Run: kedro mlops deploy online --env {state.env}"
        )
    champion = max(state.traffic, key=lambda name: state.traffic[name])
    found = [each for each in state.deployments.values() if each.state == SUCCEEDED]
    others = [each.name for each in sorted(found, key=lambda d: d.created) if each.name != champion]
    if challenger and challenger not in others:
        known = ", ".join(others) or "none"
        raise OperationError(f"There is no {challenger} that is ready; ready challengers: {known}.")
    if not others:
        raise OperationError(
            "There is only one deployment. Deploy the other version too: "
            f"kedro mlops deploy online --env {state.env} --version N --no-traffic"
        )
    return Pair(champion, challenger or others[-1])


def _cell(by_deployment: Mapping[str, float], name: str) -> str:
    value = by_deployment.get(name)
    return "-" if value is None else f"{value:.4g}"


def _differences(
    endpoint: OnlineEndpoint,
    names: tuple[str, str],
    contract: Contract,
    label: str,
    rows: Sequence[Mapping[str, Any]],
) -> list[str]:
    import json

    body = json.dumps({"data": rows}).encode()
    answers = []
    for name in names:
        reply = endpoint.score(body, name)
        if reply.status != 200:
            raise RefusedError(f"{name} returns {reply.status} for the {label}: {reply.body}")
        answers.append(rows_of_answer(name, reply.body))
    if len(answers[0]) != len(answers[1]):
        raise RefusedError(f"{' and '.join(names)} return different numbers of rows")
    columns = contract.schema.outputs
    lines = [_difference(column, answers, contract.tolerance) for column in columns]
    return [f"of {len(answers[0]):,} {label}:", *(f"  {line}" for line in lines)]


def _difference(column: Column, answers: Sequence[Sequence[Any]], tolerance: float) -> str:
    one, other = ([row.get(column.name) for row in rows] for rows in answers)
    differ = sum(not is_close(a, b, column, tolerance) for a, b in zip(one, other, strict=True))
    summary = f"{column.name} differs in {differ:,}"
    if column.type == "boolean":
        return f"{summary}; true in {one.count(True):,} and {other.count(True):,}"
    if column.type not in {"double", "long"}:
        return summary
    gaps = [abs(a - b) for a, b in zip(one, other, strict=True) if None not in (a, b)]
    return f"{summary}, at most by {max(gaps, default=0):.4g}; mean {_mean(one)} and {_mean(other)}"


def _mean(values: Sequence[Any]) -> str:
    numbers = [value for value in values if value is not None]
    return f"{sum(numbers) / len(numbers):.4g}" if numbers else "-"


def _measure(
    client: "MLClient", endpoint: str, metrics: Sequence[str], since: datetime, until: datetime
) -> Measured:
    """Return metrics by name and deployment: requests, share of failures, latencies in ms."""
    id = (
        f"/subscriptions/{client.subscription_id}/resourceGroups/{client.resource_group_name}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{client.workspace_name}"
        f"/onlineEndpoints/{endpoint}"
    )
    span = f"{since:%Y-%m-%dT%H:%M:%SZ}/{until:%Y-%m-%dT%H:%M:%SZ}"
    found: Measured = {}
    if {"requests", "errors"} & set(metrics):
        labels = f"deployment eq '*' and {_STATUS} eq '*'"
        found |= _counts(_query(id, _REQUESTS, span, "Total", labels))
    for name, azure_name in _LATENCIES.items():
        if name in metrics:
            series = _query(id, azure_name, span, "Average", "deployment eq '*'")
            found[name] = {labels["deployment"]: value for labels, value in series}
    return found


def _counts(series: list[tuple[dict[str, str], float]]) -> Measured:
    total: dict[str, float] = {}
    errors: dict[str, float] = {}
    for labels, value in series:
        name = labels["deployment"]
        total[name] = total.get(name, 0.0) + value
        # 4xx is the caller's fault: the smoke test provokes one each time
        is_error = labels.get(_STATUS.lower(), "").startswith("5")
        errors[name] = errors.get(name, 0.0) + value * is_error
    shares = {name: errors[name] / count for name, count in total.items() if count}
    return {"requests": total, "errors": shares}


def _query(
    id: str, metric: str, span: str, aggregation: str, labels: str
) -> list[tuple[dict[str, str], float]]:
    """Return each series: its labels in lower case, and its sum or mean over the time span."""
    with azure_errors("querying Azure Monitor"):
        token = credential().get_token(f"{_HOST}/.default").token
    query = {
        "api-version": _VERSION,
        "metricnames": metric,
        "timespan": span,
        "interval": "PT1H",
        "aggregation": aggregation,
        "$filter": labels,
    }
    try:
        response = requests.get(
            f"{_HOST}{id}/providers/Microsoft.Insights/metrics",
            params=query,
            headers={"Authorization": f"Bearer {token}"},
            timeout=_TIMEOUT,
        )
        response.raise_for_status()
    except requests.RequestException as error:
        raise OperationError(
            f"Azure Monitor does not return {metric} ({error.__class__.__name__}). You need the "
            "role Monitoring Reader, or leave deployment.metrics in mlops.yml empty."
        ) from error
    return [
        (_labels(series), _total(series["data"], aggregation.lower()))
        for each in response.json()["value"]
        for series in each["timeseries"]
    ]


def _labels(series: dict[str, Any]) -> dict[str, str]:
    return {
        str(label["name"]["value"]).lower(): str(label["value"])
        for label in series["metadatavalues"]
    }


def _total(points: list[dict[str, float]], aggregation: str) -> float:
    values = [point[aggregation] for point in points if point.get(aggregation) is not None]
    if aggregation == "total" or not values:
        return float(sum(values))
    return sum(values) / len(values)
