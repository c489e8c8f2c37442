"""Seeded secrets appear neither in the output of a command nor in what it stores."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from string import ascii_lowercase
from subprocess import CompletedProcess
from typing import Any

import pytest

from kedro_azure_mlops.testing import StandIn
from kedro_azure_mlops.testing.messages import Answer, Request, ServiceError
from tests.plugin.helpers import Project
from tests.plugin.mlflow_server import free_port
from tests.plugin.seeds import JWT, PASSWORD, SAS, SIGNATURE, random_text

NO_RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Do not log."""


@pytest.fixture(params=[True, False], ids=["with_plugin_run", "with_kedros_run"])
def any_project(request: pytest.FixtureRequest, project: Project) -> Project:
    """A project with the plugin's ``kedro run``, like the template's, or with Kedro's own."""
    return with_plugin_run(project) if request.param else project


def with_plugin_run(project: Project) -> Project:
    """Make a project use the plugin's ``kedro run``."""
    text = "from kedro_azure_mlops.cli.run import cli\n"
    (project.path / "src" / "plant" / "cli.py").write_text(text, encoding="utf-8")
    return project


@pytest.fixture
def signed_url(project: Project) -> Iterator[str]:
    """The signed URL of the project's raw data on a server."""
    handler = partial(_Quiet, directory=str(project.path / "data/raw"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hours.csv?{SAS}"
        server.shutdown()
        thread.join()


def output_of(process: CompletedProcess[str]) -> str:
    return process.stdout + process.stderr


def files_with(seed: str, project: Project) -> list[str]:
    """Return the files of a project that contain a secret, including MLflow's database."""
    folders = ("data", "build", "mlartifacts", "mlruns.db", "mlruns.db-wal")
    roots = [project.path / name for name in folders]
    files = [file for root in roots for file in (root, *root.rglob("*")) if file.is_file()]
    return [file.as_posix() for file in files if seed.encode() in file.read_bytes()]


def add_to_clean(project: Project, lines: str) -> None:
    """Insert lines at the start of the first node."""
    nodes = project.path / "src" / "plant" / "nodes.py"
    text = nodes.read_text(encoding="utf-8")
    start = text.index("    clean = raw.dropna()")
    nodes.write_text(text[:start] + lines + text[start:], encoding="utf-8")


def test_the_signature_of_a_readable_url_is_stored_nowhere(
    any_project: Project, signed_url: str
) -> None:
    project = any_project
    ran = project.kedro("run", "--params", f"raw_file={signed_url}")
    assert ran.returncode == 0, output_of(ran)
    assert SIGNATURE not in output_of(ran)
    assert files_with(SIGNATURE[:20], project) == []
    hidden = signed_url.replace(SIGNATURE, "***")
    client = project.client()
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert run.data.params["raw_file"] == hidden
    assert hidden in run.data.tags["kedro.params"]
    (version,) = client.search_model_versions()
    assert hidden in version.tags["parameters"]


def test_parameters_with_secret_names_are_hidden_everywhere(project: Project) -> None:
    """In a file or as an option, in no known form: only the name reveals the secret."""
    words = {
        name: random_text(14, ascii_lowercase) for name in ("password", "access_token", "user")
    }
    project.configure(
        "local",
        "parameters_warehouse.yml",
        f"warehouse:\n  password: {words['password']}\n  user: {words['user']}\n"
        "  access_token: none\n",
    )
    params = f"warehouse.access_token={words['access_token']}"
    ran = project.kedro("run", "--params", params)
    assert ran.returncode == 0, output_of(ran)
    hidden = {"password": "***", "access_token": "***", "user": words["user"]}
    client = project.client()
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    recorded = {name: run.data.params[f"warehouse.{name}"] for name in hidden}
    assert recorded == hidden
    assert "warehouse.access_token=***" in run.data.tags["kedro.params"]
    (version,) = client.search_model_versions()
    assert json.loads(version.tags["parameters"])["warehouse"] == hidden
    for name in ("password", "access_token"):
        assert words[name] not in output_of(ran)
        assert files_with(words[name], project) == []
    assert files_with(words["user"], project)


def test_the_signature_of_an_unreadable_url_is_stored_nowhere(any_project: Project) -> None:
    address = f"http://127.0.0.1:{free_port()}/x.csv"
    ran = any_project.kedro("run", "--params", f"raw_file={address}?{SAS}")
    assert ran.returncode in {1, 2}
    assert "127.0.0.1" in output_of(ran)
    ran = any_project.kedro("run", "--params", f"raw_file=data/raw/{SAS}")
    assert ran.returncode in {1, 2}
    assert SAS.replace(SIGNATURE, "***").split("&")[-1] in output_of(ran)
    assert SIGNATURE[:20] not in output_of(ran)
    assert files_with(SIGNATURE[:20], any_project) == []


@pytest.mark.parametrize(
    "command", [("-m", "kedro", "run"), ("-m", "kedro_azure_mlops", "champion", "--env", "dev")]
)
def test_the_password_of_a_tracking_server_is_not_repeated(
    project: Project, command: tuple[str, ...]
) -> None:
    port = free_port()
    uri = f"http://mlflow:{PASSWORD}@127.0.0.1:{port}"
    ran = with_plugin_run(project).python(*command, MLFLOW_TRACKING_URI=uri, **NO_RETRIES)
    assert ran.returncode == 2
    assert f"http://mlflow:***@127.0.0.1:{port}" in ran.stderr
    assert PASSWORD not in output_of(ran)


def test_a_crash_shows_its_traceback_without_the_secret(project: Project) -> None:
    add_to_clean(
        project,
        f'    raise RuntimeError("cannot open DefaultEndpointsProtocol=https;{CONNECTION}")\n',
    )
    ran = project.kedro("run")
    assert ran.returncode == 1
    assert "in clean" in ran.stderr
    assert "RuntimeError: cannot open DefaultEndpointsProtocol=https;AccountName=x" in ran.stderr
    assert ACCOUNT_KEY[:20] not in ran.stdout
    lines = [line for line in ran.stderr.splitlines() if ACCOUNT_KEY[:20] in line]
    assert lines == []
    assert files_with(ACCOUNT_KEY[:20], project) == []


ACCOUNT_KEY = random_text(86) + "=="
KEY_LINES = (
    "-----BEGIN " + "PRIVATE KEY-----",
    random_text(64),
    random_text(30),
    "-----END " + "PRIVATE KEY-----",
)
CONNECTION = f"AccountName=x;AccountKey={ACCOUNT_KEY}"


def test_a_connection_string_is_not_repeated(project: Project) -> None:
    """A malformed one, and one that is used as a path."""
    variables = {"AZURE_STORAGE_CONNECTION_STRING": f"AccountKey={ACCOUNT_KEY};Broken"}
    for path in ("abfs://raw/x.csv", CONNECTION):
        ran = project.kedro("run", "--params", f"raw_file={path}", **variables)
        assert ran.returncode in {1, 2}
        assert ran.stderr
        assert ACCOUNT_KEY[:20] not in output_of(ran)
    assert files_with(ACCOUNT_KEY[:20], project) == []


@pytest.mark.parametrize("command", ["doctor", "submit"])
def test_a_token_in_a_message_of_azure_is_not_repeated(
    cloud_project: Project, azure: StandIn, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(request: Request) -> Answer:
        if request.host.startswith("login."):
            return answer(request)
        raise ServiceError(403, f"The token {JWT} of Bearer {PASSWORD} may not, says the stand-in.")

    answer = azure._proxy.answer
    monkeypatch.setattr(azure._proxy, "answer", refuse)
    ran = cloud_project.mlops(command, "--env", "dev")
    assert ran.returncode in {1, 2}
    assert "may not, says the stand-in" in output_of(ran)
    assert JWT.split(".")[1] not in output_of(ran)
    assert PASSWORD not in output_of(ran)
    assert files_with(JWT.split(".")[1], cloud_project) == []


def test_a_client_secret_is_not_repeated(cloud_project: Project) -> None:
    wrong = f"mis{PASSWORD}typed"
    ran = cloud_project.mlops("doctor", "--env", "dev", AZURE_CLIENT_SECRET=wrong)
    assert ran.returncode == 1
    assert "AADSTS7000215" in ran.stdout
    assert PASSWORD not in output_of(ran)


def test_the_output_of_a_step_is_printed_without_secrets(project: Project) -> None:
    """For ``local``: the output of the step, its log, and the part repeated at the end."""
    lines = (
        f'    import sys\n    sys.__stdout__.write("plain AccountKey={ACCOUNT_KEY}\\n")'
        f"\n    for line in {KEY_LINES}:\n        sys.__stdout__.write(line + chr(10))"
        f'\n    raise RuntimeError("token {JWT}")\n'
    )
    add_to_clean(project, lines)
    ran = project.mlops("local", "--env", "dev")
    assert ran.returncode == 1, output_of(ran)
    assert "plain AccountKey=***" in output_of(ran)
    assert "token ***" in output_of(ran)
    assert f"{KEY_LINES[-1]}" in output_of(ran)
    for seed in (ACCOUNT_KEY, JWT.split(".")[1], *KEY_LINES[1:3]):
        assert seed[:20] not in output_of(ran)
    logs = list((project.path / "build/local").rglob("log.txt"))
    assert logs
    logged = "".join(log.read_text(encoding="utf-8") for log in logs)
    assert "plain AccountKey=***" in logged
    assert f"{KEY_LINES[0]} *** {KEY_LINES[-1]}\n" in logged
    assert not any(seed in logged for seed in (ACCOUNT_KEY[:20], *KEY_LINES[1:3]))
