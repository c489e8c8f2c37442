"""Places, and a shell in which nothing of whoever runs the tests is seen."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "src"
PROJECT = "{{cookiecutter.project_slug}}"

# Before tests move HOME: caches of package managers are there.
USERS_ENVIRONMENT = dict(os.environ)

# What the shell of whoever runs the tests may hold and an update must not see.
LEAKING = (
    "ARGS", "AZURE", "CI", "CONDA", "COOKIECUTTER", "ENV", "GIT_", "GITHUB_", "KEDRO", "MAKE",
    "MFLAGS", "MLFLOW", "PARAMS", "PORT", "PYTHON", "SYSTEM_", "TF_BUILD", "UV_PYTHON", "VENV",
    "VIRTUAL_ENV", "XDG_",
)  # fmt: skip


def clean_environment(**changes: str) -> dict[str, str]:
    """Return the environment of a shell that has just been opened."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(LEAKING)}
    return kept | {"LC_ALL": "C.UTF-8"} | changes


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
