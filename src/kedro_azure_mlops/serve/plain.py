"""The score function as an ASGI application, without Azure and without a framework.

``gunicorn --worker-class kedro_azure_mlops.serve.connections.Worker
kedro_azure_mlops.serve.plain:application`` serves it: ``POST /score``, ``GET /health`` and
``GET /metrics``. The model is the one that ``AZUREML_MODEL_DIR`` and ``MODEL_DIGEST`` name; it is
loaded when the server starts. A slow client does not block others; requests are scored one at a
time.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from kedro_azure_mlops.serve import answers, metrics, score
from kedro_azure_mlops.serve.connections import SECONDS, Message, Receive, Send, raise_limit
from kedro_azure_mlops.serve.record import identified
from kedro_azure_mlops.serve.request import BadRequestError, refuse_too_long

_JSON = "application/json"
_IDS = (b"x-request-id", b"x-ms-request-id")
_MOST_DISCARDED = 64_000_000  # bytes of a body after its refusal
_PAUSE = 1.0  # seconds without another part that end it
_METHODS = {"/score": "POST", "/health": "GET", "/metrics": "GET"}


class DisconnectedError(Exception):
    """The client disconnected before its answer."""


def create() -> None:
    """Load the model and, if configured, start to record its answers; see ``answers.begin``."""
    answers.begin()


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """Load the model at startup, and answer requests."""
    if scope["type"] == "lifespan":
        await live(receive, send, create)
    elif scope["type"] == "http":
        await _respond(scope, receive, send)


async def live(receive: Receive, send: Send, start: Callable[[], None] = lambda: None) -> None:
    """Handle the startup and shutdown of a server."""
    await receive()
    raise_limit()
    try:
        start()
    except (ValueError, ImportError) as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    answers.end()
    await send({"type": "lifespan.shutdown.complete"})


async def _respond(scope: Message, receive: Receive, send: Send) -> None:
    path, method = scope["path"], scope["method"]
    if path == "/metrics" and method == "GET":
        await _send(send, 200, metrics.text(), metrics.CONTENT_TYPE)
    elif path == "/score" and method == "POST":
        try:
            body = await read_body(scope, receive)
        except DisconnectedError:
            return
        except BadRequestError as error:
            await refuse(scope, receive, send, error)
            return
        request_id = _request_id(scope)
        answer = answers.answer(method, lambda: body, request_id)
        await _send_answer(send, answer, ("x-request-id", request_id))
    else:
        answer = _answer(path, method)
        allowed = [("allow", _METHODS[path])] if answer.status == 405 else []
        await _send_answer(send, answer, *allowed)


def _request_id(scope: Message) -> str:
    """Return the request id sent by the client or a proxy, or a new one."""
    sent = next((value for name, value in scope["headers"] if name in _IDS), b"")
    return identified(sent.decode("latin-1"))


def _answer(path: str, method: str) -> score.Answer:
    if path == "/score":
        return answers.answer(method, lambda: b"")
    if path not in _METHODS:
        return answers.refuse("path", f"is unknown: use one of {', '.join(_METHODS)}", 404)
    if method != "GET":
        return answers.refuse("method", f"{method[:20]} is not allowed here: use GET", 405)
    return answers.health()


async def read_body(scope: Message, receive: Receive) -> bytes:
    """Read the body, unless its Content-Length is too large; stop a chunked one at the limit.

    Raises
    ------
    BadRequestError
        If it is too long, late or incomplete.
    DisconnectedError
        If the client has disconnected.
    """
    announced = dict(scope["headers"]).get(b"content-length", b"").lstrip(b"0")
    refuse_too_long(int(announced[:20] or 0))  # more digits are too long as well
    parts, length, more = [], 0, True
    while more:
        try:
            message = await receive()
        except TimeoutError:
            late = f"did not arrive within {SECONDS:g} s: send it without pauses"
            raise BadRequestError("body", late, 408) from None
        except EOFError:
            raise BadRequestError("body", "ends before it is complete") from None
        if message["type"] == "http.disconnect":
            raise DisconnectedError
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        refuse_too_long(length)
        more = message.get("more_body", False)
    return b"".join(parts)


async def refuse(scope: Message, receive: Receive, send: Send, error: BadRequestError) -> None:
    """Answer a request whose body was not read completely, and close the connection.

    Many clients read the answer only when they have sent everything; if the connection closed
    before, they would report a broken pipe instead. So the rest of the body is discarded first.
    """

    def fail() -> bytes:
        raise error

    answer = answers.answer("POST", fail) if scope["path"] == "/score" else score.refusal(error)
    body, close = answer.text().encode(), ("connection", "close")
    await _send(send, answer.status, body, _JSON, close, is_last=False)
    await _discard(receive)
    await send({"type": "http.response.body", "body": b""})


async def _discard(receive: Receive) -> None:
    """Receive the rest of a body, unless it pauses or is too long."""
    length, more = 0, True
    with suppress(TimeoutError, EOFError):
        while more and length < _MOST_DISCARDED:
            async with asyncio.timeout(_PAUSE):
                message = await receive()
            length += len(message.get("body", b""))
            more = message.get("more_body", False)


async def _send_answer(send: Send, answer: score.Answer, *more: tuple[str, str]) -> None:
    await _send(send, answer.status, answer.text().encode(), _JSON, *more)


async def _send(
    send: Send,
    status: int,
    body: bytes,
    content_type: str,
    *more: tuple[str, str],
    is_last: bool = True,
) -> None:
    headers = [("content-type", content_type), ("content-length", str(len(body))), *more]
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body, "more_body": not is_last})
