"""As whom Azure is asked: a job's identity, else a service principal, else the user."""

import os
import sys
from pathlib import Path

import pytest

from operation.azureml.identity import OF_JOB, credential
from operation.errors import OperationError

JOB = dict.fromkeys(OF_JOB, "x")
PRINCIPAL = {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c"}


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AZURE", "OBO_", "MSI_"))]:
        monkeypatch.delenv(name)


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    file = tmp_path / "token"
    file.write_text("token", encoding="utf-8")
    return str(file)


def kind() -> str:
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
    ],
    ids=["user", "tenant", "not-defined", "secret", "job", "job-first", "job-as-user"],
)
def test_who_asks(monkeypatch, variables, expected):
    set_all(monkeypatch, variables)

    assert kind() == expected


def test_a_federated_token_signs_in(monkeypatch, token_file):
    set_all(monkeypatch, PRINCIPAL | {"AZURE_FEDERATED_TOKEN_FILE": token_file})

    assert kind() == "WorkloadIdentityCredential"


def test_a_federated_token_must_be_there(monkeypatch, tmp_path):
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
def test_a_half_set_service_principal_is_refused(monkeypatch, variables, missing):
    set_all(monkeypatch, variables)

    with pytest.raises(OperationError, match="half set") as refused:
        credential()

    assert missing in str(refused.value)


def test_without_the_azure_set_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "azure.ai.ml", None)

    with pytest.raises(OperationError, match=r"is not installed here, type: make azure"):
        credential()
