"""What a server tells Prometheus: requests, how long they took, rows, and which model answers."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from {{ cookiecutter.package_name }} import score

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# A row takes a quarter of a millisecond, the largest body a second.
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

disable_created_metrics()  # a series more for each, of no use here
_registry = CollectorRegistry()
ProcessCollector(registry=_registry)
PlatformCollector(registry=_registry)
_requests = Counter("score_requests", "Requests to /score", ["status"], registry=_registry)
_seconds = Histogram(
    "score_request_seconds", "How long they took", buckets=_SECONDS, registry=_registry
)
_rows = Counter("score_rows", "Readings that were scored", registry=_registry)
_flagged = Counter("score_rows_flagged", "Readings that are anomalies", registry=_registry)
_unknown = Counter(
    "score_rows_unknown", "Readings of sensors that the model does not know", registry=_registry
)
_model = Gauge(
    "score_model_info", "The model that answers", ["version", "digest"], registry=_registry
)


def count(answer: score.Answer, seconds: float) -> None:
    """Count an answer, and how long it took."""
    _requests.labels(str(answer.status)).inc()
    _seconds.observe(seconds)
    flags = [row["is_anomaly"] for row in answer.body.get("data", ())]
    _rows.inc(len(flags))
    _flagged.inc(flags.count(True))
    _unknown.inc(flags.count(None))


def text() -> bytes:
    """Write all of it in the format of Prometheus."""
    model = score.model()
    _model.labels(model.version, model.scorer.digest).set(1)
    return generate_latest(_registry)
