"""The pytest plugin: the fixture ``azure_stand_in``, which costs nothing unless a test uses it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kedro_azure_mlops.testing.stand_in import StandIn


@pytest.fixture
def azure_stand_in(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator["StandIn"]:
    """Return a stand-in for Azure that the Azure clients of this process connect to.

    It has one workspace, ``stand-in`` in the resource group ``stand-in``; ``add_workspace`` creates
    the one that a project's ``azureml.yml`` names. A test that sends unsupported requests fails.
    """
    from kedro_azure_mlops.testing.stand_in import StandIn

    with StandIn(tmp_path_factory.mktemp("azure")) as azure:
        azure.lead(monkeypatch)
        yield azure
    assert azure.refused == [], "the stand-in for Azure does not support this"  # noqa: S101
