"""Metrics for Prometheus: requests and their durations, rows, scores, and the model's version.

Without prometheus_client, nothing is counted and ``text`` returns a comment instead.
"""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

from kedro_azure_mlops.serve import score
from kedro_azure_mlops.serve.collector import AzureCollector
from kedro_azure_mlops.serve.record import Recorder

try:
    import prometheus_client as _prometheus
    from prometheus_client import core as _families
except ImportError:  # a project's environment may lack it
    _prometheus = None  # type: ignore[assignment]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# A row takes a quarter of a millisecond, the largest body a second.
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
# For scores of any model: dense in the range of probabilities and of scores with a threshold of 1.
_SCORES = (-100, -10, -1, -0.1, 0, 0.1, 0.25, 0.5, 0.75, 0.9, 1, 1.25, 1.5, 2, 3, 5, 10, 100)
_MISSING = b"# prometheus_client is not installed here: nothing is counted\n"


class _Figures:
    def __init__(self, library: Any) -> None:
        library.disable_created_metrics()  # one more series per metric, not needed here
        self.registry = registry = library.CollectorRegistry()
        library.ProcessCollector(registry=registry)
        library.PlatformCollector(registry=registry)
        counter, gauge = library.Counter, library.Gauge
        self.requests = counter(
            "score_requests", "Requests to /score", ["status"], registry=registry
        )
        self.seconds = library.Histogram(
            "score_request_seconds", "Time to answer a request", buckets=_SECONDS, registry=registry
        )
        self.rows = counter("score_rows", "Rows that were scored", registry=registry)
        self.flagged = counter("score_rows_flagged", "Rows that were flagged", registry=registry)
        self.unknown = counter("score_rows_unknown", "Rows without an answer", registry=registry)
        self.model = gauge(
            "score_model_info", "The model in use", ["version", "digest"], registry=registry
        )
        self.scores = [0] * (len(_SCORES) + 1)
        self.recorder: Recorder | AzureCollector | None = None
        registry.register(self)

    def observe(self, values: list[float | None]) -> None:
        """Count scores by bucket, ten times as fast as the library."""
        for value in values:
            if value is not None:
                self.scores[bisect_left(_SCORES, value)] += 1

    def collect(self) -> Iterator[Any]:
        """Yield the counts kept here and by the recorder, as the library's collectors do."""
        scores = _families.HistogramMetricFamily("score_value", "The first numeric output")
        edges = [*(str(float(edge)) for edge in _SCORES), "+Inf"]
        total, buckets = 0, []
        for edge, count in zip(edges, self.scores, strict=True):
            total += count
            buckets.append((edge, total))
        scores.add_metric([], buckets, None)  # no sum: scores may be negative
        yield scores
        counter, recorder = _families.CounterMetricFamily, self.recorder
        recorded, dropped = (recorder.recorded, recorder.dropped) if recorder else (0, 0)
        yield counter("score_rows_recorded", "Rows whose answers were recorded", recorded)
        yield counter("score_rows_not_recorded", "Rows that the recorder dropped", dropped)


_figures = _Figures(_prometheus) if _prometheus else None


def watch(recorder: Recorder | AzureCollector) -> None:
    """Include the counts of a recorder."""
    if _figures is not None:
        _figures.recorder = recorder


def count(answer: score.Answer, seconds: float) -> None:
    """Count an answer and observe its duration."""
    if _figures is None:
        return
    _figures.requests.labels(str(answer.status)).inc()
    _figures.seconds.observe(seconds)
    rows = answer.body.get("data")
    if not rows:
        return
    _figures.rows.inc(len(rows))
    schema = score.model().schema
    if number := next((one.name for one in schema.outputs if one.type == "double"), None):
        _figures.observe([row[number] for row in rows])
    if schema.flag:
        flags = [row[schema.flag] for row in rows]
        _figures.flagged.inc(flags.count(True))
        _figures.unknown.inc(flags.count(None))
    else:
        names = [column.name for column in schema.outputs if column.name != schema.reason]
        _figures.unknown.inc(sum(all(row[name] is None for name in names) for row in rows))


def text() -> bytes:
    """Return all metrics in the Prometheus text format."""
    if _figures is None:
        return _MISSING
    model = score.model()
    _figures.model.labels(model.version, model.digest).set(1)
    return _prometheus.generate_latest(_figures.registry)
