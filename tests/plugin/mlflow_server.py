"""A real MLflow server on loopback, and a proxy that hides what Azure ML's server lacks.

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
    """An MLflow server of its own process."""

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
    """Run a server that keeps everything in a folder."""
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
    said = []
    for line in process.stdout:  # ends with the process, so a server that fails does not hang this
        said.append(line)
        if "Application startup complete" in line:
            break
    else:
        raise RuntimeError("mlflow server did not start:\n" + "".join(said))
    server = Server(f"http://127.0.0.1:{port}", process)
    try:
        yield server
    finally:
        if process.poll() is None:
            server.stop()
        process.stdout.close()


class Proxy(ThreadingHTTPServer):
    """Passes requests on, but answers 404 with an empty body where a path is not known."""

    daemon_threads = True

    def __init__(self, upstream: str, unknown: tuple[str, ...]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream.removeprefix("http://")
        self.unknown = unknown
        self.refused: list[str] = []
        self.uri = f"http://127.0.0.1:{self.server_port}"


@contextmanager
def without(upstream: str, *unknown: str) -> Iterator[Proxy]:
    """Hide the routes of a server whose path holds one of these texts."""
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

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if any(text in self.path for text in self.server.unknown):
            self.server.refused.append(f"{self.command} {self.path}")
            self._answer(404, [], b"")
            return
        upstream = http.client.HTTPConnection(self.server.upstream)
        upstream.request(self.command, self.path, body, _kept(self.headers.items()))
        answer = upstream.getresponse()
        self._answer(answer.status, answer.getheaders(), answer.read())
        upstream.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in _kept(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet: what was refused is in the list."""


def _kept(headers: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() not in _NOT_FORWARDED}
