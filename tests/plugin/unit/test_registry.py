from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException, RestException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND, INTERNAL_ERROR

from kedro_azure_mlops.registry.versions import (
    find_champion,
    make_champion,
    register,
    version_of_digest,
)

NAME = "model"
_ALIAS_CALLS = ("get_model_version_by_alias", "set_registered_model_alias")


@pytest.fixture
def client(database: Path, tmp_path: Path) -> mlflow.MlflowClient:
    """A registry with two versions and no champion."""
    copy = tmp_path / "mlruns.db"
    copy.write_bytes(database.read_bytes())
    client = mlflow.MlflowClient(f"sqlite:///{copy.as_posix()}")
    run = client.create_run("0").info
    for digest in ("one", "two"):
        register(client, NAME, f"{run.artifact_uri}/model", run.run_id, {"digest": digest})
    return client


def fail(
    client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch, error: MlflowException
) -> None:
    """Make the calls about aliases fail."""

    def answer(*_: Any) -> None:
        raise error

    for name in _ALIAS_CALLS:
        monkeypatch.setattr(client, name, answer)


@pytest.fixture
def no_aliases(client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(client, monkeypatch, MlflowException("404", ENDPOINT_NOT_FOUND))


def champion(client: mlflow.MlflowClient) -> str | None:
    version = find_champion(client, NAME)
    return str(version.version) if version else None


def test_a_version_is_found_by_the_digest_of_its_files(client: mlflow.MlflowClient) -> None:
    assert version_of_digest(client, NAME, "one") == "1"
    assert version_of_digest(client, NAME, "three") is None
    assert version_of_digest(client, "none", "one") is None


def test_the_newest_version_with_the_same_files_is_found(client: mlflow.MlflowClient) -> None:
    source = client.get_model_version(NAME, "1")
    register(client, NAME, source.source, source.run_id, {"digest": "one"})
    assert version_of_digest(client, NAME, "one") == "3"


def test_the_champion_has_the_alias_but_no_tag(client: mlflow.MlflowClient) -> None:
    assert champion(client) is None
    make_champion(client, NAME, "1")
    assert champion(client) == "1"
    make_champion(client, NAME, "2")
    assert champion(client) == "2"
    assert "champion" not in client.get_model_version(NAME, "2").tags


@pytest.mark.parametrize("aliases", [True, False], ids=["aliases", "tags"])
def test_a_version_records_when_and_how_it_became_champion(
    client: mlflow.MlflowClient, request: pytest.FixtureRequest, aliases: bool
) -> None:
    if not aliases:
        request.getfixturevalue("no_aliases")
    make_champion(client, NAME, "1")
    make_champion(client, NAME, "2", "promotion from dev version 5")
    events = {number: _since(client, number) for number in ("1", "2")}
    assert events == {"1": ["gate, the first"], "2": ["promotion from dev version 5, after 1"]}


def _since(client: mlflow.MlflowClient, number: str) -> list[str]:
    tags = client.get_model_version(NAME, number).tags.items()
    return [text for name, text in tags if name.startswith("champion.since.")]


def test_without_the_alias_a_tagged_version_is_not_champion(client: mlflow.MlflowClient) -> None:
    client.set_model_version_tag(NAME, "1", "champion", "true")
    assert champion(client) is None


def test_a_model_that_was_never_registered_has_no_champion(client: mlflow.MlflowClient) -> None:
    assert find_champion(client, "none") is None


@pytest.mark.usefixtures("no_aliases")
def test_without_aliases_the_champion_tag_moves_between_versions(
    client: mlflow.MlflowClient,
) -> None:
    assert champion(client) is None
    make_champion(client, NAME, "2")
    assert champion(client) == "2"
    make_champion(client, NAME, "1")
    assert champion(client) == "1"
    assert "champion" not in client.get_model_version(NAME, "2").tags


@pytest.mark.parametrize(
    "error",
    [MlflowException("down", INTERNAL_ERROR), RestException({"error_code": "PERMISSION_DENIED"})],
    ids=["fault", "permission"],
)
def test_a_failing_server_is_not_treated_as_one_without_aliases(
    client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch, error: MlflowException
) -> None:
    fail(client, monkeypatch, error)
    with pytest.raises(MlflowException):
        find_champion(client, NAME)
    with pytest.raises(MlflowException):
        make_champion(client, NAME, "1")
    assert "champion" not in client.get_model_version(NAME, "1").tags
