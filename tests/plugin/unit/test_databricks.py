"""Rules of Databricks: addresses, names, folders, limits, tags of Unity Catalog."""

from pathlib import Path

import mlflow
import pytest

from kedro_azure_mlops.config import Mlops, Registry, Tracking
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks import databricks, server
from kedro_azure_mlops.hooks.faults import START, advice_on
from kedro_azure_mlops.registry.unity_catalog import pack_tags, unpack_tags
from kedro_azure_mlops.testing.databricks_models import UnityCatalog
from kedro_azure_mlops.testing.databricks_rules import DatabricksError

ROOT = Path("project")


def mlops_config(tracking: str, registry: str | None = None) -> Mlops:
    return Mlops(tracking=Tracking(uri=tracking), registry=Registry(uri=registry, name="plant"))


@pytest.mark.parametrize(
    ("tracking", "registry", "requested", "expected"),
    [
        ("databricks", None, "", "databricks"),
        ("databricks", "databricks", "databricks-uc", "databricks"),
        ("databricks", "databricks-uc", "", "databricks-uc"),
        ("databricks", None, "databricks-uc", "databricks-uc"),
        ("databricks://mine", None, "", "databricks://mine"),
        ("databricks://mine", "databricks-uc", "", "databricks-uc://mine"),
        ("databricks://mine", "databricks-uc://other", "", "databricks-uc://other"),
        ("sqlite:///mlruns.db", "databricks-uc", "", "databricks-uc"),
        ("sqlite:///mlruns.db", None, "", ""),
        ("http://server", None, "http://registry", ""),
    ],
)
def test_the_requested_registry_is_used(
    monkeypatch: pytest.MonkeyPatch,
    tracking: str,
    registry: str | None,
    requested: str,
    expected: str,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", requested)
    monkeypatch.setattr(server, "_chosen_registry", [])
    assert server.registry_of(mlops_config(tracking, registry), ROOT) == expected


@pytest.mark.parametrize("address", ["databricks", "databricks-uc", "databricks-uc://mine"])
def test_databricks_addresses_are_recognized(address: str) -> None:
    assert databricks.is_databricks(address)
    assert databricks.is_unity_catalog(address) == ("-uc" in address)
    assert not databricks.is_unity_catalog(databricks.runs_beside(address))


@pytest.mark.parametrize("address", ["https://databricks.example", "sqlite:///databricks.db", ""])
def test_other_addresses_are_not_treated_as_databricks(address: str) -> None:
    assert not databricks.is_databricks(address)
    assert databricks.profile_of(address) == ""
    assert server.placed_experiment("plant", address, "/Shared/x") == "plant"


@pytest.mark.parametrize(
    ("name", "uri"),
    [("main.models.plant", "databricks-uc"), ("plant", "databricks"), ("a.b", "http://server")],
)
def test_a_name_that_fits_its_registry_is_accepted(name: str, uri: str) -> None:
    databricks.refuse_model_name(name, uri)


@pytest.mark.parametrize(
    ("name", "uri"),
    [
        ("plant", "databricks-uc"),
        ("main.plant", "databricks-uc://mine"),
        ("main..plant", "databricks-uc"),
        ("a.b.c.d", "databricks-uc"),
        ("main.models.my plant", "databricks-uc"),
        ("a/b", "databricks"),
        ("a:b", "databricks://mine"),
    ],
)
def test_a_name_that_does_not_fit_its_registry_is_rejected(name: str, uri: str) -> None:
    with pytest.raises(OperationError, match=rf"registry\.name: {name} is not a name of"):
        databricks.refuse_model_name(name, uri)


def test_the_experiment_folder_must_be_an_absolute_path() -> None:
    assert Tracking(experiment_folder="/Users/me@example.com").experiment_folder
    with pytest.raises(ValueError, match="must be a workspace path, such as /Shared/mine"):
        Tracking(experiment_folder="mine")


@pytest.mark.parametrize(
    ("profile", "host"),
    [
        ("databricks://mine", "https://mine.example"),
        ("databricks", "https://default.example"),
        ("databricks://none", ""),
        ("databricks-uc://mine", "https://mine.example"),
    ],
)
def test_the_host_of_a_profile_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str, host: str
) -> None:
    file = tmp_path / "config"
    file.write_text(
        "[DEFAULT]\nhost = https://default.example/\n[mine]\nhost = mine.example\ntoken = 50%\n"
    )
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(file))
    monkeypatch.delenv("DATABRICKS_HOST", raising=False)
    monkeypatch.delenv("DATABRICKS_CONFIG_PROFILE", raising=False)
    assert databricks.host_of(profile) == host
    file.write_text("no file of profiles")
    assert databricks.host_of(profile) == ""


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("403: Invalid access token.", "does not accept the token"),
        ("Credential was not sent or was of an unsupported type", "received no token"),
        ("Workspace Model Registry is disabled", "registry.uri: databricks-uc"),
        ("please specify all three levels", "CATALOG.SCHEMA.MODEL"),
        ("Max retries exceeded with url", "does not answer: check DATABRICKS_HOST"),
        ("SSLError: certificate verify failed: Max retries", "REQUESTS_CA_BUNDLE"),
        ("something else", "See this message"),
    ],
)
def test_advice_names_the_cause_and_never_suggests_starting_a_server(
    text: str, advice: str
) -> None:
    given_advice = advice_on(mlflow.MlflowException(text), "databricks")
    assert advice in given_advice
    assert given_advice != START
    assert advice_on(ConnectionError("Connection refused"), "databricks") != START


def test_a_parameter_is_shortened_to_the_limit() -> None:
    assert databricks.shortened("x" * 500) == "x" * 500
    cut = databricks.shortened("ü" * 400)
    assert cut.startswith("ü" * 240)
    assert len(cut.encode()) <= 500


FACTS = {
    "digest": "0f" * 32,
    "gate": "passed",
    "gate.reasons": "ok  r2 0.7; ok  rmse 7",
    "parameters": "ä" * 4_000,
    "champion.since.2026-11-29T15:31:03.504684Z": "gate, after None",
    "metrics.r2@worst": "0.7",
    "odd=name": "1",
    "someone_json": "a name of a kind that is our own",
    "empty": "",
}


@pytest.mark.parametrize("extra", [0, 120])
def test_tags_are_packed_within_the_limits_and_unpacked_unchanged(extra: int) -> None:
    tags = FACTS | {f"metrics.of_{n}": repr(n / 7) for n in range(extra)}
    packed = pack_tags(tags)
    UnityCatalog({}, enabled=True)._refuse_tags(packed)
    assert unpack_tags(packed) == tags
    assert packed["digest"] == FACTS["digest"], "readable if possible"
    with pytest.raises(DatabricksError, match=r"reserved characters|at most 50 tags"):
        UnityCatalog({}, enabled=True)._refuse_tags(tags)


def test_tags_of_other_tools_are_unchanged() -> None:
    others = {"team": "forecast", "cost centre": "7", "notes_json": "not JSON", "list_json": "[1]"}
    assert unpack_tags(others | pack_tags(FACTS)) == others | FACTS


def test_a_complete_text_is_read_and_a_half_written_one_is_reported() -> None:
    packed = pack_tags({"parameters": "a" * 3_000})
    other = pack_tags({"parameters": "b" * 3_000})
    assert unpack_tags(packed) == {"parameters": "a" * 3_000}
    for mixed in (packed | {"parameters_json_2": other["parameters_json_2"]}, {**packed}):
        if mixed == packed:
            del mixed["parameters_json_3"]
        with pytest.raises(mlflow.MlflowException, match="is incomplete"):
            unpack_tags(mixed)
