"""Commands that are printed as a person would type them, and run just so."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from operation.errors import OperationError

# Of the process that asks, and not of the command: a job, bindings, code on the path.
_NOT_HANDED_ON = (
    *("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "PYTHONPATH"),
    *("RANK", "OMPI_COMM_WORLD_RANK", "TF_CONFIG"),
)


@dataclass(frozen=True)
class Command:
    """A command, the folder below the project to run it in, and its variables."""

    words: tuple[str, ...]
    folder: str = "."
    variables: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        pairs = [f"{name}={value}" for name, value in self.variables.items()]
        typed = shlex.join((*(["env", *pairs] if pairs else []), *self.words))
        return typed if self.folder == "." else f"(cd {shlex.quote(self.folder)} && {typed})"

    def run(self, root: Path) -> None:
        """Run it with the tools of this environment.

        Raises
        ------
        OperationError
            If it fails or there is no such program.
        """
        try:
            subprocess.run(
                self.words, cwd=root / self.folder, env=_environment() | self.variables, check=True
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise OperationError(f"This command failed ({error}):\n{self}") from error


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _NOT_HANDED_ON and not name.startswith("BIND__")
    }
    tools = str(Path(sys.executable).parent)
    return kept | {"PATH": os.pathsep.join((tools, kept.get("PATH", os.defpath)))}
