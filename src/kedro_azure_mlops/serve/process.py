"""A server on this machine: its files in ``build/serve``, and its process on loopback."""

import contextlib
import http.client
import json
import math
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kedro_azure_mlops.ci import termination_as_interrupt
from kedro_azure_mlops.config import Mlops, read_mlops
from kedro_azure_mlops.contract import read_contract
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.serve.code import ENTRY, ServedCode, copy_served_code, trusted_types
from kedro_azure_mlops.serve.model import OR_FOLDER, ServedModel, example_request, fetch_model
from kedro_azure_mlops.serve.packages import PLAIN, SCORER, STORED, lock_of
from kedro_azure_mlops.serve.parts import Form
from kedro_azure_mlops.serve.record import Settings
from kedro_azure_mlops.storage import shown

HOST = "127.0.0.1"
PORT, LAST_PORT = 5001, 65535
WORK = Path("build/serve")
PYTHON = Path(".venv-serve/bin/python")
"""Python of the environment with requirements/serve.txt, relative to the project."""

_DOCKERFILE = Path(__file__).with_name("Dockerfile")
_SERVE = "kedro_azure_mlops.serve"
# Variables of the user's shell that would change how the server behaves.
_NOT_INHERITED = re.compile(
    r"(AZUREML_|AML_|GUNICORN_|MODEL_|PYTHON|RECORD_|SCORING_|UVICORN_|WORKER_|WEB_CONCURRENCY)"
)
_TRIES, _PAUSE = 1200, 0.1  # two minutes: machines may be slow
_SCORING = "300"  # seconds that a request may take, as on an endpoint
_GRACE, _WAIT = "20", 30.0  # seconds for answers when a server ends, and until it is killed


@dataclass(frozen=True)
class Prepared:
    """The content of ``build/serve``: a model, the code that serves it, and a request.

    ``is_plain_only`` is true if the stored model itself is served, which needs the project's own
    environment: Azure's server cannot be installed there. ``recording`` is None unless answers are
    recorded.
    """

    folder: Path
    model: ServedModel
    code: ServedCode
    recording: Settings | None = None

    @property
    def request(self) -> Path:
        """The file with the example request."""
        return self.folder / "request.json"

    @property
    def is_plain_only(self) -> bool:
        """Return whether only the plain application can serve the model here."""
        return self.code.scorer is None


def prepare(
    env: str, model: Path | None = None, root: Path | None = None, *, record: bool = False
) -> Prepared:
    """Write ``build/serve``: the model, the code that serves it and its example request.

    Parameters
    ----------
    env
        The environment whose champion is served.
    model
        A model folder to serve instead, relative to ``root``.
    root
        The project; None: the current folder.
    record
        Whether answers are recorded even if ``recording`` in ``mlops.yml`` is not enabled.

    Raises
    ------
    OperationError
        If the model does not exist or cannot be served, or its answers cannot be recorded.
    """
    root = root or Path.cwd()
    mlops = read_mlops(root, env)
    folder = root / WORK
    served = fetch_model(env, model, root, folder / "model", hint=OR_FOLDER)
    code = copy_served_code(
        root,
        mlops,
        folder / "code",
        model=served.folder,
        trusted=trusted_types(root, env, mlops),
        label=served.label,
        champion_of=served.champion_of,
    )
    prepared = Prepared(folder, served, code, _recording(mlops, root, served, record))
    text = example_request(served.folder) + "\n"
    prepared.request.write_text(text, encoding="utf-8", newline="\n")
    return prepared


def _recording(mlops: Mlops, root: Path, model: ServedModel, record: bool) -> Settings | None:
    if not (record or mlops.recording.enabled):
        return None
    found = mlops.recording.settings(root)
    try:
        Form(read_contract(model.folder).schema, model.digest, found.leave_out)
    except ValueError as error:
        raise OperationError(f"recording in mlops.yml: {error}.") from error
    return found


def write_image_context(prepared: Prepared, root: Path) -> None:
    """Add requirements and Dockerfile to ``build/serve`` for ``docker build build/serve``.

    Raises
    ------
    OperationError
        If ``requirements/serve.txt`` lacks a package that serving needs.
    """
    needed = STORED if prepared.is_plain_only else SCORER
    # pyarrow, if the project's lock has it, converts recorded answers to Parquet
    also = () if prepared.recording is None else ("pyarrow",)
    lock = lock_of(root, (*prepared.code.packages(), *also), (*needed, *PLAIN))
    (prepared.folder / "requirements.txt").write_text(lock, encoding="utf-8", newline="\n")
    python = ".".join(platform.python_version_tuple()[:2])
    text = _DOCKERFILE.read_text(encoding="utf-8")
    text = re.sub(r"^ARG IMAGE=.*$", f"ARG IMAGE=python:{python}-slim", text, flags=re.MULTILINE)
    (prepared.folder / "Dockerfile").write_text(text, encoding="utf-8", newline="\n")


def serve_model(
    env: str,
    *,
    model: Path | None = None,
    port: int = PORT,
    plain: bool = False,
    record: bool = False,
    python: Path | None = None,
    root: Path | None = None,
    say: Callable[[str], None] = print,
) -> int:
    """Serve a model on this machine until Ctrl-C or SIGTERM, and return the exit status.

    Parameters
    ----------
    env, model, root, record
        See ``prepare``.
    port
        Port on loopback.
    plain
        Whether to use the plain application instead of Azure's server. The stored model itself is
        always served by the plain one.
    python
        Python of the server's environment; None: that of ``.venv-serve``, or this one if the
        stored model itself is served.
    say
        Called with each message.

    Returns
    -------
    0 if the server was stopped by a signal, 2 if it ended unexpectedly.

    Raises
    ------
    OperationError
        If the port is in use, or the model, code or environment is unusable.
    """
    root = root or Path.cwd()
    refuse_used(port)
    python = python_of(root, python, has_scorer=read_mlops(root, env).scorer is not None)
    prepared = prepare(env, model, root, record=record)
    plain = plain or prepared.is_plain_only
    address = f"http://{HOST}:{port}"
    try:
        with termination_as_interrupt():
            engine = prepared.code.engine
            say(f"serve: starting with {prepared.model.label}, scored by {engine}")
            with serving(prepared, python, port, plain=plain) as process:
                say(f"serve: ready at {address}, Ctrl-C stops it; /metrics is for Prometheus")
                if prepared.recording is not None:
                    say(f"serve: recording answers in {shown(str(prepared.recording.folder))}")
                say("serve: to send the model's example request:\n")
                request = prepared.request.relative_to(root).as_posix()
                say(
                    f'  curl --silent --header "Content-Type: application/json" \\\n'
                    f"    --data @{request} {address}/score\n"
                )
                process.wait()
    except KeyboardInterrupt:
        say("serve: stopped")
        return 0
    say(f"serve: the server ended with exit status {process.returncode}")
    return 2


@contextlib.contextmanager
def serving(
    prepared: Prepared, python: Path, port: int = PORT, *, plain: bool = False
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the prepared server during a ``with`` block, which begins when the server is ready.

    Parameters
    ----------
    python
        Python of the server's environment.
    port
        Port on loopback.
    plain
        Whether to use the plain application instead of Azure's server.

    Raises
    ------
    OperationError
        If the port is in use, ``SERVE_DEADLINE`` is invalid, or the server ends before it answers.
    """
    _refuse_deadline()
    refuse_used(port)
    command = [str(python), "-m", *_server(python, port, plain=plain)]
    code = prepared.code.folder
    variables = _environment(code, prepared.model)
    if prepared.recording is not None:
        variables |= prepared.recording.variables()
    # in its own session, it gets no signals of the terminal, such as SIGHUP: they end this process
    process = subprocess.Popen(command, cwd=code, env=variables, start_new_session=True)
    try:
        _wait_until_ready(process, port)
        yield process
    finally:
        _end(process)


def python_of(root: Path, given: Path | None, *, has_scorer: bool) -> Path:
    """Return the Python that runs the server: that of ``.venv-serve``, or this one.

    Parameters
    ----------
    given
        The user's choice, which takes precedence.
    has_scorer
        Whether the project names a scorer; otherwise the stored model needs this environment.

    Raises
    ------
    OperationError
        If it does not exist.
    """
    if os.name == "nt":
        raise OperationError("The server runs on Linux and macOS: use WSL on Windows.")
    if given is None and not has_scorer:
        return Path(sys.executable)
    name = given or PYTHON
    if not (root / name).is_file():
        raise OperationError(
            f"{name} does not exist: it belongs to an environment with requirements/serve.txt. "
            "`make serve` creates it (options: make serve ARGS=--record); without make: "
            "uv venv .venv-serve, then uv pip sync --python .venv-serve requirements/serve.txt"
        )
    return root / name


def refuse_used(port: int) -> None:
    """Refuse a port that is in use.

    Raises
    ------
    OperationError
        If the port cannot be bound; the message suggests another one.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            other = port + 1 if 0 < port < LAST_PORT else PORT
            raise OperationError(
                f"Port {port} is not available ({error}): stop the process that uses it, or "
                f"choose another one: kedro mlops serve --port {other}"
            ) from error


def _refuse_deadline() -> None:
    text = os.environ.get("SERVE_DEADLINE")
    try:
        is_usable = not text or 0 < float(text) < math.inf
    except ValueError:
        is_usable = False
    if not is_usable:
        raise OperationError(
            f"SERVE_DEADLINE is {text}: it must be a number above 0, the seconds within which a "
            "request must arrive. The default is 20."
        )


def _server(python: Path, port: int, *, plain: bool) -> list[str]:
    """Return the server's module and its arguments.

    Raises
    ------
    OperationError
        If no server is installed in that environment.
    """
    application = f"{_SERVE}.{'plain' if plain else 'local'}:application"
    # early releases of gunicorn have no ASGI worker
    installed = _installed(python, ["gunicorn", "gunicorn.asgi", "uvicorn"])
    if "gunicorn.asgi" in installed:
        return [
            *("gunicorn", "--bind", f"{HOST}:{port}", "--workers", "1", "--log-level", "warning"),
            *("--timeout", _SCORING, "--graceful-timeout", _GRACE),
            *("--worker-class", f"{_SERVE}.connections.Worker", "--no-control-socket", application),
        ]
    if "uvicorn" in installed:
        return [
            *("uvicorn", "--host", HOST, "--port", str(port), "--lifespan", "on"),
            *("--http", f"{_SERVE}.connections:UvicornConnection", "--log-level", "warning"),
            *("--timeout-graceful-shutdown", _GRACE),
            *("--no-access-log", "--no-server-header", application),
        ]
    raise OperationError(
        f"{python} has no server for the plain application: install gunicorn (25 or newer) or "
        "uvicorn there."
    )


def _installed(python: Path, names: list[str]) -> list[str]:
    script = (
        "import importlib.util as u, json\n"
        "def is_installed(n):\n"
        "    try: return u.find_spec(n) is not None\n"
        "    except ImportError: return False\n"
        f"print(json.dumps([n for n in {names!r} if is_installed(n)]))"
    )
    process = subprocess.run(
        [str(python), "-c", script], capture_output=True, text=True, check=False
    )
    if process.returncode:
        raise OperationError(f"{python} does not run: {process.stderr.strip()}")
    installed: list[str] = json.loads(process.stdout)
    return installed


def _environment(code: Path, model: ServedModel) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not _NOT_INHERITED.match(k)}
    return {
        **inherited,
        **model.variables,
        "AML_APP_ROOT": str(code),
        "AZUREML_ENTRY_SCRIPT": ENTRY,
        "PYTHONPATH": str(code),
        "PYTHONDONTWRITEBYTECODE": "1",  # keeps the code identical to what would be uploaded
        "PYTHONUNBUFFERED": "1",  # shows startup messages immediately
    }


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int) -> None:
    for _ in range(_TRIES):
        if process.poll() is not None:
            raise OperationError(
                f"The server ended with exit status {process.returncode}; its output is above."
            )
        if _answers(port):
            return
        time.sleep(_PAUSE)
    raise OperationError("The server does not answer; its output is above.")


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
        process.wait(timeout=_WAIT)  # it may still have answers to write
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also its workers
        process.wait()
