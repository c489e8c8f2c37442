"""Paths, and a shell without the settings of the user who runs the tests."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers import PROJECT, ROOT, USERS_ENVIRONMENT, clean_environment

__all__ = ["PROJECT", "ROOT", "SOURCES", "USERS_ENVIRONMENT", "clean_environment"]

SOURCES = ROOT / "src"


def tool(name: str) -> Path:
    """Return the path of a tool in the environment of the tests."""
    return Path(sys.executable).parent / name


@dataclass(frozen=True)
class Rendered:
    """A project rendered from this template."""

    path: Path

    @property
    def files(self) -> set[str]:
        """Names of all files except git's, relative and with slashes."""
        paths = (path for path in self.path.rglob("*") if path.is_file())
        names = {path.relative_to(self.path).as_posix() for path in paths}
        return {name for name in names if not name.startswith(".git/")}

    def has_file(self, name: str) -> bool:
        """Return whether a file exists."""
        return (self.path / name).is_file()

    def read(self, name: str) -> str:
        """Return the text of a file with its line ends unchanged."""
        return (self.path / name).read_bytes().decode("utf-8")

    @property
    def record(self) -> dict[str, Any]:
        """Return the content of `.cruft.json`."""
        return json.loads(self.read(".cruft.json"))
