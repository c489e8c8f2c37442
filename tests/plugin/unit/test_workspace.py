"""Which workspace is meant: a job's own, else that of azureml.yml and config.json."""

import json
import os
from pathlib import Path

import pytest

from kedro_azure_mlops.azure.workspace import identifiers, in_job, workspace
from kedro_azure_mlops.errors import OperationError
from tests.plugin.helpers import Project

NAMES = "workspace: {resource_group: rg, name: ws}\n"
OF_WS = {"subscription_id": "sub", "resource_group": "rg", "workspace_name": "ws"}
JOB = {
    "AZUREML_ARM_SUBSCRIPTION": "job-sub",
    "AZUREML_ARM_RESOURCEGROUP": "job-rg",
    "AZUREML_ARM_WORKSPACE_NAME": "job-ws",
}


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AZURE", "OBO_", "MSI_"))]:
        monkeypatch.delenv(name)


def given(project: Project, names: str = NAMES, config: object = None, at: str = "") -> Path:
    """Write azureml.yml of dev, and config.json."""
    project.configure("dev", "azureml.yml", names)
    if config is not None:
        folder = project.path / at
        folder.mkdir(exist_ok=True)
        text = config if isinstance(config, str) else json.dumps(config)
        (folder / "config.json").write_text(text, encoding="utf-8")
    return project.path


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_the_subscription_may_be_in_a_variable(project, monkeypatch):
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "sub")

    assert identifiers("dev", given(project)) == OF_WS


def test_the_environments_own_subscription_comes_first(project, monkeypatch):
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "another")
    names = "workspace: {subscription_id: sub, resource_group: rg, name: ws}\n"

    assert identifiers("dev", given(project, names)) == OF_WS


@pytest.mark.parametrize("folder", ["", ".azureml"])
@pytest.mark.parametrize("names", [NAMES, "workspace: {}\n", "workspace: {name: WS}\n"])
def test_config_json_gives_what_is_missing(project, names, folder):
    found = identifiers("dev", given(project, names, OF_WS, folder))

    assert {key: value.lower() for key, value in found.items()} == OF_WS


@pytest.mark.parametrize("other", ["workspace_name", "resource_group"])
def test_config_json_of_another_workspace_is_refused(project, other):
    root = given(project, config=OF_WS | {other: "of-prod"})

    with pytest.raises(OperationError, match=f"config.json is for {other} of-prod, but dev is"):
        identifiers("dev", root)


def test_config_json_is_not_looked_at_when_nothing_is_missing(project, monkeypatch):
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "sub")

    assert identifiers("dev", given(project, config=OF_WS | {"workspace_name": "x"})) == OF_WS


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (NAMES, "no subscription_id"),
        ("workspace: {name: ws}\n", "no subscription_id and resource_group"),
        ("workspace: {}\n", "no subscription_id and resource_group and workspace_name"),
    ],
)
def test_what_is_missing_is_named_and_where_to_give_it(project, names, missing):
    with pytest.raises(OperationError) as refused:
        identifiers("dev", given(project, names))

    assert missing in str(refused.value)
    assert "conf/dev/azureml.yml" in str(refused.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "config.json is not valid JSON"),
        ({"subscription_id": "sub"}, "has no resource_group and no workspace_name"),
        ([], "has no subscription_id"),
    ],
)
def test_a_broken_config_json_is_named(project, config, message):
    with pytest.raises(OperationError, match=message):
        identifiers("dev", given(project, config=config))


def test_a_job_talks_to_its_own_workspace(project, monkeypatch):
    assert not in_job()
    set_all(monkeypatch, JOB)

    assert in_job()
    assert list(identifiers("dev", given(project)).values()) == ["job-sub", "job-rg", "job-ws"]


@pytest.mark.parametrize("missing", JOB)
def test_half_set_variables_of_a_job_are_refused(project, monkeypatch, missing):
    set_all(monkeypatch, {name: value for name, value in JOB.items() if name != missing})

    with pytest.raises(OperationError, match=f"but {missing} is not set"):
        identifiers("dev", project.path)


def test_outside_a_project_it_says_so(tmp_path):
    with pytest.raises(OperationError, match="is not a project folder"):
        identifiers("dev", tmp_path)


def test_the_client_is_of_the_environments_workspace(project, monkeypatch):
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "sub")
    monkeypatch.chdir(given(project))

    client = workspace("dev")

    assert client.subscription_id == "sub"
    assert (client.resource_group_name, client.workspace_name) == ("rg", "ws")
