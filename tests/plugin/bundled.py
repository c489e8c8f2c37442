"""A bundle without wheels, and its runner called as on a device."""

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
class Said:
    """The exit status of a command and what it said."""

    status: int
    out: str
    err: str


def make_bundle(model: Path, place: Path) -> Path:
    """Write the archive of a model folder, in a project whose scorer serves it."""
    if not place.is_dir():
        project_with_scorer(place)
    return write_bundle("local", model, None, place)


def unpack(archive: Path, target: Path) -> Path:
    """Unpack an archive and return its one folder."""
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(target)
    (folder,) = target.iterdir()
    return folder


def call(command: Iterable[str], folder: Path, stdin: bytes = b"", **environment: str) -> Said:
    """Call a command in a folder, in a shell that no network can be reached from."""
    nowhere = "http://127.0.0.1:9"
    network = {"HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "ALL_PROXY": nowhere, "NO_PROXY": ""}
    done = subprocess.run(
        list(command),
        cwd=folder,
        env=new_shell() | network | environment,
        input=stdin,
        capture_output=True,
        check=False,
    )
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


def run(folder: Path, *arguments: str, stdin: bytes = b"") -> Said:
    """Call the runner of an unpacked bundle."""
    return call([sys.executable, "score_file.py", *arguments], folder, stdin)
