"""An environment with cookiecutter, which renders the template: this one, or a separate one.

A project's environment does not contain cookiecutter, and may be what an update has to repair. So
the update creates a separate one in the user's cache, once per Python and lock.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from kedro_azure_mlops.errors import OperationError

LOCK = "requirements.txt"
_COMPLETE = "complete"


def python_with_cookiecutter(progress: Callable[[str], None] = print) -> Path:
    """Return an interpreter that has cookiecutter; install it first if necessary.

    Raises
    ------
    OperationError
        If it cannot be installed; the message explains how to update without this step.
    """
    if find_spec("cookiecutter"):
        return Path(sys.executable)
    import hashlib  # slow to import, and needed only here

    lock = (files(__package__) / LOCK).read_bytes()
    digest = hashlib.sha256(lock).hexdigest()[:12]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache_folder() / f"update-{python}-{digest}"
    if not _is_usable(folder):
        progress(f"installing cookiecutter into {folder}")
        _install(folder, lock)
    return _python_of(folder)


def cache_folder() -> Path:
    """Return the plugin's folder in the user's cache."""
    if os.name == "nt":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "kedro-azure-mlops"


def _is_usable(folder: Path) -> bool:
    """Return whether an environment is complete, and the Python that made it still exists."""
    return (folder / _COMPLETE).exists() and _python_of(folder).exists()


def _install(folder: Path, lock: bytes) -> None:
    """Create the environment in a temporary folder and move it when it is complete."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="making-") as draft_folder:
            draft = Path(draft_folder) / "environment"
            requirements = Path(draft_folder) / LOCK
            requirements.write_bytes(lock)
            for command in _commands(draft, requirements):
                _run(command)
            (draft / _COMPLETE).touch()
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
    except OSError as error:
        if not _is_usable(folder):  # otherwise another update was faster
            raise OperationError(_install_error(str(error))) from error


def _commands(folder: Path, lock: Path) -> list[list[str]]:
    uv = shutil.which("uv") or _uv_of_project()
    python = str(_python_of(folder))
    if uv:
        return [
            [uv, "venv", "--quiet", "--no-project", "--python", sys.executable, str(folder)],
            [
                *(uv, "pip", "install", "--quiet", "--python", python),
                # The renderer writes no bytecode, so each update would compile it again.
                *("--compile-bytecode", "--require-hashes", "--requirement", str(lock)),
            ],
        ]
    return [
        [sys.executable, "-m", "venv", str(folder)],
        [
            *(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--require-hashes", "--requirement", str(lock)),
        ],
    ]


def _uv_of_project() -> str | None:
    """Return the uv that ``tools/uv.sh`` has installed into the project, if any."""
    places = (Path(".uv", "bin", "uv"), Path(".uv", "Scripts", "uv.exe"))
    return next((str(place.resolve()) for place in places if place.exists()), None)


def _python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _run(command: list[str]) -> None:
    # The lock does not need the project's wheels, which may be gone.
    folders = {"UV_FIND_LINKS", "PIP_FIND_LINKS"}
    variables = {name: value for name, value in os.environ.items() if name not in folders}
    process = subprocess.run(
        command, env=variables, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if process.returncode:
        complaint = (process.stderr or process.stdout).decode(errors="replace").strip()
        raise OperationError(_install_error("\n".join(complaint.splitlines()[-6:])))


def _install_error(fault: str) -> str:
    return (
        f"an environment with cookiecutter could not be created:\n{fault}\n"
        "Is a package index reachable? Or run, with a Python that has cookiecutter:\n"
        "PYTHONPATH=$(ls wheels/*.whl) PYTHON -m kedro_azure_mlops update"
    )
