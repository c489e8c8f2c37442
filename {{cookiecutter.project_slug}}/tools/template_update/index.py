"""Write files into the work tree and the index, under git's own lock and whatever is typed."""

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from . import git
from .errors import RefusedError
from .git import Entry, Repository, index_lines
from .merge import Stages

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
        RefusedError
            If another git command holds it.
        """
        try:
            with self.lock.open("x", encoding="utf-8") as file:
                file.write(f"template-update {os.getpid()}\n")
        except FileExistsError:
            message = f"another git command holds {self.lock}: wait for it"
            raise RefusedError(message) from None
        shutil.copyfile(self.repository.index, self.draft)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the lock back."""
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
        """Make the draft say which versions of a file are in conflict."""
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
    """Let Ctrl-C and the like wait, for git too; yields a function that says if one waits."""
    if not hasattr(signal, "pthread_sigmask"):
        yield lambda: False
        return
    waiting = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waiting)
    try:
        yield lambda: bool(signal.sigpending() & waiting)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
