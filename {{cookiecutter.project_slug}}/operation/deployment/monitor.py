"""What Azure Monitor has measured of the deployments of an endpoint."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import requests

from operation.azureml.identity import credential
from operation.azureml.utils import azure_errors
from operation.errors import OperationError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_HOST = "https://management.azure.com"
_VERSION = "2023-10-01"
_PATIENCE = (5, 60)  # seconds to connect, and to be answered
# what the model answered: to callers Azure says 424 for anything but 200
_REQUESTS, _STATUS = "RequestsPerMinute", "modelStatusCode"
_LATENCIES = {"latency_p50": "RequestLatency_P50", "latency_p95": "RequestLatency_P95"}
Measured = dict[str, dict[str, float]]


def measure(
    client: "MLClient", endpoint: str, metrics: Sequence[str], since: datetime, until: datetime
) -> Measured:
    """Return metrics by name and deployment: requests, share of failures, latencies in ms.

    Raises
    ------
    OperationError
        If Azure Monitor refuses or cannot be reached.
    """
    id = (
        f"/subscriptions/{client.subscription_id}/resourceGroups/{client.resource_group_name}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{client.workspace_name}"
        f"/onlineEndpoints/{endpoint}"
    )
    span = f"{since:%Y-%m-%dT%H:%M:%SZ}/{until:%Y-%m-%dT%H:%M:%SZ}"
    found: Measured = {}
    if {"requests", "errors"} & set(metrics):
        labels = f"deployment eq '*' and {_STATUS} eq '*'"
        found |= _counts(_ask(id, _REQUESTS, span, "Total", labels))
    for name, asked in _LATENCIES.items():
        if name in metrics:
            series = _ask(id, asked, span, "Average", "deployment eq '*'")
            found[name] = {labels["deployment"]: value for labels, value in series}
    return found


def _counts(series: list[tuple[dict[str, str], float]]) -> Measured:
    total: dict[str, float] = {}
    errors: dict[str, float] = {}
    for labels, value in series:
        name = labels["deployment"]
        total[name] = total.get(name, 0.0) + value
        # 4xx is the fault of who asks: the smoke test provokes one each time
        is_error = labels.get(_STATUS.lower(), "").startswith("5")
        errors[name] = errors.get(name, 0.0) + value * is_error
    shares = {name: errors[name] / count for name, count in total.items() if count}
    return {"requests": total, "errors": shares}


def _ask(
    id: str, metric: str, span: str, aggregation: str, labels: str
) -> list[tuple[dict[str, str], float]]:
    """Return each series: its labels in lower case, and its sum or mean over the time."""
    with azure_errors("asking Azure Monitor"):
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
        answer = requests.get(
            f"{_HOST}{id}/providers/Microsoft.Insights/metrics",
            params=query,
            headers={"Authorization": f"Bearer {token}"},
            timeout=_PATIENCE,
        )
        answer.raise_for_status()
    except requests.RequestException as error:
        raise OperationError(
            f"Azure Monitor does not tell {metric} ({error.__class__.__name__}). You need the role "
            "Monitoring Reader, or leave metrics in deployment.yml empty."
        ) from error
    return [
        (_labels(series), _total(series["data"], aggregation.lower()))
        for each in answer.json()["value"]
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
