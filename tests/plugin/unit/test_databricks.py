"""Rules of Databricks: addresses, names, folders, limits, tags of Unity Catalog."""

import json
from pathlib import Path
from zlib import crc32

import mlflow
import pytest

from kedro_azure_mlops.config import Mlops, Registry, Tracking
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks import databricks, server
from kedro_azure_mlops.hooks.faults import START, advice_on
from kedro_azure_mlops.registry.unity_catalog import UnityCatalogClient, pack_tags, unpack_tags
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


class Tagged:
    """MLflow's client, of one version with tags."""

    def __init__(self, tags: dict[str, str]) -> None:
        self.tags = dict(tags)

    def get_model_version(self, name: str, version: str) -> "Tagged":
        return self

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        self.tags[key] = value

    def delete_model_version_tag(self, name: str, version: str, key: str) -> None:
        del self.tags[key]


@pytest.mark.parametrize("written", range(1, 9))
def test_a_text_is_replaced_as_a_whole_even_if_its_writing_is_interrupted(written: int) -> None:
    old, new = {"gate.reasons": "a" * 3_000}, {"gate.reasons": "b" * 3_000}
    packed = pack_tags(new)
    stored = pack_tags(old) | dict(list(packed.items())[:written])
    assert unpack_tags(stored) == (new if written >= len(packed) else old)
    first = dict(list(packed.items())[:written])
    assert unpack_tags(first) == (new if written >= len(packed) else {})


def test_long_tags_of_earlier_versions_are_read_and_replaced() -> None:
    text = json.dumps({"gate.reasons": "ä" * 3_000}, ensure_ascii=False)
    check, parts = f"{crc32(text.encode()):08x}", [text[n : n + 976] for n in range(0, 3_100, 976)]
    pieces = [f"{n}/{len(parts)} {check} {part}" for n, part in enumerate(parts, 1)]
    names = ["gate_json", *(f"gate_json_{n}" for n in range(2, 5))]
    stored = dict(zip(names, pieces, strict=True)) | {"team_json_2": "of another tool"}
    tags = {"gate.reasons": "ä" * 3_000, "team_json_2": "of another tool"}
    assert unpack_tags(stored) == tags
    assert unpack_tags({name: stored[name] for name in ("gate_json", "gate_json_2")}) == {}
    client = Tagged(stored)
    UnityCatalogClient(client).set_model_version_tag("plant", "1", "gate", "refused")
    assert unpack_tags(client.tags) == tags | {"gate": "refused"}
    assert not {"gate_json_2", "gate_json_3", "gate_json_4"} & client.tags.keys()


def test_other_tags_are_read_next_to_an_incomplete_text(caplog: pytest.LogCaptureFixture) -> None:
    tags = {"parameters": "a" * 3_000, "metrics.r2": "0.7", "digest": "1a2b"}
    packed = pack_tags(tags)
    assert unpack_tags(packed) == tags
    assert not caplog.records
    lost = next(name for name in packed if name.endswith("_3"))
    for damaged in (packed | {lost: "b"}, {k: v for k, v in packed.items() if k != lost}):
        assert unpack_tags(damaged) == {"metrics.r2": "0.7", "digest": "1a2b"}
        assert "The tag parameters_json is incomplete" in caplog.text
        caplog.clear()
