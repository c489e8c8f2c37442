"""The project's work tree and index: what must hold before they are written, and the writing."""

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.update import git
from kedro_azure_mlops.update.git import Entries, Entry, Repository, Stages, index_lines, words

UNFINISHED = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
}


def first_of(paths: Iterable[str]) -> str:
    """Return the first ten of some paths, a line each."""
    found = sorted(paths)
    more = [f"  and {len(found) - 10} more"] if len(found) > 10 else []
    return "\n".join([*(f"  {path}" for path in found[:10]), *more])


def require_clean(repository: Repository) -> None:
    """Check that the project has no uncommitted changes.

    Raises
    ------
    OperationError
        If it has, or a merge or rebase is going on in the repository.
    """
    for name, what in UNFINISHED.items():
        if (repository.git_dir / name).exists():
            raise OperationError(
                f"a {what} is going on in this repository: finish it first (git status)"
            )
    options = ("--porcelain", "-z", "--untracked-files=no", "--no-renames")
    settings = {"GIT_OPTIONAL_LOCKS": "0"}
    changes = git.must("status", *options, "--", ".", cwd=repository.root, settings=settings)
    if changes:
        paths = (line[3:].removeprefix(repository.prefix) for line in words(changes))
        raise OperationError(
            "these files have changes that no commit holds (git commit or git stash them first; "
            f"an update that is not committed yet ends by --abort):\n{first_of(paths)}"
        )


def require_room(repository: Repository, yours: Entries, merged: Entries) -> None:
    """Check that no file that git does not hold, ignored or not, would be overwritten.

    Raises
    ------
    OperationError
        If one would be, or git is set to ignore changes of a file that the update changes.
    """
    in_the_way: set[str] = set()
    for path in merged.keys() - yours.keys():
        in_the_way.update(obstacles(repository.root, path, yours))
    if in_the_way:
        raise OperationError(
            "the template adds files where you have files that git does not hold (untracked or "
            f"ignored). Move them away, or commit them:\n{first_of(in_the_way)}"
        )
    flags = words(git.must("ls-files", "-v", "-z", cwd=repository.root))
    hidden = {line[2:] for line in flags if line[0] == "S" or line[0].islower()}
    if hidden := {path for path in hidden if yours.get(path) != merged.get(path)}:
        raise OperationError(
            "git is set to ignore changes of files that the update changes (git update-index "
            "--no-assume-unchanged --no-skip-worktree, or git sparse-checkout):\n"
            f"{first_of(hidden)}"
        )


def obstacles(root: Path, path: str, yours: Entries) -> Iterator[str]:
    """Yield what would be lost if a file were written, or folders made for it."""
    for parent in [*reversed(PurePosixPath(path).parents), PurePosixPath(path)]:
        name, place = str(parent), root / parent
        is_folder = place.is_dir() and not place.is_symlink()
        if name in yours or not os.path.lexists(place):
            continue
        if name != path and not is_folder:
            yield name
            return
        if name == path and not (is_folder and holds_only(root, place, yours)):
            yield name


def holds_only(root: Path, folder: Path, yours: Entries) -> bool:
    """Return whether all files of a folder are in the commit."""
    files = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return all(path.relative_to(root).as_posix() in yours for path in files)


SUBMODULE = "160000"


class Index:
    """A draft of the project's index, under git's own lock."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.draft = repository.git_dir / "template-update.index"
        self.lock = lock_of(repository)

    def __enter__(self) -> "Index":
        """Take the lock.

        Raises
        ------
        OperationError
            If another git command holds it.
        """
        try:
            with self.lock.open("x", encoding="utf-8") as file:
                file.write(f"template-update {os.getpid()}\n")
        except FileExistsError:
            raise OperationError(f"another git command holds {self.lock}: wait for it") from None
        shutil.copyfile(self.repository.index, self.draft)
        return self

    def __exit__(self, *_: object) -> None:
        """Release the lock."""
        self.draft.unlink(missing_ok=True)
        self.lock.unlink(missing_ok=True)

    def run(self, *arguments: str, stdin: bytes) -> None:
        """Run git on the draft."""
        settings = {"GIT_INDEX_FILE": str(self.draft)}
        git.must(*arguments, cwd=self.repository.root, stdin=stdin, settings=settings)

    def put(self, entries: dict[str, Entry | None]) -> None:
        """Write files into the work tree and the draft; None removes one."""
        root, prefix = self.repository.root, self.repository.prefix
        kept = {path: (entry[0], entry[1]) for path, entry in entries.items() if entry}
        lines = self.removal(entries) + index_lines(kept, prefix)
        self.run("update-index", "-z", "--index-info", stdin=lines)
        for path in entries.keys() - kept.keys():
            remove(root, path)
        files = [path for path, entry in kept.items() if entry[0] != SUBMODULE]
        names = b"".join(os.fsencode(path) + b"\0" for path in files)
        self.run("checkout-index", "--force", "--index", "-z", "--stdin", stdin=names)

    def mark(self, conflicts: dict[str, Stages]) -> None:
        """Record the versions of conflicting files in the draft."""
        if not conflicts:
            return
        prefix = self.repository.prefix
        lines = (
            f"{mode} {name} {stage}\t{prefix}{path}"
            for path, stages in conflicts.items()
            for stage, (mode, name) in sorted(stages.items())
        )
        stdin = self.removal(conflicts) + b"".join(os.fsencode(line) + b"\0" for line in lines)
        self.run("update-index", "-z", "--index-info", stdin=stdin)

    def removal(self, paths: Iterable[str]) -> bytes:
        """Return the lines that take files out of the draft, all versions of them."""
        nothing = ("0", "0" * (64 if self.repository.hashes == "sha256" else 40))
        return index_lines(dict.fromkeys(paths, nothing), self.repository.prefix)

    def publish(self) -> None:
        """Make the draft the index."""
        self.draft.replace(self.repository.index)
        shutil.copyfile(self.repository.index, self.draft)


def lock_of(repository: Repository) -> Path:
    """Return the file by which git locks the index."""
    return repository.index.with_name(repository.index.name + ".lock")


def remove(root: Path, path: str) -> None:
    """Remove a file, and the folders that are empty without it."""
    with contextlib.suppress(OSError):
        (root / path).unlink()
    for parent in list((root / path).parents):
        if parent == root:
            return
        try:
            parent.rmdir()
        except OSError:
            return


@contextlib.contextmanager
def without_signals() -> Iterator[Callable[[], bool]]:
    """Hold back Ctrl-C and termination, for git too; yield whether one waits, as a function."""
    if not hasattr(signal, "pthread_sigmask"):
        yield lambda: False
        return
    waiting = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waiting)
    try:
        yield lambda: bool(signal.sigpending() & waiting)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
