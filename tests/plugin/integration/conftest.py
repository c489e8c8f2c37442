"""Fixtures: Azure's stand-in, a project that uses it, and commands called in this process."""

import pytest

from kedro_azure_mlops.cli import main
from kedro_azure_mlops.testing import StandIn
from tests.plugin.cloud import Command, Said
from tests.plugin.helpers import Project


@pytest.fixture
def azure(azure_stand_in: StandIn) -> StandIn:
    """A stand-in for Azure that this process signs in to; it must know all it is asked."""
    return azure_stand_in


@pytest.fixture
def cloud_project(project: Project, azure: StandIn, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose workspace of dev is the stand-in's; it is the current folder."""
    names = f"  resource_group: {azure.resource_group}\n  name: {azure.workspace}\n"
    project.configure("dev", "azureml.yml", f"workspace:\n{names}")
    monkeypatch.chdir(project.path)
    return project


@pytest.fixture
def mlops(capsys: pytest.CaptureFixture[str]) -> Command:
    """Call a command as ``kedro mlops`` does, in the current folder."""

    def call(*arguments: str) -> Said:
        capsys.readouterr()
        status = main(arguments)
        said = capsys.readouterr()
        return Said(status, said.out, said.err)

    return call
