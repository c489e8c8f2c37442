"""Change the work tree in one step, and undo that step: after a kill, or because it is asked for.

Before anything is written, a journal in the git directory says which files will be, and what they
are in HEAD. As long as it is there, the step can be undone.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.update import git
from kedro_azure_mlops.update.git import Entries, Entry, Repository, Stages
from kedro_azure_mlops.update.worktree import Index, lock_of, without_signals

WRITING, DONE = "writing", "done"


@dataclass
class Journal:
    """The changes of an update to the files of a project."""

    state: str
    head: str
    prefix: str
    old: dict[str, Entry | None]
    new: dict[str, Entry | None]

    @staticmethod
    def path(repository: Repository) -> Path:
        """Return where the journal of a repository is."""
        return repository.git_dir / "template-update" / "journal.json"

    @classmethod
    def read(cls, repository: Repository) -> "Journal | None":
        """Return the journal of this project's last update, None if there is none."""
        path = cls.path(repository)
        if not path.is_file():
            return None
        found = cls(**json.loads(path.read_text(encoding="utf-8")))
        return found if found.prefix == repository.prefix else None

    def write(self, repository: Repository) -> None:
        """Write the journal, whole or not at all."""
        path = self.path(repository)
        path.parent.mkdir(exist_ok=True)
        draft = path.with_suffix(".draft")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)


def write(
    repository: Repository,
    head: str,
    yours: Entries,
    merged: Entries,
    conflicts: dict[str, Stages],
    check: Callable[[], None],
) -> None:
    """Write the outcome of a merge into the work tree and the index, whole or not at all.

    `yours` is what the commit `head` holds. `check` is called under the lock and may refuse.
    """
    changed = {p for p in yours.keys() | merged.keys() if yours.get(p) != merged.get(p)}
    paths = sorted(changed | conflicts.keys())
    old = {path: yours.get(path) for path in paths}
    new = {path: merged.get(path) for path in paths}
    journal = Journal(WRITING, head, repository.prefix, old, new)
    with without_signals() as interrupted, Index(repository) as index:
        check()
        journal.write(repository)
        try:
            index.put(new)
            index.mark(conflicts)
            index.publish()
            if interrupted():
                index.put(old)
                index.publish()
                Journal.path(repository).unlink()
                return
        except BaseException:
            shutil.copyfile(repository.index, index.draft)
            index.put(old)
            index.publish()
            Journal.path(repository).unlink()
            raise
        journal.state = DONE
        journal.write(repository)


def recover(repository: Repository) -> str | None:
    """Undo what a killed update left half written; return what was done, None if nothing."""
    drop_dead_lock(repository)
    journal = Journal.read(repository)
    if not journal or journal.state == DONE:
        return None
    saved = undo(repository, journal)
    return f"an update was killed while it wrote: the work tree is as it was before.{saved}"


def abort(repository: Repository) -> str:
    """Undo the update that is staged, and return what was done.

    Raises
    ------
    OperationError
        If there is none, or it is committed.
    """
    journal = Journal.read(repository)
    if not journal:
        raise OperationError("no update is waiting to be committed: there is nothing to undo")
    if journal.head != repository.head:
        raise OperationError(
            "a commit was made since the update. Undo that commit: git revert, or git reset"
        )
    return f"The work tree is as it was before the update.{undo(repository, journal)}"


def drop_dead_lock(repository: Repository) -> None:
    """Remove the lock of an update whose process has ended.

    Raises
    ------
    OperationError
        If it is running.
    """
    lock = lock_of(repository)
    try:
        name, _, process = lock.read_text(encoding="utf-8").partition(" ")
    except (OSError, ValueError):
        return
    if name != "template-update":
        return
    try:
        os.kill(int(process), 0)
    except (OSError, ValueError):
        lock.unlink()
        return
    raise OperationError("another update is running in this repository: wait for it")


def undo(repository: Repository, journal: Journal) -> str:
    """Restore files as they are in HEAD; return a remark on edits made since, which are kept."""
    with without_signals(), Index(repository) as index:
        aside = put_aside(repository, journal)
        index.put(journal.old)
        index.publish()
        Journal.path(repository).unlink()
    if not aside:
        return ""
    return f"\nWhat you edited since is in {aside}"


def put_aside(repository: Repository, journal: Journal) -> Path | None:
    """Copy the files that are neither as in HEAD nor as the update wrote them."""
    root = repository.root
    paths = [p for p in journal.old if (root / p).is_file() and not (root / p).is_symlink()]
    # Git reads these names from the top of the work tree.
    stdin = b"".join(os.fsencode(repository.prefix + path) + b"\n" for path in paths)
    names = git.must("hash-object", "--stdin-paths", cwd=root, stdin=stdin).decode().split()
    edited = [
        path
        for path, name in zip(paths, names, strict=True)
        if name not in [entry[1] for entry in (journal.old[path], journal.new[path]) if entry]
    ]
    if not edited:
        return None
    numbers = range(1, 10**6)
    folders = (repository.git_dir / "template-update" / f"edited-{n}" for n in numbers)
    folder = next(folder for folder in folders if not folder.exists())
    for path in edited:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / path, folder / path)
    return folder
