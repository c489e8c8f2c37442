"""An environment with cookiecutter, which renders the template: this one, or one of its own.

A project's environment does not hold cookiecutter, and may be exactly what an update has to
repair. So the update makes one for itself, once per Python and lock, in the user's cache.
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
    """Return an interpreter that has cookiecutter; install it first where that is needed.

    Raises
    ------
    OperationError
        If it cannot be installed; the message says how to update without this step.
    """
    if find_spec("cookiecutter"):
        return Path(sys.executable)
    import hashlib  # takes long, and is needed here alone

    lock = (files(__package__) / LOCK).read_bytes()
    digest = hashlib.sha256(lock).hexdigest()[:12]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache_folder() / f"update-{python}-{digest}"
    if not (folder / _COMPLETE).exists():
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


def _install(folder: Path, lock: bytes) -> None:
    """Make the environment beside its place and move it there when it is complete."""
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
        if not (folder / _COMPLETE).exists():  # else another update was faster
            raise OperationError(_in_words(str(error))) from error


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
    """Return the uv that ``tools/uv.sh`` has installed into the project, if it has."""
    places = (Path(".uv", "bin", "uv"), Path(".uv", "Scripts", "uv.exe"))
    return next((str(place.resolve()) for place in places if place.exists()), None)


def _python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _run(command: list[str]) -> None:
    # The wheels of the project, which may be gone, are no part of the lock.
    folders = {"UV_FIND_LINKS", "PIP_FIND_LINKS"}
    variables = {name: value for name, value in os.environ.items() if name not in folders}
    process = subprocess.run(
        command, env=variables, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if process.returncode:
        complaint = (process.stderr or process.stdout).decode(errors="replace").strip()
        raise OperationError(_in_words("\n".join(complaint.splitlines()[-6:])))


def _in_words(fault: str) -> str:
    return (
        f"an environment with cookiecutter could not be made:\n{fault}\n"
        "Is a package index reachable? Or type, with a Python that has cookiecutter:\n"
        "PYTHONPATH=$(ls wheels/*.whl) PYTHON -m kedro_azure_mlops update"
    )
