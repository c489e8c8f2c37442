"""The command ``compile`` on the project itself, its ``--check``, and azure-ai-ml's own opinion."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kedro_azure_mlops.cli import main
from tests.plugin.helpers import Project

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
def here(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(project.path)
    return project


def cut(project: Project, steps: dict[str, Any], env: str = "dev") -> None:
    project.configure(env, "azureml.yml", json.dumps({"steps": steps}))  # JSON is YAML


def compiled(project: Project, env: str = "dev") -> Path:
    return project.path / "build" / "azureml" / f"{env}.yml"


@pytest.mark.parametrize("env", ["dev", "stage", "prod"])
def test_each_environment_compiles(here: Project, env: str) -> None:
    assert main(["compile", "--env", env]) == 0
    job = yaml.safe_load(compiled(here, env).read_text(encoding="utf-8"))
    assert f"kedro run --env {env}" in job["jobs"]["pipeline"]["component"]["command"]
    assert job["experiment_name"].endswith(f"-{env}")


def test_check_accepts_the_file_until_the_project_changes(
    here: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compile", "--check"]) == 0
    assert "there is no build/azureml/dev.yml to compare with" in capsys.readouterr().out
    assert not compiled(here).exists()
    assert main(["compile"]) == 0
    assert main(["compile", "--check"]) == 0
    before = compiled(here).read_bytes()
    cut(here, {"all": {"compute": "gpu"}})
    capsys.readouterr()
    assert main(["compile", "--check"]) == 1
    assert "+    compute: azureml:gpu" in capsys.readouterr().out
    assert compiled(here).read_bytes() == before


def test_check_refuses_what_does_not_compile_where_no_file_is(
    here: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    cut(here, {"one": {"pipelines": ["train"]}})
    assert main(["compile", "--check"]) == 2
    assert "in no step" in capsys.readouterr().err


def test_a_change_of_the_locks_changes_the_environment(here: Project) -> None:
    assert main(["compile"]) == 0
    lock = here.path / "requirements" / "run.txt"
    lock.write_text(lock.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    assert main(["compile", "--check"]) == 1


def test_params_become_inputs_of_the_job(here: Project) -> None:
    assert main(["compile", "--params", "model_name=x,raw_file=data/raw/other.csv"]) == 0
    job = yaml.safe_load(compiled(here).read_text(encoding="utf-8"))
    assert job["inputs"]["model_name"] == "x"
    assert job["inputs"]["raw_hours"]["path"] == "../../data/raw/other.csv"


def test_what_is_carried_and_a_gate_on_numbers_of_another_step_are_said(
    here: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = here.path / "conf/base/catalog.yml"
    entries = yaml.safe_load(catalog.read_text(encoding="utf-8"))
    del entries["test"]
    catalog.write_text(yaml.safe_dump(entries), encoding="utf-8")
    cut(here, STEPS)
    assert main(["compile"]) == 0
    said = capsys.readouterr()
    assert "compile: carried between steps as Parquet, npy, JSON or skops" in said.out
    assert ": test (prepare -> " in said.out
    assert "compile: warning: step judge judges the model (gate)" in said.err
    assert "step measure measured (comparison)" in said.err
    capsys.readouterr()
    together = {key: STEPS[key] for key in ("prepare", "train")}
    cut(here, together | {"judge": {"pipelines": ["evaluate"]}})
    assert main(["compile", "--check"]) == 1
    said = capsys.readouterr()
    assert "carried between steps" in said.out
    assert "warning" not in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env", "local"], "--env dev, stage or prod"),
        (["--env", "devv"], "devv"),
        (["--params", "train_fractoin=1"], "no parameter train_fractoin"),
    ],
    ids=["local", "environment", "parameter"],
)
def test_what_cannot_be_compiled_writes_nothing(
    here: Project, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compile", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (here.path / "build").exists()


def test_what_is_no_yaml_is_said_without_a_traceback(
    here: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    here.configure("dev", "azureml.yml", "steps:\n\ta: {}\n")
    assert main(["compile"]) == 2
    assert "azureml.yml" in capsys.readouterr().err


@pytest.mark.parametrize(
    "steps",
    [{}, STEPS, STEPS | {"measure": STEPS["measure"] | {"spark": {}}}],
    ids=["one", "four", "spark"],
)
def test_azures_own_loader_takes_the_job(here: Project, steps: dict[str, Any]) -> None:
    from azure.ai.ml import load_job

    entry = "from kedro_azure_mlops.job.spark_entry import main\nmain(__file__)\n"
    (here.path / "spark_entry.py").write_text(entry, encoding="utf-8")
    cut(here, steps)
    assert main(["compile"]) == 0
    job = load_job(compiled(here))
    verdict = job._validate()
    assert verdict.passed, verdict.error_messages
    sent = job._to_rest_object().properties
    assert set(sent.jobs) == set(steps or {"pipeline"})
    assert sent.inputs["train_fraction"].value == "0.7"
