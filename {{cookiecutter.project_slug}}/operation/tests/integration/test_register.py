"""What a run registers, and the verb that registers the model of a run elsewhere."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from {{ cookiecutter.package_name }}.models import save_detector
from {{ cookiecutter.package_name }}.scoring.digest import digest
from {{ cookiecutter.package_name }}.tracking import hook

from operation.registry import Registry, open_registry
from operation.tests.cloud import Verb
from operation.tests.helpers import Project
from operation.tests.history import git
from operation.tests.trained import small_detector

NAME = "{{ cookiecutter.project_slug }}-dev"
SMALL = {"n_estimators": 10}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    """A project of which dev was run once; tests leave its files as they find them."""
    project = Project.copy_to(tmp_path_factory.mktemp("trained") / "project", database)
    git(project.path, "init", "--quiet")
    commit(project)
    project.run(env="dev", detector=SMALL)
    return project


def commit(project: Project) -> str:
    """Make a commit that changes nothing, and name it."""
    git(project.path, "commit", "--quiet", "--allow-empty", "-m", "another")
    return git(project.path, "rev-parse", "HEAD")


@pytest.fixture
def elsewhere(
    trained: Project, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Registry:
    """An empty registry that is not where the run was tracked."""
    shutil.copy(database, tmp_path / "other.db")
    uri = f"sqlite:///{(tmp_path / 'other.db').as_posix()}"
    trained.configure("dev", "registry.yml", f"uri: {uri}\n")
    monkeypatch.chdir(trained.path)
    return open_registry("dev", trained.path)


@contextmanager
def changed(file: Path, content: bytes | None) -> Iterator[None]:
    """Change a file, or take it away, for as long as this lasts."""
    before = file.read_bytes()
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    try:
        yield
    finally:
        file.write_bytes(before)


def test_a_version_of_a_run_carries_all_that_a_promotion_asks_for(trained: Project) -> None:
    client = trained.client()
    version = client.get_model_version_by_alias(NAME, "champion")
    tags = version.tags
    assert tags["digest"] == digest(trained.processed("model"))
    assert tags["gate"] == "passed"
    for rule in trained.gate()["rules"]:
        assert rule["reason"] in tags["gate.reasons"]
    numbers = {k: v for k, v in (trained.metrics() | trained.cost()).items() if "." not in k}
    assert {"average_precision", "latency_ms", "size_mb"} < set(numbers)
    carried = {k.removeprefix("metrics."): float(v) for k, v in tags.items() if "metrics." in k}
    assert carried == numbers
    report = json.loads((trained.path / "data/interim/cleaning_report.json").read_text())
    assert tags["data.fingerprint"] == report["fingerprint"]
    parameters = json.loads(tags["parameters"])
    assert parameters["detector"]["n_estimators"] == 10
    assert parameters["gate"]["minimum"] == {"average_precision": 0.3}
    (since,) = (text for name, text in tags.items() if name.startswith("champion.since."))
    assert since == "gate, after None"
    assert client.get_run(version.run_id).data.metrics["size_mb"] == numbers["size_mb"]


def test_the_model_of_a_run_is_registered_elsewhere_once(
    trained: Project, elsewhere: Registry, verb: Verb
) -> None:
    assert verb("register", "--env", "dev").status == 0
    champion = elsewhere.champion()
    assert champion
    assert champion.digest == digest(trained.processed("model"))
    of_the_run = trained.client().get_model_version_by_alias(NAME, "champion").tags
    same = {k for k in of_the_run if k.startswith(("metrics.", "gate", "parameters", "digest"))}
    assert {k: champion.tags[k] for k in same} == {k: of_the_run[k] for k in same}
    assert champion.tags["data.fingerprint"] == of_the_run["data.fingerprint"]
    again = verb("register", "--env", "dev")
    assert again.status == 0
    assert "is registered already" in again.out
    assert [version.number for version in elsewhere.versions()] == ["1"]


def test_a_later_commit_and_later_data_are_not_taken_for_the_models(
    trained: Project, elsewhere: Registry, verb: Verb
) -> None:
    made_of = {k: v for k, v in trained.gate()["origin"].items() if k != "git.dirty"}
    of_the_run = trained.client().get_model_version_by_alias(NAME, "champion").tags
    assert made_of == {k: of_the_run[k] for k in ("git.commit", "data.fingerprint")}
    assert commit(trained) != made_of["git.commit"]
    report = trained.path / "data/interim/cleaning_report.json"
    with changed(report, json.dumps({"fingerprint": "of other data"}).encode()):
        assert verb("register", "--env", "dev").status == 0
    (version,) = elsewhere.versions()
    assert made_of == {k: version.tags[k] for k in made_of}


def test_a_version_that_the_run_has_registered_stays_as_it_is(
    trained: Project, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained.configure("dev", "registry.yml", "uri: sqlite:///mlruns.db\n")
    monkeypatch.chdir(trained.path)
    client = trained.client()
    before = client.get_model_version_by_alias(NAME, "champion")
    commit(trained)
    assert verb("register", "--env", "dev").status == 0
    assert client.get_model_version(NAME, before.version).tags == before.tags
    client.delete_model_version_tag(NAME, before.version, "data.fingerprint")
    assert verb("register", "--env", "dev").status == 0
    assert client.get_model_version(NAME, before.version).tags == before.tags, "it lacked one"
    assert len(client.search_model_versions(f"name='{NAME}'")) == 1


def test_the_gate_says_what_the_model_is_made_of_and_not_its_own_run(
    trained: Project, tmp_path: Path
) -> None:
    project = Project(tmp_path / "copy")
    shutil.copytree(trained.path, project.path)
    project.configure("dev", "mlflow.yml", "enabled: false\n")
    first, second = project.gate()["origin"], commit(project)
    assert first["git.commit"] != second
    project.run("metrics", env="dev", detector=SMALL)
    assert project.gate()["origin"] == first
    unknown = json.dumps(project.gate() | {"fingerprint": "of another model"})
    project.processed("gate.json").write_text(unknown, encoding="utf-8")
    project.run("metrics", env="dev", detector=SMALL)
    assert project.gate()["origin"] == {}, "who trained it is not known"
    project.run("data_science", "metrics", env="dev", detector=SMALL)
    assert project.gate()["origin"] == first | {"git.commit": second}


def test_a_folder_that_was_downloaded_is_registered(
    trained: Project, elsewhere: Registry, verb: Verb, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained.processed("model"), tmp_path / "downloaded")
    assert verb("register", "--env", "dev", "--folder", str(folder)).status == 0
    assert len(elsewhere.versions()) == 1


def test_another_model_than_the_judged_one_is_refused(
    trained: Project, elsewhere: Registry, verb: Verb, tmp_path: Path
) -> None:
    save_detector(small_detector(), tmp_path / "other")
    said = verb("register", "--env", "dev", "--folder", str(tmp_path / "other"))
    assert said.status == 1
    assert "is not the one that the gate has judged" in said.err
    for name in ("model.onnx", "model.skops"):
        with changed(trained.processed("model") / name, (tmp_path / "other" / name).read_bytes()):
            assert verb("register", "--env", "dev").status == 1
    assert elsewhere.versions() == []


def test_a_refused_model_is_registered_and_the_champion_stays(
    trained: Project, elsewhere: Registry, verb: Verb
) -> None:
    gate = trained.gate()
    gate["passed"], gate["rules"][0] = False, {"rule": "x", "passed": False, "reason": "too odd"}
    with changed(trained.processed("gate.json"), json.dumps(gate).encode()):
        said = verb("register", "--env", "dev")
        (version,) = elsewhere.versions()
        commit(trained)
        again = verb("register", "--env", "dev")
    assert said.status == again.status == 1
    assert "the gate has refused it: too odd. The rules" in said.err
    assert version.tags["gate"] == "refused"
    assert elsewhere.champion() is None
    assert elsewhere.versions() == [version], "a refusal that is repeated changes nothing"


@pytest.mark.parametrize(
    ("better", "status"), [(0.0, 0), (0.2, 1)], ids=["no better champion", "a better champion"]
)
def test_a_model_is_held_against_the_champion_that_is_there(
    trained: Project, elsewhere: Registry, verb: Verb, tmp_path: Path, better: float, status: int
) -> None:
    number = trained.metrics()["average_precision"] + better
    (tmp_path / "MLmodel").write_text("flavors: {}", encoding="utf-8")
    tags = {"digest": "a" * 64, "metrics.average_precision": str(number)}
    elsewhere.make_champion(elsewhere.register(tmp_path, tags), "test")
    assert verb("register", "--env", "dev").status == status
    champion = elsewhere.champion()
    assert champion
    assert champion.number == ("1" if status else "2")


@pytest.mark.parametrize(
    ("file", "status", "message"),
    [("cost.json", 2, "has not made cost"), ("metrics.json", 2, "has not made metrics")],
)
def test_a_run_that_has_not_measured_is_not_registered(
    trained: Project, elsewhere: Registry, verb: Verb, file: str, status: int, message: str
) -> None:
    with changed(trained.processed(file), None):
        said = verb("register", "--env", "dev")
    assert said.status == status
    assert message in said.err
    assert elsewhere.versions() == []


def test_a_metric_that_is_missing_keeps_the_champion(
    trained: Project, elsewhere: Registry, verb: Verb
) -> None:
    numbers = {k: v for k, v in trained.metrics().items() if k != "average_precision"}
    with changed(trained.processed("metrics.json"), json.dumps(numbers).encode()):
        said = verb("register", "--env", "dev")
    assert said.status == 1
    assert "missing metric: average_precision" in said.err
    assert elsewhere.champion() is None


def test_the_run_of_another_environment_is_not_registered(elsewhere: Registry, verb: Verb) -> None:
    said = verb("register", "--env", "prod")
    assert said.status == 2
    assert f"The last run was of {NAME}" in said.err
    assert elsewhere.versions() == []


def test_a_run_in_prod_makes_no_champion_without_an_approval(project: Project) -> None:
    project.run(env="prod", detector=SMALL)
    name = f"{NAME.removesuffix('-dev')}-prod"
    version = project.client().get_model_version(name, "1")
    assert version.tags["gate"] == "passed"
    assert project.client().get_registered_model(name).aliases == {}


def test_a_champion_that_has_changed_during_the_run_stays(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    somebody_elses: Any = SimpleNamespace(version="7")
    with monkeypatch.context() as patch:
        patch.setattr(hook, "find_champion", lambda *_: somebody_elses)
        project.run(env="dev", detector=SMALL)
    assert "by now that is 7: the champion stays" in caplog.text
    assert project.client().get_registered_model(NAME).aliases == {}
    project.run("metrics", env="dev", detector=SMALL)
    assert project.client().get_registered_model(NAME).aliases.keys() == {"champion"}
