"""Promotion, approval and rollback, on MLflow, in a workspace and in a shared registry."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import mlflow
import pytest

from kedro_azure_mlops import registry as public
from kedro_azure_mlops.contract import digest
from kedro_azure_mlops.errors import OperationError, RefusedError
from kedro_azure_mlops.processes import Process
from kedro_azure_mlops.registry import Registry, Version, open_registry
from kedro_azure_mlops.registry.interface import LOCK, LockedError
from kedro_azure_mlops.registry.on_azureml import AzureLock, AzureRegistry
from kedro_azure_mlops.registry.on_mlflow import MlflowRegistry
from tests.plugin import registered
from tests.plugin.cloud import Command
from tests.plugin.helpers import CONFIGURATION, Project, outputs_reader
from tests.plugin.mlflow_server import Server
from tests.plugin.registered import (
    ENVIRONMENTS,
    FACTS,
    RULES,
    SCORER,
    Store,
    save_fixed_model,
    set_keys,
)
from tests.plugin.trained import set_scorer

_PROGRESS = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"
APPROVAL = ("--approved-by", "Ada", "--reason", "release 1")


@pytest.fixture(params=["mlflow", "workspace", "shared"])
def store(
    request: pytest.FixtureRequest,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Store:
    """A registry of each type, with the project as the current folder."""
    monkeypatch.chdir(project.path)
    set_keys(project, "base", gate={"rules": RULES})
    set_scorer(project.path, SCORER)
    if request.param == "mlflow":
        store = Store(project, lambda version: change(store.file_of(version)), tmp_path / "work")
        return store
    azure = request.getfixturevalue("azure")
    names = f"  resource_group: {azure.resource_group}\n  name: {azure.workspace}\n"
    shared = {"shared_registry": "everybody"} if request.param == "shared" else {}
    for env in ENVIRONMENTS:
        project.configure(env, "azureml.yml", f"workspace:\n{names}")
        set_keys(project, env, registry={"kind": "azureml", **shared})

    def tamper(version: Version) -> None:
        every = [key for key in azure.blobs if key.endswith("weights.txt")]
        azure.blobs[every[int(version.number) - 1]] += b" that is another"

    return Store(project, tamper, tmp_path / "work")


@pytest.fixture
def on_mlflow(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """A registry in the project's database, for tests that need only one type."""
    monkeypatch.chdir(project.path)
    set_keys(project, "base", gate={"rules": RULES})
    set_scorer(project.path, SCORER)
    store = Store(project, lambda version: change(store.file_of(version)), tmp_path / "work")
    return store


def change(file: Path) -> None:
    file.write_text(file.read_text() + " that is another", encoding="utf-8")


def test_a_promotion_keeps_the_digest_and_the_tags_from_dev_to_prod(
    store: Store, mlops: Command, tmp_path: Path
) -> None:
    start = store.champion("dev")
    assert mlops("promote", "--env", "stage").status == 0
    result = mlops("promote", "--env", "prod", *APPROVAL)
    assert result.status == 0, result.err
    assert f"the digest is {start.digest}" in result.out
    champion = store.registry("prod").champion()
    assert champion
    assert champion.digest == start.digest
    assert {name: champion.tags[name] for name in FACTS} == FACTS
    assert champion.tags["promoted.path"] == (
        f"dev {start.name}:1 > stage {store.registry('stage').name}:1 > prod"
    )
    assert champion.tags["approval.by"] == "Ada"
    assert champion.tags["approval.reason"] == "release 1"
    assert champion.tags["approval.digest"] == start.digest
    fetched = store.registry("prod").fetch(champion, tmp_path / "fetched")
    assert digest(fetched) == start.digest
    shown = mlops("champion", "--env", "prod")
    assert shown.status == 0
    for text in (start.digest, "r2: 0.7", "by: Ada", "c0ffee", "f1n9e2"):
        assert text in shown.out


def test_without_a_stage_no_other_environment_is_promoted_to(
    on_mlflow: Store, mlops: Command
) -> None:
    shutil.rmtree(on_mlflow.project.path / CONFIGURATION / "stage")
    result = mlops("promote")
    assert result.status == 2
    assert "there is no environment stage" in result.err


def test_environments_that_share_a_registered_model_are_refused(
    on_mlflow: Store, mlops: Command
) -> None:
    """Its champion would be that of both, so nothing would be promoted."""
    start = on_mlflow.champion("dev")
    set_keys(on_mlflow.project, "stage", registry={"name": start.name, "promoted_from": "dev"})
    result = mlops("promote", "--env", "stage")
    assert result.status == 2
    assert f"dev and stage share the registered model {start.name}: set registry.name" in result.err


def test_the_first_line_names_the_version_and_both_environments(
    on_mlflow: Store, mlops: Command
) -> None:
    """Without ``--env``, the target is stage."""
    version = on_mlflow.champion("dev")
    first = f"promote: promoting {version} from dev to stage"
    result = mlops("promote")
    assert result.status == 0
    assert result.out.splitlines()[0] == first
    refused = mlops("promote", "--env", "prod")
    assert refused.status == 1
    assert refused.out.splitlines()[0].endswith("from stage to prod")


def test_promoting_the_champion_again_changes_nothing(on_mlflow: Store, mlops: Command) -> None:
    store = on_mlflow
    store.champion("dev")
    mlops("promote", "--env", "stage")
    before = store.snapshot()
    result = mlops("promote", "--env", "stage")
    assert result.status == 0
    assert "is already champion of stage" in result.out
    assert store.snapshot() == before


def test_nothing_is_promoted_to_prod_without_an_approval(on_mlflow: Store, mlops: Command) -> None:
    store = on_mlflow
    store.champion("stage")
    before = store.snapshot()
    for half in ((), ("--approved-by", "Ada"), ("--approved-by", " ", "--reason", "x")):
        result = mlops("promote", "--env", "prod", *half)
        assert result.status == 1
        assert "--approved-by" in result.err
    assert store.snapshot() == before


def test_a_model_with_changed_files_is_not_promoted(store: Store, mlops: Command) -> None:
    version = store.champion("dev")
    store.tamper(version)
    before = store.snapshot()
    result = mlops("promote", "--env", "stage")
    assert result.status == 2
    assert "is not what was registered" in result.err
    assert "data/weights.txt was changed" in result.err
    assert store.snapshot() == before


def test_a_model_that_fails_its_own_example_is_not_promoted(store: Store, mlops: Command) -> None:
    store.champion("dev", answer=5.5)
    before = store.snapshot()
    result = mlops("promote", "--env", "stage")
    assert result.status == 2
    assert "cannot be champion of stage" in result.err
    assert "the example's row 0 has energy 5.0, but training recorded 5.5" in result.err
    assert store.snapshot() == before
    store.champion("dev", content="a sound one")
    assert mlops("promote", "--env", "stage").status == 0


def test_a_changed_model_folder_is_not_registered(store: Store) -> None:
    sound = save_fixed_model(store.work / "sound", "weights")
    registry, before = store.registry("dev"), store.snapshot()
    with pytest.raises(OperationError, match="was requested"):
        registry.register(sound, {"digest": "a" * 64})
    (sound / ".DS_Store").touch()
    with pytest.raises(OperationError, match=r"\.DS_Store was added"):
        registry.register(sound, {"digest": digest(sound)})
    assert store.snapshot() == before
    (sound / ".DS_Store").unlink()
    assert registry.register(sound, {"digest": digest(sound)}).number == "1"


def test_a_model_without_a_manifest_is_promoted_by_its_digest(
    on_mlflow: Store, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # as the plugin's first version did
        patch.setattr(registered, "write_manifest", lambda _: None)
        on_mlflow.champion("dev")
    assert mlops("promote", "--env", "stage").status == 0
    assert mlops("promote", "--env", "prod", *APPROVAL).status == 0
    weights = on_mlflow.file_of(on_mlflow.registry("prod").version("1"))
    assert not (weights.parents[1] / "SHA256SUMS").exists()


def test_rollbacks_go_back_step_by_step_and_record_the_reason(store: Store, mlops: Command) -> None:
    first, second, third = (store.champion("dev", content=text) for text in ("one", "two", "three"))
    assert mlops("rollback", "--env", "dev", "--reason", "too many errors").status == 0
    assert champion_of(store, "dev") == second.number
    assert store.registry("dev").version("3").tags["rollback.reason"] == "too many errors"
    assert mlops("rollback", "--env", "dev", "--reason", "also bad").status == 0
    assert champion_of(store, "dev") == first.number
    before = store.snapshot()
    result = mlops("rollback", "--env", "dev", "--reason", "still bad")
    assert result.status == 1
    assert "No champion of dev is recorded before" in result.err
    assert store.snapshot() == before
    assert mlops("rollback", "--env", "dev", "--to", "3", "--reason", "it was right").status == 0
    assert champion_of(store, "dev") == third.number
    shown = mlops("champion", "--env", "dev", "--history").out
    assert "rollback (too many errors), after 3" in shown
    assert shown.count("champion since") == 6


@pytest.mark.parametrize("store", ["mlflow", "workspace"], indirect=True)
def test_concurrent_promotions_do_not_mix(
    store: Store, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one waits in its fetch until the second one has failed."""
    store.champion("dev")
    before = store.snapshot()
    is_fetching, may_continue, statuses = threading.Event(), threading.Event(), []
    fetch = Registry.fetch

    def waits(self: Registry, version: Version, target: Path) -> Path:
        if threading.current_thread() is not threading.main_thread():
            is_fetching.set()
            assert may_continue.wait(60)
        return fetch(self, version, target)

    monkeypatch.setattr(Registry, "fetch", waits)
    first = threading.Thread(
        target=lambda: statuses.append(mlops("promote", "--env", "stage").status)
    )
    first.start()
    try:
        assert is_fetching.wait(60)
        second = mlops("promote", "--env", "stage")
        assert second.status == 2
        assert "is being changed by" in second.err
        assert "--clear-lock" in second.err
        assert versions_and_champions(store) == versions_in(before)
    finally:
        may_continue.set()
        first.join()
    assert statuses == [0]
    assert champion_of(store, "stage") == "1"
    assert len(store.registry("stage").versions()) == 1
    assert store.registry("stage").clear_lock() is None


@pytest.mark.parametrize("store", ["mlflow", "workspace"], indirect=True)
def test_only_one_of_two_processes_that_see_no_lock_gets_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both look before either takes the lock, so the service itself refuses the second."""
    calls: list[None] = []
    latest = AzureLock._latest

    def none_yet(self: AzureLock) -> Any:
        calls.append(None)
        return None if len(calls) < 3 else latest(self)

    with store.registry("stage").locked("the first"):
        monkeypatch.setattr(AzureLock, "_latest", none_yet)
        second = store.registry("stage").locked("the second")
        with pytest.raises(LockedError, match="for the first"):
            second.__enter__()


@pytest.mark.parametrize("store", ["workspace", "shared"], indirect=True)
def test_an_archived_version_is_not_listed_and_its_number_not_used_again(store: Store) -> None:
    for content in ("first", "second"):
        store.register("dev", content=content)
    registry = store.registry("dev")
    assert isinstance(registry, AzureRegistry)
    archived = registry._client.models.get(registry.name, version="2")
    registry._client.models.archive(registry.name, version="2")
    assert store.register("dev", content="third").number == "3"
    assert [one.number for one in registry.versions()] == ["3", "1"]
    assert registry._client.models.get(registry.name, version="2").path == archived.path


@pytest.mark.parametrize("store", ["workspace"], indirect=True)
def test_a_lock_whose_newest_version_was_archived_is_held_and_freed(store: Store) -> None:
    registry = store.registry("dev")
    assert isinstance(registry, AzureRegistry)
    with registry.locked("the first"):
        registry._workspace.data.archive(f"{registry.name}{LOCK}", version="1")
        with pytest.raises(LockedError, match="for the first"), registry.locked("the second"):
            pass
    registry._workspace.data.archive(f"{registry.name}{LOCK}", version="1")
    with registry.locked("the second"):
        pass
    assert registry.clear_lock() is None


@pytest.mark.parametrize("store", ["mlflow", "workspace"], indirect=True)
def test_the_lock_of_a_killed_process_is_taken_over(
    store: Store, mlops: Command, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store.champion("dev")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        dead = Process.here(process.pid)
        process.kill()
    with monkeypatch.context() as patch:
        patch.setattr(Process, "me", classmethod(lambda _: dead))
        left = store.registry("stage").locked("a promotion that dies")
        left.__enter__()
    assert mlops("promote", "--env", "stage").status == 0
    assert "for a promotion that dies is taken over: its process has ended" in caplog.text
    assert champion_of(store, "stage") == "1"
    assert store.registry("stage").clear_lock() is None
    left.__exit__(None, None, None)


@pytest.mark.parametrize("store", ["mlflow", "workspace"], indirect=True)
def test_a_lock_that_was_left_behind_can_be_cleared(store: Store, mlops: Command) -> None:
    store.champion("dev")
    with store.registry("stage").locked("a promotion that dies") as lock:
        assert mlops("promote", "--env", "stage").status == 2
        result = mlops("promote", "--env", "stage", "--clear-lock")
        assert result.status == 0
        assert "for a promotion that dies" in result.out
        assert mlops("promote", "--env", "stage").status == 0
        with pytest.raises(Exception, match="lock of this process was cleared"):
            lock.check()
    assert "is not locked" in mlops("promote", "--env", "stage", "--clear-lock").out


@pytest.mark.parametrize(
    "option", ["--version=1", "--digest=a1", "--approved-by=Ada", "--reason=x"]
)
def test_options_that_clearing_a_lock_would_ignore_are_refused(
    on_mlflow: Store, mlops: Command, option: str
) -> None:
    with on_mlflow.registry("stage").locked("a promotion") as lock:
        result = mlops("promote", "--env", "stage", "--clear-lock", option)
        assert result.status == 2
        assert f"--clear-lock cannot be combined with {option.partition('=')[0]}." in result.err
        lock.check()


@pytest.mark.parametrize(("configured", "expected"), [(None, "false"), ("true", "true")])
def test_a_configured_progress_bar_of_mlflow_is_kept(
    on_mlflow: Store, monkeypatch: pytest.MonkeyPatch, configured: str | None, expected: str
) -> None:
    monkeypatch.setenv(_PROGRESS, configured or "")
    if configured is None:
        monkeypatch.delenv(_PROGRESS)
    on_mlflow.registry("dev")
    assert os.environ[_PROGRESS] == expected


def test_a_model_is_promoted_from_a_database_file_to_a_server_and_back(
    on_mlflow: Store, server: Server, mlops: Command, tmp_path: Path
) -> None:
    """Each environment has its own server; the process itself names none."""
    project = on_mlflow.project
    set_keys(project, "dev", registry={"uri": "sqlite:///mlruns.db"})
    set_keys(project, "stage", registry={"uri": server.uri})
    on_mlflow.champion("dev")
    os.environ.pop("MLFLOW_TRACKING_URI")
    os.environ.pop(_PROGRESS, None)
    assert mlops("promote", "--env", "stage").status == 0
    stage = on_mlflow.registry("stage")
    (version,) = mlflow.MlflowClient(server.uri).search_model_versions(f"name='{stage.name}'")
    assert version.tags["digest"] == digest(stage.fetch(stage.version("1"), tmp_path / "stage"))
    result = mlops("promote", "--env", "prod", *APPROVAL)
    assert result.status == 0
    assert result.err == "", "no progress bar of MLflow"
    local_names = [model.name for model in project.client().search_registered_models()]
    assert local_names == [on_mlflow.registry(env).name for env in ("dev", "prod")]
    server.stop()
    down = mlops("champion", "--env", "stage")
    assert down.status == 2
    assert "Check registry.uri in mlops.yml of stage" in down.err


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (
            {"gate": "refused", "gate.reasons": "ok  one is well; NO  two is odd; ok  so is three"},
            "the gate has refused it: two is odd",
        ),
        ({"gate": None}, "the gate has not judged it"),
        ({"gate.digest": "f" * 64}, "the gate has not judged it"),
        ({"metrics.r2": "0.2"}, "R² 0.200, minimum 0.300"),
        ({"metrics.r2": None}, "missing metric: r2"),
        ({"metrics.r2": "nan"}, "missing metric: r2"),
        ({"metrics.r2": "n/a"}, "missing metric: r2"),
        ({"metrics.latency_ms": None}, "missing metric: latency_ms"),
        ({"metrics.latency_ms": "300.0"}, "latency_ms 300.000, maximum 100.000"),
        ({"metrics.size_mb": "900.0"}, "size in MB 900.000, maximum 5.000"),
        ({"metrics.share": "0.5"}, "share 0.500, maximum 0.100"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_target_has_its_own_gate(
    on_mlflow: Store, mlops: Command, facts: dict[str, Any], reason: str
) -> None:
    store = on_mlflow
    store.champion("dev", **facts)
    before = store.snapshot()
    result = mlops("promote", "--env", "stage")
    assert result.status == 1
    assert reason in result.err
    assert "is well" not in result.err, "rules that hold are not reasons"
    assert f"NO  {reason}" in result.out
    assert store.snapshot() == before


@pytest.mark.parametrize(
    ("facts", "passes"),
    [
        ({"metrics.r2": "0.69"}, True),
        ({"metrics.r2": "0.68"}, False),
        ({"metrics.misses": "1.1"}, True),
        ({"metrics.misses": "1.2"}, False),
        ({"metrics.recall": None}, False),
    ],
    ids=lambda value: str(value)[:45],
)
def test_a_model_is_compared_with_the_champion_of_the_target(
    on_mlflow: Store, mlops: Command, facts: dict[str, Any], passes: bool
) -> None:
    store = on_mlflow
    old = store.champion("stage", content="the old one")
    store.champion("dev", content="the young one", **facts)
    before = store.snapshot()
    result = mlops("promote", "--env", "stage")
    assert (result.status == 0) is passes, result.err
    assert (champion_of(store, "stage") != old.number) is passes
    assert passes or store.snapshot() == before


@pytest.mark.parametrize(("number", "status"), [("0.7", 0), ("nan", 1), ("n/a", 1), ("-inf", 1)])
def test_a_champion_with_an_invalid_metric_is_not_replaced(
    on_mlflow: Store, mlops: Command, number: str, status: int
) -> None:
    on_mlflow.champion("stage", content="old", **{"metrics.r2": number})
    on_mlflow.champion("dev", content="young")
    before = on_mlflow.snapshot()
    result = mlops("promote", "--env", "stage")
    assert result.status == status
    if status:
        assert "R² 0.700, champion (version 1) nan" in result.err
        assert on_mlflow.snapshot() == before


def test_metrics_that_the_champion_lacks_are_not_compared(on_mlflow: Store, mlops: Command) -> None:
    on_mlflow.champion("stage", content="old", **{"metrics.recall": None})
    on_mlflow.champion("dev", content="young")
    result = mlops("promote", "--env", "stage")
    assert result.status == 0
    assert "recall was not measured on the champion" in result.out


def test_a_version_is_chosen_by_number_or_digest(on_mlflow: Store, mlops: Command) -> None:
    chosen = on_mlflow.register("dev", content="this one")
    on_mlflow.champion("dev", content="that one")
    assert mlops("promote", "--env", "stage", "--digest", "f" * 12).status == 2
    assert mlops("promote", "--env", "stage", "--version", "9").status == 2
    assert on_mlflow.registry("stage").versions() == []
    assert mlops("promote", "--env", "stage", "--digest", chosen.digest[:10]).status == 0
    champion = on_mlflow.registry("stage").champion()
    assert champion
    assert champion.digest == chosen.digest


def test_a_model_that_is_promoted_again_is_not_stored_twice(
    on_mlflow: Store, mlops: Command
) -> None:
    one = on_mlflow.champion("dev", content="one")
    mlops("promote", "--env", "stage")
    on_mlflow.champion("dev", content="two")
    mlops("promote", "--env", "stage")
    assert mlops("promote", "--env", "stage", "--version", one.number).status == 0
    assert [v.number for v in on_mlflow.registry("stage").versions()] == ["2", "1"]
    assert champion_of(on_mlflow, "stage") == "1"
    assert mlops("rollback", "--env", "stage", "--reason", "no").status == 0
    assert champion_of(on_mlflow, "stage") == "2"


@pytest.mark.parametrize("env", ["nowhere", "dev"])
def test_promoting_to_an_environment_without_a_source_is_an_error(
    on_mlflow: Store, mlops: Command, env: str
) -> None:
    on_mlflow.champion("dev")
    before = on_mlflow.snapshot()
    assert mlops("promote", "--env", env).status == 2
    assert on_mlflow.snapshot() == before


def test_without_a_champion_there_is_nothing_to_promote_or_show(
    on_mlflow: Store, mlops: Command
) -> None:
    assert mlops("promote", "--env", "stage").status == 2
    shown = mlops("champion", "--env", "stage")
    assert shown.status == 1
    assert "plant-stage has no champion in" in shown.err
    assert mlops("rollback", "--env", "stage", "--reason", "x").status == 1


@pytest.mark.parametrize(
    ("options", "status", "reason"),
    [
        ((), 2, "needs a reason"),
        (("--reason", "x", "--to", "3"), 1, "was never champion"),
        (("--reason", "x", "--to", "2"), 1, "is already the champion"),
    ],
    ids=["no reason", "never champion", "the champion"],
)
def test_an_invalid_rollback_is_refused(
    on_mlflow: Store, mlops: Command, options: tuple[str, ...], status: int, reason: str
) -> None:
    for text in ("one", "two"):
        on_mlflow.champion("dev", content=text)
    on_mlflow.register("dev", content="three")
    before = on_mlflow.snapshot()
    result = mlops("rollback", "--env", "dev", *options)
    assert result.status == status
    assert reason in result.err
    assert on_mlflow.snapshot() == before


def test_a_rollback_to_changed_files_is_refused(on_mlflow: Store, mlops: Command) -> None:
    first = on_mlflow.champion("dev", content="one")
    on_mlflow.champion("dev", content="two")
    on_mlflow.tamper(first)
    before = on_mlflow.snapshot()
    result = mlops("rollback", "--env", "dev", "--reason", "bad")
    assert result.status == 2
    assert "is not what was registered" in result.err
    assert on_mlflow.snapshot() == before


def test_a_rollback_to_a_model_that_cannot_be_served_is_refused(
    store: Store, mlops: Command
) -> None:
    store.champion("dev", content="zero")
    store.champion("dev", content="one", answer=5.5)
    store.champion("dev", content="two")
    before = store.snapshot()
    result = mlops("rollback", "--env", "dev", "--reason", "bad")
    assert result.status == 2
    assert "version 2" in result.err
    assert "cannot be champion of dev" in result.err
    assert "training recorded 5.5" in result.err
    assert "cannot be champion of dev: it cannot be served: " in result.err
    assert store.snapshot() == before
    assert mlops("rollback", "--env", "dev", "--to", "1", "--reason", "bad").status == 0


def test_a_champion_that_this_code_cannot_serve_is_named_by_its_version(
    on_mlflow: Store, mlops: Command
) -> None:
    version = on_mlflow.champion("dev", answer=5.5)
    result = mlops("bundle", "--env", "dev", "--no-wheels")
    assert result.status == 2
    assert f"the champion of dev, {version} cannot be served: the example's row 0" in result.err
    assert "kedro mlops rollback --env dev --reason TEXT" in result.err
    assert "served/1" not in result.err


def test_a_verdict_about_another_model_is_marked_as_such(on_mlflow: Store, mlops: Command) -> None:
    on_mlflow.champion("dev", **{"gate.digest": "f" * 64})
    assert "the verdict below is about another model, ffffffffffff" in (
        mlops("champion", "--env", "dev").out
    )
    assert "not judged  champion" in mlops("champion", "--env", "dev", "--history").out
    sound = on_mlflow.registry("dev").version("1")
    on_mlflow.registry("dev").tag(sound, {"gate.digest": sound.digest})
    assert "another model" not in mlops("champion", "--env", "dev").out
    assert "passed      champion" in mlops("champion", "--env", "dev", "--history").out


def test_a_registry_that_cannot_store_the_files_keeps_its_champion(
    on_mlflow: Store, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_mlflow.champion("dev")
    before = on_mlflow.snapshot()

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.MlflowClient.log_artifacts", full)
        result = mlops("promote", "--env", "stage")
    assert result.status == 2
    assert "no space left" in result.err
    assert on_mlflow.snapshot() == before
    assert mlops("promote", "--env", "stage").status == 0


def champion_of(store: Store, env: str) -> str | None:
    champion = open_registry(env, store.project.path).champion()
    return champion.number if champion else None


def versions_and_champions(store: Store) -> Any:
    return {
        env: ([(v.number, dict(v.tags)) for v in store.registry(env).versions()])
        for env in ENVIRONMENTS
    }


def versions_in(everything: Any) -> Any:
    return {env: versions for env, (versions, _, _) in everything.items()}


def test_later_steps_learn_what_moved(
    store: Store, mlops: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = outputs_reader(monkeypatch, tmp_path / "outputs")
    first = store.champion("dev", content="one")
    assert mlops("promote", "--env", "stage").status == 0
    facts = {"version": "1", "digest": first.digest}
    assert reported() == facts | {"moved": "true", "before": "", "champion": ""}
    assert mlops("promote", "--env", "stage").status == 0
    assert reported() == facts | {"moved": "false", "before": "1"}, "not by this call"
    second = store.champion("dev", content="two")
    assert mlops("promote", "--env", "stage").status == 0
    facts = {"version": "2", "digest": second.digest}
    assert reported() == facts | {"moved": "true", "before": "1", "champion": "2"}
    assert mlops("promote", "--env", "prod").status == 1
    assert reported() == {"moved": "false"}


def test_a_failed_promotion_reports_whether_the_champion_moved(
    store: Store, mlops: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = outputs_reader(monkeypatch, tmp_path / "outputs")
    store.champion("dev")
    kind = type(store.registry("stage"))
    make_champion = kind.make_champion

    def fails_before(*_: Any) -> None:
        raise OperationError("the line broke")

    def fails_after(*arguments: Any) -> None:
        make_champion(*arguments)
        raise OperationError("the line broke")

    monkeypatch.setattr(kind, "make_champion", fails_before)
    assert mlops("promote", "--env", "stage").status == 2
    assert reported()["moved"] == "false"
    assert champion_of(store, "stage") is None
    monkeypatch.setattr(kind, "make_champion", fails_after)
    assert mlops("promote", "--env", "stage").status == 2
    assert reported()["moved"] == "true"
    assert champion_of(store, "stage") == "1"
    monkeypatch.setattr(kind, "make_champion", make_champion)
    store.champion("dev", content="another")
    monkeypatch.setattr(kind, "make_champion", fails_before)
    assert mlops("promote", "--env", "stage").status == 2
    assert reported()["champion"] == "", "nothing to roll back"
    monkeypatch.setattr(kind, "make_champion", fails_after)
    assert mlops("promote", "--env", "stage").status == 2
    assert reported()["champion"] == champion_of(store, "stage") == "2"


def test_the_new_champion_is_reported_before_it_moves(
    on_mlflow: Store, mlops: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = outputs_reader(monkeypatch, tmp_path / "outputs")
    on_mlflow.champion("stage", content="old")
    on_mlflow.champion("dev", content="new")
    seen: list[dict[str, str]] = []
    make_champion = MlflowRegistry.make_champion

    def record_and_make_champion(*arguments: Any) -> None:
        seen.append(reported())
        make_champion(*arguments)

    monkeypatch.setattr(MlflowRegistry, "make_champion", record_and_make_champion)
    assert mlops("promote", "--env", "stage").status == 0
    assert [one["champion"] for one in seen] == ["2"]


def test_a_rollback_of_an_unexpected_champion_is_refused(store: Store, mlops: Command) -> None:
    for text in ("one", "two", "three"):
        store.champion("dev", content=text)
    before = store.snapshot()
    rollback = ("rollback", "--env", "dev", "--reason", "the deployment failed")
    result = mlops(*rollback, "--if-champion", "2")
    assert result.status == 1
    assert "Version 3 is now champion of dev, not 2: nothing was changed" in result.err
    assert store.snapshot() == before
    assert mlops(*rollback, "--if-champion", "3").status == 0
    assert champion_of(store, "dev") == "2"


def test_a_projects_own_script_can_promote_and_roll_back(
    on_mlflow: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    root = on_mlflow.project.path
    for content in ("one", "two"):
        on_mlflow.champion("dev", content=content)
        lines: list[str] = []
        moved = public.promote("stage", root=root, say=lines.append)
        champion = public.champion("stage", root=root)
        assert champion
        assert champion.number == moved.number
        assert lines[-1] == f"{moved} is now champion of stage"
    with pytest.raises(RefusedError, match="needs an approval"):
        public.promote("prod", root=root)
    with pytest.raises(RefusedError, match="needs a name and a reason"):
        public.promote("prod", approved_by="Ada", root=root)
    assert public.promote("prod", approved_by="Ada", reason="release", root=root).number == "1"
    back = public.rollback("stage", reason="too slow", root=root)
    assert "is champion of stage again, instead of version 2" in capsys.readouterr().out
    assert back.number == "1"
