"""The configuration of each environment fits the pipelines, whatever they are."""

from pathlib import Path

import pytest
from kedro_azure_mlops.cli import main
from kedro_azure_mlops.config import environments
from kedro_azure_mlops.testing.configuration import find_unknown_entries
from kedro_azure_mlops.testing.projects import ProjectCopy

ROOT = Path(__file__).parents[3]
ENVIRONMENTS = [name for name in environments(ROOT) if name != "local"]


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_names_in_configuration_and_pipelines_are_in_the_catalog(env: str) -> None:
    assert find_unknown_entries(ROOT, env) == []


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_the_pipeline_becomes_an_azure_ml_job(
    project: ProjectCopy, env: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path)
    assert main(["compile", "--env", env]) == 0
    assert (project.path / "build" / "azureml" / f"{env}.yml").is_file()
