from pathlib import Path

import pytest
from kedro.config import MissingConfigException

from operation.errors import OperationError
from operation.registry import open_registry
from operation.registry.config import read_registry_settings
from operation.tests.helpers import Project

NAME = "{{ cookiecutter.project_slug }}"


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
    found = read_registry_settings(project.path, env)
    assert found.config.promoted_from == before
    assert found.config.approval is approval
    assert found.model == (NAME if env == "local" else f"{NAME}-{env}")
    assert found.server == f"sqlite:///{(project.path / 'mlruns.db').as_posix()}"


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("", "http://of-the-environment"),
        ("uri: http://of-the-file", "http://of-the-file"),
        ("uri: databricks-uc", "databricks-uc"),
    ],
    ids=["environment", "file", "databricks"],
)
def test_the_server_of_the_file_counts_before_that_of_the_environment(
    project: Project, monkeypatch: pytest.MonkeyPatch, text: str, server: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://of-the-environment")
    project.configure("dev", "registry.yml", text or "uri: null")
    assert read_registry_settings(project.path, "dev").server == server


@pytest.mark.parametrize("ci", ["TF_BUILD", "GITHUB_ACTIONS", "CI"])
def test_a_file_of_a_ci_runs_checkout_is_no_registry(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ci: str
) -> None:
    monkeypatch.setenv(ci, "true")
    with pytest.raises(OperationError, match=r"dev is the file mlruns\.db of this checkout"):
        open_registry("dev", project.path)
    assert open_registry("local", project.path).champion() is None
    project.configure("dev", "registry.yml", f"uri: sqlite:///{tmp_path}/shared.db")
    assert open_registry("dev", project.path).champion() is None
    project.configure("dev", "registry.yml", "uri: null")
    monkeypatch.delenv(ci)
    assert open_registry("dev", project.path).champion() is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: git", "kind: Input should be 'mlflow' or 'azureml'"),
        ("aproval: true", "unknown key 'aproval'; allowed are kind, uri"),
        ("shared_registry: everybody", "shared_registry is for kind: azureml"),
        ("kind: azureml\nuri: http://x", "uri is for kind: mlflow"),
    ],
    ids=["value", "key", "key of the other kind", "uri of the other kind"],
)
def test_a_wrong_line_is_named(project: Project, text: str, message: str) -> None:
    project.configure("dev", "registry.yml", text)
    with pytest.raises(OperationError, match=r"registry\.yml of environment dev") as refusal:
        open_registry("dev", project.path)
    assert message in str(refusal.value)


def test_an_environment_that_is_not_there_is_an_error(project: Project) -> None:
    with pytest.raises(MissingConfigException):
        open_registry("nowhere", project.path)


def test_a_version_is_found_by_number_or_digest(project: Project) -> None:
    registry = open_registry("dev", project.path)
    with pytest.raises(OperationError, match="has no version 1"):
        registry.version("1")
