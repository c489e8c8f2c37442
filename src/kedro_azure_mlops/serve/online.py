"""The entry script of Azure ML's inference server, on an endpoint and on a laptop.

It takes the request raw, so that the length of a body is known before it is read, and answers
itself whatever happens: the server's own error pages name no field.
"""

import logging
import sys
from pathlib import Path

from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse
from flask import g

# The server loads this file by its path; its imports are in the folders around it, see code.py.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from kedro_azure_mlops.serve import answers, score
from kedro_azure_mlops.serve.connections import SECONDS
from kedro_azure_mlops.serve.record import identified
from kedro_azure_mlops.serve.request import BadRequestError, refuse_too_long


def init() -> None:
    """Load the model that Azure ML has put at ``AZUREML_MODEL_DIR``."""
    answers.begin()
    # It logs two lines a request; the endpoint and /metrics count them.
    logging.getLogger("azmlinfsrv").setLevel(logging.WARNING)


@rawhttp  # type: ignore[untyped-decorator]
def run(request: AMLRequest) -> AMLResponse:
    """Answer a request to ``/score``."""
    # the server answers with the id of the request, which it has made where none was sent
    request_id = identified(getattr(g, "request_id", None))
    answer = answers.answer(request.method, lambda: _body(request), request_id)
    return AMLResponse(answer.text(), answer.status, {"Content-Type": "application/json"})


def _body(request: AMLRequest) -> bytes:
    """Read the body, once its length is known to be allowed; a chunked one up to the limit.

    On an endpoint gunicorn reads it from the connection meanwhile: a client that falls silent would
    keep its process forever.
    """
    refuse_too_long(request.content_length or 0)
    connection = request.environ.get("gunicorn.socket")
    try:
        if connection is not None:
            connection.settimeout(SECONDS)
        body: bytes = request.stream.read(score.MAX_BYTES + 1)
    except TimeoutError:
        late = f"stops for {SECONDS:g} s: send it at once"
        raise BadRequestError("body", late, 408) from None
    except Exception as error:  # of gunicorn's parser, or Flask's
        raise BadRequestError("body", "is malformed, or ends before it is whole") from error
    finally:
        if connection is not None:
            connection.settimeout(None)
    return body
