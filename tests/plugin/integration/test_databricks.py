"""Databricks as the MLflow server: the small project with a stand-in on loopback."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import requests
from kedro.framework.session import KedroSession

from kedro_azure_mlops import registry as public
from kedro_azure_mlops.contract import digest, load_proven_scorer, write_manifest
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks import databricks as rules
from kedro_azure_mlops.hooks.run import open_run
from kedro_azure_mlops.hooks.server import experiment_id, open_tracking
from kedro_azure_mlops.hooks.tracking import TrackingError
from kedro_azure_mlops.registry import open_registry
from kedro_azure_mlops.registry.interface import LockedError
from kedro_azure_mlops.registry.versions import find_champion, newest_first, open_client
from kedro_azure_mlops.serve.model import fetch_model
from kedro_azure_mlops.testing.databricks import TOKEN, USER, Databricks, serving
from tests.plugin import registered
from tests.plugin.helpers import Project
from tests.plugin.mlflow_server import free_port
from tests.plugin.registered import SCORER, Store, save_fixed_model, set_keys
from tests.plugin.trained import set_scorer

GOOD = {"arguments": {"alpha": 1.0}}
AS_GOOD = {"arguments": {"alpha": 0.5}}
WORSE = {"arguments": {"alpha": 1e9}}
WORKSPACE, CATALOG = "databricks", "databricks-uc"
both_registries = pytest.mark.parametrize("uri", [WORKSPACE, CATALOG])


@pytest.fixture(scope="module")
def stand_in() -> Iterator[Databricks]:
    with serving(Databricks()) as workspace:
        yield workspace


@pytest.fixture
def workspace(stand_in: Databricks, monkeypatch: pytest.MonkeyPatch) -> Iterator[Databricks]:
    """The workspace that the environment names; each test uses its own model."""
    yield from _connected(stand_in, monkeypatch)
    assert stand_in.refused == [], "the stand-in for Databricks does not support this"


def _connected(workspace: Databricks, monkeypatch: pytest.MonkeyPatch) -> Iterator[Databricks]:
    workspace.lead(monkeypatch)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "/nowhere/databrickscfg")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "")  # MLflow itself would set it, and keep it
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    yield workspace
    mlflow.set_registry_uri(None)


def name_in(uri: str, model: str) -> str:
    return f"main.models.{model}" if uri == CATALOG else model


def use(project: Project, uri: str, model: str, env: str = "local") -> str:
    """Configure the registry of a project, and return the name of its model."""
    name = name_in(uri, model)
    set_keys(project, env, tracking={"experiment": model}, registry={"uri": uri, "name": name})
    entry = f"champion: {{type: kedro_azure_mlops.models.RegisteredChampion, name: {name}}}\n"
    project.configure(env, "catalog.yml", entry)
    return name


@pytest.fixture(autouse=True)
def _signed_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a signature to models that are not trained, as Unity Catalog requires one."""

    def save(folder: Path, content: str, answer: float = 5.0) -> Path:
        save_fixed_model(folder, content, answer)
        inputs = [{"name": name, "type": "double"} for name in ("load", "pressure")]
        outputs = [{"name": "energy", "type": "double"}, {"name": "is_high", "type": "boolean"}]
        signature = {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)}
        text = json.dumps({"flavors": {}, "signature": signature})  # which is YAML as well
        (folder / "MLmodel").write_text(text, encoding="utf-8")
        write_manifest(folder)
        return folder

    monkeypatch.setattr(registered, "save_fixed_model", save)


def store_of(project: Project, work: Path) -> Store:
    """Return a place that registers models without training them."""
    return Store(project, lambda _: None, work)


def marked_champions(workspace: Databricks, uri: str, name: str) -> list[str]:
    """Return the versions that the server marks as champion, by alias or by tag."""
    if uri == CATALOG:
        return [str(workspace.unity_catalog.models[name]["aliases"].get("champion"))]
    versions = workspace.workspace_registry.models[name]["versions"].values()
    return [one["version"] for one in versions if one["tags"].get("champion") == "true"]


@both_registries
def test_a_run_is_tracked_and_a_better_model_replaces_the_champion(
    project: Project, workspace: Databricks, uri: str
) -> None:
    name = use(project, uri, "life")
    for model, champion in ((GOOD, "1"), (WORSE, "1"), (AS_GOOD, "3")):
        project.run(model=model)
        assert marked_champions(workspace, uri, name) == [champion]
    assert project.gate()["champion_version"] == "1", "the third was compared with it"
    client = open_client("databricks", uri)
    newest, refused, _ = newest_first(client, name)
    assert refused.tags["gate"] == "refused"
    assert find_champion(client, name).version == newest.version == "3"
    run = client.get_run(newest.run_id)
    assert run.data.metrics == pytest.approx(project.metrics())
    assert run.info.status == "FINISHED"
    experiment = client.get_experiment(run.info.experiment_id)
    assert experiment.name == "/Shared/plant/life"
    with KedroSession.create(project_path=project.path) as session:
        assert open_tracking(session.load_context()) == experiment.name, "as in a notebook"
    assert newest.tags["digest"] == digest(project.processed("model"))
    assert newest.tags["metrics.r2"] == repr(project.metrics()["r2"])
    assert "0.01" in newest.tags["parameters"], "including the gate's rules"
    other = workspace.workspace_registry if uri == CATALOG else workspace.unity_catalog
    assert name not in other.models, "nothing was registered in the other registry"


@both_registries
def test_commands_register_promote_serve_and_roll_back(
    project: Project,
    workspace: Databricks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uri: str,
) -> None:
    monkeypatch.chdir(project.path)
    set_scorer(project.path, SCORER)
    set_keys(project, "base", gate={"rules": [{"metric": "r2", "minimum": 0.3}]})
    use(project, uri, "moved", "dev")
    target = "stage.models.moved" if uri == CATALOG else "moved-stage"
    set_keys(project, "stage", registry={"uri": uri, "name": target})
    store = store_of(project, tmp_path / "work")
    for number, content in (("1", "some weights"), ("2", "other weights")):
        one = store.champion("dev", content=content)
        moved = public.promote("stage", root=project.path)
        assert (moved.number, moved.digest) == (number, one.digest)
    assert moved.tags["promoted.from"] == f"dev {name_in(uri, 'moved')}:2"
    assert moved.tags["metrics.r2"] == "0.7"
    stand_in = fetch_model("stage", None, project.path, tmp_path / "served")
    assert load_proven_scorer(stand_in.folder, SCORER, moved.digest)
    back = public.rollback("stage", reason="a test", root=project.path)
    champion = public.champion("stage", root=project.path)
    assert champion is not None
    assert champion.number == back.number == "1"
    assert open_registry("stage", project.path).version("2").tags["rollback.reason"] == "a test"
    store.register("dev", content="bad weights", **{"metrics.r2": "0.1"})
    with pytest.raises(Exception, match="r2"):
        public.promote("stage", version="3", root=project.path)


@both_registries
def test_the_command_registers_a_model_once_and_respects_the_lock(
    project: Project, workspace: Databricks, uri: str
) -> None:
    name = use(project, uri, "later")
    set_keys(
        project,
        "local",
        tracking={"enabled": False},
        gate={"decision": None, "table": None, "rules": []},
    )
    project.run(model=GOOD)
    registry = open_registry("local", project.path)
    with registry.locked("a test"), pytest.raises(LockedError, match="a test"):
        public.register("local", root=project.path)
    for _ in range(2):
        version = public.register("local", root=project.path)
        assert version.number == "1"
    assert marked_champions(workspace, uri, name) == ["1"]
    (stored,) = newest_first(open_client("databricks", uri), name)
    run = workspace.runs[stored.run_id]["info"]
    assert workspace.experiments[run["experiment_id"]]["name"] == "/Shared/plant/later"


def test_the_workspace_registry_is_the_default(
    project: Project, workspace: Databricks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow itself defaults to Unity Catalog for all addresses of Databricks."""
    set_keys(project, "local", tracking={"model": "model"}, registry={"name": "plain"})
    assert open_registry("local", project.path).place == f"MLflow at databricks ({workspace.uri})"
    project.run("prepare", "train")
    assert "plain" in workspace.workspace_registry.models
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", CATALOG)
    with pytest.raises(OperationError, match=r"registry\.name: plain .*CATALOG\.SCHEMA\.MODEL"):
        project.run("prepare", "train")
    set_keys(project, "local", registry={"name": "main.models.plain"})
    project.run("prepare", "train")
    assert "main.models.plain" in workspace.unity_catalog.models


def test_a_project_on_sqlite_does_not_use_the_registry_of_the_previous_one(
    project: Project, workspace: Databricks, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(project, CATALOG, "before")
    project.run("prepare")
    project.configure("local", "mlops.yml", "{}\n")
    project.configure("local", "catalog.yml", "{}\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    project.run()
    version = project.client().get_model_version_by_alias("plant", "champion")
    assert version.tags["digest"] == digest(project.processed("model"))


def test_a_profile_selects_the_workspace_of_runs_files_and_models(
    project: Project, workspace: Databricks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "databrickscfg"
    other = f"[DEFAULT]\nhost = http://127.0.0.1:{free_port()}\ntoken = other\n\n"
    file.write_text(f"{other}[mine]\nhost = {workspace.uri}\ntoken = {TOKEN}\n", "utf-8")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(file))
    signed = "MLFLOW_DISABLE_DATABRICKS_SDK_FOR_RUN_ARTIFACTS"
    monkeypatch.setenv(signed, "")  # so that it is restored after the test
    for variable in ("DATABRICKS_HOST", "DATABRICKS_TOKEN", "MLFLOW_TRACKING_URI", signed):
        monkeypatch.delenv(variable)
    name = use(project, CATALOG, "profiled")
    set_keys(project, "local", tracking={"uri": "databricks://mine"})
    project.run(model=GOOD)
    assert marked_champions(workspace, CATALOG, name) == ["1"]
    version = workspace.unity_catalog.models[name]["versions"]["1"]
    files = [one for one in workspace.files if version["run_id"] in one]
    assert any(one.endswith("model/MLmodel") for one in files), "uploaded to signed URLs"
    assert f"({workspace.uri})" in open_registry("local", project.path).place


@pytest.mark.parametrize(
    ("name", "folder", "path"),
    [
        ("one", None, "/Shared/plant/one"),
        ("two", f"/Users/{USER}/deep/below", f"/Users/{USER}/deep/below/two"),
        ("/Shared/three", "/Users/ignored", "/Shared/three"),
        ("/Workspace/Shared/four", None, "/Shared/four"),
        ("one-monitor", None, "/Shared/plant/one-monitor"),
    ],
)
def test_an_experiment_name_gets_a_folder_and_a_path_is_unchanged(
    ran: Project, workspace: Databricks, name: str, folder: str | None, path: str
) -> None:
    client = mlflow.MlflowClient("databricks")
    ids = [experiment_id(client, name, folder) for _ in range(2)]
    assert ids[0] == ids[1], "the second call finds it"
    assert client.get_experiment(ids[0]).name == path


CAUSES: dict[str, tuple[dict[str, str | None], dict[str, Any], str]] = {
    "no credentials": (
        {"DATABRICKS_HOST": None, "DATABRICKS_TOKEN": None},
        {},
        "There are no credentials for Databricks: set DATABRICKS_HOST and",
    ),
    "no token": ({"DATABRICKS_TOKEN": None}, {}, r"There is no token for http://127"),
    "wrong token": ({"DATABRICKS_TOKEN": "other"}, {}, "does not accept the token"),
    "no host": (
        {"DATABRICKS_HOST": f"http://127.0.0.1:{free_port()}"},
        {},
        "The workspace does not answer: check DATABRICKS_HOST",
    ),
    "no such host": (
        {"DATABRICKS_HOST": "https://adb-1.azuredatabricks.invalid"},
        {},
        "The workspace does not answer: check DATABRICKS_HOST",
    ),
    "folder missing": ({}, {"experiment": "/Shared/none/x"}, "Create that folder in the workspace"),
    "folder of others": (
        {},
        {"experiment_folder": "/Users/other@example.com/plant"},
        "Ask the owner of that folder for the permission, or name another one in tracking",
    ),
    "no such catalog": ({}, {"name": "none.models.plant"}, "Create that catalog, or name another"),
    "no such schema": ({}, {"name": "main.none.plant"}, "Create that schema, or name another"),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_the_cause_of_a_fault_is_reported_before_anything_runs(
    project: Project, workspace: Databricks, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    environment, keys, advice = CAUSES[cause]
    use(project, CATALOG, "faults")
    with monkeypatch.context() as changed:
        for variable, value in environment.items():
            changed.delenv(variable) if value is None else changed.setenv(variable, value)
        section = "registry" if "name" in keys else "tracking"
        set_keys(project, "local", **{section: keys})
        with pytest.raises(TrackingError, match=advice) as refusal:
            project.run("prepare")
    assert "No run was started" in str(refusal.value)
    assert "Start the server" not in str(refusal.value)
    assert not project.processed("clean_hours.parquet").exists()
    use(project, CATALOG, "faults")
    set_keys(project, "local", tracking={"experiment_folder": f"/Users/{USER}"})
    project.run("prepare")
    assert project.processed("clean_hours.parquet").exists()


def test_the_error_for_a_schema_without_permission_names_whom_to_ask(
    project: Project, workspace: Databricks, tmp_path: Path
) -> None:
    use(project, CATALOG, "closed", "dev")
    set_keys(project, "dev", registry={"name": "main.closed.plant"})
    with pytest.raises(OperationError, match="Ask the owner of the schema for USE SCHEMA and"):
        store_of(project, tmp_path / "closed").register("dev")
    set_keys(project, "dev", registry={"name": "main.models.open"})
    assert store_of(project, tmp_path / "open").register("dev").number == "1"


def test_a_missing_storage_package_is_named(
    project: Project, workspace: Databricks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(project, CATALOG, "lake", "dev")
    with monkeypatch.context() as changed:
        changed.setattr(workspace.unity_catalog, "in_data_lake", True)
        changed.setitem(sys.modules, "azure.storage.filedatalake", None)
        with pytest.raises(OperationError, match="azure-storage-file-datalake: install it"):
            store_of(project, tmp_path / "missing").register("dev")
    assert store_of(project, tmp_path / "there").register("dev").number == "2"
    assert [one.number for one in open_registry("dev", project.path).versions()] == ["2"]


@pytest.mark.parametrize(
    ("uri", "name"), [(CATALOG, "two.levels"), (CATALOG, "a.b c.d"), (WORKSPACE, "main.models.x")]
)
def test_an_invalid_model_name_is_refused_before_anything_runs(
    project: Project, workspace: Databricks, uri: str, name: str
) -> None:
    set_keys(project, "local", registry={"uri": uri, "name": name})
    with pytest.raises(OperationError, match=rf"registry\.name: {name} is not a name") as refusal:
        project.run()
    assert not project.processed("clean_hours.parquet").exists()
    with pytest.raises(OperationError, match=r"registry\.name"):
        open_registry("local", project.path)
    assert ("registry.uri: databricks-uc" in str(refusal.value)) == (uri == WORKSPACE)


def test_without_unity_catalog_the_workspace_registry_is_suggested(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Databricks(unity_catalog=False)) as plain:
        for _ in _connected(plain, monkeypatch):
            use(project, CATALOG, "nowhere")
            with pytest.raises(
                TrackingError, match=r"Unity Catalog is not enabled .*uri: databricks "
            ):
                project.run("prepare")
            use(project, WORKSPACE, "somewhere")
            project.run("prepare")


def test_without_a_workspace_registry_unity_catalog_is_suggested(
    project: Project, workspace: Databricks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace.workspace_registry, "enabled", False)
    use(project, WORKSPACE, "legacy")
    with pytest.raises(TrackingError, match=r"set registry\.uri: databricks-uc and registry\.name"):
        project.run("prepare")
    use(project, CATALOG, "legacy")
    project.run("prepare")


def test_without_the_files_api_files_are_transferred_by_signed_urls(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.txt").write_text("some text")
    (tmp_path / "model" / "empty.txt").write_text("")
    with serving(Databricks(files_api=False)) as workspace:
        for _ in _connected(workspace, monkeypatch):
            client = mlflow.MlflowClient("databricks")
            run = client.create_run(experiment_id(client, "signed"))
            client.log_artifacts(run.info.run_id, str(tmp_path / "model"), "model")
            downloaded = client.download_artifacts(run.info.run_id, "model", str(tmp_path))
            assert (Path(downloaded) / "a.txt").read_text() == "some text"
            assert (Path(downloaded) / "empty.txt").read_text() == ""
            assert any("credentials-for-write" in one for one in workspace.requests)


def test_values_that_are_too_long_for_a_batch_are_sent_separately(
    ran: Project, workspace: Databricks, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow.set_tracking_uri("databricks")
    run = open_run("limits", "a run")
    run.set_tags({"short": "a", "long": "b" * 5_000})
    run.log_parameters({"short": "a", "medium": "ü" * 240 + "x" * 20, "long": "é" * 400})
    data = mlflow.MlflowClient("databricks").get_run(run.id).data
    run.end("FINISHED")
    assert data.tags["long"] == "b" * 5_000
    assert data.params["medium"] == "ü" * 240 + "x" * 20
    assert data.params["long"].endswith("...")
    assert len(data.params["long"].encode()) <= 500
    with pytest.raises(mlflow.MlflowException, match="250 characters"):
        mlflow.MlflowClient("databricks").log_batch(
            run.id, params=[mlflow.entities.Param("p", "x" * 251)]
        )


def test_long_and_many_tags_are_stored_within_the_limits_of_unity_catalog(
    project: Project, workspace: Databricks, tmp_path: Path
) -> None:
    use(project, CATALOG, "facts", "dev")
    many = {f"metrics.of-{n}": str(n) for n in range(100)}
    facts = many | {"parameters": "é" * 5_000, "gate.reasons": "a, b: c; " * 500}
    version = store_of(project, tmp_path / "work").register("dev", **facts)
    registry = open_registry("dev", project.path)
    (listed,) = registry.versions()
    assert {name: listed.tags[name] for name in facts} == facts
    assert listed.digest == version.digest
    registry.tag(version, {"parameters": "short", "metrics.of-1": "2"})
    (listed,) = registry.versions()
    assert listed.tags["parameters"] == "short"
    assert listed.tags["metrics.of-1"] == "2"
    stored = workspace.unity_catalog.models[version.name]["versions"]["1"]["tags"]
    assert not [name for name in stored if name.startswith("parameters_")], (
        "no piece of the longer tag is left"
    )
    with pytest.raises(mlflow.MlflowException, match="reserved characters"):
        mlflow.MlflowClient("databricks", CATALOG).set_model_version_tag(
            version.name, "1", "metrics.r2", "1"
        )


def test_a_change_of_tags_that_was_killed_can_be_repeated(
    project: Project, workspace: Databricks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(project, CATALOG, "killed", "dev")
    before = {"gate.reasons": "a" * 3_000, "metrics.r2": "0.7"}
    version = store_of(project, tmp_path / "work").register("dev", **before)
    registry = open_registry("dev", project.path)
    set_tag = mlflow.MlflowClient.set_model_version_tag
    written: list[str] = []

    def killed(client: Any, name: str, version: str, key: str, value: str) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(key)
        set_tag(client, name, version, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "set_model_version_tag", killed)
        with pytest.raises(KeyboardInterrupt):
            registry.tag(version, {"gate.reasons": "b" * 3_000})
    (listed,) = registry.versions()
    assert {name: listed.tags[name] for name in before} == before
    registry.tag(version, {"gate.reasons": "b" * 3_000})
    (listed,) = registry.versions()
    assert listed.tags["gate.reasons"] == "b" * 3_000
    stored = workspace.unity_catalog.models[version.name]["versions"]["1"]["tags"]
    registry.tag(version, {"gate.reasons": "short"})
    assert not [name for name in stored if name.startswith("gate_json_")], "no piece is left"


def test_all_pages_are_read_and_versions_without_files_are_left_out(
    project: Project, workspace: Databricks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = use(project, CATALOG, "pages", "dev")
    store = store_of(project, tmp_path / "work")
    for number in range(3):
        store.register("dev", content=f"weights {number}")
    monkeypatch.setattr(workspace.unity_catalog, "page", 2)
    registry = open_registry("dev", project.path)
    assert [one.number for one in registry.versions()] == ["3", "2", "1"]
    newest = workspace.unity_catalog.models[name]["versions"]["3"]
    newest["status"] = "PENDING_REGISTRATION"  # its upload was interrupted
    assert [one.number for one in registry.versions()] == ["2", "1"]


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("other", 403), (TOKEN, 404)])
def test_the_stand_in_refuses_wrong_tokens_and_names_unknown_requests(
    token: str | None, status: int
) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with serving(Databricks()) as workspace:
        address = f"{workspace.uri}/api/2.0/mlflow/registered-models/alias"
        response = requests.get(address, headers=headers, timeout=10)
    assert response.status_code == status
    request = "GET /api/2.0/mlflow/registered-models/alias"
    assert (request in response.json()["message"]) == (status == 404)
    assert workspace.refused == ([request] if status == 404 else [])


def test_a_workspace_that_answers_is_checked_once(workspace: Databricks) -> None:
    rules.refuse_silence("databricks")
    before = len(workspace.requests)
    rules.refuse_silence("databricks")
    assert len(workspace.requests) == before
