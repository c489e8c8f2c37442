"""Fixtures of projects that are run in this process, whatever their kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, Self

import pytest

from kedro_azure_mlops.config import bootstrap


class Runnable(Protocol):
    """A project on disk that a test can run."""

    path: Path

    @classmethod
    def copy_to(cls, target: Path, database: Path) -> Self: ...

    def run(self) -> Any: ...


def fixtures_of(kind: type[Runnable]) -> tuple[Callable[..., Any], ...]:
    """Return the fixtures ``project``, ``_ran`` and ``ran``, in this order."""

    @pytest.fixture
    def project(tmp_path: Path, database: Path) -> Runnable:
        """A fresh copy of the project that was never run."""
        return kind.copy_to(tmp_path / "project", database)

    @pytest.fixture(scope="session")
    def _ran(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Runnable:
        project = kind.copy_to(tmp_path_factory.mktemp("ran") / "project", database)
        project.run()
        return project

    @pytest.fixture
    def ran(_ran: Runnable) -> Runnable:
        """A copy of the project that was run once as it is; tests look at it and change nothing."""
        bootstrap(_ran.path)  # a test before may have configured Kedro for another project
        return _ran

    return project, _ran, ran
