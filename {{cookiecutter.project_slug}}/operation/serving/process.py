"""The server's own process, on loopback, from its start until it is ended."""

import contextlib
import http.client
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from operation.errors import OperationError
from operation.serving.model import ServedModel

HOST = "127.0.0.1"
# One process each. Threads keep the connections of Azure's server open.
_ONLINE = ("--worker-class", "gthread", "--threads", "4", "operation.serving.local:app")
_PLAIN = ("--worker-class", "asgi", "operation.serving.plain:application")
# Of the person's shell: what would turn the server into something else.
_NOT_INHERITED = re.compile(r"(AZUREML_|AML_|GUNICORN_|MODEL_|PYTHON|SCORING_|WORKER_)")
_TRIES, _PAUSE = 1200, 0.1  # two minutes: machines may be slow


@contextlib.contextmanager
def serving(
    python: Path, code: Path, model: ServedModel, port: int, *, plain: bool
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the server of a code folder and a model; it answers once the block begins.

    Raises
    ------
    OperationError
        If the port is in use, or the server ends before it answers.
    """
    refuse_used(port)
    command = [
        *(str(python), "-m", "gunicorn", "--bind", f"{HOST}:{port}", "--workers", "1"),
        *("--no-control-socket", "--log-level", "warning"),
        *(_PLAIN if plain else _ONLINE),
    ]
    process = subprocess.Popen(command, cwd=code, env=_environment(code, model))
    try:
        _wait_until_ready(process, port)
        yield process
    finally:
        _end(process)


def refuse_used(port: int) -> None:
    """Refuse a port on which something listens.

    Raises
    ------
    OperationError
        Naming another way.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise OperationError(
                f"Port {port} cannot be had ({error}): end what uses it, or give another one, as "
                f"in: make serve PORT={port + 1}"
            ) from error


def _environment(code: Path, model: ServedModel) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not _NOT_INHERITED.match(k)}
    return {
        **inherited,
        **model.variables,
        "AML_APP_ROOT": str(code),
        "AZUREML_ENTRY_SCRIPT": "operation/serving/online.py",
        "PYTHONPATH": os.pathsep.join([str(code), str(code / "src")]),
        "PYTHONDONTWRITEBYTECODE": "1",  # the code stays what would be uploaded
        # its messages at start: what it prints goes to its log, at this level and above
        "PYTHONUNBUFFERED": "1",
    }


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int) -> None:
    for _ in range(_TRIES):
        if process.poll() is not None:
            raise OperationError(
                f"The server ended with exit status {process.returncode}; what it said is above."
            )
        if _answers(port):
            return
        time.sleep(_PAUSE)
    raise OperationError("The server does not answer; what it said is above.")


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
