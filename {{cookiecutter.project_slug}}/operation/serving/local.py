"""Azure ML's inference server as it is, with what a laptop wants besides: health and metrics."""

import logging

from flask import Response

logging.disable(logging.WARNING)  # it tells every step of its start
from azureml_inference_server_http.server.entry import app  # noqa: E402

logging.disable(logging.NOTSET)

from operation.serving import answers, metrics  # noqa: E402

__all__ = ["app"]


@app.get("/health")
def _health() -> Response:
    answer = answers.health()
    return Response(answer.text(), answer.status, mimetype="application/json")


@app.get("/metrics")
def _metrics() -> Response:
    return Response(metrics.text(), content_type=metrics.CONTENT_TYPE)
