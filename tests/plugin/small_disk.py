"""A small disk that tests can fill."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BALLAST = "ballast"


class Disk:
    """A mounted file system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self, left: int = 0) -> None:
        """Fill the disk until at most ``left`` bytes are free."""
        self.free()
        with (self.path / BALLAST).open("wb") as file:
            file.write(b"\0" * max(0, shutil.disk_usage(self.path).free - left))

    def free(self) -> None:
        """Remove the file that fills the disk."""
        (self.path / BALLAST).unlink(missing_ok=True)

    def files(self) -> set[str]:
        """Return all files and folders except those of Kedro-Viz."""
        names = {path.relative_to(self.path).as_posix() for path in self.path.rglob("*")}
        return {name for name in names if name != BALLAST and "/.viz" not in f"/{name}"}


@contextmanager
def small_disk(size: str = "16m") -> Iterator[Disk]:
    """Mount a small disk, or skip the test if that is not allowed."""
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
        try:
            mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
        except OSError as error:
            pytest.skip(f"no small disk can be mounted here: {error}")
        if mounted.returncode:
            pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
        try:
            yield Disk(Path(folder))
        finally:
            # lazily: MLflow keeps its database open
            subprocess.run(["umount", "--lazy", folder], check=True)
