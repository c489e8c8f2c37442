"""The score function as an ASGI application, without Azure and without a framework.

``gunicorn --worker-class asgi kedro_azure_mlops.serve.plain:application`` serves it, and so does
uvicorn: ``POST /score``, ``GET /health`` and ``GET /metrics``. The model is the one that
``AZUREML_MODEL_DIR`` and ``MODEL_DIGEST`` name; it is loaded when the server starts. A client that
sends slowly blocks no other client; requests are scored one at a time.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from kedro_azure_mlops.serve import answers, metrics, score
from kedro_azure_mlops.serve.request import BadRequestError, refuse_too_long

_JSON = "application/json"
_METHODS = {"/score": "POST", "/health": "GET", "/metrics": "GET"}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class DisconnectedError(Exception):
    """The client has disconnected before its answer."""


def create() -> None:
    """Load the model.

    Raises
    ------
    UnusableModelError
        If there is no model that can be served, or another than is asked for.
    """
    score.init()


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """Load the model at the start, and answer requests."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["type"] == "http":
        await _respond(scope, receive, send)


async def _live(receive: Receive, send: Send) -> None:
    await receive()
    try:
        create()
    except (ValueError, ImportError) as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _respond(scope: Message, receive: Receive, send: Send) -> None:
    path, method = scope["path"], scope["method"]
    if path == "/metrics" and method == "GET":
        await _send(send, 200, metrics.text(), metrics.CONTENT_TYPE)
        return
    try:
        answer = await _answer(path, method, scope, receive)
    except DisconnectedError:
        return
    allowed = [("allow", _METHODS[path])] if answer.status == 405 else []
    await _send(send, answer.status, answer.text().encode(), _JSON, *allowed)


async def _answer(path: str, method: str, scope: Message, receive: Receive) -> score.Answer:
    if path == "/score":
        refused = None
        try:
            body = await _body(scope, receive) if method == "POST" else b""
        except BadRequestError as error:
            body, refused = b"", error
        return answers.answer(method, lambda: _given(body, refused))
    if path not in _METHODS:
        return answers.refuse("path", f"is not known: there are {', '.join(_METHODS)}", 404)
    if method != "GET":
        return answers.refuse("method", f"{method[:20]} is not known here: use GET", 405)
    return answers.health()


def _given(body: bytes, refused: BadRequestError | None) -> bytes:
    if refused:
        raise refused
    return body


async def _body(scope: Message, receive: Receive) -> bytes:
    """Read the body, once its length is known to be bearable; a chunked one up to the limit."""
    refuse_too_long(int(dict(scope["headers"]).get(b"content-length", 0)))
    parts, length, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise DisconnectedError
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        refuse_too_long(length)
        more = message.get("more_body", False)
    return b"".join(parts)


async def _send(
    send: Send, status: int, body: bytes, content_type: str, *more: tuple[str, str]
) -> None:
    headers = [("content-type", content_type), ("content-length", str(len(body))), *more]
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
