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
    """A file system of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self, left: int = 0) -> None:
        """Leave so many bytes free, or less."""
        self.free()
        with (self.path / BALLAST).open("wb") as file:
            file.write(b"\0" * max(0, shutil.disk_usage(self.path).free - left))

    def free(self) -> None:
        """Remove what fills it."""
        (self.path / BALLAST).unlink(missing_ok=True)

    def files(self) -> set[str]:
        """Names of all files and folders, without those of Kedro's other plugins."""
        found = {path.relative_to(self.path).as_posix() for path in self.path.rglob("*")}
        return {name for name in found if name != BALLAST and "/.viz" not in f"/{name}"}


@contextmanager
def small_disk(size: str = "16m") -> Iterator[Disk]:
    """Mount one; skip where that is not allowed."""
    with tempfile.TemporaryDirectory() as place:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place]
        try:
            done = subprocess.run(mount, capture_output=True, text=True, check=False)
        except OSError as error:
            pytest.skip(f"no small disk can be mounted here: {error}")
        if done.returncode:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
        try:
            yield Disk(Path(place))
        finally:
            # lazily: MLflow keeps its database open
            subprocess.run(["umount", "--lazy", place], check=True)
