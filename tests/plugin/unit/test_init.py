"""``kedro mlops init`` configures this Python version and warns if jobs would lack the plugin."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from kedro_azure_mlops.cli.init import command
from tests.plugin.helpers import ROOT, Project

HINT = "add this line to requirements.txt, or jobs lack the plugin:  kedro-azure-mlops[azure]"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project as created by `kedro new`: one requirements.txt, no files of the plugin."""
    root = tmp_path / "project"
    left_out = ("azureml.yml", "mlops.yml", "requirements", ".*")
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(*left_out))
    (root / "requirements.txt").write_text("kedro~=1.7.0\nkedro-datasets>=3\n", encoding="utf-8")
    monkeypatch.chdir(root)
    return root


def init() -> str:
    """Run the command and return its output."""
    result = CliRunner().invoke(command, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def written(root: Path, name: str) -> dict[str, Any]:
    """Return the content of a written file."""
    return yaml.safe_load((root / "conf/base" / name).read_text("utf-8"))


def environment(root: Path) -> dict[str, object]:
    """Return the environment of jobs in the written azureml.yml."""
    return written(root, "azureml.yml")["environment"]


@pytest.mark.parametrize(
    "text", [None, "", "kedro  # not kedro-azure-mlops\n", "kedro-azure-mlops-extra\n"]
)
def test_requirements_without_the_plugin_are_reported(root: Path, text: str | None) -> None:
    file = root / "requirements.txt"
    if text is None:
        file.unlink()
    else:
        file.write_text(text, encoding="utf-8")
    assert HINT in init()
    assert environment(root)["locks"] == ["requirements.txt"]


@pytest.mark.parametrize(
    "line",
    [
        "kedro-azure-mlops[azure]",
        "Kedro_Azure_MLOps[azure]>=0.2  # the plugin",
        "kedro-azure-mlops==0.2.0 \\\n    --hash=sha256:00",
        "./wheels/kedro_azure_mlops-0.2.0-py3-none-any.whl",
        "git+https://example.com/kedro-azure-mlops.git@v0.2.0",
    ],
)
def test_requirements_with_the_plugin_are_not_reported(root: Path, line: str) -> None:
    (root / "requirements.txt").write_text(f"kedro~=1.7.0\n{line}\n", encoding="utf-8")
    output = init()
    assert "requirements.txt" not in output
    assert "kedro mlops compile" in output


def test_only_one_of_several_locks_must_name_the_plugin(root: Path) -> None:
    folder = root / "requirements"
    folder.mkdir()
    (folder / "job.txt").write_text("adlfs==2026.5\n", encoding="utf-8")
    (folder / "run.txt").write_text("kedro==1.7.0\n", encoding="utf-8")
    assert "add this line to requirements/job.txt or requirements/run.txt, or jobs" in init()
    (root / "conf/base/azureml.yml").unlink()
    (folder / "run.txt").write_text("kedro-azure-mlops==0.2.0\n", encoding="utf-8")
    assert "add this line" not in init()


def test_an_existing_azureml_yml_is_not_checked(root: Path) -> None:
    (root / "conf/base/azureml.yml").write_text("environment: azureml:own:1\n", encoding="utf-8")
    assert "add this line" not in init()


def test_jobs_run_the_python_version_of_init(root: Path) -> None:
    init()
    assert environment(root)["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"


REGISTRY = """
from kedro.pipeline import Node, Pipeline

def register_pipelines():
    names = [("yes", "no"), ("on", "true"), ("table@pandas", "plain")]
    nodes = [Node(abs, *pair, name=f"node_{n}") for n, pair in enumerate(names)]
    return {"__default__": Pipeline(nodes)}
"""
CATALOG = """
"yes": {type: pandas.CSVDataset, filepath: data/raw/hours.csv}
"on": {type: pandas.CSVDataset, filepath: data/raw/hours.csv}
table@pandas: {type: pandas.CSVDataset, filepath: data/raw/hours.csv}
"no": {type: kedro_azure_mlops.ModelDataset, filepath: data/model}
"true": {type: pandas.CSVDataset, filepath: data/day.csv}
plain: {type: pandas.CSVDataset, filepath: data/plain.csv}
"""


def test_any_name_of_a_catalog_entry_is_written_so_that_the_job_compiles(root: Path) -> None:
    (root / "src/plant/pipeline_registry.py").write_text(REGISTRY, encoding="utf-8")
    (root / "conf/base/catalog.yml").write_text(CATALOG, encoding="utf-8")
    project = Project(root)
    assert project.mlops("init").returncode == 0
    azureml = written(root, "azureml.yml")
    assert list(azureml["inputs"]) == ["on", "table", "yes"]
    assert list(azureml["outputs"]) == ["no", "plain", "true"]
    assert written(root, "mlops.yml")["tracking"]["model"] == "no"
    compiled = project.mlops("compile")
    assert compiled.returncode == 0, compiled.stderr


def test_a_project_without_a_default_pipeline_is_configured(root: Path) -> None:
    registry = root / "src/plant/pipeline_registry.py"
    registry.write_text(registry.read_text("utf-8").replace("__default__", "main"), "utf-8")
    project = Project(root)
    result = project.mlops("init")
    assert result.returncode == 0, result.stderr
    azureml = written(root, "azureml.yml")
    assert (azureml["inputs"], azureml["outputs"]) == ({}, {})
    refused = project.mlops("compile")
    assert refused.returncode == 2
    assert "there is no pipeline __default__; there are: " in refused.stderr
