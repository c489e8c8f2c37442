"""Places, and a shell in which nothing of whoever runs the tests is seen."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers import PROJECT, ROOT, USERS_ENVIRONMENT, clean_environment

__all__ = ["PROJECT", "ROOT", "SOURCES", "USERS_ENVIRONMENT", "clean_environment"]

SOURCES = ROOT / "src"


def tool(name: str) -> Path:
    """Return the path of a tool of the environment that runs the tests."""
    return Path(sys.executable).parent / name


@dataclass(frozen=True)
class Rendered:
    """A project that was rendered from this very template."""

    path: Path

    @property
    def files(self) -> set[str]:
        """Names of all files but git's, relative and with slashes."""
        paths = (path for path in self.path.rglob("*") if path.is_file())
        names = {path.relative_to(self.path).as_posix() for path in paths}
        return {name for name in names if not name.startswith(".git/")}

    def has_file(self, name: str) -> bool:
        """Return whether there is such a file."""
        return (self.path / name).is_file()

    def read(self, name: str) -> str:
        """Return the text of a file, its line ends as they are."""
        return (self.path / name).read_bytes().decode("utf-8")

    @property
    def record(self) -> dict[str, Any]:
        """Return the content of `.cruft.json`."""
        return json.loads(self.read(".cruft.json"))
