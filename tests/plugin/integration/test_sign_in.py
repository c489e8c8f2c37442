"""A CI run signs in to Azure: it exchanges a token of the CI system for one of Azure."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from kedro_azure_mlops.azure.workspace import azure_errors, workspace
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.testing import StandIn, login
from tests.plugin.helpers import Project


class TokenServer(ThreadingHTTPServer):
    """GitHub's and Azure DevOps' endpoints for tokens; each token has a number."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.issued: list[str] = []
        self.faults: list[int] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: TokenServer

    def do_GET(self) -> None:
        query = self._query()
        is_valid = query == {"api-version": "2.0", "audience": "api://AzureADTokenExchange"}
        self._send_token(is_valid and self.headers["Authorization"] == "Bearer of github", "value")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_valid = self._query() == {"api-version": "7.1", "serviceConnectionId": "connection"}
        self._send_token(
            is_valid and self.headers["Authorization"] == "Bearer of the agent", "oidcToken"
        )

    def _query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}

    def _send_token(self, is_valid: bool, name: str) -> None:
        status = self.server.faults.pop(0) if self.server.faults else 200 if is_valid else 403
        token = f"{name}-{len(self.server.issued)}"
        if status == 200:
            self.server.issued.append(token)
        body = json.dumps({name: token} if status == 200 else {}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Do not log."""


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    """A token server on a free port."""
    with TokenServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def in_github(patch: pytest.MonkeyPatch, tokens: TokenServer) -> None:
    """Make this process look like a job of GitHub; tenant and client are already set."""
    patch.delenv("AZURE_CLIENT_SECRET")
    patch.setenv("GITHUB_ACTIONS", "true")
    patch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{tokens.address}/job?api-version=2.0")
    patch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of github")


def in_azure_pipelines(patch: pytest.MonkeyPatch, tokens: TokenServer) -> None:
    """Make this process look like a step of AzureCLI@2."""
    for name in ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"):
        patch.delenv(name)
    patch.setenv("AZURESUBSCRIPTION_TENANT_ID", login.TENANT)
    patch.setenv("AZURESUBSCRIPTION_CLIENT_ID", login.CLIENT)
    patch.setenv("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", "connection")
    patch.setenv("SYSTEM_ACCESSTOKEN", "of the agent")
    patch.setenv("SYSTEM_OIDCREQUESTURI", f"{tokens.address}/job")


WAYS = pytest.mark.parametrize(
    ("way", "name"),
    [(in_github, "value"), (in_azure_pipelines, "oidcToken")],
    ids=["github", "azure-pipelines"],
)


def assertions_sent(azure: StandIn) -> list[str]:
    """Return the assertions sent to the login, in order."""
    requests = [r for r in azure.requests if r.path.endswith("/oauth2/v2.0/token")]
    return [parse_qs(r.body.decode())["client_assertion"][0] for r in requests]


def proofs(azure: StandIn) -> list[str]:
    """Return the assertions behind the tokens sent to Resource Manager, in order."""
    requests = [r for r in azure.requests if r.host == "management.azure.com"]
    tokens = [r.headers["authorization"].removeprefix("Bearer ") for r in requests]
    return [str(login.claims_of(token)["proof"]) for token in tokens]


@WAYS
def test_a_token_of_the_ci_system_signs_in_to_azure(
    cloud_project: Project,
    azure: StandIn,
    tokens: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
    way: Any,
    name: str,
) -> None:
    way(monkeypatch, tokens)
    client = workspace("dev")
    for _ in range(2):
        assert client.workspaces.get(azure.workspace).location == "westeurope"
    assert assertions_sent(azure) == [f"{name}-0"]
    assert proofs(azure) == [f"{name}-0"] * 2


@WAYS
def test_a_new_ci_token_is_requested_when_the_azure_token_has_expired(
    cloud_project: Project,
    azure: StandIn,
    tokens: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
    way: Any,
    name: str,
) -> None:
    way(monkeypatch, tokens)
    monkeypatch.setattr(login, "LIFETIME", 0)
    client = workspace("dev")
    for _ in range(2):
        client.workspaces.get(azure.workspace)
    assert len(tokens.issued) >= 2
    assert assertions_sent(azure) == tokens.issued
    assert len(set(proofs(azure))) == 2


@WAYS
def test_without_a_token_of_the_ci_system_the_sign_in_fails(
    cloud_project: Project,
    azure: StandIn,
    tokens: TokenServer,
    monkeypatch: pytest.MonkeyPatch,
    way: Any,
    name: str,
) -> None:
    way(monkeypatch, tokens)
    tokens.faults += [403] * 8
    with pytest.raises(OperationError) as refused, azure_errors("asking for the workspace"):
        workspace("dev").workspaces.get(azure.workspace)
    assert "of the agent" not in str(refused.value)
    assert "of github" not in str(refused.value)
    assert assertions_sent(azure) == proofs(azure) == []


def test_transient_errors_of_github_are_retried(
    cloud_project: Project, azure: StandIn, tokens: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib3.util.retry.time.sleep", lambda _: None)
    in_github(monkeypatch, tokens)
    tokens.faults += [503, 502]
    workspace("dev").workspaces.get(azure.workspace)
    assert proofs(azure) == ["value-0"]
