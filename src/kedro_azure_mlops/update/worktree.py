"""Check and write the project's work tree and index."""

import contextlib
import errno
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.processes import Process
from kedro_azure_mlops.update import git
from kedro_azure_mlops.update.conversion import standing_in
from kedro_azure_mlops.update.git import Entries, Entry, Repository, Stages, index_lines, words

HOLDER = "template-update"  # the first word of git's lock while an update holds it
UNFINISHED = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
}


def first_of(paths: Iterable[str]) -> str:
    """Return the first ten paths, one per line."""
    found = sorted(paths)
    more = [f"  and {len(found) - 10} more"] if len(found) > 10 else []
    return "\n".join([*(f"  {path}" for path in found[:10]), *more])


def require_clean(repository: Repository) -> None:
    """Check that the project has no uncommitted changes.

    Raises
    ------
    OperationError
        If it has, or a merge or rebase is in progress in the repository.
    """
    for name, operation in UNFINISHED.items():
        if (repository.git_dir / name).exists():
            raise OperationError(
                f"a {operation} is in progress in this repository: finish it first (git status)"
            )
    # This format is meant for scripts and independent of settings (git help status).
    options = ("--porcelain=v1", "-z", "--untracked-files=no", "--no-renames")
    settings = {"GIT_OPTIONAL_LOCKS": "0"}
    changes = git.must("status", *options, "--", ".", cwd=repository.root, settings=settings)
    if changes:
        paths = (line[3:].removeprefix(repository.prefix) for line in words(changes))
        raise OperationError(
            "these files have uncommitted changes (git commit or git stash them first; --abort "
            f"undoes an update that is not committed yet):\n{first_of(paths)}"
        )


def require_room(repository: Repository, yours: Entries, merged: Entries) -> None:
    """Check that no untracked or ignored file would be overwritten.

    Raises
    ------
    OperationError
        If one would be, or git is set to ignore changes to a file that the update changes.
    """
    blocking: set[str] = set()
    root, removed = repository.root, {p.casefold(): p for p in yours.keys() - merged.keys()}
    for path in merged.keys() - yours.keys():
        old = removed.get(path.casefold())  # the same file if the disk ignores case
        if not (old and (root / path).exists() and (root / path).samefile(root / old)):
            blocking.update(obstacles(root, path, yours))
    if blocking:
        raise OperationError(
            "the template adds files where you have untracked or ignored files. Move these away, "
            f"or commit them:\n{first_of(blocking)}"
        )
    flags = words(git.must("ls-files", "-v", "-z", cwd=repository.root))
    hidden = {line[2:] for line in flags if line[0] == "S" or line[0].islower()}
    if hidden := {path for path in hidden if yours.get(path) != merged.get(path)}:
        raise OperationError(
            "git is set to ignore changes to files that the update changes (git update-index "
            "--no-assume-unchanged --no-skip-worktree, or git sparse-checkout):\n"
            f"{first_of(hidden)}"
        )


def obstacles(root: Path, path: str, yours: Entries) -> Iterator[str]:
    """Yield the paths that would be lost if a file and its folders were written."""
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
            file = self.lock.open("x", encoding="utf-8")
        except FileExistsError:
            raise OperationError(f"another git command holds {self.lock}: wait for it") from None
        try:
            with file:
                file.write(f"{HOLDER} {json.dumps(Process.me().tags())}\n")
            self.renew()
        except OSError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Release the lock."""
        self.draft.unlink(missing_ok=True)
        self.lock.unlink(missing_ok=True)

    def run(self, *arguments: str, stdin: bytes) -> None:
        """Run git on the draft."""
        settings = {"GIT_INDEX_FILE": str(self.draft)}
        git.must(*arguments, cwd=self.repository.root, stdin=stdin, settings=settings)

    def renew(self) -> None:
        """Reset the draft to a copy of the index."""
        shutil.copyfile(self.repository.index, self.draft)

    def load(self, entries: dict[str, Entry | None]) -> None:
        """Add files to the draft; None removes one."""
        kept = {path: entry for path, entry in entries.items() if entry}
        lines = self.removal(entries) + index_lines(kept, self.repository.prefix)
        self.run("update-index", "-z", "--index-info", stdin=lines)

    def export(self, paths: Iterable[str], folder: Path) -> None:
        """Write files of the draft into a folder, through the filters that the draft specifies."""
        place = folder / self.repository.prefix
        place.mkdir(parents=True)
        settings = standing_in(self.repository, place) | {"GIT_INDEX_FILE": str(self.draft)}
        names = b"".join(os.fsencode(path) + b"\0" for path in paths)
        arguments = ("checkout-index", "--force", "-z", "--stdin")
        git.must(*arguments, cwd=place, stdin=names, settings=settings)

    def refresh(self) -> None:
        """Record in the draft which files match it, unless their filters fail."""
        settings = {"GIT_INDEX_FILE": str(self.draft)}
        git.run("update-index", "-q", "--refresh", cwd=self.repository.root, settings=settings)

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
        """Return the lines that remove all versions of files from the draft."""
        nothing = ("0", "0" * (64 if self.repository.hashes == "sha256" else 40))
        return index_lines(dict.fromkeys(paths, nothing), self.repository.prefix)

    def publish(self) -> None:
        """Replace the index with the draft."""
        self.draft.replace(self.repository.index)


def lock_of(repository: Repository) -> Path:
    """Return the file with which git locks the index."""
    return repository.index.with_name(repository.index.name + ".lock")


def remove(root: Path, path: str) -> None:
    """Remove a file, and the folders that become empty."""
    place = root / path
    if place.is_symlink() or not place.is_dir():
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            place.unlink()
    for parent in place.parents:
        if parent == root:
            return
        try:
            parent.rmdir()
        except OSError:
            return


def put(source: Path, target: Path) -> None:
    """Move a file to its path; an existing one stays until it is replaced."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():  # with empty folders only: see obstacles()
        try:
            for parent, _, _ in os.walk(target, topdown=False):
                Path(parent).rmdir()
        except OSError as error:
            raise OperationError(
                f"{target} must be a file, but is a folder with untracked files: "
                "move them away, then run the command again"
            ) from error
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        temporary = target.with_name(f".{target.name}.template-update")
        try:
            shutil.copy2(source, temporary, follow_symlinks=False)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming_a_full_disk(repository: Repository) -> Iterator[None]:
    """Name the folder and the space that is needed if a disk turns out to be full.

    Git's temporary objects are removed in that case; git leaves them for `git gc`.
    """
    began = time.time()
    try:
        yield
    except (OSError, OperationError) as error:
        from kedro_azure_mlops.writing import full_disk_in, out_of_space, shown_size

        places = [repository.git_dir, repository.root]
        cause = full_disk_in(str(error)) or _full_disk_in_words(str(error), places) or error
        files = (repository.root / path for path in repository.committed())
        size = sum(file.lstat().st_size for file in files if os.path.lexists(file))
        what = f"an update of this project, which takes about {shown_size(4 * size)},"
        full = out_of_space(cause, places, what)
        if full is None:
            raise
        for draft in repository.objects.glob("*/tmp_*"):
            if draft.stat().st_mtime >= began:
                draft.unlink(missing_ok=True)
        raise type(full)(f"{full}\n{error}") from error


def _full_disk_in_words(complaint: str, places: list[Path]) -> OSError | None:
    """Return an error if git, or Python without a temporary folder, reports a full disk."""
    is_short = min(shutil.disk_usage(place).free for place in places) < 2**20
    if "Out of diskspace" in complaint or ("No usable temporary" in complaint and is_short):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return None


@contextlib.contextmanager
def without_signals() -> Iterator[Callable[[], bool]]:
    """Block Ctrl-C and termination signals, for git too; yield a check for pending ones."""
    if not hasattr(signal, "pthread_sigmask"):
        yield lambda: False
        return
    waiting = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waiting)
    try:
        yield lambda: bool(signal.sigpending() & waiting)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
