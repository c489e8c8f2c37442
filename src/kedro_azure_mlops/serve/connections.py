"""Connections with a deadline: a client that sends half a request ties up only its own connection.

``Worker`` is gunicorn's ASGI worker with such connections; ``UvicornConnection`` is the same for
uvicorn. Headers must arrive within ``SECONDS``, and a body within ``SECONDS`` after them. Late
requests are answered with 408, incomplete ones with 400. The environment variable
``SERVE_DEADLINE`` changes the number of seconds.
"""

import asyncio
import contextlib
import json
import os
import weakref
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

VARIABLE = "SERVE_DEADLINE"
SECONDS = float(os.environ.get(VARIABLE) or 20)
_GRACE = 1.0  # seconds for a complete request from a client that sends nothing more
_END_OF_HEADERS = b"\r\n\r\n"
_CLOSE = (b"connection", b"close")


def raise_limit() -> None:
    """Raise this process's limit of open files, of which each connection is one, to its maximum."""
    # ImportError: on Windows; the others: macOS may refuse the maximum that it reports
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        maximum = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))


class Guarded(asyncio.Protocol):
    """Mixin for the protocol of an ASGI server, which calls ``self.app`` for each request.

    ``receive`` raises TimeoutError if the rest of a body is late, and EOFError if the client stops
    sending early; the application can still answer.
    """

    app: Application
    _all: ClassVar["weakref.WeakSet[Guarded]"] = weakref.WeakSet()

    @staticmethod
    def close_waiting() -> None:
        """Close the connections of this process that wait for the headers of a request."""
        for connection in list(Guarded._all):
            if not connection._has_headers:
                connection._wire.close()

    def connection_made(self, transport: Any) -> None:
        """Start waiting for headers."""
        self._wire: asyncio.Transport = transport
        self._loop = asyncio.get_running_loop()
        self._inner_app, self.app = self.app, self._answer
        self._begun, self._has_headers, self._has_ended, self._must_close = b"", False, False, False
        self._body: asyncio.Timeout | None = None
        self._wait_for_headers(SECONDS)
        self._all.add(self)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass data on; refuse a request that the server's parser cannot read."""
        if not self._has_headers:
            self._begun = (self._begun + data)[-len(data) - 3 :]
            self._has_headers = _END_OF_HEADERS in self._begun
        try:
            super().data_received(data)
        except ValueError:  # a Content-Length with more digits than Python converts
            self._refuse(HTTPStatus.BAD_REQUEST, "cannot be read")

    def eof_received(self) -> bool:
        """Answer the request of a client that sends nothing more, or refuse it as incomplete."""
        self._has_ended = True
        if self._body is not None:
            self._body.reschedule(self._loop.time())
        elif self._has_headers:
            self._wait_for_headers(_GRACE, has_headers=True)
        elif self._begun:
            self._refuse(HTTPStatus.BAD_REQUEST, "ends within its headers")
        else:
            return False
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Stop the timer."""
        self._timer.cancel()
        super().connection_lost(error)

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        self._timer.cancel()
        due = self._loop.time() + SECONDS

        async def watch(message: Message) -> None:
            # gunicorn would keep the connection open
            self._must_close |= _CLOSE in message.get("headers", ())
            await send(message)

        try:
            await self._inner_app(scope, partial(self._receive, receive, due), watch)
        finally:
            if self._must_close:
                self._wire.close()
            elif not self._wire.is_closing():
                self._wait_for_headers(_GRACE if self._has_ended else SECONDS)

    async def _receive(self, receive: Receive, due: float) -> Message:
        """Return the next part of a body; raise if it is late or cut off."""
        try:
            async with asyncio.timeout_at(self._loop.time() if self._has_ended else due) as body:
                self._body = body
                message = await receive()
            if message["type"] != "http.disconnect" or self._wire.is_closing():
                return message
            raise TimeoutError  # the server's own timeout
        except TimeoutError:
            self._must_close = True
            if self._has_ended:
                raise EOFError from None
            raise
        finally:
            self._body = None

    def _wait_for_headers(self, seconds: float, *, has_headers: bool = False) -> None:
        self._begun, self._has_headers = b"", has_headers
        self._timer = self._loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        if self._has_ended:
            self._refuse(HTTPStatus.BAD_REQUEST, "ends before it is complete")
        elif self._has_headers:  # the request waits in a queue
            self._timer = self._loop.call_later(SECONDS, self._expire)
        elif self._begun:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"has no headers after {SECONDS:g} s")
        else:
            self._wire.close()

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer input that never reached the application, and close the connection."""
        if self._wire.is_closing():
            return
        body = json.dumps({"error": {"field": "request", "message": message}}).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self._wire.write(head.encode() + body)
        self._wire.close()


try:
    from gunicorn.asgi.protocol import ASGIProtocol
    from gunicorn.workers import gasgi
except ImportError:  # early releases of gunicorn have no ASGI worker
    with contextlib.suppress(ImportError):
        from uvicorn.protocols.http.auto import AutoHTTPProtocol

        class UvicornConnection(Guarded, AutoHTTPProtocol):  # type: ignore[misc, valid-type]
            """A uvicorn connection with a deadline."""

else:

    class GunicornConnection(Guarded, ASGIProtocol):  # type: ignore[misc]
        """A gunicorn connection with a deadline."""

    class Worker(gasgi.ASGIWorker):  # type: ignore[misc]
        """``gunicorn --worker-class kedro_azure_mlops.serve.connections.Worker``."""

        def run(self) -> None:
            """Serve with a patched protocol, because gunicorn has no setting for it."""
            gasgi.ASGIProtocol = GunicornConnection
            super().run()

        async def _shutdown(self) -> None:
            GunicornConnection.close_waiting()  # else gunicorn waits for them
            await super()._shutdown()
