"""The identity for Azure: a job, else a service principal, else a CI run, else the user."""

import os
import sys
from pathlib import Path

import pytest

from kedro_azure_mlops.azure.identity import OF_JOB, credential
from kedro_azure_mlops.errors import OperationError

JOB = dict.fromkeys(OF_JOB, "x")
PRINCIPAL = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c"}
SECRET = PRINCIPAL | {"AZURE_CLIENT_SECRET": "s"}
CONNECTION = {
    "AZURESUBSCRIPTION_TENANT_ID": "t",
    "AZURESUBSCRIPTION_CLIENT_ID": "c",
    "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": "connection",
}
AGENT = {"SYSTEM_ACCESSTOKEN": "a", "SYSTEM_OIDCREQUESTURI": "https://dev.azure.com/oidc"}
AZURE_PIPELINES = CONNECTION | AGENT
IN_GITHUB = {"GITHUB_ACTIONS": "true"}
GITHUB = IN_GITHUB | {
    "ACTIONS_ID_TOKEN_REQUEST_URL": "https://pipelines.actions.githubusercontent.com/1?v=2",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "a",
}


@pytest.fixture(autouse=True)
def _without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    prefixes = ("AZURE", "OBO_", "MSI_", "SYSTEM_", "GITHUB_", "ACTIONS_")
    for name in [name for name in os.environ if name.startswith(prefixes)]:
        monkeypatch.delenv(name)


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    file = tmp_path / "token"
    file.write_text("token", encoding="utf-8")
    return str(file)


def credential_type() -> str:
    return type(credential()).__name__


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "ChainedTokenCredential"),
        ({"AZURE_TENANT_ID": "t"}, "ChainedTokenCredential"),
        ({"AZURE_CLIENT_SECRET": "$(secret)"}, "ChainedTokenCredential"),
        (PRINCIPAL | {"AZURE_CLIENT_SECRET": "s"}, "ClientSecretCredential"),
        (JOB, "ManagedIdentityCredential"),
        (JOB | PRINCIPAL | {"AZURE_CLIENT_SECRET": "s"}, "ManagedIdentityCredential"),
        (JOB | {"OBO_ENDPOINT": "http://127.0.0.1/token"}, "AzureMLOnBehalfOfCredential"),
        (AZURE_PIPELINES, "AzurePipelinesCredential"),
        (AZURE_PIPELINES | PRINCIPAL, "AzurePipelinesCredential"),
        (AZURE_PIPELINES | SECRET, "ClientSecretCredential"),
        (AZURE_PIPELINES | JOB, "ManagedIdentityCredential"),
        (AGENT, "ChainedTokenCredential"),
        (GITHUB | PRINCIPAL, "ClientAssertionCredential"),
        (GITHUB | SECRET, "ClientSecretCredential"),
        (GITHUB, "ChainedTokenCredential"),
        (IN_GITHUB | {"AZURE_TENANT_ID": "t"}, "ChainedTokenCredential"),
    ],
    ids=[
        *("user", "tenant", "not-defined", "secret", "job", "job-first", "job-as-user"),
        *("azure-pipelines", "connection-before-half", "secret-before-connection"),
        *("job-before-connection", "agent-without-connection"),
        *("github", "secret-before-github", "github-without-azure", "github-tenant"),
    ],
)
def test_the_variables_select_the_credential(monkeypatch, variables, expected):
    set_all(monkeypatch, variables)

    assert credential_type() == expected


def test_a_federated_token_file_is_used(monkeypatch, token_file):
    set_all(monkeypatch, PRINCIPAL | {"AZURE_FEDERATED_TOKEN_FILE": token_file})

    assert credential_type() == "WorkloadIdentityCredential"


def test_a_federated_token_file_must_exist(monkeypatch, tmp_path):
    set_all(monkeypatch, PRINCIPAL | {"AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "none")})

    with pytest.raises(OperationError, match="AZURE_FEDERATED_TOKEN_FILE names a file that"):
        credential()


@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        (PRINCIPAL, "but not one of AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH"),
        ({"AZURE_CLIENT_ID": "c"}, "but not AZURE_TENANT_ID and one of AZURE_CLIENT_SECRET"),
        ({"AZURE_CLIENT_SECRET": "s"}, "but not AZURE_TENANT_ID and AZURE_CLIENT_ID"),
        (PRINCIPAL | {"AZURE_CLIENT_SECRET": "$(secret)"}, "but not one of AZURE_CLIENT_SECRET"),
    ],
)
def test_an_incomplete_service_principal_is_rejected(monkeypatch, variables, missing):
    set_all(monkeypatch, variables)

    with pytest.raises(OperationError, match="incomplete") as refusal:
        credential()

    assert missing in str(refusal.value)


@pytest.mark.parametrize("missing", AZURE_PIPELINES)
def test_an_incomplete_service_connection_names_the_missing_setting(monkeypatch, missing):
    set_all(monkeypatch, {k: v for k, v in AZURE_PIPELINES.items() if k != missing})
    advice = {"SYSTEM_ACCESSTOKEN": "write SYSTEM_ACCESSTOKEN: $(System.AccessToken) under env"}
    advice["SYSTEM_OIDCREQUESTURI"] = "in a step of AzureCLI@2"

    with pytest.raises(OperationError, match=f"incomplete: there is no {missing}") as refusal:
        credential()

    assert advice.get(missing, "workload identity federation") in str(refusal.value)


def test_an_unmapped_access_token_counts_as_missing(monkeypatch):
    set_all(monkeypatch, AZURE_PIPELINES | {"SYSTEM_ACCESSTOKEN": "$(System.AccessToken)"})

    with pytest.raises(OperationError, match="there is no SYSTEM_ACCESSTOKEN"):
        credential()


@pytest.mark.parametrize(
    ("variables", "advice"),
    [
        (IN_GITHUB | PRINCIPAL, "Give the job permissions: id-token: write"),
        (GITHUB | {"AZURE_TENANT_ID": "t"}, "there is no AZURE_CLIENT_ID. Define it as a variable"),
        (GITHUB | {"AZURE_CLIENT_ID": "c"}, "there is no AZURE_TENANT_ID. Define it as a variable"),
    ],
    ids=["no-permission", "no-client", "no-tenant"],
)
def test_an_incomplete_github_job_names_the_missing_setting(monkeypatch, variables, advice):
    set_all(monkeypatch, variables)

    with pytest.raises(OperationError) as refusal:
        credential()

    assert advice in str(refusal.value)


def test_a_missing_azure_extra_is_reported_with_its_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "azure.ai.ml", None)

    with pytest.raises(OperationError, match=r"is not installed here\. Install the extra azure"):
        credential()
