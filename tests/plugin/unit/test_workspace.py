"""The workspace is that of the current job, or else of azureml.yml and config.json."""

import json
import os
from pathlib import Path

import pytest

from kedro_azure_mlops.azure.workspace import azure_errors, identifiers, in_job, workspace
from kedro_azure_mlops.errors import OperationError
from tests.plugin.helpers import Project

NAMES = "workspace: {resource_group: rg, name: ws}\n"
WORKSPACE = {"subscription_id": "sub", "resource_group": "rg", "workspace_name": "ws"}
JOB = {
    "AZUREML_ARM_SUBSCRIPTION": "job-sub",
    "AZUREML_ARM_RESOURCEGROUP": "job-rg",
    "AZUREML_ARM_WORKSPACE_NAME": "job-ws",
}


@pytest.fixture(autouse=True)
def _no_azure_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AZURE", "OBO_", "MSI_"))]:
        monkeypatch.delenv(name)


def configured(
    project: Project, names: str = NAMES, config: object = None, config_folder: str = ""
) -> Path:
    """Write azureml.yml for dev, and config.json if ``config`` is not None."""
    project.configure("dev", "azureml.yml", names)
    if config is not None:
        folder = project.path / config_folder
        folder.mkdir(exist_ok=True)
        text = config if isinstance(config, str) else json.dumps(config)
        (folder / "config.json").write_text(text, encoding="utf-8")
    return project.path


def set_variables(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_faults_that_the_client_finds_are_named_with_their_fields():
    from azure.ai.ml.exceptions import ErrorTarget, ValidationException

    errors = [
        {"message": "cannot be\n  a string", "path": "jobs.a.environment", "value": "b:1"},
        {"message": "is not in set ['direct']", "path": "inputs.x", "value": {"mode": "no"}},
    ]
    report = json.dumps({"result": "Failed", "errors": errors}, indent=2)
    for text in (report, f"Validation for PipelineJobSchema failed:\n\n {report} \n\n If you"):
        with pytest.raises(OperationError) as refusal, azure_errors("submitting the job"):
            raise ValidationException(text, text, target=ErrorTarget.PIPELINE)

        assert str(refusal.value) == (
            "submitting the job: jobs.a.environment: cannot be a string; "
            "inputs.x: is not in set ['direct']"
        )


@pytest.mark.parametrize("text", ["a { brace", "{\n}", '{\n "errors": 3\n}'])
def test_other_messages_of_the_client_are_quoted(text):
    from azure.ai.ml.exceptions import ErrorTarget, ValidationException

    with pytest.raises(OperationError) as refusal, azure_errors("submitting https://a/b?sig=abc"):
        raise ValidationException(text, text, target=ErrorTarget.PIPELINE)

    assert str(refusal.value) == f"submitting https://a/b: {text.partition(chr(10))[0]}"


def test_the_subscription_may_come_from_a_variable(project, monkeypatch):
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "sub")

    assert identifiers("dev", configured(project)) == WORKSPACE


def test_the_subscription_of_the_environment_comes_first(project, monkeypatch):
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "another")
    names = "workspace: {subscription_id: sub, resource_group: rg, name: ws}\n"

    assert identifiers("dev", configured(project, names)) == WORKSPACE


@pytest.mark.parametrize("folder", ["", ".azureml"])
@pytest.mark.parametrize("names", [NAMES, "workspace: {}\n", "workspace: {name: WS}\n"])
def test_config_json_provides_missing_values(project, names, folder):
    found = identifiers("dev", configured(project, names, WORKSPACE, folder))

    assert {key: value.lower() for key, value in found.items()} == WORKSPACE


@pytest.mark.parametrize("other", ["workspace_name", "resource_group"])
def test_config_json_of_another_workspace_is_rejected(project, other):
    root = configured(project, config=WORKSPACE | {other: "of-prod"})

    with pytest.raises(OperationError, match=f"config.json is for {other} of-prod, but dev is"):
        identifiers("dev", root)


def test_config_json_is_ignored_if_nothing_is_missing(project, monkeypatch):
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "sub")

    assert (
        identifiers("dev", configured(project, config=WORKSPACE | {"workspace_name": "x"}))
        == WORKSPACE
    )


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (NAMES, "no subscription_id"),
        ("workspace: {name: ws}\n", "no subscription_id and resource_group"),
        ("workspace: {}\n", "no subscription_id and resource_group and workspace_name"),
    ],
)
def test_missing_values_are_named_with_the_file_to_edit(project, names, missing):
    with pytest.raises(OperationError) as error:
        identifiers("dev", configured(project, names))

    assert missing in str(error.value)
    assert "conf/dev/azureml.yml" in str(error.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "config.json is not valid JSON"),
        ({"subscription_id": "sub"}, "has no resource_group and no workspace_name"),
        ([], "has no subscription_id"),
    ],
)
def test_an_invalid_config_json_is_reported(project, config, message):
    with pytest.raises(OperationError, match=message):
        identifiers("dev", configured(project, config=config))


def test_a_job_uses_its_own_workspace(project, monkeypatch):
    assert not in_job()
    set_variables(monkeypatch, JOB)

    assert in_job()
    assert list(identifiers("dev", configured(project)).values()) == ["job-sub", "job-rg", "job-ws"]


@pytest.mark.parametrize("missing", JOB)
def test_incomplete_variables_of_a_job_are_rejected(project, monkeypatch, missing):
    set_variables(monkeypatch, {name: value for name, value in JOB.items() if name != missing})

    with pytest.raises(OperationError, match=f"but {missing} is not set"):
        identifiers("dev", project.path)


def test_a_folder_that_is_not_a_project_is_rejected(tmp_path):
    with pytest.raises(OperationError, match="is not a project folder"):
        identifiers("dev", tmp_path)


def test_the_client_uses_the_workspace_of_the_environment(project, monkeypatch):
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "sub")
    monkeypatch.chdir(configured(project))

    client = workspace("dev")

    assert client.subscription_id == "sub"
    assert (client.resource_group_name, client.workspace_name) == ("rg", "ws")
