"""Helpers that write a bundle without wheels and call its runner as a device does."""

import subprocess
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kedro_azure_mlops.serve.bundle import write_bundle
from tests.plugin.helpers import new_shell
from tests.plugin.trained import project_with_scorer


@dataclass(frozen=True)
class Result:
    """The exit status, output and errors of a command."""

    status: int
    out: str
    err: str


def make_bundle(model: Path, project: Path) -> Path:
    """Write a model's bundle in a project whose scorer serves it."""
    if not project.is_dir():
        project_with_scorer(project)
    return write_bundle("local", model, None, project)


def unpack(archive: Path, target: Path) -> Path:
    """Unpack an archive and return the only folder in it."""
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(target)
    (folder,) = target.iterdir()
    return folder


def call(command: Iterable[str], folder: Path, stdin: bytes = b"", **environment: str) -> Result:
    """Call a command in a folder, in a shell without network access."""
    closed = "http://127.0.0.1:9"
    network = {"HTTP_PROXY": closed, "HTTPS_PROXY": closed, "ALL_PROXY": closed, "NO_PROXY": ""}
    completed = subprocess.run(
        list(command),
        cwd=folder,
        env=new_shell() | network | environment,
        input=stdin,
        capture_output=True,
        check=False,
    )
    return Result(completed.returncode, completed.stdout.decode(), completed.stderr.decode())


def run(folder: Path, *arguments: str, stdin: bytes = b"") -> Result:
    """Call the runner of an unpacked bundle."""
    return call([sys.executable, "score_file.py", *arguments], folder, stdin)
