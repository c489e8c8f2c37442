"""Figures for Prometheus: requests, how long they took, rows, and which model answers.

Where prometheus_client is not installed nothing is counted, and ``text`` says so.
"""

from typing import Any

from kedro_azure_mlops.serve import score

try:
    import prometheus_client as _prometheus
except ImportError:  # a project's own environment may lack it
    _prometheus = None  # type: ignore[assignment]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# A row takes a quarter of a millisecond, the largest body a second.
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_MISSING = b"# prometheus_client is not installed here: nothing is counted\n"


class _Figures:
    def __init__(self, library: Any) -> None:
        library.disable_created_metrics()  # a series more for each, of no use here
        self.registry = registry = library.CollectorRegistry()
        library.ProcessCollector(registry=registry)
        library.PlatformCollector(registry=registry)
        counter, gauge = library.Counter, library.Gauge
        self.requests = counter(
            "score_requests", "Requests to /score", ["status"], registry=registry
        )
        self.seconds = library.Histogram(
            "score_request_seconds", "How long they took", buckets=_SECONDS, registry=registry
        )
        self.rows = counter("score_rows", "Rows that were scored", registry=registry)
        self.flagged = counter("score_rows_flagged", "Rows that were flagged", registry=registry)
        self.unknown = counter(
            "score_rows_unknown", "Rows that the model has no answer to", registry=registry
        )
        self.model = gauge(
            "score_model_info", "The model that answers", ["version", "digest"], registry=registry
        )


_figures = _Figures(_prometheus) if _prometheus else None


def count(answer: score.Answer, seconds: float) -> None:
    """Count an answer, and how long it took."""
    if _figures is None:
        return
    _figures.requests.labels(str(answer.status)).inc()
    _figures.seconds.observe(seconds)
    rows = answer.body.get("data")
    if not rows:
        return
    _figures.rows.inc(len(rows))
    schema = score.model().schema
    if schema.flag:
        flags = [row[schema.flag] for row in rows]
        _figures.flagged.inc(flags.count(True))
        _figures.unknown.inc(flags.count(None))
    else:
        names = [column.name for column in schema.outputs if column.name != schema.reason]
        _figures.unknown.inc(sum(all(row[name] is None for name in names) for row in rows))


def text() -> bytes:
    """Write all of it in the format of Prometheus."""
    if _figures is None:
        return _MISSING
    model = score.model()
    _figures.model.labels(model.version, model.digest).set(1)
    return _prometheus.generate_latest(_figures.registry)
