"""Fixtures: Azure's stand-in, a project that uses it, and commands called in this process."""

import pytest

from kedro_azure_mlops.cli import main
from kedro_azure_mlops.testing import StandIn
from tests.plugin.cloud import Command, Result
from tests.plugin.helpers import Project


@pytest.fixture
def azure(azure_stand_in: StandIn) -> StandIn:
    """A stand-in for Azure that this process signs in to; unknown requests fail the test."""
    return azure_stand_in


@pytest.fixture
def cloud_project(project: Project, azure: StandIn, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose dev workspace is the stand-in's, as the current folder."""
    names = f"  resource_group: {azure.resource_group}\n  name: {azure.workspace}\n"
    project.configure("dev", "azureml.yml", f"workspace:\n{names}")
    monkeypatch.chdir(project.path)
    return project


@pytest.fixture
def mlops(capsys: pytest.CaptureFixture[str]) -> Command:
    """Call a command as ``kedro mlops`` does, in the current folder."""

    def call(*arguments: str) -> Result:
        capsys.readouterr()
        status = main(arguments)
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return call
