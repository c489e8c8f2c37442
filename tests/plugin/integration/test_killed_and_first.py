"""First uses of a tracking database at once, what killed processes leave, and faults by cause."""

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


def test_four_first_uses_wait_for_one_another(tmp_path: Path) -> None:
    address = sqlite_address(tmp_path / "mlruns.db")
    words = [sys.executable, "-c", OPEN, address]
    first = [
        subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=new_shell())
        for _ in range(4)
    ]
    said = [process.communicate()[1] for process in first]
    assert [process.returncode for process in first] == [0] * 4, said
    client = mlflow.MlflowClient(address)
    (default,) = client.search_experiments()
    assert default.artifact_location == (tmp_path / "mlartifacts/0").as_uri()
    assert [path.name for path in tmp_path.iterdir()] == ["mlruns.db"], "no lock is left"


def test_what_was_killed_while_it_made_the_database_does_not_stay(
    tmp_path: Path, database: Path
) -> None:
    half = tmp_path / "mlruns.db"
    with contextlib.closing(sqlite3.connect(half)) as made, made:
        made.execute("CREATE TABLE latest_metrics (key TEXT)")
    (tmp_path / "mlruns.db.unfinished").touch()
    (tmp_path / "mlruns.db.lock").touch()
    open_database(sqlite_address(half))
    assert mlflow.MlflowClient(sqlite_address(half)).get_experiment("0").name == "Default"
    assert [path.name for path in tmp_path.iterdir()] == ["mlruns.db"]
    whole = tmp_path / "whole.db"
    shutil.copy(database, whole)
    before = mlflow.MlflowClient(sqlite_address(whole)).create_experiment("kept")
    open_database(sqlite_address(whole))
    assert mlflow.MlflowClient(sqlite_address(whole)).get_experiment(before).name == "kept"


def test_a_deleted_experiment_is_named_with_how_to_restore_it(project: Project) -> None:
    project.run("prepare")
    client = project.client()
    found = client.get_experiment_by_name("plant")
    assert found is not None
    client.delete_experiment(found.experiment_id)
    with pytest.raises(TrackingError, match="The experiment plant was deleted on MLflow") as fault:
        project.run("prepare")
    assert "Start the server" not in str(fault.value)
    assert f"mlflow experiments restore --experiment-id {found.experiment_id}" in str(fault.value)
    with pytest.raises(OperationError, match="experiments restore"):
        open_registry("local", project.path)._store(project.path, {"digest": "d"})
    client.restore_experiment(found.experiment_id)
    project.run("prepare")
    assert len(client.search_runs([found.experiment_id])) == 2


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """A server that answers all requests as the dict says."""
    says: dict[str, object] = {"status": 200, "body": "{}"}

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = str(says["body"]).encode()
            self.send_response(int(str(says["status"])))
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
    yield says
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "advice"),
    [
        (401, "who are you", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        (403, '{"error_code": "PERMISSION_DENIED"}', "These credentials may not do that"),
        (404, "<html>a web page</html>", "That server is not MLflow: check the address"),
        (200, "<html>a web page</html>", "That server is not MLflow: check the address"),
        (500, '{"error_code": "INTERNAL_ERROR"}', "reported an internal error: see its log"),
        (429, "slowly", "The server has too many requests: try again later"),
    ],
)
def test_a_fault_of_the_server_is_reported_by_its_cause(
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
    """A process of this machine that has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        here = Process.here(process.pid)
        assert not here.is_gone()
        process.kill()
        process.wait()
    return here


def test_whether_a_process_is_gone(dead: Process) -> None:
    me = Process.me()
    changed = {"host": "another", "machine": "another", "pid": "unknown", "started": "unknown"}
    assert dead.is_gone()
    assert not me.is_gone()
    assert Process(me.host, me.machine, me.pid, dead.started).is_gone(), "its number came again"
    for name, text in changed.items():
        assert not Process(**vars(me) | {name: text}).is_gone()
    for name in ("host", "machine", "pid"):
        assert not Process(**vars(dead) | {name: changed[name]}).is_gone()
    assert Process.read(me.tags("lock."), "lock.") == me
    assert not Process.read({}).is_gone()


def test_a_process_that_its_parent_has_not_asked_about_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        here = Process.here(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # and it stays a zombie
        assert here.is_gone()


def test_the_next_run_marks_those_of_dead_processes(project: Project, dead: Process) -> None:
    project.run("prepare")
    client = project.client()
    plant = client.get_experiment_by_name("plant")
    assert plant is not None
    (finished,) = client.search_runs([plant.experiment_id])
    assert Process.read(finished.data.tags) == Process.me()
    other = client.create_experiment("a job")
    of = {
        "dead": client.create_run(plant.experiment_id, tags=dead.tags()),
        "dead job": client.create_run(other, tags=dead.tags()),
        "alive": client.create_run(plant.experiment_id, tags=Process.me().tags()),
        "container": client.create_run(
            plant.experiment_id, tags=dead.tags() | {"process.host": "c0ffee"}
        ),
        "by hand": client.create_run(plant.experiment_id),
    }
    project.run("prepare")
    status = {name: client.get_run(run.info.run_id).info.status for name, run in of.items()}
    assert status == {
        "dead": "KILLED",
        "dead job": "KILLED",
        "alive": "RUNNING",
        "container": "RUNNING",
        "by hand": "RUNNING",
    }
    assert client.get_run(of["dead"].info.run_id).info.end_time
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


def test_a_run_that_was_killed_is_killed_in_mlflow_after_the_next_one(project: Project) -> None:
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
