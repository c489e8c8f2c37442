"""Failures of Azure or the network are retried, or become one clear message."""

import pytest

from kedro_azure_mlops.azure.workspace import without_secrets
from kedro_azure_mlops.testing import StandIn
from tests.plugin.cloud import Command, changes, group, properties, versions
from tests.plugin.helpers import Project

# assembled here, so that scanners do not take it for a real one
JWT = ".".join(("eyJhbGciOiJub25lIn0", "eyJvaWQiOiIxIn0", "Ab-c_d"))
TRIES = 4  # attempts of the clients before they give up


def is_one_block(shown: str) -> bool:
    """Return whether an error is one summary line, followed by indented details."""
    summary, *details = shown.splitlines()
    return summary.startswith("provision: ") and all(
        line[:2] == "  " != line[:3] for line in details
    )


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Azure does not accept it"),
        (401, "Azure does not accept the sign-in"),
        (403, "You do not have permission"),
        (409, "It already exists in another form"),
        (429, "Azure still throttles requests"),
        (500, "The fault is Azure's"),
        (503, "The fault is Azure's"),
    ],
)
def test_an_error_status_becomes_one_block(
    cloud_project: Project, azure: StandIn, mlops: Command, status: int, message: str
):
    azure.fail("GET", f"/workspaces/{azure.workspace}$", status, times=TRIES)

    answer = mlops("provision")

    assert answer.status == 2
    assert answer.err.startswith(
        f"provision: looking for the workspace {azure.workspace}: {message}"
    )
    assert f"({status})" in answer.err
    assert is_one_block(answer.err)


def test_no_connection_becomes_one_block(cloud_project: Project, azure: StandIn, mlops: Command):
    azure.drop("GET", f"/workspaces/{azure.workspace}$", times=TRIES)

    result = mlops("provision")

    assert result.status == 2
    assert "Azure could not be reached, or the connection broke" in result.err
    assert is_one_block(result.err)


def test_a_wrong_secret_becomes_one_block(
    cloud_project: Project, azure: StandIn, mlops: Command, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "mistyped")

    result = mlops("provision")

    assert result.status == 2
    assert "Azure does not accept the service principal that AZURE_CLIENT_ID names" in result.err
    assert "AADSTS7000215" in result.err
    assert "mistyped" not in result.err
    assert is_one_block(result.err)


@pytest.mark.parametrize("status", [429, 500, 503, None])
def test_transient_errors_are_retried(
    cloud_project: Project, azure: StandIn, mlops: Command, status: int | None
):
    for method, pattern in (("GET", "/workspaces/"), ("PUT", "/computes/")):
        if status:
            azure.fail(method, pattern, status, times=2)
        else:
            azure.drop(method, pattern, times=2)

    assert mlops("provision").status == 0
    assert properties(azure, "computes/cpu-cluster")["properties"]["vmSize"] == "Standard_DS3_v2"


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_missing_resource_group_is_reported_with_the_command_that_creates_it(
    cloud_project: Project, azure: StandIn, mlops: Command, options: tuple[str, ...]
):
    azure.resources.clear()

    result = mlops("provision", *options)

    assert result.status == 2
    assert f"az group create --name {azure.resource_group} --location westeurope" in result.err
    assert changes(azure) == []


def test_missing_rights_are_reported_with_the_command_that_grants_them(
    cloud_project: Project, azure: StandIn, mlops: Command
):
    azure.fail("PUT", "/computes/", 403)

    result = mlops("provision")

    assert result.status == 2
    assert "creating the compute cluster cpu-cluster: You do not have permission." in result.err
    assert f"--role Contributor --scope {group(azure)}" in result.err
    assert properties(azure, "computes/cpu-cluster") is None


@pytest.mark.parametrize("status", [403, None])
def test_a_failed_upload_leaves_no_environment(
    cloud_project: Project, azure: StandIn, mlops: Command, status: int | None
):
    if status:
        azure.fail("PUT", "/job.txt$", status)
    else:
        azure.drop("PUT", "/job.txt$", times=TRIES)

    assert mlops("provision").status == 2
    assert versions(azure, "environments") == []

    assert mlops("provision").status == 0
    assert len(versions(azure, "environments")) == 1


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("PUT https://a.blob.core.windows.net/c/x?sv=1&sig=Ab%3D failed", "PUT https://a.blob."),
        (f"token {JWT} expired", "token <token> expired"),
        ("AccountKey=Ab/c+d==;EndpointSuffix=x", "AccountKey=***;EndpointSuffix=x"),
        ("Authorization: Bearer Ab.c", "Authorization: Bearer ***"),
        ("client_secret=Ab~c&grant_type=x", "client_secret=***&grant_type=x"),
    ],
)
def test_secrets_are_not_repeated(message: str, expected: str):
    assert without_secrets(message).startswith(expected)
    assert "Ab" not in without_secrets(message)


@pytest.mark.parametrize(
    "message",
    [
        "(AuthorizationFailed) The client 'x' may not do this.",
        "AADSTS7000215: Invalid client secret provided.",
        "see https://aka.ms/x.",
    ],
)
def test_messages_without_secrets_are_unchanged(message: str):
    assert without_secrets(message) == message
