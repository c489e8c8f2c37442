"""Run git without hooks, watchers, or variables of a surrounding git command.

Only the output of plumbing commands is parsed, because its format does not depend on settings.
"""

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kedro_azure_mlops.errors import OperationError

OLDEST = (2, 38)  # the first with `merge-tree --write-tree`

# Variables that a surrounding git command sets, or that make git store objects elsewhere.
FOREIGN = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_ATTR_SOURCE",
    "GIT_COMMON_DIR",
    "GIT_DIFF_OPTS",
    "GIT_DIR",
    "GIT_EXTERNAL_DIFF",
    "GIT_GLOB_PATHSPECS",
    "GIT_GRAFT_FILE",
    "GIT_ICASE_PATHSPECS",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_LITERAL_PATHSPECS",
    "GIT_NAMESPACE",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
}
NEUTRAL = (
    f"core.hooksPath={os.devnull}",
    "color.ui=false",
    "column.ui=never",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "core.safecrlf=false",
    "core.splitIndex=false",
    "gc.auto=0",
    "i18n.commitEncoding=UTF-8",
    "i18n.logOutputEncoding=UTF-8",
    "maintenance.auto=false",
    "push.followTags=false",
    "push.gpgSign=false",
    "submodule.recurse=false",
)
# Commands that convert files, and their output if a conversion fails: git continues unless the
# filter is `required`.
CONVERTING = {"checkout", "checkout-index", "hash-object", "status"}
NOT_CONVERTED = re.compile(
    r"external filter '|(clean|smudge) filter '?[^\n]+'? failed|the remote end hung up"
    r"|cannot fork to run subprocess|failed to encode|BOM is "
)

Entry = tuple[str, str]
"""Mode and object name of a file."""
Entries = dict[str, Entry]
"""The files of a tree, by their path."""
Stages = dict[int, Entry]
"""The versions of a conflicting file: 1 as rendered before, 2 yours, 3 the template's."""


def run(
    *arguments: str | Path,
    cwd: Path,
    stdin: bytes | None = None,
    settings: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run git and return the finished process, with any exit status.

    Raises
    ------
    OperationError
        If git is not on PATH.
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
        raise OperationError("git is not on PATH: install git 2.38 or newer") from error


def must(
    *arguments: str | Path,
    cwd: Path,
    stdin: bytes | None = None,
    settings: Mapping[str, str] | None = None,
) -> bytes:
    """Run git and return its output.

    Raises
    ------
    OperationError
        If git fails, or could not convert a file; the message includes git's own.
    """
    process = run(*arguments, cwd=cwd, stdin=stdin, settings=settings)
    complaint = process.stderr.decode(errors="replace").strip()
    if CONVERTING.intersection(arguments) and NOT_CONVERTED.search(complaint):
        raise OperationError(
            "git could not convert a file as .gitattributes requires: a filter or an encoding "
            "failed. Is the filter's program on PATH (git-lfs: git lfs install), and can it read "
            f"what it needs? Git reports:\n{complaint}"
        )
    if process.returncode:
        command = " ".join(str(argument) for argument in arguments)
        # git does not report why it could not write a file during a checkout
        if "unable to write file" in complaint and shutil.disk_usage(cwd).free < 2**16:
            complaint += f"\n{os.strerror(errno.ENOSPC)}"
        raise OperationError(f"git {command} failed: {complaint}")
    return process.stdout


def words(output: bytes) -> list[str]:
    """Split output that is separated by NUL."""
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
    """Return the input for `update-index -z --index-info`."""
    lines = (f"{mode} {name}\t{prefix}{path}" for path, (mode, name) in entries.items())
    return b"".join(os.fsencode(line) + b"\0" for line in lines)


def check_version(cwd: Path) -> None:
    """Raise OperationError for a git that cannot merge without a work tree."""
    version = must("--version", cwd=cwd).decode()
    numbers = version.removeprefix("git version ").split(".")
    if tuple(int(n) for n in numbers[:2]) < OLDEST:
        raise OperationError(f"{version.strip()} is too old: an update needs git 2.38 or newer")


@dataclass(frozen=True)
class Repository:
    """The project's folder and its git repository."""

    root: Path
    prefix: str
    git_dir: Path
    objects: Path
    index: Path
    hashes: str
    started_at: str
    """The commit that was checked out when the command began."""

    @classmethod
    def around(cls, folder: Path) -> "Repository":
        """Find the repository of a project.

        Raises
        ------
        OperationError
            If there is none, or it has no commit.
        """
        check_version(folder)
        process = run(
            "rev-parse",
            *("--show-prefix", "--absolute-git-dir", "--show-object-format"),
            *("--path-format=absolute", "--git-path", "objects", "--git-path", "index"),
            *("HEAD", "--"),
            cwd=folder,
        )
        lines = os.fsdecode(process.stdout).splitlines()
        if len(lines) < 5:
            complaint = process.stderr.decode(errors="replace").strip()
            if "not a git repository" not in complaint:
                raise OperationError(f"git cannot read this repository. It reports:\n{complaint}")
            raise OperationError(
                f"this folder is not in a git repository ({complaint}).\n"
                "Run: git init && git add --all && git commit --message 'before the update'"
            )
        if process.returncode:
            raise OperationError("there is no commit yet. Run: git add --all && git commit")
        prefix, git_dir, hashes, objects, index, commit = lines[:6]
        return cls(folder, prefix, Path(git_dir), Path(objects), Path(index), hashes, commit)

    @property
    def head(self) -> str:
        """The commit that is checked out."""
        return must("rev-parse", "HEAD", cwd=self.root).decode().strip()

    @property
    def top(self) -> Path:
        """The folder of the whole work tree, of which the project may be a part."""
        depth = self.prefix.count("/")
        return self.root.parents[depth - 1] if depth else self.root

    def committed(self) -> Entries:
        """Return the project's files in the commit that was checked out at the start."""
        tree = f"{self.started_at}:{self.prefix}" if self.prefix else self.started_at
        return parse_entries(must("ls-tree", "-r", "-z", "--full-tree", tree, cwd=self.root))

    def fetch(self, entries: Entries) -> None:
        """Fetch the content of files that a partial clone lacks."""
        names = "".join(f"{name}\n" for mode, name in entries.values() if mode != "160000")
        must("cat-file", "--batch-check", cwd=self.root, stdin=names.encode())

    def read(self, entry: Entry) -> bytes:
        """Return the content of a file."""
        return must("cat-file", "blob", entry[1], cwd=self.root)


class Workbench:
    """A scratch git directory in which renders become trees and trees are compared.

    It does not use the project's index, work tree or settings. It stores its objects among the
    project's, where nothing refers to them.
    """

    plain = ("-c", f"core.attributesFile={os.devnull}", "-c", "core.autocrlf=false")

    def __init__(self, folder: Path, repository: Repository) -> None:
        self.folder = folder
        self.repository = repository
        self.indexes = 0
        self.trees: dict[bytes, str] = {}
        self.renamed: dict[tuple[str, str], dict[str, str]] = {}
        self.settings = {
            "GIT_DIR": str(folder),
            "GIT_OBJECT_DIRECTORY": str(repository.objects),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ATTR_NOSYSTEM": "1",
        }
        for role in ("AUTHOR", "COMMITTER"):
            self.settings |= {
                f"GIT_{role}_NAME": "template",
                f"GIT_{role}_EMAIL": "template@localhost",
                f"GIT_{role}_DATE": "2000-01-01T00:00:00Z",
            }
        folder.mkdir(parents=True)
        options = ("--quiet", "--bare", "--template=", f"--object-format={repository.hashes}")
        must("init", *options, folder, cwd=folder)

    def run(
        self, *arguments: str | Path, settings: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run git here, with additional variables; any exit status is returned."""
        variables = self.settings | dict(settings or {})
        return run(*self.plain, *arguments, cwd=self.folder, settings=variables)

    def must(
        self,
        *arguments: str | Path,
        stdin: bytes | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run git here, with additional variables; raise OperationError if it fails."""
        variables = self.settings | dict(settings or {})
        return must(*self.plain, *arguments, cwd=self.folder, stdin=stdin, settings=variables)

    def set_attributes(self, text: bytes) -> None:
        """Set the attributes that apply here, in place of the project's."""
        folder = self.folder / "info"
        folder.mkdir(exist_ok=True)
        (folder / "attributes").write_bytes(text)

    def new_index(self) -> dict[str, str]:
        """Return the variable that names a new index."""
        self.indexes += 1
        return {"GIT_INDEX_FILE": str(self.folder / f"index-{self.indexes}")}

    def store_blob(self, content: bytes) -> str:
        """Store bytes unchanged and return their object name."""
        return self.must("hash-object", "-w", "--stdin", stdin=content).decode().strip()

    def store_tree(self, entries: Entries) -> str:
        """Store a tree of these files and return its object name."""
        lines = listing(entries)
        if lines not in self.trees:
            index = self.new_index()
            self.must("update-index", "-z", "--index-info", stdin=lines, settings=index)
            # a partial clone lacks files outside its sparse checkout
            name = self.must("write-tree", "--missing-ok", settings=index)
            self.trees[lines] = name.decode().strip()
        return self.trees[lines]

    def commit(self, tree: str, *parents: str) -> str:
        """Store a commit that nothing refers to."""
        options = [word for parent in parents for word in ("-p", parent)]
        return self.must("commit-tree", tree, *options, "-m", "update").decode().strip()

    def renames(self, before: str, after: str) -> dict[str, str]:
        """Return the new name, by old name, of each file that git sees as renamed."""
        if (before, after) not in self.renamed:
            options = ("-r", "-z", "--find-renames", "-l0", "--diff-filter=R", "--name-status")
            parts = words(self.must("diff-tree", *options, before, after))
            self.renamed[before, after] = dict(zip(parts[1::3], parts[2::3], strict=True))
        return self.renamed[before, after]


def listing(entries: Entries) -> bytes:
    """Return the entries as sorted text, which is equal for equal trees."""
    return index_lines(dict(sorted(entries.items())))
