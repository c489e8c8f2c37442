"""What must be so before an update may write into the work tree."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from . import git
from .errors import RefusedError
from .git import Entries, Repository, words

UNFINISHED = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
}


def shown(paths: Iterable[str]) -> str:
    """Return the first of some paths, a line each."""
    found = sorted(paths)
    more = [f"  and {len(found) - 10} more"] if len(found) > 10 else []
    return "\n".join([*(f"  {path}" for path in found[:10]), *more])


def require_clean(repository: Repository) -> None:
    """Refuse a project with changes that no commit holds.

    Raises
    ------
    RefusedError
        If there are such changes, or something is going on in the repository.
    """
    for name, what in UNFINISHED.items():
        if (repository.git_dir / name).exists():
            message = f"a {what} is going on in this repository: finish it first (git status)"
            raise RefusedError(message)
    options = ("--porcelain", "-z", "--untracked-files=no", "--no-renames")
    settings = {"GIT_OPTIONAL_LOCKS": "0"}
    changes = git.must("status", *options, "--", ".", cwd=repository.root, settings=settings)
    if changes:
        paths = (line[3:].removeprefix(repository.prefix) for line in words(changes))
        message = (
            "these files have changes that no commit holds (git commit or git stash them first; "
            f"an update that is not committed yet ends by --abort):\n{shown(paths)}"
        )
        raise RefusedError(message)


def require_room(repository: Repository, yours: Entries, merged: Entries) -> None:
    """Refuse to write where a file lies that git does not hold, ignored ones included.

    Raises
    ------
    RefusedError
        If something is in the way, or git was told to look away from a file.
    """
    in_the_way = set()
    for path in merged.keys() - yours.keys():
        in_the_way.update(obstacles(repository.root, path, yours))
    if in_the_way:
        message = (
            "the template adds files where you have files that git does not hold (untracked or "
            f"ignored). Move them away, or commit them:\n{shown(in_the_way)}"
        )
        raise RefusedError(message)
    flags = words(git.must("ls-files", "-v", "-z", cwd=repository.root))
    hidden = {line[2:] for line in flags if line[0] == "S" or line[0].islower()}
    if hidden := {path for path in hidden if yours.get(path) != merged.get(path)}:
        message = (
            "git was told to look away from files that the update changes (git update-index "
            f"--no-assume-unchanged --no-skip-worktree, or git sparse-checkout):\n{shown(hidden)}"
        )
        raise RefusedError(message)


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
    """Say whether all files of a folder are in the commit."""
    files = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return all(path.relative_to(root).as_posix() in yours for path in files)
