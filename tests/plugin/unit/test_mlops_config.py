"""Strict reading of ``mlops.yml``: errors name the file, the key and the allowed values."""

from pathlib import Path

import pytest

from kedro_azure_mlops.config import (
    configuration_folder,
    deployment_of,
    environments,
    read_azureml,
    read_mlops,
)
from kedro_azure_mlops.errors import OperationError
from tests.plugin.helpers import Project


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    return Project.copy_to(tmp_path_factory.mktemp("config") / "project", database)


@pytest.fixture(autouse=True)
def _empty_local_configuration(copied: Project) -> None:
    copied.configure("local", "mlops.yml", "{}\n")


def error_message(project: Project, text: str) -> str:
    project.configure("local", "mlops.yml", text)
    with pytest.raises(OperationError) as error:
        read_mlops(project.path, "local")
    return str(error.value)


def test_an_empty_file_gives_the_defaults(project: Project) -> None:
    project.configure("base", "mlops.yml", "{}\n")
    config = read_mlops(project.path, "local")
    assert config.experiment == config.model_name == "plant", "the name of the package"
    assert config.tracking.enabled
    assert config.tracking.metrics is None
    assert config.gate.rules == []
    assert config.registry.kind == "mlflow"
    assert config.scorer is None


def test_the_registered_model_is_named_after_the_experiment(project: Project) -> None:
    project.configure("base", "mlops.yml", "tracking: {experiment: heat}\n")
    assert read_mlops(project.path, "local").model_name == "heat"
    project.configure("local", "mlops.yml", "registry: {name: pump}\n")
    config = read_mlops(project.path, "local")
    assert (config.experiment, config.model_name) == ("heat", "pump")


def test_an_environment_inherits_the_keys_it_does_not_set(copied: Project) -> None:
    prod, dev = (read_mlops(copied.path, env) for env in ("prod", "dev"))
    assert prod.registry.approval
    assert not dev.registry.approval
    assert prod.tracking.model == dev.tracking.model == "model"
    assert prod.model_name == "plant-prod"


def test_each_read_returns_the_current_files(copied: Project) -> None:
    """This includes files that ``mlops.yml`` refers to, but no changes made by a caller."""
    copied.configure("local", "mlops.yml", "tracking: {metrics: [a], experiment: one}\n")
    first = read_mlops(copied.path, "local").tracking
    assert first.metrics is not None
    first.metrics.append("b")
    assert read_mlops(copied.path, "local").tracking.metrics == ["a"]
    copied.configure("local", "mlops.yml", "tracking: {metrics: [c], experiment: two}\n")
    second = read_mlops(copied.path, "local").tracking
    assert (second.metrics, second.experiment) == (["c"], "two")
    copied.configure("local", "mlops.yml", "tracking: {experiment: '${globals:mark}'}\n")
    for mark in ("red", "blue"):
        copied.configure("local", "parameters.yml", f"mark: {mark}\n")
        assert read_mlops(copied.path, "local").experiment == mark
    (copied.path / "conf/local/parameters.yml").unlink()


def test_runtime_parameters_override_the_file(copied: Project) -> None:
    config = read_mlops(copied.path, "dev", {"gate": {"on_incomparable": "replace"}})
    assert config.gate.on_incomparable == "replace"
    assert [rule.metric for rule in config.gate.rules] == ["r2", "rmse"]


@pytest.mark.parametrize(
    ("text", "where", "allowed"),
    [
        (
            "trackin: {}",
            "conf/local/mlops.yml: mlops.yml: ",
            "unknown key 'trackin'; allowed keys: tracking, registry, gate",
        ),
        (
            "tracking: {enable: true}",
            "conf/local/mlops.yml: tracking: ",
            "unknown key 'enable'; allowed keys: enabled, uri",
        ),
        (
            "tracking: {enabled: perhaps}",
            "conf/local/mlops.yml: tracking.enabled: ",
            "must be true or false (it is 'perhaps')",
        ),
        (
            "tracking: {when_unreachable: maybe}",
            "conf/local/mlops.yml: tracking.when_unreachable: ",
            "must be 'error' or 'warn' (it is 'maybe')",
        ),
        (
            "tracking: {metrics: metrics}",
            "conf/local/mlops.yml: tracking.metrics: ",
            "must be a list (it is 'metrics')",
        ),
        (
            "gate: {rules: [{metric: r2, minimum: much}]}",
            "conf/local/mlops.yml: gate.rules.0.minimum: ",
            "must be a number (it is 'much')",
        ),
        (
            "gate: {rules: [{minimum: 0.1}]}",
            "gate.rules.0.metric: ",
            "is missing",
        ),
        (
            "deployment: {traffic: [10, 50]}",
            "conf/local/mlops.yml: deployment: ",
            "traffic must rise and end with 100, as in [10, 50, 100]",
        ),
        (
            "deployment: {endpoint: 1a}",
            "conf/local/mlops.yml: deployment.endpoint: ",
            "3 to 32 letters, digits and hyphens; the first must be a letter, "
            "the last must not be a hyphen",
        ),
        (
            "monitoring: {source: files}",
            "conf/local/mlops.yml: monitoring.source: ",
            "served",
        ),
    ],
)
def test_an_error_names_the_wrong_line_and_the_allowed_values(
    copied: Project, text: str, where: str, allowed: str
) -> None:
    message = error_message(copied, text)
    assert where in message
    assert allowed in message


@pytest.mark.parametrize(
    "text",
    [
        "tracking: {enabled: false, when_unreachable: warn, metrics: [metrics]}",
        "gate: {rules: [{metric: r2, minimum: 0.5, better: higher, beats: [mean]}]}",
        "deployment: {traffic: [10, 50, 100], endpoint: a-1}",
        "monitoring: {source: data, data: raw_hours, since: 7D, metrics: 'a.b:c'}",
    ],
)
def test_a_valid_line_is_accepted(copied: Project, text: str) -> None:
    copied.configure("local", "mlops.yml", text)
    assert read_mlops(copied.path, "local")


def test_one_error_lists_all_faults(copied: Project) -> None:
    message = error_message(copied, "tracking: {enabled: perhaps}\nmonitoring: {source: files}")
    assert len(message.splitlines()) == 2


@pytest.mark.parametrize("fault", ["enabled: perhaps", "enable: true"])
def test_a_fault_in_base_is_reported_for_base(project: Project, fault: str) -> None:
    project.configure("base", "mlops.yml", f"tracking: {{{fault}}}")
    project.configure("dev", "mlops.yml", "tracking: {experiment: heat}")
    with pytest.raises(OperationError, match=r"conf/base/mlops\.yml: tracking"):
        read_mlops(project.path, "dev")


@pytest.mark.parametrize("read", [read_mlops, read_azureml])
def test_an_error_names_the_missing_environment_or_file(
    project: Project, tmp_path: Path, read: object
) -> None:
    assert callable(read)
    assert read(project.path, "dev")
    with pytest.raises(OperationError, match="no environment nowhere in conf, only dev"):
        read(project.path, "nowhere")
    for file in project.path.glob("conf/*/*.yml"):
        if file.name in ("mlops.yml", "azureml.yml"):
            file.unlink()
    with pytest.raises(OperationError, match=r"there is no conf/base/\w+\.yml: kedro mlops init"):
        read(project.path, "dev")
    with pytest.raises(OperationError, match=r"there is no pyproject\.toml"):
        read(tmp_path, "dev")


def test_the_default_configuration_folder_is_conf(copied: Project) -> None:
    assert configuration_folder(copied.path) == "conf"
    assert environments(copied.path) == ["dev", "local", "prod", "stage"]


def test_deployment_to_an_environment_requires_an_endpoint(copied: Project) -> None:
    assert deployment_of(copied.path, "dev").endpoint == "plant-dev"
    with pytest.raises(OperationError, match=r"local/mlops\.yml does not set deployment\.endpoint"):
        deployment_of(copied.path, "local")


_OTHER_FOLDER = """
from pathlib import Path
from kedro_azure_mlops.config import configuration_folder, environments, read_mlops
here = Path.cwd()
print("found", configuration_folder(here), *environments(here), read_mlops(here, "dev").model_name)
read_mlops(here, "nowhere")
"""


def test_the_configuration_folder_follows_the_projects_settings(project: Project) -> None:
    settings = project.path / "src/plant/settings.py"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(f'{text}\nCONF_SOURCE = "operation/configuration"\n', encoding="utf-8")
    (project.path / "operation").mkdir()
    (project.path / "conf").rename(project.path / "operation/configuration")
    result = project.python("-c", _OTHER_FOLDER)
    assert "found operation/configuration dev local prod stage plant-dev" in result.stdout
    assert "there is no environment nowhere in operation/configuration" in result.stderr
