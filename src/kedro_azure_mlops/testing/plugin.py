"""The pytest plugin: the fixture ``azure_stand_in``; it costs nothing unless a test asks for it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kedro_azure_mlops.testing.stand_in import StandIn


@pytest.fixture
def azure_stand_in(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator["StandIn"]:
    """Return a stand-in for Azure that the Azure clients of this process talk to.

    It has one workspace, ``stand-in`` in the resource group ``stand-in``; ``add_workspace`` makes
    the one that a project's ``azureml.yml`` names. A test fails that asks what it does not know.
    """
    from kedro_azure_mlops.testing.stand_in import StandIn

    with StandIn(tmp_path_factory.mktemp("azure")) as azure:
        azure.lead(monkeypatch)
        yield azure
    assert azure.refused == [], "the stand-in for Azure does not know this"  # noqa: S101
