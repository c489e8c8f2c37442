"""Concurrent first uses of a tracking database, killed processes, and causes of faults."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mlflow
import pytest

from kedro_azure_mlops.cli import main
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks.database import open_database
from kedro_azure_mlops.hooks.server import sqlite_address
from kedro_azure_mlops.hooks.tracking import TrackingError
from kedro_azure_mlops.processes import Process
from kedro_azure_mlops.registry import open_registry
from kedro_azure_mlops.registry.interface import Holder, LockedError
from kedro_azure_mlops.registry.on_mlflow import MlflowRegistry
from tests.plugin.helpers import Project, new_shell

OPEN = "import sys; from kedro_azure_mlops.hooks.database import open_database as o; o(sys.argv[1])"


def test_concurrent_first_uses_wait_for_one_another(tmp_path: Path) -> None:
    address = sqlite_address(tmp_path / "mlruns.db")
    command = [sys.executable, "-c", OPEN, address]
    processes = [
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=new_shell())
        for _ in range(4)
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
    client = mlflow.MlflowClient(address)
    (default,) = client.search_experiments()
    assert default.artifact_location == (tmp_path / "mlartifacts/0").as_uri()
    assert [path.name for path in tmp_path.iterdir()] == ["mlruns.db"], "no lock is left"


def test_an_unfinished_database_of_a_killed_process_is_replaced(
    tmp_path: Path, database: Path
) -> None:
    unfinished = tmp_path / "mlruns.db"
    with contextlib.closing(sqlite3.connect(unfinished)) as connection, connection:
        connection.execute("CREATE TABLE latest_metrics (key TEXT)")
    (tmp_path / "mlruns.db.unfinished").touch()
    (tmp_path / "mlruns.db.lock").touch()
    open_database(sqlite_address(unfinished))
    assert mlflow.MlflowClient(sqlite_address(unfinished)).get_experiment("0").name == "Default"
    assert [path.name for path in tmp_path.iterdir()] == ["mlruns.db"]
    complete = tmp_path / "whole.db"
    shutil.copy(database, complete)
    before = mlflow.MlflowClient(sqlite_address(complete)).create_experiment("kept")
    open_database(sqlite_address(complete))
    assert mlflow.MlflowClient(sqlite_address(complete)).get_experiment(before).name == "kept"


def test_a_deleted_experiment_is_reported_with_the_restore_command(project: Project) -> None:
    project.run("prepare")
    client = project.client()
    experiment = client.get_experiment_by_name("plant")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(TrackingError, match="The experiment plant was deleted on MLflow") as fault:
        project.run("prepare")
    assert "Start the server" not in str(fault.value)
    assert f"mlflow experiments restore --experiment-id {experiment.experiment_id}" in str(
        fault.value
    )
    with pytest.raises(OperationError, match="experiments restore"):
        open_registry("local", project.path)._store(project.path, {"digest": "d"})
    client.restore_experiment(experiment.experiment_id)
    project.run("prepare")
    assert len(client.search_runs([experiment.experiment_id])) == 2


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """A server that answers all requests with the status and body in the dict."""
    reply: dict[str, object] = {"status": 200, "body": "{}"}

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = str(reply["body"]).encode()
            self.send_response(int(str(reply["status"])))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    yield reply
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "advice"),
    [
        (401, "who are you", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        (403, '{"error_code": "PERMISSION_DENIED"}', "These credentials lack permission"),
        (404, "<html>a web page</html>", "That server is not MLflow: check the address"),
        (200, "<html>a web page</html>", "That server is not MLflow: check the address"),
        (500, '{"error_code": "INTERNAL_ERROR"}', "reported an internal error: see its log"),
        (429, "slowly", "The server has too many requests: try again later"),
    ],
)
def test_the_cause_of_a_server_fault_is_reported(
    project: Project, answering: dict[str, object], status: int, body: str, advice: str
) -> None:
    answering |= {"status": status, "body": body}
    with pytest.raises(TrackingError) as fault:
        project.run("prepare")
    assert advice in str(fault.value)
    assert "Start the server" not in str(fault.value)
    assert "No run was started" in str(fault.value)
    with pytest.raises(OperationError, match=r"Check registry\.uri") as fault_of_registry:
        open_registry("local", project.path).versions()
    assert advice in str(fault_of_registry.value)


@pytest.fixture
def dead() -> Process:
    """A process on this machine that has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        recorded = Process.here(process.pid)
        assert not recorded.is_gone()
        process.kill()
        process.wait()
    return recorded


def test_only_ended_processes_of_this_machine_are_gone(dead: Process) -> None:
    own = Process.me()
    changed = {"host": "another", "machine": "another", "pid": "unknown", "started": "unknown"}
    assert dead.is_gone()
    assert not own.is_gone()
    assert Process(own.host, own.machine, own.pid, dead.started).is_gone(), "its PID was reused"
    for name, text in changed.items():
        assert not Process(**vars(own) | {name: text}).is_gone()
    for name in ("host", "machine", "pid"):
        assert not Process(**vars(dead) | {name: changed[name]}).is_gone()
    assert Process.read(own.tags("lock."), "lock.") == own
    assert not Process.read({}).is_gone()


def test_a_zombie_process_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        recorded = Process.here(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # leaves it a zombie
        assert recorded.is_gone()


def test_the_next_run_marks_runs_of_dead_processes_as_killed(
    project: Project, dead: Process
) -> None:
    project.run("prepare")
    client = project.client()
    plant = client.get_experiment_by_name("plant")
    assert plant is not None
    (finished,) = client.search_runs([plant.experiment_id])
    assert Process.read(finished.data.tags) == Process.me()
    other = client.create_experiment("a job")
    runs = {
        "dead": client.create_run(plant.experiment_id, tags=dead.tags()),
        "dead job": client.create_run(other, tags=dead.tags()),
        "alive": client.create_run(plant.experiment_id, tags=Process.me().tags()),
        "container": client.create_run(
            plant.experiment_id, tags=dead.tags() | {"process.host": "c0ffee"}
        ),
        "manual": client.create_run(plant.experiment_id),
    }
    project.run("prepare")
    status = {name: client.get_run(run.info.run_id).info.status for name, run in runs.items()}
    assert status == {
        "dead": "KILLED",
        "dead job": "KILLED",
        "alive": "RUNNING",
        "container": "RUNNING",
        "manual": "RUNNING",
    }
    assert client.get_run(runs["dead"].info.run_id).info.end_time
    assert client.get_run(finished.info.run_id).info.status == "FINISHED"


STOP_AFTER_BEGIN = """
import os, signal
from kedro_azure_mlops.hooks.tracking import MlflowTracking

begin = MlflowTracking.begin

def begin_and_die(self, *arguments):
    begin(self, *arguments)
    os.kill(os.getpid(), signal.SIGKILL)

MlflowTracking.begin = begin_and_die
from kedro.framework.cli import main
import sys
sys.argv = ["kedro", "run", "--pipelines", "prepare"]
main()
"""


def test_mlflow_shows_a_killed_run_as_killed_after_the_next_run(project: Project) -> None:
    killed = project.python("-c", STOP_AFTER_BEGIN)
    assert killed.returncode == -9, killed.stderr
    client = project.client()
    plant = client.get_experiment_by_name("plant")
    assert plant is not None
    (run,) = client.search_runs([plant.experiment_id])
    assert run.info.status == "RUNNING"
    project.run("prepare")
    newest, first = client.search_runs([plant.experiment_id])
    assert (newest.info.status, first.info.status) == ("FINISHED", "KILLED")
    assert first.info.run_id == run.info.run_id


def locked_by(process: Process, registry: MlflowRegistry) -> Holder:
    holder = Holder("a token", "ada on here", "2026-01-01", "a promotion", process)
    registry._client.create_registered_model(registry._lock, tags=holder.tags())
    return holder


def test_the_lock_of_a_dead_process_is_taken_over(
    ran: Project, dead: Process, caplog: pytest.LogCaptureFixture
) -> None:
    registry = open_registry("local", ran.path)
    assert isinstance(registry, MlflowRegistry)
    locked_by(dead, registry)
    with registry.locked("a test") as lock:
        lock.check()
        holder = registry.holder()
        assert holder is not None
        assert holder.process == Process.me()
    assert "The lock left by ada on here, since 2026-01-01, for a promotion is taken over" in (
        caplog.text
    )
    assert registry.holder() is None


@pytest.mark.parametrize("change", [{"host": "another"}, {"pid": "unknown"}, None])
def test_the_lock_of_any_other_process_stays(
    ran: Project, dead: Process, change: dict[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ran.path)
    registry = open_registry("local", ran.path)
    assert isinstance(registry, MlflowRegistry)
    process = Process(**vars(dead) | change) if change else Process.me()
    locked_by(process, registry)
    with pytest.raises(LockedError, match=r"ada on here.*--clear-lock"), registry.locked("a test"):
        pass
    assert registry.holder() is not None
    assert main(["promote", "--env", "local", "--clear-lock"]) == 0
    assert registry.holder() is None
