"""The entry script of Azure ML's inference server, on an endpoint and on a laptop.

It receives the raw request, to check the length of a body before reading it, and returns every
error itself, because the server's own error pages do not name the invalid field.
"""

import logging
import sys
from pathlib import Path

from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse
from flask import g

# The server loads this file by its path; its imports are in the parent folders, see code.py.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from kedro_azure_mlops.serve import answers, score
from kedro_azure_mlops.serve.connections import SECONDS
from kedro_azure_mlops.serve.record import identified
from kedro_azure_mlops.serve.request import BadRequestError, refuse_too_long


def init() -> None:
    """Load the model from ``AZUREML_MODEL_DIR``, where Azure ML puts it."""
    answers.begin()
    # The server logs two lines per request, which the endpoint and /metrics count anyway.
    logging.getLogger("azmlinfsrv").setLevel(logging.WARNING)


@rawhttp  # type: ignore[untyped-decorator]
def run(request: AMLRequest) -> AMLResponse:
    """Answer a request to ``/score``."""
    # The server returns the request's id in its answer, and generates one if none was sent.
    request_id = identified(getattr(g, "request_id", None))
    answer = answers.answer(request.method, lambda: _body(request), request_id)
    return AMLResponse(answer.text(), answer.status, {"Content-Type": "application/json"})


def _body(request: AMLRequest) -> bytes:
    """Read the body, unless its Content-Length is too large; stop a chunked one at the limit.

    On an endpoint, gunicorn reads it from the connection: without a timeout, a client that stops
    sending would block its process forever.
    """
    refuse_too_long(request.content_length or 0)
    connection = request.environ.get("gunicorn.socket")
    try:
        if connection is not None:
            connection.settimeout(SECONDS)
        body: bytes = request.stream.read(score.MAX_BYTES + 1)
    except TimeoutError:
        late = f"stalled for {SECONDS:g} s: send it without pauses"
        raise BadRequestError("body", late, 408) from None
    except Exception as error:  # from gunicorn's parser, or Flask's
        raise BadRequestError("body", "is malformed, or ends before it is complete") from error
    finally:
        if connection is not None:
            connection.settimeout(None)
    return body
