"""``azureml.yml`` is read strictly: a message names the file, the key and the allowed values."""

from pathlib import Path

import pytest

from kedro_azure_mlops.config import read_azureml
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.job.project import read_project
from tests.plugin.helpers import Project


@pytest.fixture(scope="module")
def project_copy(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    return Project.copy_to(tmp_path_factory.mktemp("config") / "project", database)


@pytest.fixture(autouse=True)
def _empty_local_config(project_copy: Project) -> None:
    project_copy.configure("local", "azureml.yml", "{}\n")


def refusal(project: Project, text: str) -> str:
    project.configure("local", "azureml.yml", text)
    with pytest.raises(OperationError) as error:
        read_azureml(project.path, "local")
    return str(error.value)


def test_each_environment_has_its_own_workspace(project_copy: Project) -> None:
    names = {
        read_azureml(project_copy.path, env).workspace.name for env in ("dev", "stage", "prod")
    }
    assert len(names) == 3


def test_an_environment_inherits_the_keys_that_it_does_not_set(project_copy: Project) -> None:
    project_copy.configure("local", "azureml.yml", "clusters: {cpu-cluster: {max_instances: 9}}\n")
    cluster = read_azureml(project_copy.path, "local").clusters["cpu-cluster"]
    assert cluster.max_instances == 9
    assert cluster.size == read_azureml(project_copy.path, "dev").clusters["cpu-cluster"].size


def test_the_experiment_defaults_to_project_and_environment(project_copy: Project) -> None:
    experiments = [read_project(env, root=project_copy.path).experiment for env in ("dev", "prod")]
    assert experiments == ["plant-dev", "plant-prod"]
    project_copy.configure("local", "azureml.yml", "experiment: ${runtime_params:model_name}\n")
    assert read_azureml(project_copy.path, "local", {"model_name": "x"}).experiment == "x"


def test_the_source_folder_is_read_from_pyproject(project_copy: Project) -> None:
    root = project_copy.path
    assert read_project("dev", root=root).source == "src"
    (root / "lib").mkdir()
    (root / "src").rename(root / "lib/python")
    file = root / "pyproject.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('source_dir = "src"', 'source_dir = "lib/python"'), "utf-8")
    assert Path(read_project("dev", root=root).source) == Path("lib/python")


@pytest.mark.parametrize(
    ("text", "key", "allowed"),
    [
        (
            "computee: x",
            "azureml.yml",
            "unknown key 'computee'; allowed keys: workspace, experiment",
        ),
        ("steps: {a: {node: [x]}}", "steps.a", "unknown key 'node'; allowed keys: pipelines, tags"),
        ("steps: {a: {instance_count: 0}}", "steps.a.instance_count", "greater than or equal to 1"),
        ("steps: {a: {tags: x}}", "steps.a.tags", "must be a list (it is 'x')"),
        ("steps: {Fit-it: {}}", "steps.Fit-it", "lower-case letters, digits and _"),
        ("steps: {a: {identity: me}}", "steps.a.identity", "'user' or 'managed' (it is 'me')"),
        ("outputs: {metrics: {type: csv}}", "outputs.metrics.type", "'uri_folder', 'uri_file'"),
        ("compute: 3", "compute", "must be text (it is 3)"),
        ("carry: maybe", "carry", "must be true or false (it is 'maybe')"),
        ("environment: 3", "environment", "(it is 3)"),
        (
            "steps: {a: {distribution: {type: horovod}}}",
            "steps.a.distribution",
            "'pytorch', 'mpi', 'tensorflow'",
        ),
        (
            "steps: {a: {distribution: {type: mpi, worker_count: 1}}}",
            "steps.a.distribution",
            "unknown key 'worker_count'; allowed keys: type, process_count_per_instance",
        ),
    ],
    ids=lambda value: value.split(":")[-1].strip("{} ") if ":" in value else None,
)
def test_invalid_keys_and_values_are_named(
    project_copy: Project, text: str, key: str, allowed: str
) -> None:
    message = refusal(project_copy, text + "\n")
    assert message.startswith(f"conf/local/azureml.yml: {key}: ")
    assert allowed in message


def test_an_error_in_the_base_configuration_names_the_base_file(project_copy: Project) -> None:
    base = project_copy.path / "conf/base/azureml.yml"
    text = base.read_text(encoding="utf-8")
    base.write_text(text.replace("kind: docker", "kind: podman"), encoding="utf-8")
    try:
        with pytest.raises(OperationError, match=r"base/azureml\.yml: environment\.kind: .*docker"):
            read_azureml(project_copy.path, "dev")
    finally:
        base.write_text(text, encoding="utf-8")


def test_all_errors_are_reported_together(project_copy: Project) -> None:
    message = refusal(project_copy, "compute: 3\nsteps: {a: {timeout_seconds: -1}}\n")
    assert len(message.splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("code: null\n", "name it in image"),
        ("code: null\nimage: acr.example/x:1\n", "working_directory"),
        ("environment: null\n", "set environment or image"),
        ("steps: {a: {spark: {}, compute: x}}\n", "a Spark step cannot have compute"),
        ("steps: {a: {spark: {}, environment_variables: {A: 1}}}\n", "spark.yarn.appMasterEnv"),
        ("inputs: {x: {mode: eval_mount}}\n", "mode: eval_mount requires type: mltable"),
    ],
    ids=[
        "no_image",
        "no_folder",
        "no_environment",
        "compute_of_spark",
        "variables_of_spark",
        "mode",
    ],
)
def test_incompatible_keys_are_rejected(project_copy: Project, text: str, message: str) -> None:
    assert message in refusal(project_copy, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("compute: azureml:gpu\n", "compute: write the name alone: gpu"),
        ("steps: {a: {compute: 'azureml:gpu'}}\n", "steps.a.compute: write the name alone: gpu"),
        ("steps: {a: {environment: 'small:1'}}\n", "steps.a.environment: must be azureml:NAME:V"),
        ("environment: small:1\n", "or azureml:NAME:VERSION"),
        ("inputs: {x: {mode: upload}}\n", "inputs.x.mode: must be 'ro_mount', 'download'"),
        ("inputs: {x: {mode: rw_mount}}\n", "inputs.x.mode: must be 'ro_mount', 'download'"),
        ("outputs: {x: {mode: ro_mount}}\n", "outputs.x.mode: must be 'upload', 'rw_mount'"),
    ],
)
def test_values_that_azure_ml_refuses_are_rejected(
    project_copy: Project, text: str, message: str
) -> None:
    assert message in refusal(project_copy, text)


@pytest.mark.parametrize(
    "text",
    [
        "compute: serverless\n",
        "steps: {a: {environment: 'azureml:small@latest', compute: gpu}}\n",
        "environment: azureml://registries/azureml/environments/sklearn-1.5/versions/9\n",
        "inputs: {x: {mode: direct}, y: {mode: eval_download, type: mltable}}\n",
        "outputs: {x: {mode: rw_mount}}\n",
    ],
)
def test_values_that_azure_ml_takes_are_accepted(project_copy: Project, text: str) -> None:
    project_copy.configure("local", "azureml.yml", text)
    read_azureml(project_copy.path, "local")


def test_the_docker_flow_is_accepted(project_copy: Project) -> None:
    project_copy.configure(
        "local", "azureml.yml", "code: null\nimage: acr.example/x:1\nworking_directory: /app\n"
    )
    assert read_azureml(project_copy.path, "local").code is None
