"""Fixtures for any project that runs in this process."""

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
        """A fresh copy of the project, not run yet."""
        return kind.copy_to(tmp_path / "project", database)

    @pytest.fixture(scope="session")
    def _ran(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Runnable:
        project = kind.copy_to(tmp_path_factory.mktemp("ran") / "project", database)
        project.run()
        return project

    @pytest.fixture
    def ran(_ran: Runnable) -> Runnable:
        """An unmodified copy of the project after one run; tests only read it."""
        bootstrap(_ran.path)  # an earlier test may have configured Kedro for another project
        return _ran

    return project, _ran, ran
