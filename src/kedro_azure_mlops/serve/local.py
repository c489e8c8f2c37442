"""Azure ML's inference server as an ASGI application, with extras for a laptop.

Azure's routes (``/``, ``/score``, ``/swagger.json``) are answered by its Flask application, which
receives only complete requests, so slow clients do not block others. ``/health`` and ``/metrics``
are answered by the plain application.
"""

import io
import logging
import sys
from typing import Any

logging.disable(logging.WARNING)  # it logs every step of its startup
from azureml_inference_server_http.server.entry import app  # noqa: E402

logging.disable(logging.NOTSET)

from kedro_azure_mlops.serve import plain  # noqa: E402
from kedro_azure_mlops.serve.connections import Message, Receive, Send  # noqa: E402
from kedro_azure_mlops.serve.request import BadRequestError  # noqa: E402

__all__ = ["application"]


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """Answer a request; Azure's server has loaded the model already."""
    if scope["type"] == "lifespan":
        await plain.live(receive, send)
    elif scope["type"] == "http" and scope["path"] in {"/health", "/metrics"}:
        await plain.application(scope, receive, send)
    elif scope["type"] == "http":
        try:
            body = await plain.read_body(scope, receive)
        except plain.DisconnectedError:
            return
        except BadRequestError as error:
            await plain.refuse(scope, receive, send, error)
            return
        status, headers, content = _azure_answer(scope, body)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def _azure_answer(scope: Message, body: bytes) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Call the WSGI application of Azure's server, as gunicorn does on an endpoint."""
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
        started[:] = [status, headers]

    parts = app(_environment(scope, body), start_response)
    try:
        content = b"".join(parts)
    finally:
        parts.close()
    status, headers = started
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return int(status.split(" ", 1)[0]), encoded, content


def _environment(scope: Message, body: bytes) -> dict[str, Any]:
    """Return the WSGI environment of a request (PEP 3333)."""
    host, port = scope.get("server") or ("localhost", 80)
    environment: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode().decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": (scope.get("client") or ("",))[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in scope["headers"]:
        key = f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}"
        before = f"{environment[key]}," if key in environment else ""
        environment[key] = before + value.decode("latin-1")
    environment.pop("HTTP_TRANSFER_ENCODING", None)
    environment["CONTENT_TYPE"] = environment.pop("HTTP_CONTENT_TYPE", "")
    environment["CONTENT_LENGTH"] = str(len(body))
    return environment
