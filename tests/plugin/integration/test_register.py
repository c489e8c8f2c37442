"""Runs register their models, and the command registers the model of a run elsewhere."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from kedro_azure_mlops import registry as public
from kedro_azure_mlops.contract import digest, write_manifest
from kedro_azure_mlops.errors import OperationError, RefusedError
from kedro_azure_mlops.hooks import tracking
from kedro_azure_mlops.models import save_model
from kedro_azure_mlops.registry import Registry, open_registry
from tests.plugin.cloud import Command
from tests.plugin.helpers import Project
from tests.plugin.history import git
from tests.plugin.registered import set_keys

NAME = "plant-dev"
MODEL = {"arguments": {"alpha": 2.0}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    """A project after one run in dev; tests restore the files that they change."""
    project = Project.copy_to(tmp_path_factory.mktemp("trained") / "project", database)
    git(project.path, "init", "--quiet")
    commit(project)
    project.run(env="dev", model=MODEL)
    return project


def commit(project: Project) -> str:
    """Create an empty commit, and return its SHA."""
    git(project.path, "commit", "--quiet", "--allow-empty", "-m", "another")
    return git(project.path, "rev-parse", "HEAD")


@pytest.fixture
def other_registry(
    trained: Project, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Registry:
    """An empty registry, separate from the one of the run."""
    shutil.copy(database, tmp_path / "other.db")
    uri = f"sqlite:///{(tmp_path / 'other.db').as_posix()}"
    set_keys(trained, "dev", registry={"uri": uri})
    monkeypatch.chdir(trained.path)
    return open_registry("dev", trained.path)


@contextmanager
def changed(file: Path, content: bytes | None) -> Iterator[None]:
    """Change or remove a file within the context."""
    before = file.read_bytes()
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    try:
        yield
    finally:
        file.write_bytes(before)


def test_a_version_of_a_run_has_all_tags_that_a_promotion_needs(trained: Project) -> None:
    client = trained.client()
    version = client.get_model_version_by_alias(NAME, "champion")
    tags = version.tags
    assert tags["digest"] == digest(trained.processed("model"))
    assert tags["gate"] == "passed"
    for rule in trained.gate()["rules"]:
        assert rule["reason"] in tags["gate.reasons"]
    numbers = trained.metrics()
    assert set(numbers) == {"r2", "rmse"}
    carried = {k.removeprefix("metrics."): float(v) for k, v in tags.items() if "metrics." in k}
    assert carried == numbers
    report = json.loads(trained.processed("cleaning_report.json").read_text())
    assert tags["data.fingerprint"] == report["fingerprint"]
    parameters = json.loads(tags["parameters"])
    assert parameters["model"]["arguments"]["alpha"] == 2
    assert parameters["gate"]["rules"][0]["minimum"] == 0.3
    (since,) = (text for name, text in tags.items() if name.startswith("champion.since."))
    assert since == "gate, the first"
    assert client.get_run(version.run_id).data.metrics["rmse"] == numbers["rmse"]


def test_the_model_of_a_run_is_registered_once_in_another_registry(
    trained: Project, other_registry: Registry, mlops: Command
) -> None:
    assert mlops("register", "--env", "dev").status == 0
    champion = other_registry.champion()
    assert champion
    assert champion.digest == digest(trained.processed("model"))
    run_tags = trained.client().get_model_version_by_alias(NAME, "champion").tags
    same = {k for k in run_tags if k.startswith(("metrics.", "gate", "parameters", "digest"))}
    assert {k: champion.tags[k] for k in same} == {k: run_tags[k] for k in same}
    assert champion.tags["data.fingerprint"] == run_tags["data.fingerprint"]
    again = mlops("register", "--env", "dev")
    assert again.status == 0
    assert "is already registered" in again.out
    assert [version.number for version in other_registry.versions()] == ["1"]


def test_a_later_commit_and_later_data_are_not_recorded_as_the_models_origin(
    trained: Project, other_registry: Registry, mlops: Command
) -> None:
    origin = {k: v for k, v in trained.gate()["origin"].items() if k != "git.dirty"}
    run_tags = trained.client().get_model_version_by_alias(NAME, "champion").tags
    assert origin == {k: run_tags[k] for k in ("git.commit", "data.fingerprint")}
    assert commit(trained) != origin["git.commit"]
    report = trained.processed("cleaning_report.json")
    with changed(report, json.dumps({"fingerprint": "of other data"}).encode()):
        assert mlops("register", "--env", "dev").status == 0
    (version,) = other_registry.versions()
    assert origin == {k: version.tags[k] for k in origin}


def test_a_version_that_the_run_registered_is_unchanged(
    trained: Project, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_keys(trained, "dev", registry={"uri": "sqlite:///mlruns.db"})
    monkeypatch.chdir(trained.path)
    client = trained.client()
    before = client.get_model_version_by_alias(NAME, "champion")
    commit(trained)
    assert mlops("register", "--env", "dev").status == 0
    assert client.get_model_version(NAME, before.version).tags == before.tags
    client.delete_model_version_tag(NAME, before.version, "data.fingerprint")
    assert mlops("register", "--env", "dev").status == 0
    assert client.get_model_version(NAME, before.version).tags == before.tags, (
        "the missing tag is restored"
    )
    assert len(client.search_model_versions(f"name='{NAME}'")) == 1


def test_the_gate_records_the_origin_of_the_model_and_not_of_its_own_run(
    trained: Project, tmp_path: Path
) -> None:
    project = Project(tmp_path / "copy")
    shutil.copytree(trained.path, project.path)
    set_keys(project, "dev", tracking={"enabled": False})
    first, second = project.gate()["origin"], commit(project)
    assert first["git.commit"] != second
    project.run("evaluate", env="dev", model=MODEL)
    assert project.gate()["origin"] == first
    unknown = json.dumps(project.gate() | {"digest": "of another model"})
    project.processed("gate.json").write_text(unknown, encoding="utf-8")
    project.run("evaluate", env="dev", model=MODEL)
    assert project.gate()["origin"] == {}, "its training run is unknown"
    project.run("train", "evaluate", env="dev", model=MODEL)
    assert project.gate()["origin"] == first | {"git.commit": second}


def test_a_downloaded_folder_is_registered(
    trained: Project, other_registry: Registry, mlops: Command, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained.processed("model"), tmp_path / "downloaded")
    assert mlops("register", "--env", "dev", "--folder", str(folder)).status == 0
    assert len(other_registry.versions()) == 1


def test_a_model_other_than_the_judged_one_is_refused(
    trained: Project, other_registry: Registry, mlops: Command, tmp_path: Path
) -> None:
    save_model(other_model(), tmp_path / "other")
    result = mlops("register", "--env", "dev", "--folder", str(tmp_path / "other"))
    assert result.status == 1
    assert "is not the one that the gate has judged" in result.err
    for name in ("MLmodel", "contract.json", "model.skops"):
        with changed(trained.processed("model") / name, (tmp_path / "other" / name).read_bytes()):
            assert mlops("register", "--env", "dev").status == 1
    assert other_registry.versions() == []


def other_model() -> LinearRegression:
    rows = pd.DataFrame({"load": [0.0, 1.0, 3.0], "pressure": [1.0, 5.0, 2.0]})
    return LinearRegression().fit(rows, [0.0, 1.0, 2.0])


def test_a_folder_without_a_model_and_a_verdict_without_a_digest_are_refused(
    trained: Project, other_registry: Registry, mlops: Command, tmp_path: Path
) -> None:
    result = mlops("register", "--env", "dev", "--folder", str(tmp_path))
    assert result.status == 2
    assert "holds no model" in result.err
    without = json.dumps({k: v for k, v in trained.gate().items() if k != "digest"}).encode()
    with changed(trained.processed("gate.json"), without):
        result = mlops("register", "--env", "dev")
    assert result.status == 2
    assert "does not name the model's digest" in result.err
    assert other_registry.versions() == []


def test_a_model_that_cannot_be_served_is_not_registered(
    trained: Project, other_registry: Registry, mlops: Command
) -> None:
    set_keys(trained, "base", tracking={})
    base = trained.path / "conf/base/mlops.yml"
    with changed(base, base.read_bytes() + b"\nscorer: nowhere.score:load\n"):
        result = mlops("register", "--env", "dev")
    assert result.status == 2
    assert "nowhere.score:load cannot be imported" in result.err
    assert other_registry.versions() == []
    contract = trained.processed("model") / "contract.json"
    recorded = json.loads(contract.read_text(encoding="utf-8"))
    recorded["answer"][0]["prediction"] += 1
    manifest = trained.processed("model") / "SHA256SUMS"
    with changed(contract, json.dumps(recorded).encode()), changed(manifest, b""):
        write_manifest(trained.processed("model"))
        gate = trained.gate() | {"digest": digest(trained.processed("model"))}
        measured = trained.processed("model.measured.json")
        with (
            changed(trained.processed("gate.json"), json.dumps(gate).encode()),
            changed(measured, b"{}"),
        ):
            result = mlops("register", "--env", "dev")
    assert result.status == 2
    assert "the example's row 0 has prediction" in result.err
    assert other_registry.versions() == []


def test_a_projects_own_script_can_register_and_read_the_verdict(
    trained: Project, other_registry: Registry, tmp_path: Path
) -> None:
    lines: list[str] = []
    version = public.register("dev", root=trained.path, say=lines.append)
    assert version.digest == digest(trained.processed("model"))
    assert lines[-1] == f"the gate passed: {version} is now champion of dev"
    verdict = public.gate_verdict("dev", root=trained.path)
    assert verdict["passed"]
    assert verdict["digest"] == version.digest
    with pytest.raises(OperationError, match="The last run was for plant-dev"):
        public.gate_verdict("prod", root=trained.path)
    refused = verdict | {"passed": False}
    with (
        changed(trained.processed("gate.json"), json.dumps(refused).encode()),
        pytest.raises(RefusedError, match="the gate has refused it"),
    ):
        other_registry.make_champion(
            other_registry.register(*_placeholder(tmp_path / "placeholder")), "test"
        )
        public.register("dev", root=trained.path, say=lines.append)


def _placeholder(folder: Path, r2: float = 0.0) -> tuple[Path, dict[str, str]]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MLmodel").write_text("flavors: {}", encoding="utf-8")
    write_manifest(folder)
    return folder, {"digest": digest(folder), "metrics.r2": str(r2)}


def test_the_gate_is_shown_with_every_reason(
    trained: Project, other_registry: Registry, mlops: Command
) -> None:
    result = mlops("gate", "--env", "dev")
    assert result.status == 0
    assert result.out.splitlines()[0] == "Gate: PASSED"
    for rule in trained.gate()["rules"]:
        assert f"  ok  {rule['reason']}" in result.out
    gate = trained.gate() | {"passed": False}
    with changed(trained.processed("gate.json"), json.dumps(gate).encode()):
        assert mlops("gate", "--env", "dev").status == 1
    with changed(trained.processed("gate.json"), None):
        result = mlops("gate", "--env", "dev")
    assert result.status == 2
    assert "no run has reached the gate yet.\n  next: kedro run --env dev" in result.err


@pytest.mark.parametrize("command", ["gate", "register"])
@pytest.mark.parametrize(
    ("key", "right", "wrong"),
    [("tracking.model", "model", "modle"), ("gate.decision", "gate", "gaet")],
)
def test_an_entry_that_the_catalog_lacks_is_reported_with_the_closest_one(
    trained: Project,
    other_registry: Registry,
    mlops: Command,
    key: str,
    right: str,
    wrong: str,
    command: str,
) -> None:
    base = trained.path / "conf/base/mlops.yml"
    name = key.rpartition(".")[2]
    text = base.read_text(encoding="utf-8")
    text = re.sub(rf"(?m)^  {name}: .+$", f"  {name}: {wrong}", text)
    with changed(base, text.encode()):
        result = mlops(command, "--env", "dev")
    assert result.status == 2
    message = f"mlops.yml: {key}: there is no catalog entry {wrong}. Did you mean {right}?"
    assert message in result.err
    assert other_registry.versions() == []
    assert mlops(command, "--env", "dev").status == 0


def test_a_judged_model_that_the_catalog_lacks_is_reported_with_its_key(
    trained: Project, other_registry: Registry, mlops: Command
) -> None:
    base = trained.path / "conf/base/mlops.yml"
    wrong = base.read_bytes().replace(b"gate:\n", b"gate:\n  judged: modle\n", 1)
    with changed(base, wrong):
        result = mlops("gate", "--env", "dev")
    assert result.status == 2
    assert "gate.judged: there is no catalog entry modle. Did you mean model?" in result.err


def test_a_refused_model_is_registered_and_the_champion_stays(
    trained: Project, other_registry: Registry, mlops: Command
) -> None:
    gate = trained.gate()
    gate["passed"], gate["rules"][0] = False, {"rule": "x", "passed": False, "reason": "too odd"}
    with changed(trained.processed("gate.json"), json.dumps(gate).encode()):
        result = mlops("register", "--env", "dev")
        (version,) = other_registry.versions()
        commit(trained)
        again = mlops("register", "--env", "dev")
    assert result.status == again.status == 1
    assert "the gate has refused it: too odd.\n  The rules" in result.err
    assert version.tags["gate"] == "refused"
    assert other_registry.champion() is None
    assert other_registry.versions() == [version], "a repeated refusal changes nothing"


@pytest.mark.parametrize(
    ("better", "status"), [(0.0, 0), (0.2, 1)], ids=["no better champion", "a better champion"]
)
def test_a_model_is_compared_with_the_current_champion(
    trained: Project,
    other_registry: Registry,
    mlops: Command,
    tmp_path: Path,
    better: float,
    status: int,
) -> None:
    number = trained.metrics()["r2"] + better
    champion_before = other_registry.register(*_placeholder(tmp_path / "placeholder", number))
    other_registry.make_champion(champion_before, "test")
    assert mlops("register", "--env", "dev").status == status
    champion = other_registry.champion()
    assert champion
    assert champion.number == ("1" if status else "2")


@pytest.mark.parametrize("name", ["gate", "metrics"])
def test_a_run_without_metrics_or_a_verdict_is_not_registered(
    trained: Project, other_registry: Registry, mlops: Command, name: str
) -> None:
    with changed(trained.processed(f"{name}.json"), None):
        result = mlops("register", "--env", "dev")
    assert result.status == 2
    assert f"has not written {name}.\n  next: kedro run --env dev" in result.err
    assert other_registry.versions() == []


def test_a_missing_metric_keeps_the_champion(
    trained: Project, other_registry: Registry, mlops: Command
) -> None:
    numbers = {k: v for k, v in trained.metrics().items() if k != "r2"}
    with changed(trained.processed("metrics.json"), json.dumps(numbers).encode()):
        result = mlops("register", "--env", "dev")
    assert result.status == 1
    assert "missing metric: r2" in result.err
    assert other_registry.champion() is None


def test_the_run_of_another_environment_is_not_registered(
    other_registry: Registry, mlops: Command
) -> None:
    result = mlops("register", "--env", "prod")
    assert result.status == 2
    assert f"The last run was for {NAME}" in result.err
    assert other_registry.versions() == []


def test_a_run_in_prod_makes_no_champion_without_an_approval(project: Project) -> None:
    project.run(env="prod", model=MODEL)
    name = f"{NAME.removesuffix('-dev')}-prod"
    version = project.client().get_model_version(name, "1")
    assert version.tags["gate"] == "passed"
    assert project.client().get_registered_model(name).aliases == {}


def test_a_champion_that_changed_during_the_run_stays(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other_champion: Any = SimpleNamespace(version="7")
    with monkeypatch.context() as patch:
        patch.setattr(tracking, "find_champion", lambda *_: other_champion)
        project.run(env="dev", model=MODEL)
    assert "and that is now 7: the champion stays" in caplog.text
    assert project.client().get_registered_model(NAME).aliases == {}
    project.run("evaluate", env="dev", model=MODEL)
    assert project.client().get_registered_model(NAME).aliases.keys() == {"champion"}
