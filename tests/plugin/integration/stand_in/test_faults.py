"""The real client when the stand-in refuses, disconnects, or gets an unknown request."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kedro_azure_mlops.testing import StandIn
from kedro_azure_mlops.testing.stand_in import connected, without_pauses

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

WORKSPACE = r"/workspaces/stand-in$"
FILE = r"\.blob\..*/t\.csv$"


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[StandIn]:
    with StandIn(tmp_path / "azure") as azure:
        yield azure
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if "stand-in" in name or "process_request" in name]


@pytest.fixture
def ml(azure: StandIn, monkeypatch: pytest.MonkeyPatch) -> "Iterator[MLClient]":
    with connected(azure) as ml:
        without_pauses(monkeypatch)
        yield ml


def upload(ml: "MLClient", folder: Path) -> None:
    from azure.ai.ml.entities import Data

    (folder / "t.csv").write_text("a,b\n" * 1000)
    path = folder / "t.csv"
    ml.data.create_or_update(Data(name="t", version="1", type="uri_file", path=path))


def statuses(azure: StandIn, method: str, end: str) -> list[int | None]:
    return [r.status for r in azure.requests if r.method == method and r.path.endswith(end)]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_transient_errors_are_retried(ml: "MLClient", azure: StandIn, status: int) -> None:
    azure.fail("GET", WORKSPACE, status, times=2)
    assert ml.workspaces.get(azure.workspace).name == azure.workspace
    assert statuses(azure, "GET", "/workspaces/stand-in") == [status, status, 200]


@pytest.mark.parametrize(
    ("status", "code"), [(401, "InvalidAuthenticationToken"), (403, "AuthorizationFailed")]
)
def test_a_refusal_is_not_retried(ml: "MLClient", azure: StandIn, status: int, code: str) -> None:
    from azure.core.exceptions import HttpResponseError

    azure.fail("GET", WORKSPACE, status)
    with pytest.raises(HttpResponseError, match=code):
        ml.workspaces.get(azure.workspace)
    assert statuses(azure, "GET", "/workspaces/stand-in") == [status]


def test_a_wrong_secret_is_refused(
    azure: StandIn, ml: "MLClient", monkeypatch: pytest.MonkeyPatch
) -> None:
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import EnvironmentCredential

    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong")
    with (
        EnvironmentCredential() as credential,
        pytest.raises(ClientAuthenticationError, match="AADSTS7000215"),
    ):
        credential.get_token("https://management.azure.com/.default")


@pytest.mark.usefixtures("ml")
def test_a_federated_token_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.identity import DefaultAzureCredential

    (tmp_path / "token").write_text("of the build server")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    with DefaultAzureCredential() as credential:
        assert credential.get_token("https://management.azure.com/.default").token


def test_an_interrupted_upload_is_retried(ml: "MLClient", azure: StandIn, tmp_path: Path) -> None:
    azure.drop("PUT", FILE)
    upload(ml, tmp_path)
    assert statuses(azure, "PUT", "/t.csv") == [None, 201, 200]
    assert [len(azure.blobs[key]) for key in azure.uploads] == [4000]


def test_an_upload_that_is_always_interrupted_registers_nothing(
    ml: "MLClient", azure: StandIn, tmp_path: Path
) -> None:
    from azure.core.exceptions import ServiceRequestError, ServiceResponseError

    azure.drop("PUT", FILE, times=100)
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        upload(ml, tmp_path)
    assert azure.uploads == []
    assert list(ml.data.list("t")) == []


def test_a_refused_upload_registers_nothing(ml: "MLClient", azure: StandIn, tmp_path: Path) -> None:
    from azure.core.exceptions import HttpResponseError

    azure.fail("PUT", FILE, 403)
    with pytest.raises(HttpResponseError, match="AuthorizationPermissionMismatch"):
        upload(ml, tmp_path)
    assert list(ml.data.list("t")) == []


def test_an_unknown_request_is_refused_and_recorded(ml: "MLClient", azure: StandIn) -> None:
    from azure.core.exceptions import HttpResponseError

    with pytest.raises(HttpResponseError, match="does not support GET"):
        list(ml.feature_sets.list())
    assert [line.rsplit("/", 1)[1] for line in azure.refused] == ["featuresets"]


@pytest.mark.usefixtures("ml")
def test_an_unknown_host_is_refused_and_recorded(azure: StandIn) -> None:
    import requests

    with pytest.raises(requests.exceptions.ProxyError):
        requests.get("https://example.org/", timeout=10)
    assert azure.refused == ["the host example.org"]


@pytest.mark.usefixtures("ml")
def test_a_request_without_a_token_is_refused(azure: StandIn) -> None:
    import requests

    for host in ("management.azure.com", "standin.blob.core.windows.net"):
        assert requests.get(f"https://{host}/some/thing", timeout=10).status_code == 401
    assert azure.refused == []
