"""Servers of the command ``serve``, each in its own process on loopback."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.plugin.helpers import REPOSITORY, new_shell
from tests.plugin.mlflow_server import free_port

PYTHON = REPOSITORY / ".venv-serve/bin/python"


@dataclass(frozen=True)
class Reply:
    """A server's response."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def body(self) -> Any:
        """The response as JSON."""
        return json.loads(self.text)


@dataclass(frozen=True)
class LocalServer:
    """A running server with its port, log file and process."""

    port: int
    log: Path
    process: "subprocess.Popen[bytes]"

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Send one request; a body of several pieces is sent in chunks."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            received = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, received, answer.read().decode())
        finally:
            connection.close()

    def send(self, data: bytes, *, close: bool = False) -> int:
        """Send raw bytes, close the stream if asked to, and return the status of the response."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(data)
            if close:
                connection.shutdown(socket.SHUT_WR)
            return int(connection.recv(12).split()[1])

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal as a terminal does, and return the exit status."""
        os.killpg(self.process.pid, number)
        return self.process.wait(timeout=120)


@contextmanager
def serve(
    project: Path, *arguments: str, python: Path | None = PYTHON, **environment: str
) -> Iterator[LocalServer]:
    """Call ``serve`` in a project and wait until the server is ready."""
    port, log = free_port(), project / "serve.log"
    command = [sys.executable, "-m", "kedro_azure_mlops", "serve", "--port", str(port)]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*command, *(("--python", str(python)) if python else ()), *arguments],
            cwd=project,
            env=new_shell() | environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            preexec_fn=_heed_signals,  # noqa: PLW1509
        )
    server = LocalServer(port, log, process)
    try:
        output = _wait_until_ready(process, log)
        with log.open("ab") as file:
            file.write(output)
        yield server
    finally:
        if process.poll() is None:
            server.end()
        if process.stdout:
            process.stdout.close()


def _heed_signals() -> None:
    """Undo that a process inherits ignored signals, as from nohup or a job in the background."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def _wait_until_ready(process: "subprocess.Popen[bytes]", log: Path) -> bytes:
    output = b""
    for line in process.stdout or ():  # the output of a failed server ends, so this does not hang
        output += line
        if b"curl" in output and line == b"\n":
            return output
    raise RuntimeError(f"serve did not start:\n{output.decode()}{log.read_text('utf-8')}")
