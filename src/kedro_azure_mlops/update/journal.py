"""Change the work tree in one step, and undo that step after a kill or on request.

Before any file of the project is changed, the git directory contains copies of the files to change,
the new files as git writes them, and a journal that lists both. To undo the step, the copies are
moved back, which runs no filter and needs no space.
"""

import json
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.processes import Process
from kedro_azure_mlops.update.conversion import SUBMODULE
from kedro_azure_mlops.update.git import Entries, Entry, Repository, Stages
from kedro_azure_mlops.update.worktree import (
    HOLDER,
    Index,
    lock_of,
    put,
    remove,
    without_signals,
)

DRAFT, WRITING, DONE = "journal.draft", "writing.json", "journal.json"
OLD, NEW, RESERVED = "old", "new", "reserve"
RESERVE = 2**16
"""Bytes to reserve for undoing, in addition to twice the size of the index."""


@dataclass
class Journal:
    """The changes of an update to the files of a project."""

    head: str
    old: dict[str, Entry | None]
    new: dict[str, Entry | None]
    digests: dict[str, list[str]] = field(default_factory=dict)
    """The digests of each file as it was, and as the update writes it."""

    @classmethod
    def read(cls, repository: Repository, name: str) -> "Journal | None":
        """Return a journal of this project; None if it does not exist."""
        path = _folder(repository) / name
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def write(self, repository: Repository) -> None:
        """Write the journal of an update in progress, completely or not at all."""
        path, draft = (_folder(repository) / name for name in (WRITING, DRAFT))
        with draft.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    def files(self, side: dict[str, Entry | None]) -> list[str]:
        """Return the paths of one side that are files or links."""
        return [path for path, entry in side.items() if entry and entry[0] != SUBMODULE]


def write(
    repository: Repository,
    yours: Entries,
    merged: Entries,
    conflicts: dict[str, Stages],
    check: Callable[[], None],
) -> None:
    """Write the outcome of a merge into the work tree and the index, completely or not at all.

    `yours` are the files of the commit. `check` is called under the lock and may raise an error.
    """
    changed = {p for p in yours.keys() | merged.keys() if yours.get(p) != merged.get(p)}
    paths = sorted(changed | conflicts.keys())
    old = {path: yours.get(path) for path in paths}
    new = {path: merged.get(path) for path in paths}
    journal = Journal(repository.started_at, old, new)
    with without_signals() as interrupted, Index(repository) as index:
        check()
        try:
            _copy_old_files(repository, journal)
            journal.write(repository)
            index.load(new)
            index.export(journal.files(new), _folder(repository) / NEW)
            _note_digests(repository, journal, NEW, new)
            journal.write(repository)
            index.mark(conflicts)
            _place_new_files(repository, journal)
            index.publish()
        except BaseException:
            _restore(repository, journal)
            _remove_journal(repository)
            raise
        if interrupted():
            index.renew()
            _undo(repository, journal, index)
        else:
            _folder(repository).joinpath(WRITING).replace(_folder(repository) / DONE)


def recover(repository: Repository) -> str | None:
    """Undo an update that was killed while writing; return a message, or None if there is none."""
    drop_dead_lock(repository)
    journal = Journal.read(repository, WRITING)
    if not journal:
        return None
    saved = undo(repository, journal)
    return f"an update was killed while writing: the work tree was restored.{saved}"


def is_staged(repository: Repository) -> bool:
    """Return whether an update is staged that can be undone."""
    journal = Journal.read(repository, DONE)
    return journal is not None and journal.head == repository.head


def abort(repository: Repository) -> str:
    """Undo the staged update, and return a message.

    Raises
    ------
    OperationError
        If there is none, or it is committed.
    """
    journal = Journal.read(repository, DONE)
    if not journal:
        raise OperationError("no update is waiting to be committed: there is nothing to undo")
    if journal.head != repository.head:
        raise OperationError(
            "a commit was made since the update. Undo that commit: git revert, or git reset"
        )
    return f"The work tree is back to its state before the update.{undo(repository, journal)}"


def drop_dead_lock(repository: Repository) -> None:
    """Remove the lock of an update whose process has ended.

    Raises
    ------
    OperationError
        If it is still running.
    """
    lock = lock_of(repository)
    try:
        name, _, text = lock.read_text(encoding="utf-8").partition(" ")
    except (OSError, ValueError):
        return
    if name != HOLDER:
        return
    try:
        is_gone = Process.read(json.loads(text)).is_gone()
    except (AttributeError, ValueError):  # it was killed while writing this
        is_gone = True
    if not is_gone:
        raise OperationError(
            f"another update is running in this repository: wait for it. If none is, remove {lock}"
        )
    lock.unlink()


def undo(repository: Repository, journal: Journal) -> str:
    """Restore files; return a remark on edits made since, which are kept.

    Raises
    ------
    OperationError
        If someone has removed the copies.
    """
    root, folder = repository.root, _folder(repository)
    lost = [p for p in journal.files(journal.old) if not os.path.lexists(folder / OLD / p)]
    if gone := [p for p in lost if not _is_as_it_was(root, journal, p)]:
        raise OperationError(
            f"the copies to restore from are no longer in {folder / OLD} ({gone[0]}). "
            "Run: git restore --source=HEAD --staged --worktree -- ."
        )
    (folder / RESERVED).unlink(missing_ok=True)
    with without_signals(), Index(repository) as index:
        aside = _undo(repository, journal, index)
    return f"\nYour edits since then are in {aside}" if aside else ""


def _undo(repository: Repository, journal: Journal, index: Index) -> Path | None:
    """Restore files and index; return the folder with the edits made since, if any."""
    aside = put_aside(repository, journal)
    _restore(repository, journal)
    index.load(journal.old)
    index.refresh()
    index.publish()
    _remove_journal(repository)
    return aside


def put_aside(repository: Repository, journal: Journal) -> Path | None:
    """Move away the files that are neither as they were nor as the update wrote them."""
    root = repository.root
    digests = {path: _digest(root / path) for path in journal.old}  # empty for a folder
    edited = [p for p, digest in digests.items() if digest not in ("", *journal.digests.get(p, ()))]
    if not edited:
        return None
    numbers = range(1, 10**6)
    folders = (_folder(repository) / f"edited-{n}" for n in numbers)
    folder = next(folder for folder in folders if not folder.exists())
    for path in edited:
        put(root / path, folder / path)
    return folder


def _folder(repository: Repository) -> Path:
    """Return the folder with the journal and copies of this project."""
    project = repository.prefix.rstrip("/").replace("%", "%25").replace("/", "%2F")
    return repository.git_dir / f"template-update{project and '-'}{project}"


def _copy_old_files(repository: Repository, journal: Journal) -> None:
    """Copy the files that will be changed, and reserve the space that undoing needs."""
    _remove_journal(repository)
    folder = _folder(repository)
    folder.mkdir(exist_ok=True)
    size = repository.index.stat().st_size
    (folder / RESERVED).write_bytes(b"\0" * (RESERVE + 2 * size))
    for path in journal.files(journal.old):
        copy = folder / OLD / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(repository.root / path, copy, follow_symlinks=False)
    _note_digests(repository, journal, OLD, journal.old)


def _note_digests(
    repository: Repository, journal: Journal, name: str, side: dict[str, Entry | None]
) -> None:
    """Record the digests of the files in one of the folders."""
    place = _folder(repository) / name / (repository.prefix if name == NEW else "")
    for path in journal.files(side):
        journal.digests.setdefault(path, []).append(_digest(place / path))


def _digest(file: Path) -> str:
    """Return the digest and mode of a file, or the target of a link; empty for anything else."""
    import hashlib  # slow to import, and needed only here

    if file.is_symlink():
        return "link " + str(file.readlink())
    if not file.is_file():
        return ""
    is_executable = file.stat().st_mode & stat.S_IXUSR  # all that git records of a mode
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return f"executable {digest}" if is_executable else digest


def _place_new_files(repository: Repository, journal: Journal) -> None:
    """Move the new files into the work tree, and remove those that the update removes."""
    for path, entry in journal.new.items():
        if not entry:
            remove(repository.root, path)
    place = _folder(repository) / NEW / repository.prefix
    for path in journal.files(journal.new):
        put(place / path, repository.root / path)


def _restore(repository: Repository, journal: Journal) -> None:
    """Remove files that the update added, and move the copies of changed files back."""
    root = repository.root
    # Digests exist only for files that were copied, or may have been written.
    for path, (*_, made) in journal.digests.items():
        if not journal.old[path] and _digest(root / path) == made:
            remove(root, path)
    for path in journal.files(journal.old):
        if path in journal.digests and not _is_as_it_was(root, journal, path):
            put(_folder(repository) / OLD / path, root / path)


def _is_as_it_was(root: Path, journal: Journal, path: str) -> bool:
    """Return whether a file of the project was not changed, or is restored already."""
    return _digest(root / path) == journal.digests[path][0]


def _remove_journal(repository: Repository) -> None:
    """Remove journal and copies, but not the edits that were put aside."""
    folder = _folder(repository)
    for name in (DRAFT, WRITING, DONE, RESERVED):
        (folder / name).unlink(missing_ok=True)
    for name in (OLD, NEW):
        shutil.rmtree(folder / name, ignore_errors=True)
