"""The registry of each environment, and errors in its configuration."""

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
    config = read_mlops(project.path, env)
    assert config.registry.promoted_from == before
    assert config.registry.approval is approval
    assert config.model_name == ("plant" if env == "local" else f"plant-{env}")
    database = f"sqlite:///{(project.path / 'mlruns.db').as_posix()}"
    assert named_server(config, project.path) == database


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("null", "http://of-the-environment"),
        ("http://of-the-file", "http://of-the-file"),
        ("databricks-uc", "databricks-uc"),
    ],
    ids=["environment", "file", "databricks"],
)
def test_the_server_in_the_file_precedes_the_environment_variable(
    project: Project, monkeypatch: pytest.MonkeyPatch, text: str, server: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://of-the-environment")
    project.configure("dev", "mlops.yml", f"registry: {{uri: {text}}}")
    assert named_server(read_mlops(project.path, "dev"), project.path) == server


@pytest.mark.parametrize("ci", ["TF_BUILD", "GITHUB_ACTIONS", "CI"])
def test_a_file_in_the_checkout_of_a_ci_run_is_rejected_as_registry(
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
        ("aproval: true", "registry: unknown key 'aproval'; allowed keys: kind, name, uri"),
        ("shared_registry: everybody", "shared_registry is for kind: azureml"),
        ("kind: azureml, uri: 'http://x'", "uri is for kind: mlflow"),
    ],
    ids=["value", "key", "key of the other kind", "uri of the other kind"],
)
def test_an_error_names_the_wrong_line(project: Project, text: str, message: str) -> None:
    project.configure("dev", "mlops.yml", f"registry: {{{text}}}")
    with pytest.raises(OperationError, match=r"conf/dev/mlops\.yml: registry") as error:
        open_registry("dev", project.path)
    assert message in str(error.value)


def test_an_unknown_environment_is_an_error(project: Project) -> None:
    with pytest.raises(OperationError, match="there is no environment nowhere in conf"):
        open_registry("nowhere", project.path)


def test_a_missing_version_is_an_error(project: Project) -> None:
    with pytest.raises(OperationError, match="has no version 1") as error:
        open_registry("dev", project.path).version("1")
    assert "kedro mlops champion --env dev --history" in str(error.value)
