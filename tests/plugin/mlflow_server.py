"""A real MLflow server on loopback, and a proxy that hides the routes Azure ML's server lacks.

Azure ML answers 404 to the calls of MLflow 3 about logged models (azure-sdk-for-python#44896), and
its documentation of the model registry names tags but no aliases.
"""

import http.client
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LOGGED_MODELS = ("logged-models", "traces")
ALIASES = ("registered-models/alias",)
INPUTS = ("runs/log-inputs",)
_NOT_FORWARDED = {"connection", "content-length", "host", "server", "date", "transfer-encoding"}


@dataclass
class Server:
    """An MLflow server in another process."""

    uri: str
    process: subprocess.Popen[str]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Run a server that stores its data in a folder."""
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
            *("--host", "127.0.0.1", "--port", str(port)),
            *("--backend-store-uri", f"sqlite:///{folder.as_posix()}/server.db"),
            *("--artifacts-destination", str(folder / "artifacts")),
        ],
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )
    assert process.stdout
    lines = []
    for line in process.stdout:  # the output of a failed server ends, so this does not hang
        lines.append(line)
        if "Application startup complete" in line:
            break
    else:
        raise RuntimeError("mlflow server did not start:\n" + "".join(lines))
    server = Server(f"http://127.0.0.1:{port}", process)
    try:
        yield server
    finally:
        if process.poll() is None:
            server.stop()
        process.stdout.close()


class Proxy(ThreadingHTTPServer):
    """Forwards requests, except those with an unknown path, which get an empty 404 response."""

    daemon_threads = True

    def __init__(self, upstream: str, unknown: tuple[str, ...]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream.removeprefix("http://")
        self.unknown = unknown
        self.blocked: list[str] = []
        self.uri = f"http://127.0.0.1:{self.server_port}"


@contextmanager
def hide_routes(upstream: str, *unknown: str) -> Iterator[Proxy]:
    """Hide the server's routes whose path contains one of these texts."""
    proxy = Proxy(upstream, unknown)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if any(text in self.path for text in self.server.unknown):
            self.server.blocked.append(f"{self.command} {self.path}")
            self._answer(404, [], b"")
            return
        upstream = http.client.HTTPConnection(self.server.upstream)
        upstream.request(self.command, self.path, body, _forwarded(self.headers.items()))
        answer = upstream.getresponse()
        self._answer(answer.status, answer.getheaders(), answer.read())
        upstream.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _forward  # noqa: N815

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in _forwarded(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: blocked requests are in the list."""


def _forwarded(headers: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() not in _NOT_FORWARDED}
