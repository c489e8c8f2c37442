"""Git as the update calls it: no hooks, no watchers, nothing of a surrounding git command."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import RefusedError

OLDEST = (2, 38)  # the first with `merge-tree --write-tree`

# What a git command that started us would pass on, and what would send objects elsewhere.
FOREIGN = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_LITERAL_PATHSPECS",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
}
NEUTRAL = (
    f"core.hooksPath={os.devnull}",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
)

Entry = tuple[str, str]
"""Mode and object name of a file."""
Entries = dict[str, Entry]
"""The files of a tree, by their path."""


def run(
    *arguments: str | Path,
    cwd: Path,
    stdin: bytes | None = None,
    settings: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run git and return what it said, whatever its exit status.

    Raises
    ------
    RefusedError
        If there is no git on PATH.
    """
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    options = [word for setting in NEUTRAL for word in ("-c", setting)]
    try:
        return subprocess.run(
            ["git", *options, *(str(argument) for argument in arguments)],
            cwd=cwd,
            input=stdin if stdin is not None else b"",
            env=environment | {"LC_ALL": "C"} | dict(settings or {}),
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        message = "there is no git on PATH: install git 2.38 or newer"
        raise RefusedError(message) from error


def must(
    *arguments: str | Path,
    cwd: Path,
    stdin: bytes | None = None,
    settings: Mapping[str, str] | None = None,
) -> bytes:
    """Run git and return what it printed.

    Raises
    ------
    RefusedError
        If git fails; the message holds what it said.
    """
    process = run(*arguments, cwd=cwd, stdin=stdin, settings=settings)
    if process.returncode:
        said = process.stderr.decode(errors="replace").strip()
        command = " ".join(str(argument) for argument in arguments)
        message = f"git {command} failed: {said}"
        raise RefusedError(message)
    return process.stdout


def words(output: bytes) -> list[str]:
    """Return the parts of an output that are ended by NUL."""
    return [os.fsdecode(part) for part in output.split(b"\0") if part]


def parse_entries(listing: bytes) -> Entries:
    """Return the entries of `ls-tree -r -z` or `ls-files --stage -z`."""
    entries: Entries = {}
    for line in words(listing):
        details, _, path = line.partition("\t")
        fields = details.split()
        # "mode type object" of a tree, "mode object stage" of an index
        entries[path] = (fields[0], fields[2] if fields[2:] and len(fields[2]) > 1 else fields[1])
    return entries


def index_lines(entries: Entries, prefix: str = "") -> bytes:
    """Return what `update-index -z --index-info` takes."""
    lines = (f"{mode} {name}\t{prefix}{path}" for path, (mode, name) in entries.items())
    return b"".join(os.fsencode(line) + b"\0" for line in lines)


def check_version(cwd: Path) -> None:
    """Refuse a git that cannot merge without a work tree."""
    said = must("--version", cwd=cwd).decode()
    numbers = said.removeprefix("git version ").split(".")
    if tuple(int(n) for n in numbers[:2]) < OLDEST:
        message = f"{said.strip()} is too old: an update needs git 2.38 or newer"
        raise RefusedError(message)


@dataclass(frozen=True)
class Repository:
    """The project's folder and the git repository it lies in."""

    root: Path
    prefix: str
    git_dir: Path
    objects: Path
    index: Path
    hashes: str

    @classmethod
    def around(cls, folder: Path) -> "Repository":
        """Find the repository of a project.

        Raises
        ------
        RefusedError
            If there is none, or it has no commit.
        """
        check_version(folder)
        asked = run(
            "rev-parse",
            *("--show-prefix", "--absolute-git-dir", "--show-object-format"),
            *("--path-format=absolute", "--git-path", "objects", "--git-path", "index"),
            cwd=folder,
        )
        lines = os.fsdecode(asked.stdout).splitlines()
        if asked.returncode or len(lines) != 5:
            said = asked.stderr.decode(errors="replace").strip()
            message = (
                f"this folder is in no git repository that can be read ({said}).\n"
                "Type: git init && git add --all && git commit --message 'before the update'"
            )
            raise RefusedError(message)
        found = cls(folder, lines[0], Path(lines[1]), Path(lines[3]), Path(lines[4]), lines[2])
        if run("rev-parse", "--verify", "--quiet", "HEAD", cwd=folder).returncode:
            message = "there is no commit yet. Type: git add --all && git commit"
            raise RefusedError(message)
        return found

    @property
    def head(self) -> str:
        """The commit that is checked out."""
        return must("rev-parse", "HEAD", cwd=self.root).decode().strip()

    def committed(self) -> Entries:
        """Return the project's files as HEAD holds them."""
        tree = f"HEAD:{self.prefix}" if self.prefix else "HEAD"
        return parse_entries(must("ls-tree", "-r", "-z", "--full-tree", tree, cwd=self.root))

    def read(self, entry: Entry) -> bytes:
        """Return the content of a file."""
        return must("cat-file", "blob", entry[1], cwd=self.root)
