"""Incomplete and malformed requests: the answers of each server, and its availability to others."""

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from kedro_azure_mlops.serve import connections, plain, score
from tests.plugin.trained import SCORER, body_of, measured, save_small_model, small_scorer

if sys.platform == "win32":
    pytest.skip("the servers run on Linux and macOS", allow_module_level=True)

HOST = "127.0.0.1"
LONG = 600.0


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    small_scorer()  # makes its package importable
    model = save_small_model(tmp_path_factory.mktemp("trained") / "model")
    score._loaded = score.load_served(model, SCORER)
    return body_of(measured().tail(10))


def gunicorn_connection() -> asyncio.Protocol:
    from gunicorn.config import Config
    from gunicorn.glogging import Logger

    config = Config()
    config.set("asgi_disconnect_grace_period", 0)
    worker = SimpleNamespace(
        cfg=config,
        log=Logger(config),
        asgi=plain.application,
        loop=asyncio.get_running_loop(),
        alive=True,
        nr=0,
        nr_conns=0,
        max_requests=sys.maxsize,
    )
    return connections.GunicornConnection(worker)


def uvicorn_connection() -> asyncio.Protocol:
    from uvicorn import Config
    from uvicorn.protocols.http.auto import AutoHTTPProtocol
    from uvicorn.server import ServerState

    class Connection(connections.Guarded, AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        pass

    config = Config(plain.application, log_config=None, lifespan="on")
    return Connection(config=config, server_state=ServerState(), app_state={})


@pytest.fixture(params=[gunicorn_connection, uvicorn_connection], ids=["gunicorn", "uvicorn"])
def run(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Callable[..., None]:
    """Run a test against a server with a deadline, and check that no traceback is logged."""

    def call(test: Callable[["Client"], Awaitable[None]], seconds: float = LONG) -> None:
        monkeypatch.setattr(connections, "SECONDS", seconds)

        async def serve_and_test() -> None:
            errors: list[dict[str, Any]] = []
            before = asyncio.all_tasks()
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: errors.append(context))
            server = await loop.create_server(request.param, HOST, 0)
            client = Client(server.sockets[0].getsockname()[1])
            await test(client)
            assert (await client.ask(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 200
            await client.close()
            server.close()
            if pending := asyncio.all_tasks() - before:
                await asyncio.wait(pending, timeout=30)
            assert errors == []

        with caplog.at_level(logging.WARNING):
            asyncio.run(asyncio.wait_for(serve_and_test(), 20))
        assert [record for record in caplog.records if record.exc_info] == []

    return call


class Client:
    """A client that opens connections to one server."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.open: list[asyncio.StreamWriter] = []

    async def send(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection and send the beginning of a request."""
        reader, writer = await asyncio.open_connection(HOST, self.port)
        self.open.append(writer)
        writer.write(data)
        await writer.drain()
        return reader, writer

    async def ask(self, data: bytes, *, ends: bool = False) -> tuple[int, dict[str, Any]]:
        """Send a request, optionally close the sending side, and read one answer."""
        reader, writer = await self.send(data)
        if ends:
            writer.write_eof()
        return await answer(reader)

    async def close(self) -> None:
        """Close all connections."""
        for writer in self.open:
            writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    """Read the status and JSON content of one answer; the status is 0 if the connection ended."""
    try:
        while (head := await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100"):
            pass
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return 0, {}
    status, _, rest = head.decode("latin-1").partition("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in rest.split("\r\n") if line)
    content = await reader.readexactly(int(headers.get("content-length", 0)))
    is_json = "json" in headers.get("content-type", "")
    return int(status.split()[1]), json.loads(content) if is_json else {}


def post(body: bytes, *headers: str, length: bool = True) -> bytes:
    lines = ["POST /score HTTP/1.1", "Host: x", *headers]
    lines += [f"Content-Length: {len(body)}"] if length else []
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(body: bytes) -> bytes:
    return post(b"", "Transfer-Encoding: chunked", length=False) + body


def test_other_clients_are_answered_during_fifty_incomplete_requests(
    run: Callable[..., None], body: bytes
) -> None:
    whole = post(body)

    async def test(client: Client) -> None:
        # cut at different points: before the first byte, in the headers, after them, in the body
        cuts = [len(whole) * n // 50 for n in range(50)]
        incomplete = [(await client.send(whole[:cut]), cut) for cut in cuts]
        incomplete += [(await client.send(chunked(b"5\r\nab")), 0)]
        assert (await client.ask(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 200
        assert (await client.ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 200
        status, content = await client.ask(whole)
        assert (status, content) == score.run(body)
        for (reader, writer), cut in incomplete[:50]:  # a slow client that meets the deadline
            writer.write(whole[cut:])
            assert await answer(reader) == (status, content)

    run(test)


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        (b"G", "request"),
        (b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Le", "request"),
        (b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", "body"),
        (b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{", "body"),
        (chunked(b""), "body"),
        (chunked(b"5\r\nab"), "body"),
        (chunked(b"5\r\nabcde\r\n"), "body"),
    ],
    ids=[
        *("one_byte", "headers", "no_body", "half_body"),
        *("no_chunk", "half_chunk", "no_last_chunk"),
    ],
)
def test_a_late_request_times_out_and_its_connection_is_closed(
    run: Callable[..., None], sent: bytes, field: str
) -> None:
    async def test(client: Client) -> None:
        reader, _ = await client.send(sent)
        status, content = await answer(reader)
        assert (status, content["error"]["field"]) == (408, field)
        assert await reader.read() == b""  # and the connection is closed

    run(test, 0.2)


@pytest.mark.usefixtures("body")
def test_sending_single_bytes_does_not_extend_the_deadline(run: Callable[..., None]) -> None:
    async def test(client: Client) -> None:
        for beginning in (b"GET /health HTTP/1.1\r\nX: ", post(b" " * 10**6)[:100] + b"\r\n\r\n"):
            reader, writer = await client.send(beginning)
            answered = asyncio.ensure_future(answer(reader))
            while not answered.done():
                writer.write(b" ")
                await asyncio.sleep(0.01)
            assert answered.result()[0] in {408, 0}  # 0: reset while the client was sending

    run(test, 0.2)


@pytest.mark.usefixtures("body")
def test_a_connection_without_a_request_is_closed_without_an_answer(
    run: Callable[..., None],
) -> None:
    async def test(client: Client) -> None:
        reader, _ = await client.send(b"")
        assert await reader.read() == b""
        reader, writer = await client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await answer(reader))[0] == 200
        assert await reader.read() == b""
        reader, writer = await client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await answer(reader))[0] == 200
        writer.write(b"GET /he")  # the second request of a connection has its own deadline
        assert (await answer(reader))[0] == 408

    run(test, 0.2)


def test_only_connections_that_wait_for_headers_are_closed_when_a_server_stops(
    run: Callable[..., None], body: bytes
) -> None:
    whole, health = post(body), b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"

    async def test(client: Client) -> None:
        reused, _ = await client.send(health)
        half, writer = await client.send(whole[:-1])
        waiting = [(await client.send(data))[0] for data in (b"", b"GET /he")]
        assert (await answer(reused))[0] == 200
        assert (await client.ask(health))[0] == 200  # all others have been read
        connections.Guarded.close_waiting()
        for reader in (reused, *waiting):
            assert await reader.read() == b""
        writer.write(whole[-1:])
        assert await answer(half) == score.run(body)

    run(test)


DIGITS = "9" * 5_000
MALFORMED = {
    "no_chunk_size": (chunked(b"zz\r\nab\r\n0\r\n\r\n"), {400}),
    "negative_chunk": (chunked(b"-1\r\nab\r\n0\r\n\r\n"), {400}),
    "chunk_without_end": (chunked(b"2\r\nabXX0\r\n\r\n"), {400}),
    "chunk_of_5000_digits": (chunked(f"{'f' * 5000}\r\nab".encode()), {400, 408, 413}),
    "length_of_5000_digits": (post(b"{}", f"Content-Length: {DIGITS}", length=False), {400, 413}),
    "length_of_5000_zeros": (post(b"{}", f"Content-Length: {'0' * 5000}2", length=False), {400}),
    "length_of_400_digits": (
        post(b"{}", f"Content-Length: {DIGITS[:400]}", length=False), {400, 413}
    ),
    "negative_length": (post(b"{}", "Content-Length: -2", length=False), {400}),
    "signed_length": (post(b"{}", "Content-Length: +2", length=False), {400}),
    "text_as_length": (post(b"{}", "Content-Length: two", length=False), {400}),
    "no_length": (post(b"", "Content-Length: ", length=False), {400}),
    "two_lengths": (post(b"{}", "Content-Length: 7"), {400}),
    "length_and_chunks": (post(b"2\r\n{}\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), {400}),
    "unknown_coding": (post(b"", "Transfer-Encoding: magic", length=False), {400, 501}),
    "long_header": (post(b"{}", "X: " + "a" * 1_000_000), {400, 431}),
    "many_headers": (post(b"{}", *(f"X{n}: a" for n in range(5_000))), {400, 431}),
    "name_of_header": (post(b"{}", "Name\xfc: a"), {400}),
    "space_in_name": (post(b"{}", "Na me: a"), {400}),
    "nul_in_header": (post(b"{}", "Name: a\0b"), {400}),
    "nul_in_path": (b"GET /he\0alth HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404}),
    "blank_line": (b"\r\n", {400, 408}),
    "no_http": (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", {400}),
    "version": (b"GET /health HTTP/9.9\r\nHost: x\r\n\r\n", {400, 505}),
    "long_path": (b"GET /" + b"a" * 10**6 + b" HTTP/1.1\r\nHost: x\r\n\r\n", {400, 414, 431}),
}  # fmt: skip


@pytest.mark.usefixtures("body")
@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_are_rejected(
    run: Callable[..., None], name: str, request: pytest.FixtureRequest
) -> None:
    sent, statuses = MALFORMED[name]
    if "uvicorn" in request.node.callspec.id and name in UVICORN_STATUSES:
        statuses = statuses | UVICORN_STATUSES[name]

    async def test(client: Client) -> None:
        assert (await client.ask(sent))[0] in statuses

    run(test, 1.0)


# uvicorn accepts more headers and versions; the application then answers.
UVICORN_STATUSES = {
    "long_header": {0, 400},
    "many_headers": {400},
    "version": {200},
}


@pytest.mark.usefixtures("body")
@pytest.mark.parametrize(
    ("sent", "field"),
    [
        (b"GE", "request"),
        (b"GET /health HTTP/1.1\r\nHost: x\r\n", "request"),
        (post(b"{}")[:-1], "body"),
        (post(b"{}")[:-2], "body"),
        (chunked(b""), "body"),
        (chunked(b"2\r\n{"), "body"),
        (chunked(b"2\r\n{}\r\n"), "body"),
        (chunked(b"2\r\n{}\r\n0\r\n"), "body"),
    ],
)
def test_a_request_that_its_client_cuts_short_is_a_bad_request(
    run: Callable[..., None], sent: bytes, field: str
) -> None:
    async def test(client: Client) -> None:
        status, content = await client.ask(sent, ends=True)
        assert (status, content["error"]["field"]) == (400, field)
        assert "ends" in content["error"]["message"]

    run(test)


def test_a_complete_request_is_answered_after_its_client_stops_sending(
    run: Callable[..., None], body: bytes
) -> None:
    middle = len(body) // 2
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:middle], body[middle:], b""))

    async def test(client: Client) -> None:
        expected = score.run(body)
        for sent in (post(body), chunked(pieces), post(body, "Expect: 100-continue")):
            assert await client.ask(sent, ends=True) == expected
        reader, writer = await client.send(post(body))
        assert await answer(reader) == expected
        writer.write(post(body))
        assert await answer(reader) == expected

    run(test)


@pytest.mark.usefixtures("body")
def test_disconnected_clients_leave_no_tasks(run: Callable[..., None]) -> None:
    async def test(client: Client) -> None:
        for sent in (b"", b"G", post(b"{}")[:-1], post(b"{}"), chunked(b"2\r\n{")):
            _, writer = await client.send(sent)
            writer.transport.abort()

    run(test)


@pytest.mark.usefixtures("body")
def test_a_body_that_is_too_long_closes_the_connection(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain, "_PAUSE", 0.01)

    async def test(client: Client) -> None:
        reader, _ = await client.send(post(b"", f"Content-Length: {10**12}", length=False))
        status, content = await answer(reader)
        assert (status, content["error"]["field"]) == (413, "body")
        assert await reader.read() == b""

    run(test)


@pytest.mark.usefixtures("body")
def test_a_client_that_sends_its_whole_body_first_gets_the_refusal(
    run: Callable[..., None],
) -> None:
    """If the connection closed earlier, the client would report a broken pipe."""

    async def test(client: Client) -> None:
        reader, writer = await client.send(post(b" " * (5 * score.MAX_BYTES)))
        await writer.drain()
        status, content = await answer(reader)
        assert (status, content["error"]["field"]) == (413, "body")
        assert await reader.read() == b""

    run(test)
