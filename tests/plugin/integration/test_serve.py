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
from kedro_azure_mlops.serve.process import HOST, _environment, prepare, refuse_used
from tests.plugin.cloud import Command
from tests.plugin.helpers import Project
from tests.plugin.mlflow_server import free_port
from tests.plugin.servers import PYTHON, LocalServer, served
from tests.plugin.trained import (
    SCORER,
    body_of,
    measured,
    project_with_scorer,
    rows_of,
    save_small_model,
    serve_by,
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
    with served(project, "--model", str(model), *plain) as server:
        yield server


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose scorer serves, as the current folder."""
    found = project_with_scorer(tmp_path / "project")
    monkeypatch.chdir(found)
    return found


@pytest.fixture
def _loaded(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_scorer()  # its package can be imported from now on
    monkeypatch.setattr(score, "_loaded", score.load_served(model, SCORER))


def wrong(**changes: object) -> bytes:
    """Return a body whose last row is changed."""
    rows = rows_of(measured(40))
    return json.dumps({"data": [*rows[:-1], rows[-1] | changes]}).encode()


@needs_servers
@pytest.mark.usefixtures("_loaded")
def test_a_server_answers_as_the_score_function_does(server: LocalServer) -> None:
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
def test_what_is_wrong_is_refused_by_name(
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
def test_a_body_that_is_announced_as_too_long_is_refused_unread(server: LocalServer) -> None:
    with socket.create_connection((HOST, server.port), timeout=30) as connection:
        head = f"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: {10**12}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(12) == b"HTTP/1.1 413"


@needs_servers
def test_another_method_is_refused(server: LocalServer) -> None:
    reply = server.ask("GET", "/score")
    assert (reply.status, reply.body["error"]["field"]) == (405, "method")
    assert server.ask("POST", "/health", b"{}").status == 405


@needs_servers
def test_another_path_is_refused_in_json(server: LocalServer) -> None:
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
        "score_rows_flagged_total": sum(row["is_far"] for row in rows) + after_wrong(server),
        "score_rows_unknown_total": 1,
    }
    labels = f'digest="{digest(model)}",version="{digest(model)[:12]}"'
    assert after["score_model_info{" + labels + "}"] == 1


def counted(found: dict[str, float]) -> list[str]:
    names = ('_requests_total{status="200"}', '_requests_total{status="400"}', "_seconds_count")
    return [name for name in found if name.endswith((*names, "_rows_total"))] + [
        "score_rows_flagged_total",
        "score_rows_unknown_total",
    ]


def after_wrong(server: LocalServer) -> int:
    """Count the flags in the request about an unknown unit."""
    data = server.ask("POST", "/score", wrong(unit="south")).body["data"]
    return sum(bool(row["is_far"]) for row in data)


@needs_servers
def test_the_command_that_is_printed_works(server: LocalServer) -> None:
    text = server.log.read_text(encoding="utf-8").replace("\\\n", "")
    (command,) = (line for line in text.splitlines() if line.startswith("  curl "))
    words = shlex.split(command)
    done = subprocess.run(words, cwd=server.log.parent, capture_output=True, check=True)
    rows = json.loads(done.stdout)["data"]
    assert [row["is_far"] for row in rows].count(True) == 3
    assert len(rows) == 49


@needs_servers
def test_it_listens_on_loopback_only(server: LocalServer) -> None:
    with socket.socket() as other:  # the same port of another address is free
        other.bind(("127.0.0.2", server.port))


@needs_servers
def test_a_connection_can_be_used_again(server: LocalServer) -> None:
    connection = http.client.HTTPConnection(HOST, server.port, timeout=30)
    for body in (b"nothing", body_of(measured(40))):
        connection.request("POST", "/score", body)
        assert connection.getresponse().read()
    connection.close()


@needs_servers
def test_nothing_that_was_sent_is_logged(server: LocalServer) -> None:
    for body in (wrong(unit="patient-17"), b"patient-17"):
        server.ask("POST", "/score", body)
    text = server.log.read_text(encoding="utf-8")
    assert "patient-17" not in text
    assert "POST" not in text


@needs_servers
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "kill"])
def test_a_signal_ends_it_cleanly(own: Path, model: Path, number: int) -> None:
    with served(own, "--model", str(model), "--plain") as server:
        assert server.end(number) == 0
        with pytest.raises(ConnectionRefusedError):
            server.ask("GET", "/health")
    text = server.log.read_text(encoding="utf-8")
    assert "answered by the rolling mean" in text
    assert "Traceback" not in text


@needs_servers
def test_a_server_does_not_start_with_a_model_that_cannot_be_used(
    model: Path, own: Path, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(model, tmp_path / "broken"))
    (broken / "rolling.json").write_bytes(b"no weights")
    write_manifest(broken)
    with (
        pytest.raises(RuntimeError, match=r"serve: .*rolling\.json cannot be read"),
        served(own, "--model", str(broken), "--plain"),
    ):
        pass


@needs_servers
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "online"])
def test_a_server_that_lacks_what_the_scorer_needs_does_not_start(
    model: Path, own: Path, plain: bool
) -> None:
    weights = own / "src/plant/weights.py"
    text = weights.read_text(encoding="utf-8")
    weights.write_text(f"import mlflow\n{text}", encoding="utf-8")  # not in .venv-serve
    with (
        pytest.raises(RuntimeError, match="serve: The server ended with exit status 3"),
        served(own, "--model", str(model), *["--plain"] * plain),
    ):
        pass


@pytest.mark.parametrize("hidden", [None, "gunicorn"], ids=["gunicorn", "uvicorn"])
def test_without_a_scorer_the_stored_champion_is_served_by_this_python(
    ran: Project, tmp_path: Path, hidden: str | None
) -> None:
    """The packages of the training are installed, and an old gunicorn; Azure's server is not."""
    project = Path(shutil.copytree(ran.path, tmp_path / "project", symlinks=True))
    if hidden:
        (tmp_path / "site" / hidden).mkdir(parents=True)
        (tmp_path / "site" / hidden / "__init__.py").touch()  # without a worker for ASGI
    search = f"PYTHONPATH={tmp_path / 'site'}:$PYTHONPATH"
    python = script(tmp_path / "python", f'{search} exec {sys.executable} "$@"')
    with served(project, python=python) as server:
        request = (project / "build/serve/request.json").read_bytes()
        reply, health = server.ask("POST", "/score", request), server.ask("GET", "/health")
        assert server.ask("GET", "/metrics").status == 200
        assert server.end() == 0
    trained = ran.processed("model")
    assert health.body == {"model": {"version": "1", "digest": digest(trained)}}
    recorded = json.loads((trained / "contract.json").read_text(encoding="utf-8"))["answer"]
    assert reply.body["data"] == [pytest.approx(row) for row in recorded]
    assert "answered by the stored model" in server.log.read_text(encoding="utf-8")


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
    said = mlops("serve", "--port", str(free_port()), "--python", str(python))
    assert (said.status, "has no server for the plain application" in said.err) == (2, True)


def test_what_a_killed_process_has_left_is_not_served(ran: Project, tmp_path: Path) -> None:
    left = tmp_path / "served" / "part-of-a-model"
    shutil.copytree(ran.processed("model"), left)
    found = fetch_model("local", None, ran.path, tmp_path)
    assert not left.exists()
    assert [path.parent for path in tmp_path.rglob("contract.json")] == [found.folder]


def test_without_a_champion_it_says_what_to_do(
    project: Project, monkeypatch: pytest.MonkeyPatch, mlops: Command
) -> None:
    monkeypatch.chdir(project.path)
    said = mlops("serve", "--prepare")
    assert said.status == 2
    assert "local has no champion to serve yet" in said.err
    assert "run: kedro run" in said.err


def test_a_model_without_a_contract_is_refused_by_what_it_lacks(
    own: Path, tmp_path: Path, mlops: Command
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/MLmodel").write_text("flavors: {}\n", encoding="utf-8")
    said = mlops("serve", "--prepare", "--model", str(tmp_path / "model"))
    assert (said.status, "it has no contract.json" in said.err) == (2, True)
    (tmp_path / "model/MLmodel").unlink()
    said = mlops("serve", "--prepare", "--model", str(tmp_path / "model"))
    assert (said.status, "is not a model folder: it has no MLmodel" in said.err) == (2, True)
    assert own.is_dir()


def test_a_scorer_that_is_gone_is_named(own: Path, model: Path, mlops: Command) -> None:
    serve_by(own, "plant.gone:load")
    said = mlops("serve", "--prepare", "--model", str(model))
    assert said.status == 2
    assert "plant.gone:load cannot be imported: No module named 'plant.gone'" in said.err


@pytest.mark.usefixtures("own")
def test_a_port_in_use_is_refused(mlops: Command) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        said = mlops("serve", "--port", str(port))
    assert (said.status, f"Port {port} is not available" in said.err) == (2, True)
    assert f"kedro mlops serve --port {port + 1}" in said.err


@pytest.mark.parametrize("port", ["99999", "65536", "0", "-1"])
def test_what_is_no_port_is_refused(own: Path, mlops: Command, port: str) -> None:
    said = mlops("serve", "--port", port)
    assert (said.status, "1<=x<=65535" in said.err) == (2, True)
    assert not (own / "build/serve").exists()


@pytest.mark.parametrize(("port", "other"), [(65534, 65535), (65535, 5001), (99999, 5001)])
def test_another_port_that_is_suggested_exists(
    monkeypatch: pytest.MonkeyPatch, port: int, other: int
) -> None:
    def bind(*_: object) -> None:
        raise OSError("in use")

    monkeypatch.setattr("socket.socket.bind", bind)
    with pytest.raises(OperationError, match=f"--port {other}$"):
        refuse_used(port)


def test_the_last_port_is_a_port(own: Path, mlops: Command) -> None:
    said = mlops("serve", "--port", "65535", "--prepare", "--model", str(own / "none"))
    assert "1<=x<=65535" not in said.err
    assert "is not a model folder" in said.err


def test_a_missing_environment_is_refused(own: Path, model: Path, mlops: Command) -> None:
    said = mlops(
        "serve", "--model", str(model), "--port", str(free_port()), "--python", "none/bin/python"
    )
    assert (said.status, "`make serve` creates it" in said.err) == (2, True)
    assert not (own / "build/serve").exists()


def test_prepare_writes_what_the_image_is_made_of(own: Path, model: Path, mlops: Command) -> None:
    said = mlops("serve", "--prepare", "--model", str(model))
    assert said.status == 0, said.err
    assert digest(own / "build/serve/model/served/1") == digest(model)
    assert (own / "build/serve/code/kedro_azure_mlops/serve/plain.py").is_file()
    assert f"--build-arg MODEL_DIGEST={digest(model)}" in said.out


@needs_servers
def test_a_client_that_sends_slowly_keeps_nobody_waiting(server: LocalServer) -> None:
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
def test_fifty_half_sent_requests_keep_nobody_waiting(server: LocalServer) -> None:
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
def test_what_is_no_request_is_refused_without_a_traceback(server: LocalServer, name: str) -> None:
    sent, status = BROKEN[name]
    assert server.send(sent) == status
    assert "Traceback" not in server.log.read_text(encoding="utf-8")


@needs_servers
@pytest.mark.parametrize("number", range(len(HALF_SENT)))
def test_a_request_that_its_client_cuts_is_a_bad_one(server: LocalServer, number: int) -> None:
    assert server.send(HALF_SENT[number], ends=True) == 400
    assert server.ask("GET", "/health").status == 200


@needs_servers
def test_azures_own_routes_are_answered_by_its_application(
    server: LocalServer, request: pytest.FixtureRequest
) -> None:
    if "plain" in request.node.callspec.id:
        assert server.ask("GET", "/").status == 404
        return
    assert server.ask("GET", "/").text == "Healthy"
    assert "/score" in server.ask("GET", "/swagger.json?version=3").body["paths"]
    asked = server.ask("POST", "/score", body_of(measured(40)), x_ms_client_request_id="mine")
    assert asked.headers["x-ms-client-request-id"] == "mine"
    assert float(asked.headers["x-ms-run-fn-exec-ms"]) > 0


@needs_servers
def test_a_server_has_the_deadline_of_the_environment(own: Path, model: Path) -> None:
    with served(own, "--model", str(model), SERVE_DEADLINE="0.2") as server:
        assert [server.send(sent) for sent in HALF_SENT] == [408] * len(HALF_SENT)


@needs_servers
@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_a_deadline_that_is_none_is_refused(
    own: Path, model: Path, mlops: Command, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("SERVE_DEADLINE", text)
    said = mlops(
        "serve", "--model", str(model), "--port", str(free_port()), "--python", str(PYTHON)
    )
    assert (said.status, f"SERVE_DEADLINE is {text}: it must be" in said.err) == (2, True)
    assert own.is_dir()


@needs_servers
def test_on_an_endpoint_the_entry_script_refuses_what_it_cannot_read(
    own: Path, model: Path, tmp_path: Path
) -> None:
    """There gunicorn calls Azure's application itself, in a process that reads one request."""
    prepared = prepare("local", model, own)
    port, log = free_port(), tmp_path / "log"
    application = "azureml_inference_server_http.server.entry:app"
    settings = ["--bind", f"{HOST}:{port}", "--no-control-socket", "--log-level", "warning"]
    with log.open("wb") as said:
        process = subprocess.Popen(
            [PYTHON, "-m", "gunicorn", *settings, application],
            cwd=prepared.code.folder,
            env=_environment(prepared.code.folder, prepared.model) | {"SERVE_DEADLINE": "0.2"},
            stdout=said,
            stderr=said,
        )
    server = LocalServer(port, log, process)
    try:
        _until_it_listens(process, port)
        assert server.send(BROKEN["malformed_chunk"][0]) == 400
        for sent in HALF_SENT[2:]:
            assert server.send(sent) == 408
            assert server.send(sent, ends=True) == 400
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
    raise RuntimeError("it has ended")


@needs_servers
@pytest.mark.parametrize("changed", [False, True], ids=["whole", "changed"])
def test_the_check_of_the_image_refuses_another_model(
    own: Path, model: Path, mlops: Command, changed: bool
) -> None:
    assert mlops("serve", "--prepare", "--model", str(model)).status == 0
    if changed:
        with (own / "build/serve/model/served/1/rolling.json").open("ab") as file:
            file.write(b"\n")
    done = subprocess.run(
        [PYTHON, "-c", "from kedro_azure_mlops.serve import plain; plain.create()"],
        cwd=own / "build/serve/code",
        env={"AZUREML_MODEL_DIR": "../model", "MODEL_DIGEST": digest(model)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) is changed
    assert ("those that were registered" in done.stderr) is changed
