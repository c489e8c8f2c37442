"""Servers of the command ``serve``, each in a process of its own on loopback."""

import http.client
import json
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
    """An answer of a server."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def body(self) -> Any:
        """The answer as JSON."""
        return json.loads(self.text)


@dataclass(frozen=True)
class LocalServer:
    """A running server, where it logs, and what ends it."""

    port: int
    log: Path
    process: "subprocess.Popen[bytes]"

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """Send one request; a body may come in pieces, which are sent as chunks."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, answer.read().decode())
        finally:
            connection.close()

    def send(self, data: bytes, *, ends: bool = False) -> int:
        """Send bytes as they are, perhaps as all there is, and return the status of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(data)
            if ends:
                connection.shutdown(socket.SHUT_WR)
            return int(connection.recv(12).split()[1])

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=120)


@contextmanager
def served(
    project: Path, *arguments: str, python: Path | None = PYTHON, **environment: str
) -> Iterator[LocalServer]:
    """Call ``serve`` in a project until it says that it is ready."""
    port, log = free_port(), project / "serve.log"
    command = [sys.executable, "-m", "kedro_azure_mlops", "serve", "--port", str(port)]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*command, *(("--python", str(python)) if python else ()), *arguments],
            cwd=project,
            env=new_shell() | environment,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    server = LocalServer(port, log, process)
    try:
        said = _until_ready(process, log)
        with log.open("ab") as more:
            more.write(said)
        yield server
    finally:
        if process.poll() is None:
            server.end()
        if process.stdout:
            process.stdout.close()


def _until_ready(process: "subprocess.Popen[bytes]", log: Path) -> bytes:
    said = b""
    for line in process.stdout or ():  # ends with the process, so one that fails does not hang this
        said += line
        if b"curl" in said and line == b"\n":
            return said
    raise RuntimeError(f"serve did not start:\n{said.decode()}{log.read_text('utf-8')}")
