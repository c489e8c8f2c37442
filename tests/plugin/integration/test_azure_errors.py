"""Failures in Azure or on the way become one sentence, or are tried again."""

import pytest

from kedro_azure_mlops.azure.workspace import without_secrets
from kedro_azure_mlops.testing import StandIn
from tests.plugin.cloud import Command, changes, found, group, versions
from tests.plugin.helpers import Project

# put together here, so that it is not taken for a real one
JWT = ".".join(("eyJhbGciOiJub25lIn0", "eyJvaWQiOiIxIn0", "Ab-c_d"))
TRIES = 4  # that the clients make before they give up


def is_one_block(shown: str) -> bool:
    """Return whether an error is what happened and, indented, what else a person should know."""
    what, *details = shown.splitlines()
    return what.startswith("provision: ") and all(line[:2] == "  " != line[:3] for line in details)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "Azure does not accept it"),
        (401, "Azure does not accept the sign-in"),
        (403, "You may not do that"),
        (409, "It already exists in another form"),
        (429, "Azure still throttles requests"),
        (500, "The fault is Azure's"),
        (503, "The fault is Azure's"),
    ],
)
def test_a_refusal_becomes_one_block(
    cloud_project: Project, azure: StandIn, mlops: Command, status: int, said: str
):
    azure.fail("GET", f"/workspaces/{azure.workspace}$", status, times=TRIES)

    answer = mlops("provision")

    assert answer.status == 2
    assert answer.err.startswith(f"provision: looking for the workspace {azure.workspace}: {said}")
    assert f"({status})" in answer.err
    assert is_one_block(answer.err)


def test_no_connection_becomes_one_block(cloud_project: Project, azure: StandIn, mlops: Command):
    azure.drop("GET", f"/workspaces/{azure.workspace}$", times=TRIES)

    said = mlops("provision")

    assert said.status == 2
    assert "Azure could not be reached, or the connection broke" in said.err
    assert is_one_block(said.err)


def test_a_wrong_secret_becomes_one_block(
    cloud_project: Project, azure: StandIn, mlops: Command, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "mistyped")

    said = mlops("provision")

    assert said.status == 2
    assert "Azure does not accept the service principal that AZURE_CLIENT_ID names" in said.err
    assert "AADSTS7000215" in said.err
    assert "mistyped" not in said.err
    assert is_one_block(said.err)


@pytest.mark.parametrize("status", [429, 500, 503, None])
def test_what_passes_is_tried_again(
    cloud_project: Project, azure: StandIn, mlops: Command, status: int | None
):
    for method, pattern in (("GET", "/workspaces/"), ("PUT", "/computes/")):
        if status:
            azure.fail(method, pattern, status, times=2)
        else:
            azure.drop(method, pattern, times=2)

    assert mlops("provision").status == 0
    assert found(azure, "computes/cpu-cluster")["properties"]["vmSize"] == "Standard_DS3_v2"


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_missing_resource_group_is_named_with_the_command(
    cloud_project: Project, azure: StandIn, mlops: Command, options: tuple[str, ...]
):
    azure.resources.clear()

    said = mlops("provision", *options)

    assert said.status == 2
    assert f"az group create --name {azure.resource_group} --location westeurope" in said.err
    assert changes(azure) == []


def test_missing_rights_are_named_with_the_command(
    cloud_project: Project, azure: StandIn, mlops: Command
):
    azure.fail("PUT", "/computes/", 403)

    said = mlops("provision")

    assert said.status == 2
    assert "creating the compute cluster cpu-cluster: You may not do that." in said.err
    assert f"--role Contributor --scope {group(azure)}" in said.err
    assert found(azure, "computes/cpu-cluster") is None


@pytest.mark.parametrize("status", [403, None])
def test_an_upload_that_fails_leaves_no_environment(
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
    ("said", "shown"),
    [
        ("PUT https://a.blob.core.windows.net/c/x?sv=1&sig=Ab%3D failed", "PUT https://a.blob."),
        (f"token {JWT} expired", "token <token> expired"),
        ("AccountKey=Ab/c+d==;EndpointSuffix=x", "AccountKey=***;EndpointSuffix=x"),
        ("Authorization: Bearer Ab.c", "Authorization: Bearer ***"),
        ("client_secret=Ab~c&grant_type=x", "client_secret=***&grant_type=x"),
    ],
)
def test_secrets_are_not_repeated(said: str, shown: str):
    assert without_secrets(said).startswith(shown)
    assert "Ab" not in without_secrets(said)


@pytest.mark.parametrize(
    "said",
    [
        "(AuthorizationFailed) The client 'x' may not do this.",
        "AADSTS7000215: Invalid client secret provided.",
        "see https://aka.ms/x.",
    ],
)
def test_what_holds_no_secret_is_repeated(said: str):
    assert without_secrets(said) == said
