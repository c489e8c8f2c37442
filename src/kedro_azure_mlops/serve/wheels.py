"""Download the wheels of a lock for another machine with pip, checked against the lock's hashes."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.writing import full_disk_in

PLATFORMS = ("linux_x86_64", "linux_aarch64")
_GLIBC = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")


@dataclass(frozen=True)
class Wheels:
    """The target platform of wheels, and its Python version, such as ``3.11``."""

    platform: str
    python: str

    def download(self, requirements: Path, target: Path, root: Path) -> None:
        """Download the wheels of a lock into a folder.

        Raises
        ------
        OperationError
            If a wheel cannot be downloaded.
        """
        architecture = self.platform.removeprefix("linux_")
        platforms = [word for tag in _GLIBC for word in ("--platform", f"{tag}_{architecture}")]
        command = [
            *(*_pip(root), "download", "--quiet"),
            *("--require-hashes", "--only-binary", ":all:", "--no-deps", "--dest", str(target)),
            *("--implementation", "cp", "--python-version", self.python, *platforms),
            *("--disable-pip-version-check", "--requirement", str(requirements)),
        ]
        process = subprocess.run(
            command,
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if process.returncode:
            raise OperationError(
                f"The wheels for {self.platform} and Python {self.python} cannot be downloaded "
                f"(--no-wheels leaves them out):\n{process.stdout.strip()}"
            ) from full_disk_in(process.stdout)


def this_machine() -> str | None:
    """Return the platform of this machine; None if wheels for it cannot be downloaded."""
    architecture = {"amd64": "x86_64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine()
    )
    name = f"linux_{architecture}"
    return name if sys.platform == "linux" and name in PLATFORMS else None


def _pip(root: Path) -> list[str]:
    """Return the command for pip: through uv, which may be in the project, or as a module.

    Raises
    ------
    OperationError
        If neither is available.
    """
    folders = (root / ".uv" / "bin", root / ".uv" / "Scripts", Path(sys.executable).parent)
    search_path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)])
    if uv := shutil.which("uv", path=search_path):
        return [uv, "tool", "run", "--quiet", "pip"]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    raise OperationError(
        "Neither uv nor pip is available to download wheels: install one, or pass --no-wheels."
    )
