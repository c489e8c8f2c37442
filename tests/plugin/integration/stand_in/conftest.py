"""Fixtures: a stand-in that the tests of a module share, and the real client connected to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kedro_azure_mlops.testing import StandIn
from kedro_azure_mlops.testing.stand_in import connected, make_compute
from tests.plugin.small_job import make_project

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """Azure with a workspace."""
    with StandIn(tmp_path_factory.mktemp("azure")) as azure:
        yield azure


@pytest.fixture(scope="module")
def client(azure: StandIn) -> "Iterator[MLClient]":
    """The client of that workspace, which has a cluster and an environment."""
    with connected(azure) as ml:
        make_compute(ml)
        yield ml


@pytest.fixture
def ml(azure: StandIn, client: "MLClient") -> "Iterator[MLClient]":
    """The same client; its test must not send requests that the stand-in does not support."""
    azure.forget()
    yield client
    assert azure.refused == []


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A project whose steps are a few lines of shell."""
    return make_project(tmp_path)
