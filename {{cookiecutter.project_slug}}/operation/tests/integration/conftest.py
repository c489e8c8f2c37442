"""Fixtures: Azure's stand-in, a project that uses it, and verbs that are called in this process."""

import os
from collections.abc import Iterator

import pytest

from operation.execution.__main__ import main
from operation.tests.azure import StandIn
from operation.tests.cloud import Said, Verb
from operation.tests.helpers import Project
from operation.tests.resource_group import ResourceGroup


@pytest.fixture
def azure(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StandIn]:
    """A stand-in for Azure that this process signs in to; it must know all it is asked."""
    for name in [name for name in os.environ if name.startswith(("AZURE_", "AZUREML_"))]:
        monkeypatch.delenv(name)
    # The clients wait between tries; nobody needs to wait for that here.
    transport = "azure.core.pipeline.transport.HttpTransport.sleep"
    monkeypatch.setattr(transport, lambda *_: None)
    with StandIn(tmp_path_factory.mktemp("azure")) as azure:
        ResourceGroup(azure)
        for name, value in azure.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", azure.subscription)
        yield azure
    assert azure.refused == []


@pytest.fixture
def cloud_project(project: Project, azure: StandIn, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose workspace of dev is the stand-in's; it is the current folder."""
    names = f"  resource_group: {azure.resource_group}\n  name: {azure.workspace}\n"
    project.configure("dev", "azureml.yml", f"workspace:\n{names}")
    monkeypatch.chdir(project.path)
    return project


@pytest.fixture
def verb(capsys: pytest.CaptureFixture[str]) -> Verb:
    """Call a verb as ``python -m operation.execution`` does, in the current folder."""

    def call(*arguments: str) -> Said:
        capsys.readouterr()
        status = main(arguments)
        said = capsys.readouterr()
        return Said(status, said.out, said.err)

    return call
