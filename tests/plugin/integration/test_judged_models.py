"""Only intact models are judged and registered, and a verdict counts only for its own model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DatasetError
from mlflow import MlflowClient

from kedro_azure_mlops import registry as public
from kedro_azure_mlops.contract import digest
from kedro_azure_mlops.errors import OperationError, RefusedError
from kedro_azure_mlops.hooks.tracking import MlflowTracking
from kedro_azure_mlops.registry import Registry, open_registry
from tests.plugin.cloud import Command
from tests.plugin.helpers import Project
from tests.plugin.registered import set_keys

FILES = (
    *("MLmodel", "SHA256SUMS", "conda.yaml", "contract.json", "input_example.json"),
    *("model.skops", "profile.json", "python_env.yaml", "requirements.txt"),
    "serving_input_example.json",
)
OTHER = {"arguments": {"alpha": 5.0}}


@pytest.fixture(scope="module")
def with_decision(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    """A project after one run in dev."""
    project = Project.copy_to(tmp_path_factory.mktemp("with_decision") / "project", database)
    project.run(env="dev")
    return project


@pytest.fixture(scope="module")
def without_decision(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    """The same without a deciding node: the plugin decides on the metrics of a run."""
    project = Project.copy_to(tmp_path_factory.mktemp("without_decision") / "project", database)
    set_keys(project, "dev", gate={"decision": None})
    project.run(env="dev")
    return project


@pytest.fixture(params=["with_decision", "without_decision"])
def trained(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """A copy of each project after its run; its registry stays in the original."""
    original: Project = request.getfixturevalue(request.param)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # set by that run
    shutil.copytree(original.path, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(tmp_path / "project")
    return Project(tmp_path / "project")


@pytest.fixture
def other_registry(trained: Project, database: Path, tmp_path: Path) -> Registry:
    """An empty registry, separate from the one of the run."""
    shutil.copy(database, tmp_path / "other.db")
    set_keys(trained, "dev", registry={"uri": f"sqlite:///{(tmp_path / 'other.db').as_posix()}"})
    return open_registry("dev", trained.path)


def registered(project: Project) -> Any:
    """Return the models, aliases and versions in the registry of the runs."""
    client = project.client()
    return [
        (model.name, dict(model.aliases), [(v.version, dict(v.tags)) for v in versions])
        for model in client.search_registered_models()
        for versions in [client.search_model_versions(f"name='{model.name}'")]
    ]


def flip(file: Path) -> None:
    """Change the middle byte of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(bytes(content))


def remove(file: Path) -> None:
    file.unlink()


def add(file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    file.touch()


CHANGES = [
    *((flip, name) for name in FILES),
    *((remove, name) for name in ("model.skops", "conda.yaml", "SHA256SUMS")),
    *((add, name) for name in (".DS_Store", "Thumbs.db", "data/more")),
]


@pytest.mark.parametrize("trained", ["with_decision"], indirect=True)
@pytest.mark.parametrize(("change", "name"), CHANGES)
def test_a_changed_model_is_neither_judged_nor_registered(
    trained: Project,
    other_registry: Registry,
    mlops: Command,
    change: Callable[[Path], None],
    name: str,
) -> None:
    model = trained.processed("model")
    assert {path.name for path in model.iterdir()} == set(FILES)
    change(model / name)
    before = registered(trained)
    with pytest.raises(DatasetError, match=name) as refusal:
        trained.run("evaluate", env="dev")
    assert isinstance(refusal.value.__cause__, OperationError), "a message and status 2"
    assert registered(trained) == before
    assert [run.info.status for run in runs(trained)] == ["FAILED", "FINISHED"]
    result = mlops("register", "--env", "dev")
    assert result.status == 1
    assert name in result.err
    assert other_registry.versions() == []


def test_a_changed_model_folder_has_no_verdict_and_is_not_registered(
    trained: Project, other_registry: Registry, mlops: Command
) -> None:
    shutil.copytree(trained.processed("model"), trained.path / "copy")
    for folder in ("copy", "data/model"):
        add(trained.path / folder / "notes.txt")
    for command in (("register", "--folder", "copy"), ("gate",)):
        result = mlops(*command, "--env", "dev")
        assert result.status == 1
        assert "notes.txt was added.\n  next: Delete what was added" in result.err
    assert other_registry.versions() == []


def runs(project: Project) -> Any:
    client = project.client()
    return client.search_runs([one.experiment_id for one in client.search_experiments()])


def test_an_unchanged_model_is_judged_and_registered(
    trained: Project, other_registry: Registry, mlops: Command
) -> None:
    before = registered(trained)
    trained.run("evaluate", env="dev")
    (((_, _, versions),), ((_, aliases, again),)) = before, registered(trained)
    assert [number for number, _ in again] == [number for number, _ in versions] == [1]
    assert aliases == {"champion": 1}
    assert again[0][1]["gate.digest"] == digest(trained.processed("model"))
    assert mlops("gate", "--env", "dev").status == 0
    shutil.copytree(trained.processed("model"), trained.path / "copy")
    assert mlops("register", "--env", "dev", "--folder", "copy").status == 0
    assert mlops("register", "--env", "dev").status == 0
    champion = other_registry.champion()
    assert champion
    assert champion.tags["gate.digest"] == champion.digest
    assert len(other_registry.versions()) == 1


def test_a_model_that_is_changed_after_its_verdict_is_not_registered(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = registered(trained)
    judged = MlflowTracking._verdict

    def changes(self: MlflowTracking, *arguments: Any) -> Any:
        verdict = judged(self, *arguments)
        flip(trained.processed("model") / "conda.yaml")
        return verdict

    with monkeypatch.context() as patch:
        patch.setattr(MlflowTracking, "_verdict", changes)
        with pytest.raises(RefusedError, match=r"conda\.yaml was changed"):
            trained.run("evaluate", env="dev")
    assert registered(trained) == before
    assert [run.info.status for run in runs(trained)] == ["FAILED", "FINISHED"]


@pytest.mark.parametrize("trained", ["with_decision"], indirect=True)
@pytest.mark.parametrize("command", ["serve --prepare", "bundle --no-wheels"])
def test_a_changed_model_folder_is_not_served(
    trained: Project, mlops: Command, command: str
) -> None:
    name, *options = command.split()
    arguments = (name, "--env", "dev", "--model", "data/model", *options)
    (trained.path / "requirements/serve.txt").write_text("", encoding="utf-8")
    flip(trained.processed("model") / "requirements.txt")
    result = mlops(*arguments)
    assert result.status == 2
    assert "the model in data/model" in result.err
    assert "cannot be served: its files are not those that it was saved with" in result.err
    assert "requirements.txt was changed" in result.err
    flip(trained.processed("model") / "requirements.txt")
    assert "saved with" not in mlops(*arguments).err


def test_a_version_with_damaged_files_is_registered_again(
    trained: Project, other_registry: Registry, mlops: Command
) -> None:
    assert mlops("register", "--env", "dev").status == 0
    client = MlflowClient(f"sqlite:///{(trained.path.parent / 'other.db').as_posix()}")
    stored = Path(client.get_model_version("plant-dev", "1").source.removeprefix("file://"))
    assert mlops("register", "--env", "dev").status == 0
    assert len(other_registry.versions()) == 1
    flip(stored / "model.skops")
    result = mlops("register", "--env", "dev")
    assert result.status == 0
    assert "model.skops was changed" in result.out
    assert [version.number for version in other_registry.versions()] == ["2", "1"]
    other_registry.fetch(other_registry.version("2"), trained.path / "fetched")


def test_a_run_registers_a_damaged_version_again(trained: Project) -> None:
    """The gate refused the damaged version, and passes it under other rules."""
    trained.run(env="dev", model=OTHER, gate={"rules": [{"metric": "r2", "minimum": 2.0}]})
    client = trained.client()
    assert client.get_registered_model("plant-dev").aliases == {"champion": 1}
    source = client.get_model_version("plant-dev", "2").source
    flip(Path(source.removeprefix("file://")) / "model.skops")
    trained.run("evaluate", env="dev", model=OTHER)
    assert client.get_registered_model("plant-dev").aliases == {"champion": 3}
    source = client.get_model_version("plant-dev", "3").source
    assert digest(Path(source.removeprefix("file://"))) == digest(trained.processed("model"))


def test_a_verdict_does_not_count_for_a_model_trained_later(
    trained: Project, other_registry: Registry, mlops: Command
) -> None:
    """The files are those of a run that was killed between the model and the gate."""
    judged = digest(trained.processed("model"))
    trained.run("train", env="dev", model=OTHER)
    retrained = digest(trained.processed("model"))
    assert retrained != judged
    for command in ("gate", "register"):
        result = mlops(command, "--env", "dev")
        assert result.status == 1
        assert "is not the one that the gate has judged" in result.err
        assert f"its digest is {retrained[:12]}, and {judged[:12]} was judged" in result.err
        assert "PASSED" not in result.out
    assert other_registry.versions() == []
    with pytest.raises(RefusedError, match="It has no verdict"):
        public.gate_verdict("dev", root=trained.path)
    trained.run("evaluate", env="dev", model=OTHER)
    assert mlops("gate", "--env", "dev").out.startswith("Gate: PASSED")
    assert mlops("register", "--env", "dev").status == 0
    assert [version.digest for version in other_registry.versions()] == [retrained]


def test_a_retrained_model_with_the_same_digest_keeps_its_verdict(
    trained: Project, other_registry: Registry, mlops: Command
) -> None:
    judged = digest(trained.processed("model"))
    trained.run("train", env="dev")
    assert digest(trained.processed("model")) == judged
    assert mlops("gate", "--env", "dev").status == 0
    assert mlops("register", "--env", "dev").status == 0


def test_a_verdict_that_names_no_model_does_not_count(
    request: pytest.FixtureRequest, trained: Project, other_registry: Registry, mlops: Command
) -> None:
    """The first version of the plugin wrote verdicts without a digest."""
    (trained.path / "data/model.measured.json").unlink()
    if "without_decision" not in request.node.callspec.params["trained"]:
        gate = {name: value for name, value in trained.gate().items() if name != "digest"}
        trained.processed("gate.json").write_text(json.dumps(gate), encoding="utf-8")
    for command in ("gate", "register"):
        result = mlops(command, "--env", "dev")
        assert result.status == 2
        assert "has judged an unknown model" in result.err
        assert "kedro run" in result.err
    assert other_registry.versions() == []
    trained.run("evaluate", env="dev")
    assert mlops("gate", "--env", "dev").status == 0
    assert mlops("register", "--env", "dev").status == 0


@pytest.mark.parametrize("trained", ["without_decision"], indirect=True)
def test_metrics_of_different_models_give_no_verdict(
    trained: Project, other_registry: Registry, mlops: Command
) -> None:
    """The table is of the new model, the metrics are still of the old one."""
    trained.run("train", env="dev", model=OTHER)
    record = json.loads((trained.path / "data/model.measured.json").read_text(encoding="utf-8"))
    record["comparison"] = digest(trained.processed("model"))
    (trained.path / "data/model.measured.json").write_text(json.dumps(record), encoding="utf-8")
    assert mlops("gate", "--env", "dev").status == 1
    record["metrics"] = record["comparison"]
    (trained.path / "data/model.measured.json").write_text(json.dumps(record), encoding="utf-8")
    assert mlops("gate", "--env", "dev").status == 0


def test_metrics_of_an_older_model_are_not_registered_with_a_new_one(
    trained: Project, other_registry: Registry, mlops: Command
) -> None:
    """The files are those of a run that was killed between the gate and the metrics."""
    metrics = trained.processed("metrics.json").read_bytes()
    record = (trained.path / "data/model.measured.json").read_bytes()
    trained.run(env="dev", model=OTHER)
    fresh = trained.metrics()
    trained.processed("metrics.json").write_bytes(metrics)
    (trained.path / "data/model.measured.json").write_bytes(record)
    assert trained.metrics() != fresh
    result = mlops("register", "--env", "dev")
    assert result.status == 1
    assert other_registry.versions() == []
    trained.run("evaluate", env="dev", model=OTHER)
    assert mlops("register", "--env", "dev").status == 0
    (version,) = other_registry.versions()
    assert float(version.tags["metrics.r2"]) == fresh["r2"]


def test_metrics_that_do_not_depend_on_the_model_need_not_be_made_again(
    trained: Project, other_registry: Registry, mlops: Command
) -> None:
    set_keys(trained, "dev", tracking={"metrics": ["metrics", "cleaning_report"]})
    report = trained.path / "data/cleaning_report.json"
    report.write_text(json.dumps({"rows": 3}), encoding="utf-8")
    trained.run("train", "evaluate", env="dev", model=OTHER)
    assert mlops("register", "--env", "dev").status == 0
    (version,) = other_registry.versions()
    assert version.tags["metrics.rows"] == "3.0"


@pytest.mark.parametrize("trained", ["with_decision"], indirect=True)
def test_a_missing_model_has_no_verdict(trained: Project, mlops: Command) -> None:
    shutil.rmtree(trained.processed("model"))
    result = mlops("gate", "--env", "dev")
    assert result.status == 2
    assert "holds no model" in result.err
