"""The registered models and the champion after each of several runs."""

import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.io import DatasetError

from kedro_azure_mlops.contract import digest, read_contract, write_manifest
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.models import Champion, RegisteredChampion, load_model
from kedro_azure_mlops.monitor.comparison import compare_rows
from kedro_azure_mlops.monitor.profile import read_profile
from tests.plugin.helpers import Project, new_shell
from tests.plugin.registered import set_keys

NAME = "plant"
WORSE, OTHER = {"arguments": {"alpha": 1e9}}, {"arguments": {"alpha": 0.5}}


def champion(project: Project, name: str = NAME) -> str | None:
    version = project.client().get_registered_model(name).aliases.get("champion")
    return None if version is None else str(version)


def reason_about_champion(project: Project) -> str:
    (rule,) = (rule for rule in project.gate()["rules"] if rule["rule"] == "champion")
    assert not rule["passed"]
    return rule["reason"]


def test_the_registered_version_is_the_model_on_disk_and_champion(ran: Project) -> None:
    version = ran.client().get_model_version_by_alias(NAME, "champion")
    assert str(version.version) == "1"
    assert version.tags["gate"] == "passed"
    assert version.tags["digest"] == digest(ran.processed("model")) == ran.gate()["digest"]
    mlflow.set_tracking_uri(ran.client().tracking_uri)
    fetched = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}@champion"))
    rows = pd.read_parquet(ran.processed("test.parquet"))[["load", "pressure"]]
    on_disk = load_model(ran.processed("model"))
    np.testing.assert_array_equal(load_model(fetched).predict(rows), on_disk.predict(rows))


def test_a_model_without_a_profile_gets_one_from_its_training_table(
    ran: Project,
) -> None:
    profile, schema = (
        read_profile(ran.processed("model")),
        read_contract(ran.processed("model")).schema,
    )
    train, test = (pd.read_parquet(ran.processed(f"{name}.parquet")) for name in ("train", "test"))
    assert (profile.rows, profile.columns) == (len(train), ["load", "pressure", "prediction"])
    load = profile.content["series"][0]["columns"]["load"]
    assert load["quantiles"][5] == pytest.approx(train["load"].median())
    assert compare_rows(test, profile, schema).findings == []
    heavier = compare_rows(test.assign(load=test["load"] + 80), profile, schema)
    assert [(one.kind, one.column) for one in heavier.findings] == [("drift", "load")]


def test_the_training_data_is_an_input_of_the_run(ran: Project) -> None:
    client = ran.client()
    (run,) = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    (data_input,) = run.inputs.dataset_inputs
    assert data_input.dataset.name == "raw_hours"
    assert data_input.dataset.digest == run.data.tags["data.fingerprint"][:36]


def test_a_worse_model_is_registered_but_does_not_become_champion(project: Project) -> None:
    project.run()
    project.run(model=WORSE)
    assert champion(project) == "1"
    refused = project.client().get_model_version(NAME, "2")
    assert refused.tags["gate"] == "refused"
    assert "champion (version 1)" in refused.tags["gate.reasons"]
    project.run(model=OTHER)
    assert champion(project) == "3"
    assert project.gate()["champion_version"] == "1"


def test_a_repeated_run_makes_the_same_model(project: Project) -> None:
    project.run()
    first = project.gate()["digest"]
    project.run()
    assert project.gate()["digest"] == first
    assert len(project.client().search_model_versions(f"name='{NAME}'")) == 1
    project.run(model=WORSE)
    other = project.client().get_model_version(NAME, "2")
    assert other.tags["digest"] != first


def test_a_champion_with_changed_files_is_not_loaded(project: Project) -> None:
    project.run()
    (model,) = (project.path / "mlartifacts").rglob("MLmodel")
    model.write_text(model.read_text() + "# changed\n", encoding="utf-8")
    project.run()
    assert champion(project) == "1"
    assert "version 1 are not those that were registered" in reason_about_champion(project)


def test_a_champion_with_missing_files_is_reported(project: Project) -> None:
    project.run()
    (model,) = (project.path / "mlartifacts").rglob("MLmodel")
    model.parent.rename(project.path / "elsewhere")
    project.run()
    assert champion(project) == "1"
    assert "the files of version 1 cannot be fetched" in reason_about_champion(project)


def test_a_champion_that_cannot_be_loaded_is_a_problem_but_not_an_error(project: Project) -> None:
    project.run()
    dataset = RegisteredChampion(name=NAME)
    mlflow.set_tracking_uri(project.client().tracking_uri)
    loaded = dataset.load()
    assert loaded.version == "1"
    assert loaded.digest == project.gate()["digest"]
    (file,) = (project.path / "mlartifacts").rglob("model.skops")
    file.write_bytes(b"no skops file")
    write_manifest(file.parent)
    changed = digest(file.parent)
    project.client().set_model_version_tag(NAME, "1", "digest", changed)
    broken = dataset.load()
    assert broken.model is None
    assert broken.problem
    assert "contains no loadable model" in broken.problem
    assert RegisteredChampion(name="nothing").load() == Champion()
    with pytest.raises(DatasetError, match="it cannot be saved"):
        dataset.save(broken)  # type: ignore[arg-type]


def test_the_gate_judges_the_model_that_is_stored(project: Project) -> None:
    project.run()
    project.run("train", model=WORSE)  # trained again, not measured yet
    assert champion(project) == "1"
    assert "gate" not in project.client().get_model_version(NAME, "2").tags
    project.run("evaluate", model=WORSE)
    assert champion(project) == "1"
    assert project.client().get_model_version(NAME, "2").tags["gate"] == "refused"


def test_a_decision_on_the_comparison_of_another_run_marks_no_version(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    project.run("prepare", "train")
    project.run("evaluate")
    with KedroSession.create(project_path=project.path) as session:
        session.run(pipeline_names=["evaluate"], node_names=["decide"])
    assert "a comparison that is not from this run: no version is marked" in caplog.text
    assert champion(project) == "1"


def test_a_model_trained_without_tracking_is_registered_when_it_is_evaluated(
    project: Project,
) -> None:
    set_keys(project, "local", tracking={"enabled": False})
    project.run()
    assert project.nothing_tracked()
    assert "tracking is off" in reason_about_champion(project)
    set_keys(project, "local", tracking={"enabled": True})
    project.run("evaluate")
    assert champion(project) == "1"


def test_pipelines_can_run_one_after_another(project: Project) -> None:
    for name in ("prepare", "train"):
        project.run(name)
        assert not project.processed("gate.json").exists()
    project.run("evaluate")
    assert champion(project) == "1"
    client = project.client()
    assert len(client.search_runs([client.get_experiment_by_name(NAME).experiment_id])) == 3


def test_dev_has_its_own_champion(project: Project) -> None:
    project.run(env="dev")
    names = [model.name for model in project.client().search_registered_models()]
    assert names == [f"{NAME}-dev"]
    assert champion(project, f"{NAME}-dev") == "1"


@pytest.mark.parametrize("env", ["stage", "prod"])
def test_a_run_in_stage_or_prod_makes_no_champion(project: Project, env: str) -> None:
    """Their champions come by promotion; the version still records the gate's verdict."""
    project.run(env=env)
    version = project.client().get_model_version(f"{NAME}-{env}", "1")
    assert version.tags["gate"] == "passed"
    assert champion(project, f"{NAME}-{env}") is None


@pytest.mark.parametrize(
    ("parameters", "hint"),
    [
        ({"train_fractio": 5}, "Did you mean train_fraction?"),
        ({"model": {"estimater": 5}}, "Did you mean model.estimator?"),
        ({"zzz": 5}, "The parameters are: "),
    ],
    ids=str,
)
def test_an_unknown_parameter_is_refused(
    project: Project, parameters: dict[str, object], hint: str
) -> None:
    with pytest.raises(OperationError, match="there is no parameter") as refusal:
        project.run(**parameters)
    assert hint in str(refusal.value)
    assert not project.processed("model").exists()


def test_parallel_processes_are_refused_and_threads_are_accepted(
    project: Project,
) -> None:
    parallel = ("run", "--runner", "ParallelRunner")
    refused = project.kedro(*parallel)
    assert refused.returncode != 0
    output = " ".join((refused.stdout + refused.stderr).split())
    assert "ParallelRunner runs nodes in processes without access to this run" in output
    threads = project.kedro("run", "--runner", "ThreadRunner")
    assert threads.returncode == 0, threads.stderr
    assert champion(project) == "1"
    assert project.gate()["digest"] == digest(project.processed("model"))


_IMPORTED = """
import sys
import kedro_azure_mlops.hooks
heavy = ("mlflow", "pydantic", "pandas", "numpy", "omegaconf", "kedro_azure_mlops.config")
print([name for name in heavy if name in sys.modules])
"""


def test_the_hooks_import_nothing_heavy() -> None:
    process = subprocess.run(
        [sys.executable, "-c", _IMPORTED], capture_output=True, text=True, env=new_shell()
    )
    assert process.stdout.strip() == "[]", process.stderr


_ORDER = """
import sys
from pathlib import Path
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
bootstrap_project(Path.cwd())
with KedroSession.create() as session:
    session.run(pipeline_names=[sys.argv[1]])
wanted = ("kedro_azure_mlops.hooks", "scipy.special", "pandas", "skops.io", "mlflow")
print([name for name in sys.modules if name in wanted])
"""


@pytest.mark.parametrize("pipeline", ["prepare", "__default__"])
def test_skops_is_imported_early_and_only_to_store_a_model(project: Project, pipeline: str) -> None:
    """Its import scans all loaded modules, and MLflow loads a thousand."""
    process = project.python("-c", _ORDER, pipeline)
    expected = ["kedro_azure_mlops.hooks", "scipy.special", "pandas", "skops.io", "mlflow"]
    if pipeline == "prepare":
        expected.remove("skops.io")
    assert process.stdout.splitlines()[-1] == str(expected), process.stderr
