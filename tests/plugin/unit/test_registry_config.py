"""Which registry an environment has, and what is wrong with the lines that should say so."""

from pathlib import Path

import pytest

from kedro_azure_mlops.config import read_mlops
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.registry import open_registry
from kedro_azure_mlops.registry.on_mlflow import named_server
from tests.plugin.helpers import Project


@pytest.mark.parametrize(
    ("env", "before", "approval"),
    [
        ("local", None, False),
        ("dev", None, False),
        ("stage", "dev", False),
        ("prod", "stage", True),
    ],
)
def test_models_go_from_dev_to_stage_to_prod(
    project: Project, env: str, before: str | None, approval: bool
) -> None:
    found = read_mlops(project.path, env)
    assert found.registry.promoted_from == before
    assert found.registry.approval is approval
    assert found.model_name == ("plant" if env == "local" else f"plant-{env}")
    here = f"sqlite:///{(project.path / 'mlruns.db').as_posix()}"
    assert named_server(found, project.path) == here


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("null", "http://of-the-environment"),
        ("http://of-the-file", "http://of-the-file"),
        ("databricks-uc", "databricks-uc"),
    ],
    ids=["environment", "file", "databricks"],
)
def test_the_server_of_the_file_counts_before_that_of_the_environment(
    project: Project, monkeypatch: pytest.MonkeyPatch, text: str, server: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://of-the-environment")
    project.configure("dev", "mlops.yml", f"registry: {{uri: {text}}}")
    assert named_server(read_mlops(project.path, "dev"), project.path) == server


@pytest.mark.parametrize("ci", ["TF_BUILD", "GITHUB_ACTIONS", "CI"])
def test_a_file_of_a_ci_runs_checkout_is_no_registry(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ci: str
) -> None:
    monkeypatch.setenv(ci, "true")
    with pytest.raises(OperationError, match=r"dev is the file mlruns\.db of this checkout"):
        open_registry("dev", project.path)
    assert open_registry("local", project.path).champion() is None
    project.configure("dev", "mlops.yml", f"registry: {{uri: 'sqlite:///{tmp_path}/shared.db'}}")
    assert open_registry("dev", project.path).champion() is None
    project.configure("dev", "mlops.yml", "registry: {uri: null}")
    monkeypatch.delenv(ci)
    assert open_registry("dev", project.path).champion() is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: git", "registry.kind: must be 'mlflow' or 'azureml'"),
        ("aproval: true", "registry: unknown key 'aproval'; allowed are kind, name, uri"),
        ("shared_registry: everybody", "shared_registry is for kind: azureml"),
        ("kind: azureml, uri: 'http://x'", "uri is for kind: mlflow"),
    ],
    ids=["value", "key", "key of the other kind", "uri of the other kind"],
)
def test_a_wrong_line_is_named(project: Project, text: str, message: str) -> None:
    project.configure("dev", "mlops.yml", f"registry: {{{text}}}")
    with pytest.raises(OperationError, match=r"conf/dev/mlops\.yml: registry") as refusal:
        open_registry("dev", project.path)
    assert message in str(refusal.value)


def test_an_environment_that_is_not_there_is_an_error(project: Project) -> None:
    with pytest.raises(OperationError, match="there is no environment nowhere in conf"):
        open_registry("nowhere", project.path)


def test_a_version_that_is_not_there_is_an_error(project: Project) -> None:
    with pytest.raises(OperationError, match="has no version 1") as refusal:
        open_registry("dev", project.path).version("1")
    assert "kedro mlops champion --env dev --history" in str(refusal.value)
