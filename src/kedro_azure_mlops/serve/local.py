"""Azure ML's inference server as it is, with what a laptop wants besides: health and metrics."""

import logging

from flask import Response

logging.disable(logging.WARNING)  # it logs every step of its start
from azureml_inference_server_http.server.entry import app  # noqa: E402

logging.disable(logging.NOTSET)

from kedro_azure_mlops.serve import answers, metrics  # noqa: E402

__all__ = ["app"]


@app.get("/health")  # type: ignore[untyped-decorator]
def _health() -> Response:
    answer = answers.health()
    return Response(answer.text(), answer.status, mimetype="application/json")


@app.get("/metrics")  # type: ignore[untyped-decorator]
def _metrics() -> Response:
    return Response(metrics.text(), content_type=metrics.CONTENT_TYPE)
