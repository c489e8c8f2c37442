"""The configuration of each environment fits the pipelines, whatever these are."""

from pathlib import Path
from typing import Any

import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro_azure_mlops.cli import main
from kedro_azure_mlops.config import environments, read_mlops

ROOT = Path(__file__).parents[3]
ENVIRONMENTS = [name for name in environments(ROOT) if name != "local"]


def catalog_of(env: str) -> Any:
    bootstrap_project(ROOT)
    with KedroSession.create(project_path=ROOT, env=env) as session:
        return session.load_context().catalog


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_what_the_configuration_names_is_in_the_catalog(env: str) -> None:
    mlops, catalog = read_mlops(ROOT, env), catalog_of(env)
    tracking = mlops.tracking
    single = [tracking.model, tracking.data, tracking.data_report, tracking.scores, mlops.champion]
    named = {*filter(None, single), *(tracking.metrics or []), *tracking.artifacts, *mlops.report}
    assert named <= set(catalog.list() if hasattr(catalog, "list") else catalog.keys())


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_every_pipeline_finds_its_data(env: str) -> None:
    catalog = catalog_of(env)
    for name, pipeline in pipelines.items():
        missing = [entry for entry in pipeline.inputs() if entry not in catalog]
        assert not missing, f"{name} reads what is in no catalog: {missing}"


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_the_pipeline_becomes_an_azure_ml_job(
    project: Any, env: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.path)
    assert main(["compile", "--env", env]) == 0
    assert (project.path / "build" / "azureml" / f"{env}.yml").is_file()
