"""Promotion, approval and rollback, on MLflow, in a workspace and in a shared registry."""

import os
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
from kedro_azure_mlops.registry.interface import LockedError
from kedro_azure_mlops.registry.on_azureml import AzureLock
from kedro_azure_mlops.registry.on_mlflow import MlflowRegistry
from tests.plugin import registered
from tests.plugin.cloud import Command
from tests.plugin.helpers import Project, reported_by
from tests.plugin.mlflow_server import Server
from tests.plugin.registered import (
    ENVIRONMENTS,
    FACTS,
    RULES,
    SCORER,
    Place,
    save_fixed_model,
    set_keys,
)
from tests.plugin.trained import serve_by

_PROGRESS = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"
APPROVAL = ("--approved-by", "Ada", "--reason", "release 1")


@pytest.fixture(params=["mlflow", "workspace", "shared"])
def place(
    request: pytest.FixtureRequest,
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Place:
    """A registry of each kind; the project is the current folder."""
    monkeypatch.chdir(project.path)
    set_keys(project, "base", gate={"rules": RULES})
    serve_by(project.path, SCORER)
    if request.param == "mlflow":
        place = Place(project, lambda version: change(place.file_of(version)), tmp_path / "work")
        return place
    azure = request.getfixturevalue("azure")
    names = f"  resource_group: {azure.resource_group}\n  name: {azure.workspace}\n"
    shared = {"shared_registry": "everybody"} if request.param == "shared" else {}
    for env in ENVIRONMENTS:
        project.configure(env, "azureml.yml", f"workspace:\n{names}")
        set_keys(project, env, registry={"kind": "azureml", **shared})

    def tamper(version: Version) -> None:
        every = [key for key in azure.blobs if key.endswith("weights.txt")]
        azure.blobs[every[int(version.number) - 1]] += b" that is another"

    return Place(project, tamper, tmp_path / "work")


@pytest.fixture
def on_mlflow(project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    """A registry in the project's database, where a test needs one kind only."""
    monkeypatch.chdir(project.path)
    set_keys(project, "base", gate={"rules": RULES})
    serve_by(project.path, SCORER)
    place = Place(project, lambda version: change(place.file_of(version)), tmp_path / "work")
    return place


def change(file: Path) -> None:
    file.write_text(file.read_text() + " that is another", encoding="utf-8")


def test_the_same_digest_goes_from_dev_to_prod_with_all_it_carries(
    place: Place, mlops: Command, tmp_path: Path
) -> None:
    start = place.champion("dev")
    assert mlops("promote", "--env", "stage").status == 0
    said = mlops("promote", "--env", "prod", *APPROVAL)
    assert said.status == 0, said.err
    assert f"the digest is {start.digest}" in said.out
    champion = place.registry("prod").champion()
    assert champion
    assert champion.digest == start.digest
    assert {name: champion.tags[name] for name in FACTS} == FACTS
    assert champion.tags["promoted.path"] == (
        f"dev {start.name}:1 > stage {place.registry('stage').name}:1 > prod"
    )
    assert champion.tags["approval.by"] == "Ada"
    assert champion.tags["approval.reason"] == "release 1"
    assert champion.tags["approval.digest"] == start.digest
    fetched = place.registry("prod").fetch(champion, tmp_path / "fetched")
    assert digest(fetched) == start.digest
    shown = mlops("champion", "--env", "prod")
    assert shown.status == 0
    for text in (start.digest, "r2: 0.7", "by: Ada", "c0ffee", "f1n9e2"):
        assert text in shown.out


def test_the_first_line_says_what_goes_where(on_mlflow: Place, mlops: Command) -> None:
    """Without --env it is stage."""
    version = on_mlflow.champion("dev")
    first = f"promote: promoting {version} from dev to stage"
    said = mlops("promote")
    assert said.status == 0
    assert said.out.splitlines()[0] == first
    refused = mlops("promote", "--env", "prod")
    assert refused.status == 1
    assert refused.out.splitlines()[0].endswith("from stage to prod")


def test_what_is_champion_already_is_left_alone(on_mlflow: Place, mlops: Command) -> None:
    place = on_mlflow
    place.champion("dev")
    mlops("promote", "--env", "stage")
    before = place.everything()
    said = mlops("promote", "--env", "stage")
    assert said.status == 0
    assert "is already champion of stage" in said.out
    assert place.everything() == before


def test_without_an_approval_nothing_gets_into_prod(on_mlflow: Place, mlops: Command) -> None:
    place = on_mlflow
    place.champion("stage")
    before = place.everything()
    for half in ((), ("--approved-by", "Ada"), ("--approved-by", " ", "--reason", "x")):
        said = mlops("promote", "--env", "prod", *half)
        assert said.status == 1
        assert "--approved-by" in said.err
    assert place.everything() == before


def test_files_that_were_changed_are_not_promoted(place: Place, mlops: Command) -> None:
    version = place.champion("dev")
    place.tamper(version)
    before = place.everything()
    said = mlops("promote", "--env", "stage")
    assert said.status == 2
    assert "is not what was registered" in said.err
    assert "data/weights.txt was changed" in said.err
    assert place.everything() == before


def test_a_model_that_does_not_answer_its_own_example_is_not_promoted(
    place: Place, mlops: Command
) -> None:
    place.champion("dev", answer=5.5)
    before = place.everything()
    said = mlops("promote", "--env", "stage")
    assert said.status == 2
    assert "cannot be champion of stage" in said.err
    assert "the example's row 0 has energy 5.0, but training recorded 5.5" in said.err
    assert place.everything() == before
    place.champion("dev", content="a sound one")
    assert mlops("promote", "--env", "stage").status == 0


def test_a_folder_that_is_not_as_it_was_saved_gets_into_no_registry(place: Place) -> None:
    sound = save_fixed_model(place.work / "sound", "weights")
    registry, before = place.registry("dev"), place.everything()
    with pytest.raises(OperationError, match="was requested"):
        registry.register(sound, {"digest": "a" * 64})
    (sound / ".DS_Store").touch()
    with pytest.raises(OperationError, match=r"\.DS_Store was added"):
        registry.register(sound, {"digest": digest(sound)})
    assert place.everything() == before
    (sound / ".DS_Store").unlink()
    assert registry.register(sound, {"digest": digest(sound)}).number == "1"


def test_a_model_of_before_there_was_a_list_of_files_is_promoted_by_its_digest(
    on_mlflow: Place, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # as the first version registered one
        patch.setattr(registered, "write_manifest", lambda _: None)
        on_mlflow.champion("dev")
    assert mlops("promote", "--env", "stage").status == 0
    assert mlops("promote", "--env", "prod", *APPROVAL).status == 0
    weights = on_mlflow.file_of(on_mlflow.registry("prod").version("1"))
    assert not (weights.parents[1] / "SHA256SUMS").exists()


def test_a_rollback_goes_back_step_by_step_and_says_why(place: Place, mlops: Command) -> None:
    first, second, third = (place.champion("dev", content=text) for text in ("one", "two", "three"))
    assert mlops("rollback", "--env", "dev", "--reason", "too many errors").status == 0
    assert champion_of(place, "dev") == second.number
    assert place.registry("dev").version("3").tags["rollback.reason"] == "too many errors"
    assert mlops("rollback", "--env", "dev", "--reason", "also bad").status == 0
    assert champion_of(place, "dev") == first.number
    before = place.everything()
    said = mlops("rollback", "--env", "dev", "--reason", "still bad")
    assert said.status == 1
    assert "No champion of dev is recorded before" in said.err
    assert place.everything() == before
    assert mlops("rollback", "--env", "dev", "--to", "3", "--reason", "it was right").status == 0
    assert champion_of(place, "dev") == third.number
    shown = mlops("champion", "--env", "dev", "--history").out
    assert "rollback (too many errors), after 3" in shown
    assert shown.count("champion since") == 6


@pytest.mark.parametrize("place", ["mlflow", "workspace"], indirect=True)
def test_two_promotions_at_once_do_not_mix(
    place: Place, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is stopped in the middle, by a fetch that waits, until the second has failed."""
    place.champion("dev")
    before = place.everything()
    in_the_middle, go_on, ended = threading.Event(), threading.Event(), []
    fetch = Registry.fetch

    def waits(self: Registry, version: Version, target: Path) -> Path:
        if threading.current_thread() is not threading.main_thread():
            in_the_middle.set()
            assert go_on.wait(60)
        return fetch(self, version, target)

    monkeypatch.setattr(Registry, "fetch", waits)
    first = threading.Thread(target=lambda: ended.append(mlops("promote", "--env", "stage").status))
    first.start()
    try:
        assert in_the_middle.wait(60)
        second = mlops("promote", "--env", "stage")
        assert second.status == 2
        assert "is being changed by" in second.err
        assert "--clear-lock" in second.err
        assert versions_and_champions(place) == versions_in(before)
    finally:
        go_on.set()
        first.join()
    assert ended == [0]
    assert champion_of(place, "stage") == "1"
    assert len(place.registry("stage").versions()) == 1
    assert place.registry("stage").clear_lock() is None


@pytest.mark.parametrize("place", ["mlflow", "workspace"], indirect=True)
def test_of_two_that_both_see_no_lock_one_gets_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have looked before either has taken it: the service itself refuses the second."""
    looks: list[None] = []
    latest = AzureLock._latest

    def none_yet(self: AzureLock) -> Any:
        looks.append(None)
        return None if len(looks) < 3 else latest(self)

    with place.registry("stage").locked("the first"):
        monkeypatch.setattr(AzureLock, "_latest", none_yet)
        second = place.registry("stage").locked("the second")
        with pytest.raises(LockedError, match="for the first"):
            second.__enter__()


@pytest.mark.parametrize("place", ["mlflow", "workspace"], indirect=True)
def test_the_lock_of_a_killed_process_is_taken_over(
    place: Place, mlops: Command, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place.champion("dev")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        dead = Process.here(process.pid)
        process.kill()
    with monkeypatch.context() as patch:
        patch.setattr(Process, "me", classmethod(lambda _: dead))
        left = place.registry("stage").locked("a promotion that dies")
        left.__enter__()
    assert mlops("promote", "--env", "stage").status == 0
    assert "for a promotion that dies is taken over: its process has ended" in caplog.text
    assert champion_of(place, "stage") == "1"
    assert place.registry("stage").clear_lock() is None
    left.__exit__(None, None, None)


@pytest.mark.parametrize("place", ["mlflow", "workspace"], indirect=True)
def test_a_lock_that_was_left_behind_can_be_cleared(place: Place, mlops: Command) -> None:
    place.champion("dev")
    with place.registry("stage").locked("a promotion that dies") as lock:
        assert mlops("promote", "--env", "stage").status == 2
        said = mlops("promote", "--env", "stage", "--clear-lock")
        assert said.status == 0
        assert "for a promotion that dies" in said.out
        assert mlops("promote", "--env", "stage").status == 0
        with pytest.raises(Exception, match="lock of this process was cleared"):
            lock.check()
    assert "is not locked" in mlops("promote", "--env", "stage", "--clear-lock").out


@pytest.mark.parametrize(("given", "counts"), [(None, "false"), ("true", "true")])
def test_whoever_wants_the_progress_bar_of_mlflow_keeps_it(
    on_mlflow: Place, monkeypatch: pytest.MonkeyPatch, given: str | None, counts: str
) -> None:
    monkeypatch.setenv(_PROGRESS, given or "")
    if given is None:
        monkeypatch.delenv(_PROGRESS)
    on_mlflow.registry("dev")
    assert os.environ[_PROGRESS] == counts


def test_a_model_goes_from_a_file_to_a_server_and_on_from_there(
    on_mlflow: Place, server: Server, mlops: Command, tmp_path: Path
) -> None:
    """Environments have servers of their own; the one that the process has set is neither."""
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
    said = mlops("promote", "--env", "prod", *APPROVAL)
    assert said.status == 0
    assert said.err == "", "no progress bar of MLflow's"
    here = [model.name for model in project.client().search_registered_models()]
    assert here == [on_mlflow.registry(env).name for env in ("dev", "prod")]
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
    ids=lambda given: str(given)[:40],
)
def test_the_target_has_its_own_gate(
    on_mlflow: Place, mlops: Command, facts: dict[str, Any], reason: str
) -> None:
    place = on_mlflow
    place.champion("dev", **facts)
    before = place.everything()
    said = mlops("promote", "--env", "stage")
    assert said.status == 1
    assert reason in said.err
    assert "is well" not in said.err, "a rule that holds is no reason"
    assert f"NO  {reason}" in said.out
    assert place.everything() == before


@pytest.mark.parametrize(
    ("facts", "passes"),
    [
        ({"metrics.r2": "0.69"}, True),
        ({"metrics.r2": "0.68"}, False),
        ({"metrics.misses": "1.1"}, True),
        ({"metrics.misses": "1.2"}, False),
        ({"metrics.recall": None}, False),
    ],
    ids=lambda given: str(given)[:45],
)
def test_a_model_is_held_against_the_champion_of_the_target(
    on_mlflow: Place, mlops: Command, facts: dict[str, Any], passes: bool
) -> None:
    place = on_mlflow
    old = place.champion("stage", content="the old one")
    place.champion("dev", content="the young one", **facts)
    before = place.everything()
    said = mlops("promote", "--env", "stage")
    assert (said.status == 0) is passes, said.err
    assert (champion_of(place, "stage") != old.number) is passes
    assert passes or place.everything() == before


@pytest.mark.parametrize(("number", "status"), [("0.7", 0), ("nan", 1), ("n/a", 1), ("-inf", 1)])
def test_a_champion_whose_number_is_none_is_not_replaced(
    on_mlflow: Place, mlops: Command, number: str, status: int
) -> None:
    on_mlflow.champion("stage", content="old", **{"metrics.r2": number})
    on_mlflow.champion("dev", content="young")
    before = on_mlflow.everything()
    said = mlops("promote", "--env", "stage")
    assert said.status == status
    if status:
        assert "R² 0.700 against nan for the champion (version 1)" in said.err
        assert on_mlflow.everything() == before


def test_what_the_champion_was_not_measured_by_is_not_compared(
    on_mlflow: Place, mlops: Command
) -> None:
    on_mlflow.champion("stage", content="old", **{"metrics.recall": None})
    on_mlflow.champion("dev", content="young")
    said = mlops("promote", "--env", "stage")
    assert said.status == 0
    assert "was not measured by recall" in said.out


def test_a_version_is_chosen_by_number_or_digest(on_mlflow: Place, mlops: Command) -> None:
    chosen = on_mlflow.register("dev", content="this one")
    on_mlflow.champion("dev", content="that one")
    assert mlops("promote", "--env", "stage", "--digest", "f" * 12).status == 2
    assert mlops("promote", "--env", "stage", "--version", "9").status == 2
    assert on_mlflow.registry("stage").versions() == []
    assert mlops("promote", "--env", "stage", "--digest", chosen.digest[:10]).status == 0
    found = on_mlflow.registry("stage").champion()
    assert found
    assert found.digest == chosen.digest


def test_a_model_that_comes_back_is_not_stored_twice(on_mlflow: Place, mlops: Command) -> None:
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
def test_an_environment_that_nothing_is_promoted_to_is_an_error(
    on_mlflow: Place, mlops: Command, env: str
) -> None:
    on_mlflow.champion("dev")
    before = on_mlflow.everything()
    assert mlops("promote", "--env", env).status == 2
    assert on_mlflow.everything() == before


def test_with_no_champion_there_is_nothing_to_promote_or_show(
    on_mlflow: Place, mlops: Command
) -> None:
    assert mlops("promote", "--env", "stage").status == 2
    shown = mlops("champion", "--env", "stage")
    assert shown.status == 1
    assert "plant-stage has no champion in" in shown.err
    assert mlops("rollback", "--env", "stage", "--reason", "x").status == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "needs a reason"),
        (("--reason", "x", "--to", "3"), "was never champion"),
        (("--reason", "x", "--to", "2"), "is already the champion"),
    ],
    ids=["no reason", "never champion", "the champion"],
)
def test_a_rollback_that_leads_nowhere_is_refused(
    on_mlflow: Place, mlops: Command, options: tuple[str, ...], reason: str
) -> None:
    for text in ("one", "two"):
        on_mlflow.champion("dev", content=text)
    on_mlflow.register("dev", content="three")
    before = on_mlflow.everything()
    said = mlops("rollback", "--env", "dev", *options)
    assert said.status == 1
    assert reason in said.err
    assert on_mlflow.everything() == before


def test_a_rollback_to_files_that_were_changed_is_refused(on_mlflow: Place, mlops: Command) -> None:
    first = on_mlflow.champion("dev", content="one")
    on_mlflow.champion("dev", content="two")
    on_mlflow.tamper(first)
    before = on_mlflow.everything()
    said = mlops("rollback", "--env", "dev", "--reason", "bad")
    assert said.status == 2
    assert "is not what was registered" in said.err
    assert on_mlflow.everything() == before


def test_a_rollback_to_a_model_that_cannot_be_served_is_refused(
    place: Place, mlops: Command
) -> None:
    place.champion("dev", content="zero")
    place.champion("dev", content="one", answer=5.5)
    place.champion("dev", content="two")
    before = place.everything()
    said = mlops("rollback", "--env", "dev", "--reason", "bad")
    assert said.status == 2
    assert "version 2" in said.err
    assert "cannot be champion of dev" in said.err
    assert "training recorded 5.5" in said.err
    assert "cannot be champion of dev: it cannot be served: " in said.err
    assert place.everything() == before
    assert mlops("rollback", "--env", "dev", "--to", "1", "--reason", "bad").status == 0


def test_a_champion_that_this_code_cannot_serve_is_named_by_its_version(
    on_mlflow: Place, mlops: Command
) -> None:
    version = on_mlflow.champion("dev", answer=5.5)
    said = mlops("bundle", "--env", "dev", "--no-wheels")
    assert said.status == 2
    assert f"the champion of dev, {version} cannot be served: the example's row 0" in said.err
    assert "kedro mlops rollback --env dev --reason TEXT" in said.err
    assert "served/1" not in said.err


def test_a_verdict_about_another_model_is_shown_as_none(on_mlflow: Place, mlops: Command) -> None:
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
    on_mlflow: Place, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_mlflow.champion("dev")
    before = on_mlflow.everything()

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.MlflowClient.log_artifacts", full)
        said = mlops("promote", "--env", "stage")
    assert said.status == 2
    assert "no space left" in said.err
    assert on_mlflow.everything() == before
    assert mlops("promote", "--env", "stage").status == 0


def champion_of(place: Place, env: str) -> str | None:
    found = open_registry(env, place.project.path).champion()
    return found.number if found else None


def versions_and_champions(place: Place) -> Any:
    return {
        env: ([(v.number, dict(v.tags)) for v in place.registry(env).versions()])
        for env in ENVIRONMENTS
    }


def versions_in(everything: Any) -> Any:
    return {env: versions for env, (versions, _, _) in everything.items()}


def test_later_steps_are_told_what_moved(
    place: Place, mlops: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = reported_by(monkeypatch, tmp_path / "outputs")
    first = place.champion("dev", content="one")
    assert mlops("promote", "--env", "stage").status == 0
    facts = {"version": "1", "digest": first.digest}
    assert reported() == facts | {"moved": "true", "before": "", "champion": ""}
    assert mlops("promote", "--env", "stage").status == 0
    assert reported() == facts | {"moved": "false", "before": "1"}, "not by this call"
    second = place.champion("dev", content="two")
    assert mlops("promote", "--env", "stage").status == 0
    facts = {"version": "2", "digest": second.digest}
    assert reported() == facts | {"moved": "true", "before": "1", "champion": "2"}
    assert mlops("promote", "--env", "prod").status == 1
    assert reported() == {"moved": "false"}


def test_what_fails_before_the_champion_moves_has_not_moved_it_and_after_it_has(
    place: Place, mlops: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = reported_by(monkeypatch, tmp_path / "outputs")
    place.champion("dev")
    kind = type(place.registry("stage"))
    make_champion = kind.make_champion

    def fails_before(*_: Any) -> None:
        raise OperationError("the line broke")

    def fails_after(*arguments: Any) -> None:
        make_champion(*arguments)
        raise OperationError("the line broke")

    monkeypatch.setattr(kind, "make_champion", fails_before)
    assert mlops("promote", "--env", "stage").status == 2
    assert reported()["moved"] == "false"
    assert champion_of(place, "stage") is None
    monkeypatch.setattr(kind, "make_champion", fails_after)
    assert mlops("promote", "--env", "stage").status == 2
    assert reported()["moved"] == "true"
    assert champion_of(place, "stage") == "1"
    monkeypatch.setattr(kind, "make_champion", make_champion)
    place.champion("dev", content="another")
    monkeypatch.setattr(kind, "make_champion", fails_before)
    assert mlops("promote", "--env", "stage").status == 2
    assert reported()["champion"] == "", "nothing to take back"
    monkeypatch.setattr(kind, "make_champion", fails_after)
    assert mlops("promote", "--env", "stage").status == 2
    assert reported()["champion"] == champion_of(place, "stage") == "2"


def test_a_process_that_is_killed_has_reported_what_it_was_about_to_move(
    on_mlflow: Place, mlops: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = reported_by(monkeypatch, tmp_path / "outputs")
    on_mlflow.champion("stage", content="old")
    on_mlflow.champion("dev", content="new")
    seen: list[dict[str, str]] = []
    make_champion = MlflowRegistry.make_champion

    def look(*arguments: Any) -> None:
        seen.append(reported())
        make_champion(*arguments)

    monkeypatch.setattr(MlflowRegistry, "make_champion", look)
    assert mlops("promote", "--env", "stage").status == 0
    assert [one["champion"] for one in seen] == ["2"]


def test_a_rollback_of_another_champion_than_the_expected_is_refused(
    place: Place, mlops: Command
) -> None:
    for text in ("one", "two", "three"):
        place.champion("dev", content=text)
    before = place.everything()
    rollback = ("rollback", "--env", "dev", "--reason", "the deployment failed")
    said = mlops(*rollback, "--if-champion", "2")
    assert said.status == 1
    assert "Version 3 is now champion of dev, not 2: nothing was changed" in said.err
    assert place.everything() == before
    assert mlops(*rollback, "--if-champion", "3").status == 0
    assert champion_of(place, "dev") == "2"


def test_a_projects_own_script_promotes_and_rolls_back(
    on_mlflow: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    root = on_mlflow.project.path
    for content in ("one", "two"):
        on_mlflow.champion("dev", content=content)
        lines: list[str] = []
        moved = public.promote("stage", root=root, say=lines.append)
        found = public.champion("stage", root=root)
        assert found
        assert found.number == moved.number
        assert lines[-1] == f"{moved} is now champion of stage"
    with pytest.raises(RefusedError, match="needs an approval"):
        public.promote("prod", root=root)
    with pytest.raises(RefusedError, match="needs a name and a reason"):
        public.promote("prod", approved_by="Ada", root=root)
    assert public.promote("prod", approved_by="Ada", reason="release", root=root).number == "1"
    back = public.rollback("stage", reason="too slow", root=root)
    assert "is champion of stage again, instead of version 2" in capsys.readouterr().out
    assert back.number == "1"
