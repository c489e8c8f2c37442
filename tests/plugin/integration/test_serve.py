import contextlib
import http.client
import json
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kedro_azure_mlops.contract import digest, write_manifest
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.serve import score
from kedro_azure_mlops.serve.model import fetch_model
from kedro_azure_mlops.serve.process import (
    _DOCKERFILE,
    HOST,
    _environment,
    _server,
    prepare,
    refuse_used,
)
from tests.plugin.cloud import Command
from tests.plugin.helpers import Project
from tests.plugin.mlflow_server import free_port
from tests.plugin.registered import set_keys
from tests.plugin.servers import PYTHON, LocalServer, serve
from tests.plugin.trained import (
    SCORER,
    body_of,
    measured,
    project_with_scorer,
    rows_of,
    save_small_model,
    set_scorer,
    small_scorer,
)

needs_servers = pytest.mark.skipif(
    not PYTHON.is_file(), reason="`make test` installs the servers into .venv-serve"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture(scope="module", params=["online", "plain"])
def server(
    request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalServer]:
    """Azure's server and the plain one, with the same model."""
    project = project_with_scorer(tmp_path_factory.mktemp("served") / "project")
    plain = ["--plain"] if request.param == "plain" else []
    with serve(project, "--model", str(model), *plain) as server:
        yield server


@pytest.fixture
def own_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose scorer serves, as the current folder."""
    folder = project_with_scorer(tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def _loaded(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_scorer()  # makes its package importable
    monkeypatch.setattr(score, "_loaded", score.load_served(model, SCORER))


def wrong(**changes: object) -> bytes:
    """Return a body whose last row is changed."""
    rows = rows_of(measured(40))
    return json.dumps({"data": [*rows[:-1], rows[-1] | changes]}).encode()


@needs_servers
@pytest.mark.usefixtures("_loaded")
def test_a_server_answers_like_the_score_function(server: LocalServer) -> None:
    for body in (body_of(measured(60)), wrong(load=None), wrong(unit="south")):
        reply, expected = server.ask("POST", "/score", body), score.run(body)
        assert (reply.status, reply.body) == expected
        assert reply.headers["content-type"] == "application/json"


@needs_servers
@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (wrong(load=float("nan")), 400, "data[79].load"),
        (wrong(load=9000), 400, "data[79].load"),
        (wrong(humidity=50), 400, "data[79].humidity"),
        (b"\xff\xfe", 400, "body"),
        (b"", 400, "body"),
        (b"[1]", 400, "data"),
        ([b" " * score.MAX_BYTES, b" "], 413, "body"),
    ],
    ids=["nan", "outside", "more", "bytes", "nothing", "list", "chunks"],
)
def test_an_invalid_request_is_refused_with_the_name_of_its_field(
    server: LocalServer, body: object, status: int, field: str
) -> None:
    reply = server.ask("POST", "/score", body)
    assert (reply.status, reply.body["error"]["field"]) == (status, field)


@needs_servers
@pytest.mark.usefixtures("_loaded")
def test_a_body_in_chunks_is_scored(server: LocalServer) -> None:
    body = body_of(measured(60))
    reply = server.ask("POST", "/score", iter([body[:100], body[100:]]))
    assert (reply.status, reply.body) == score.run(body)


@needs_servers
def test_a_body_with_a_length_above_the_limit_is_refused_unread(server: LocalServer) -> None:
    with socket.create_connection((HOST, server.port), timeout=30) as connection:
        head = f"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: {10**12}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(12) == b"HTTP/1.1 413"


@needs_servers
def test_other_methods_are_refused(server: LocalServer) -> None:
    reply = server.ask("GET", "/score")
    assert (reply.status, reply.body["error"]["field"]) == (405, "method")
    assert server.ask("POST", "/health", b"{}").status == 405


@needs_servers
def test_unknown_paths_are_refused_in_json(server: LocalServer) -> None:
    reply = server.ask("GET", "/admin")
    assert reply.status == 404
    assert reply.body


@needs_servers
def test_health_names_the_model(server: LocalServer, model: Path) -> None:
    reply = server.ask("GET", "/health")
    assert reply.status == 200
    assert reply.body["model"] == {"version": digest(model)[:12], "digest": digest(model)}


def metrics(server: LocalServer) -> dict[str, float]:
    reply = server.ask("GET", "/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = (line for line in reply.text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


@needs_servers
def test_metrics_count_requests_rows_and_flags(server: LocalServer, model: Path) -> None:
    server.ask("POST", "/score", b"nothing")
    before = metrics(server)
    rows = server.ask("POST", "/score", body_of(measured(300))).body["data"]
    server.ask("POST", "/score", wrong(unit="south"))
    server.ask("POST", "/score", b"nothing")
    after = metrics(server)
    assert {name: after[name] - before.get(name, 0) for name in counted(after)} == {
        'score_requests_total{status="200"}': 2,
        'score_requests_total{status="400"}': 1,
        "score_request_seconds_count": 3,
        "score_rows_total": 680,
        "score_rows_flagged_total": sum(row["is_far"] for row in rows)
        + flags_of_unknown_unit(server),
        "score_rows_unknown_total": 1,
    }
    labels = f'digest="{digest(model)}",version="{digest(model)[:12]}"'
    assert after["score_model_info{" + labels + "}"] == 1


def counted(values: dict[str, float]) -> list[str]:
    names = ('_requests_total{status="200"}', '_requests_total{status="400"}', "_seconds_count")
    return [name for name in values if name.endswith((*names, "_rows_total"))] + [
        "score_rows_flagged_total",
        "score_rows_unknown_total",
    ]


def flags_of_unknown_unit(server: LocalServer) -> int:
    """Count the flags in the request about an unknown unit."""
    data = server.ask("POST", "/score", wrong(unit="south")).body["data"]
    return sum(bool(row["is_far"]) for row in data)


@needs_servers
def test_the_printed_command_works(server: LocalServer) -> None:
    text = server.log.read_text(encoding="utf-8").replace("\\\n", "")
    (command,) = (line for line in text.splitlines() if line.startswith("  curl "))
    arguments = shlex.split(command)
    process = subprocess.run(arguments, cwd=server.log.parent, capture_output=True, check=True)
    rows = json.loads(process.stdout)["data"]
    assert [row["is_far"] for row in rows].count(True) == 3
    assert len(rows) == 49


@needs_servers
def test_the_server_listens_on_loopback_only(server: LocalServer) -> None:
    with socket.socket() as other:  # the same port of another address is free
        other.bind(("127.0.0.2", server.port))


@needs_servers
def test_a_connection_can_be_reused(server: LocalServer) -> None:
    connection = http.client.HTTPConnection(HOST, server.port, timeout=30)
    for body in (b"nothing", body_of(measured(40))):
        connection.request("POST", "/score", body)
        assert connection.getresponse().read()
    connection.close()


@needs_servers
def test_requests_are_not_logged(server: LocalServer) -> None:
    for body in (wrong(unit="patient-17"), b"patient-17"):
        server.ask("POST", "/score", body)
    text = server.log.read_text(encoding="utf-8")
    assert "patient-17" not in text
    assert "POST" not in text


@needs_servers
@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT],
    ids=["Ctrl-C", "kill", "closed_terminal", "Ctrl-backslash"],
)
def test_a_signal_ends_the_server_cleanly(own_project: Path, model: Path, number: int) -> None:
    arguments = ("--model", str(model), "--plain")
    with (
        serve(own_project, *arguments, SERVE_DEADLINE="600") as server,
        socket.create_connection((HOST, server.port), timeout=60) as idle,
    ):
        assert server.ask("GET", "/health").status == 200
        assert server.end(number) == 0
        assert idle.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            server.ask("GET", "/health")
    text = server.log.read_text(encoding="utf-8")
    assert "scored by the rolling mean" in text
    assert "Traceback" not in text
    assert "Forcing close" not in text  # gunicorn's message when a connection is still open


@needs_servers
def test_incomplete_requests_may_exceed_the_soft_limit_of_open_files(
    own_project: Path, model: Path, tmp_path: Path
) -> None:
    python = script(tmp_path / "python", f'ulimit -Sn 64; exec {PYTHON} "$@"')
    arguments = ("--model", str(model), "--plain")
    with (
        serve(own_project, *arguments, python=python, SERVE_DEADLINE="600") as server,
        contextlib.ExitStack() as opened,
    ):
        for _ in range(100):
            connection = socket.create_connection((HOST, server.port), timeout=30)
            opened.enter_context(connection).sendall(b"POST /score HTTP/1.1\r\n")
        assert server.ask("GET", "/health").status == 200


def test_a_request_may_take_as_long_as_on_an_endpoint() -> None:
    from gunicorn.config import Config

    image = _DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", "")
    container = json.loads(image.rpartition("\nCMD ")[2])
    for command in (_server(Path(sys.executable), 5001, plain=True), container):
        assert command[0] == "gunicorn"
        options = Config().parser().parse_args(command[1:])
        assert (options.timeout, options.graceful_timeout) == (300, 20)


@needs_servers
def test_a_server_does_not_start_with_a_model_that_cannot_be_used(
    model: Path, own_project: Path, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(model, tmp_path / "broken"))
    (broken / "rolling.json").write_bytes(b"no weights")
    write_manifest(broken)
    with (
        pytest.raises(RuntimeError, match=r"serve: .*rolling\.json cannot be read"),
        serve(own_project, "--model", str(broken), "--plain"),
    ):
        pass


@needs_servers
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "online"])
def test_a_server_without_the_packages_of_the_scorer_does_not_start(
    model: Path, own_project: Path, plain: bool
) -> None:
    weights = own_project / "src/plant/weights.py"
    text = weights.read_text(encoding="utf-8")
    weights.write_text(f"import mlflow\n{text}", encoding="utf-8")  # not in .venv-serve
    with (
        pytest.raises(RuntimeError, match="serve: The server ended with exit status 3"),
        serve(own_project, "--model", str(model), *["--plain"] * plain),
    ):
        pass


@pytest.mark.parametrize("hidden", [None, "gunicorn"], ids=["gunicorn", "uvicorn"])
def test_without_a_scorer_this_python_serves_the_stored_champion(
    ran: Project, tmp_path: Path, hidden: str | None
) -> None:
    """The training packages and an old gunicorn are installed, but not Azure's server."""
    project = Path(shutil.copytree(ran.path, tmp_path / "project", symlinks=True))
    if hidden:
        (tmp_path / "site" / hidden).mkdir(parents=True)
        (tmp_path / "site" / hidden / "__init__.py").touch()  # without a worker for ASGI
    search = f"PYTHONPATH={tmp_path / 'site'}:$PYTHONPATH"
    python = script(tmp_path / "python", f'{search} exec {sys.executable} "$@"')
    with serve(project, python=python) as server:
        request = (project / "build/serve/request.json").read_bytes()
        reply, health = server.ask("POST", "/score", request), server.ask("GET", "/health")
        assert server.ask("GET", "/metrics").status == 200
        assert server.end() == 0
    trained = ran.processed("model")
    assert health.body == {"model": {"version": "1", "digest": digest(trained)}}
    recorded = json.loads((trained / "contract.json").read_text(encoding="utf-8"))["answer"]
    assert reply.body["data"] == [pytest.approx(row) for row in recorded]
    assert "scored by the stored model" in server.log.read_text(encoding="utf-8")


def script(file: Path, line: str) -> Path:
    file.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    file.chmod(0o755)
    return file


def test_an_environment_without_a_server_is_named(
    ran: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlops: Command
) -> None:
    project = Path(shutil.copytree(ran.path, tmp_path / "project", symlinks=True))
    monkeypatch.chdir(project)
    python = script(tmp_path / "python", "echo '[]'")
    result = mlops("serve", "--port", str(free_port()), "--python", str(python))
    assert (result.status, "has no server for the plain application" in result.err) == (2, True)


def test_files_left_by_a_killed_process_are_not_served(ran: Project, tmp_path: Path) -> None:
    left = tmp_path / "served" / "part-of-a-model"
    shutil.copytree(ran.processed("model"), left)
    served_model = fetch_model("local", None, ran.path, tmp_path)
    assert not left.exists()
    assert [path.parent for path in tmp_path.rglob("contract.json")] == [served_model.folder]


def test_without_a_champion_the_command_gives_advice(
    project: Project, monkeypatch: pytest.MonkeyPatch, mlops: Command
) -> None:
    monkeypatch.chdir(project.path)
    result = mlops("serve", "--prepare")
    assert result.status == 2
    assert "local has no champion yet\n  next: kedro run --env local, or name" in result.err
    assert result.err.endswith(": --model DIR\n")


def test_without_a_champion_a_promotion_is_advised_where_champions_are_promoted(
    project: Project, monkeypatch: pytest.MonkeyPatch, mlops: Command
) -> None:
    monkeypatch.chdir(project.path)
    set_keys(project, "base", registry={"promoted_from": "dev"})
    result = mlops("serve", "--prepare")
    assert result.status == 2
    assert "next: kedro mlops promote --env local, or" in result.err
    refused = mlops("champion")
    assert refused.status == 1
    assert "next: kedro mlops promote --env local\n" in refused.err


@pytest.mark.parametrize("command", [("serve", "--prepare"), ("champion",)], ids=" ".join)
def test_without_a_configured_model_no_run_is_advised(
    project: Project, monkeypatch: pytest.MonkeyPatch, mlops: Command, command: tuple[str, ...]
) -> None:
    """A run would not register a model either."""
    monkeypatch.chdir(project.path)
    set_keys(project, "base", tracking={"model": None})
    result = mlops(*command)
    assert result.status == 2
    assert "mlops.yml names no tracking.model, so no run registers a model" in result.err
    assert "kedro run" not in result.err


def test_an_incomplete_model_is_refused_with_the_missing_file(
    own_project: Path, tmp_path: Path, mlops: Command
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/MLmodel").write_text("flavors: {}\n", encoding="utf-8")
    result = mlops("serve", "--prepare", "--model", str(tmp_path / "model"))
    assert (result.status, "it has no contract.json" in result.err) == (2, True)
    (tmp_path / "model/MLmodel").unlink()
    result = mlops("serve", "--prepare", "--model", str(tmp_path / "model"))
    assert (result.status, "is not a model folder: it has no MLmodel" in result.err) == (2, True)
    assert own_project.is_dir()


def test_a_missing_scorer_is_named(own_project: Path, model: Path, mlops: Command) -> None:
    set_scorer(own_project, "plant.gone:load")
    result = mlops("serve", "--prepare", "--model", str(model))
    assert result.status == 2
    assert "plant.gone:load cannot be imported: No module named 'plant.gone'" in result.err


@pytest.mark.usefixtures("own_project")
def test_a_port_in_use_is_refused(mlops: Command) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        result = mlops("serve", "--port", str(port))
    assert (result.status, f"Port {port} is not available" in result.err) == (2, True)
    assert f"kedro mlops serve --port {port + 1}" in result.err


@pytest.mark.parametrize("port", ["99999", "65536", "0", "-1"])
def test_an_invalid_port_is_refused(own_project: Path, mlops: Command, port: str) -> None:
    result = mlops("serve", "--port", port)
    assert (result.status, "1<=x<=65535" in result.err) == (2, True)
    assert not (own_project / "build/serve").exists()


@pytest.mark.parametrize(("port", "other"), [(65534, 65535), (65535, 5001), (99999, 5001)])
def test_the_suggested_port_is_valid(
    monkeypatch: pytest.MonkeyPatch, port: int, other: int
) -> None:
    def bind(*_: object) -> None:
        raise OSError("in use")

    monkeypatch.setattr("socket.socket.bind", bind)
    with pytest.raises(OperationError, match=f"--port {other}$"):
        refuse_used(port)


def test_the_highest_port_is_valid(own_project: Path, mlops: Command) -> None:
    assert own_project.is_dir()
    result = mlops("serve", "--port", "65535", "--python", "none/bin/python")
    assert result.status == 2
    assert "1<=x<=65535" not in result.err


def test_a_missing_environment_is_refused(own_project: Path, model: Path, mlops: Command) -> None:
    result = mlops(
        "serve", "--model", str(model), "--port", str(free_port()), "--python", "none/bin/python"
    )
    assert (result.status, "`make serve` creates it" in result.err) == (2, True)
    assert not (own_project / "build/serve").exists()


def test_prepare_writes_the_files_of_the_image(
    own_project: Path, model: Path, mlops: Command
) -> None:
    result = mlops("serve", "--prepare", "--model", str(model))
    assert result.status == 0, result.err
    assert digest(own_project / "build/serve/model/served/1") == digest(model)
    assert (own_project / "build/serve/code/kedro_azure_mlops/serve/plain.py").is_file()
    assert f"--build-arg MODEL_DIGEST={digest(model)}" in result.out


@pytest.mark.parametrize("options", ["--plain", "--port 5001", "--python x", "--plain --port 5001"])
def test_options_that_prepare_would_ignore_are_refused(
    own_project: Path, model: Path, mlops: Command, options: str
) -> None:
    result = mlops("serve", "--prepare", "--model", str(model), "--env", "local", *options.split())
    assert result.status == 2
    assert "--prepare cannot be combined with --" in result.err
    assert all(word in result.err for word in options.split() if word.startswith("--"))
    assert "next: kedro mlops serve --help" in result.err
    assert not (own_project / "build/serve").exists()


@needs_servers
def test_a_slow_client_does_not_block_others(server: LocalServer) -> None:
    with socket.create_connection((HOST, server.port), timeout=30) as slow:
        slow.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert server.ask("POST", "/score", body_of(measured(40))).status == 200
        slow.sendall(b" " * 99)
        assert slow.recv(12) == b"HTTP/1.1 400"


POST = b"POST /score HTTP/1.1\r\nHost: x\r\n"
HALF_SENT = [
    b"POST /sc",
    POST,
    POST + b"Content-Length: 100\r\n\r\n",
    POST + b"Content-Length: 100\r\n\r\n{",
    POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
]


@needs_servers
def test_fifty_half_sent_requests_do_not_block_others(server: LocalServer) -> None:
    with contextlib.ExitStack() as clients:
        for number in range(50):
            client = socket.create_connection((HOST, server.port), timeout=30)
            clients.enter_context(client).sendall(HALF_SENT[number % len(HALF_SENT)])
        assert server.ask("GET", "/health").status == 200
        assert server.ask("GET", "/metrics").status == 200
        assert server.ask("POST", "/score", body_of(measured(40))).status == 200
        assert server.ask("GET", "/health").status == 200


BROKEN = {
    "malformed_chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", 400),
    "endless_length": (POST + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n{}", 400),
    "two_lengths": (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
    "length_and_chunks": (
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400
    ),
    "long_header": (POST + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n", 431),
}  # fmt: skip


@needs_servers
@pytest.mark.parametrize("name", BROKEN)
def test_a_malformed_request_is_refused_without_a_traceback(server: LocalServer, name: str) -> None:
    sent, status = BROKEN[name]
    assert server.send(sent) == status
    assert "Traceback" not in server.log.read_text(encoding="utf-8")


@needs_servers
@pytest.mark.parametrize("number", range(len(HALF_SENT)))
def test_an_incomplete_request_is_a_bad_request(server: LocalServer, number: int) -> None:
    assert server.send(HALF_SENT[number], close=True) == 400
    assert server.ask("GET", "/health").status == 200


@needs_servers
def test_azures_routes_are_answered_by_its_application(
    server: LocalServer, request: pytest.FixtureRequest
) -> None:
    if "plain" in request.node.callspec.id:
        assert server.ask("GET", "/").status == 404
        return
    assert server.ask("GET", "/").text == "Healthy"
    assert "/score" in server.ask("GET", "/swagger.json?version=3").body["paths"]
    reply = server.ask("POST", "/score", body_of(measured(40)), x_ms_client_request_id="mine")
    assert reply.headers["x-ms-client-request-id"] == "mine"
    assert float(reply.headers["x-ms-run-fn-exec-ms"]) > 0


@needs_servers
def test_the_deadline_is_read_from_the_environment(own_project: Path, model: Path) -> None:
    with serve(own_project, "--model", str(model), SERVE_DEADLINE="0.2") as server:
        assert [server.send(sent) for sent in HALF_SENT] == [408] * len(HALF_SENT)


@needs_servers
@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_an_invalid_deadline_is_refused(
    own_project: Path, model: Path, mlops: Command, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("SERVE_DEADLINE", text)
    result = mlops(
        "serve", "--model", str(model), "--port", str(free_port()), "--python", str(PYTHON)
    )
    assert (result.status, f"SERVE_DEADLINE is {text}: it must be" in result.err) == (2, True)
    assert own_project.is_dir()


@needs_servers
def test_the_entry_script_of_an_endpoint_refuses_malformed_requests(
    own_project: Path, model: Path, tmp_path: Path
) -> None:
    """On an endpoint, gunicorn runs Azure's application in a process that reads one request."""
    prepared = prepare("local", model, own_project)
    port, log = free_port(), tmp_path / "log"
    application = "azureml_inference_server_http.server.entry:app"
    settings = ["--bind", f"{HOST}:{port}", "--no-control-socket", "--log-level", "warning"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PYTHON, "-m", "gunicorn", *settings, application],
            cwd=prepared.code.folder,
            env=_environment(prepared.code.folder, prepared.model) | {"SERVE_DEADLINE": "0.2"},
            stdout=output,
            stderr=output,
        )
    server = LocalServer(port, log, process)
    try:
        _until_it_listens(process, port)
        assert server.send(BROKEN["malformed_chunk"][0]) == 400
        for sent in HALF_SENT[2:]:
            assert server.send(sent) == 408
            assert server.send(sent, close=True) == 400
        reply = server.ask("POST", "/score", body_of(measured(40)))
        assert (reply.status, len(reply.body["data"])) == (200, 80)
        reply = server.ask("POST", "/score", [b'{"data"', b": []}"])
        assert (reply.status, reply.body["error"]["field"]) == (400, "data")
    finally:
        process.terminate()
        process.wait(30)


def _until_it_listens(process: "subprocess.Popen[bytes]", port: int) -> None:
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=30):
            return
        time.sleep(0.05)
    raise RuntimeError("the server has ended")


@needs_servers
@pytest.mark.parametrize("changed", [False, True], ids=["whole", "changed"])
def test_the_check_of_the_image_refuses_another_model(
    own_project: Path, model: Path, mlops: Command, changed: bool
) -> None:
    assert mlops("serve", "--prepare", "--model", str(model)).status == 0
    if changed:
        with (own_project / "build/serve/model/served/1/rolling.json").open("ab") as file:
            file.write(b"\n")
    process = subprocess.run(
        [PYTHON, "-c", "from kedro_azure_mlops.serve import plain; plain.create()"],
        cwd=own_project / "build/serve/code",
        env={"AZUREML_MODEL_DIR": "../model", "MODEL_DIGEST": digest(model)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode != 0) is changed
    assert ("those that were registered" in process.stderr) is changed
