"""The command ``compile`` and its ``--check`` on the project, and validation by azure-ai-ml."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kedro_azure_mlops.cli import main
from tests.plugin.helpers import Project
from tests.plugin.registered import set_keys

STEPS = {
    "prepare": {"pipelines": ["prepare"], "compute": "cpu-large"},
    "train": {
        "pipelines": ["train"],
        "instance_count": 2,
        "distribution": {"type": "pytorch", "process_count_per_instance": 2},
        "timeout_seconds": 3600,
        "environment_variables": {"LEVEL": 1},
        "identity": "user",
        "shm_size": "2g",
    },
    "measure": {"nodes": ["compare", "summarise"]},
    "judge": {"nodes": ["decide", "report"]},
}


@pytest.fixture
def current_project(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(project.path)
    return project


def set_steps(project: Project, steps: dict[str, Any], env: str = "dev") -> None:
    project.configure(env, "azureml.yml", json.dumps({"steps": steps}))  # JSON is valid YAML


def compiled(project: Project, env: str = "dev") -> Path:
    return project.path / "build" / "azureml" / f"{env}.yml"


@pytest.mark.parametrize("env", ["dev", "stage", "prod"])
def test_each_environment_compiles(current_project: Project, env: str) -> None:
    assert main(["compile", "--env", env]) == 0
    job = yaml.safe_load(compiled(current_project, env).read_text(encoding="utf-8"))
    assert f"kedro run --env {env}" in job["jobs"]["pipeline"]["component"]["command"]
    assert job["experiment_name"].endswith(f"-{env}")


def test_an_entry_that_the_catalog_lacks_is_refused_before_the_job_starts(
    current_project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """The job's steps would refuse it, but only on the cluster."""
    set_keys(current_project, "dev", tracking={"model": "modell"})
    assert main(["compile", "--env", "dev"]) == 2
    message = "tracking.model: there is no catalog entry modell. Did you mean model?"
    assert message in capsys.readouterr().err
    assert not compiled(current_project).exists()


def test_check_accepts_the_file_until_the_project_changes(
    current_project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compile", "--check"]) == 0
    assert "there is no build/azureml/dev.yml to compare with" in capsys.readouterr().out
    assert not compiled(current_project).exists()
    assert main(["compile"]) == 0
    assert main(["compile", "--check"]) == 0
    before = compiled(current_project).read_bytes()
    set_steps(current_project, {"all": {"compute": "gpu"}})
    capsys.readouterr()
    assert main(["compile", "--check"]) == 1
    assert "+    compute: azureml:gpu" in capsys.readouterr().out
    assert compiled(current_project).read_bytes() == before


def test_check_refuses_steps_that_do_not_compile(
    current_project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    set_steps(current_project, {"one": {"pipelines": ["train"]}})
    assert main(["compile", "--check"]) == 2
    assert "in no step" in capsys.readouterr().err


def test_a_changed_lock_changes_the_environment(current_project: Project) -> None:
    assert main(["compile"]) == 0
    lock = current_project.path / "requirements" / "run.txt"
    lock.write_text(lock.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    assert main(["compile", "--check"]) == 1


def test_params_become_inputs_of_the_job(current_project: Project) -> None:
    assert main(["compile", "--params", "model_name=x,raw_file=data/raw/other.csv"]) == 0
    job = yaml.safe_load(compiled(current_project).read_text(encoding="utf-8"))
    assert job["inputs"]["model_name"] == "x"
    assert job["inputs"]["raw_hours"]["path"] == "../../data/raw/other.csv"


def test_carried_data_and_a_gate_on_another_steps_metrics_are_reported(
    current_project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = current_project.path / "conf/base/catalog.yml"
    entries = yaml.safe_load(catalog.read_text(encoding="utf-8"))
    del entries["test"]
    catalog.write_text(yaml.safe_dump(entries), encoding="utf-8")
    set_steps(current_project, STEPS)
    assert main(["compile"]) == 0
    captured = capsys.readouterr()
    assert "compile: carried between steps as Parquet, npy, JSON or skops" in captured.out
    assert ": test (prepare -> " in captured.out
    assert "compile: warning: step judge judges the model (gate)" in captured.err
    assert "step measure measured (comparison)" in captured.err
    capsys.readouterr()
    together = {key: STEPS[key] for key in ("prepare", "train")}
    set_steps(current_project, together | {"judge": {"pipelines": ["evaluate"]}})
    assert main(["compile", "--check"]) == 1
    captured = capsys.readouterr()
    assert "carried between steps" in captured.out
    assert "warning" not in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env", "local"], "--env dev, stage or prod"),
        (["--env", "devv"], "devv"),
        (["--params", "train_fractoin=1"], "no parameter train_fractoin"),
    ],
    ids=["local", "environment", "parameter"],
)
def test_a_failed_compilation_writes_nothing(
    current_project: Project, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compile", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (current_project.path / "build").exists()


def test_invalid_yaml_is_reported_without_a_traceback(
    current_project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    current_project.configure("dev", "azureml.yml", "steps:\n\ta: {}\n")
    assert main(["compile"]) == 2
    assert "azureml.yml" in capsys.readouterr().err


@pytest.mark.parametrize(
    "steps",
    [{}, STEPS, STEPS | {"measure": STEPS["measure"] | {"spark": {}}}],
    ids=["one", "four", "spark"],
)
def test_azures_loader_accepts_the_job(current_project: Project, steps: dict[str, Any]) -> None:
    from azure.ai.ml import load_job

    entry = "from kedro_azure_mlops.job.spark_entry import main\nmain(__file__)\n"
    (current_project.path / "spark_entry.py").write_text(entry, encoding="utf-8")
    set_steps(current_project, steps)
    assert main(["compile"]) == 0
    job = load_job(compiled(current_project))
    verdict = job._validate()
    assert verdict.passed, verdict.error_messages
    sent = job._to_rest_object().properties
    assert set(sent.jobs) == set(steps or {"pipeline"})
    assert sent.inputs["train_fraction"].value == "0.7"
