"""Locks (`X.txt` beside `X.in`) are taken whole or made again, never merged line by line."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .git import Entries, Repository
from .ownership import HOW_TO_SEE, Change
from .workbench import Workbench

FOLDER = "requirements/"
BY_HAND = "type: make lock"


@dataclass(frozen=True)
class Locks:
    """What an update does to the locks: they are solved together, so all or none."""

    names: list[str]
    stale: bool

    @classmethod
    def settle(cls, change: Change, yours: Entries) -> "Locks":
        """Keep the user's locks out of the merge if both sides changed what is locked."""
        paths = change.before.keys() | change.after.keys() | yours.keys()
        sources = {path for path in paths if path.startswith(FOLDER) and path.endswith(".in")}
        locks = sorted(path for source in sources if (path := source[:-3] + ".txt") in paths)
        involved = [path for path in [*sources, *locks] if path in change.before]
        if not set(change.changed) & {*sources, *locks}:
            return cls(locks, stale=False)
        if all(yours.get(path) == change.before[path] for path in involved):
            return cls(locks, stale=False)
        stale = bool(set(change.changed) & sources)
        for path in locks:
            if path in yours and path in change.changed and yours[path] != change.after.get(path):
                remark = "made again below" if stale else HOW_TO_SEE.format(path=path)
                change.leave_out(path, "yours kept", remark)
        return cls(locks, stale)


def make_again(
    bench: Workbench, repository: Repository, merged: Entries, folder: Path
) -> tuple[Entries, str]:
    """Run the merged project's `make lock` in a copy; return the new locks, or why there are none.

    What the project pins stays pinned where it still fits.
    """
    if "Makefile" not in merged:
        return {}, "there is no Makefile"
    bench.export(merged, folder)
    if (repository.root / ".uv").exists():
        (folder / ".uv").symlink_to(repository.root / ".uv")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "MAKE"))}
    try:
        made = subprocess.run(
            ["make", "lock"], cwd=folder, env=environment, capture_output=True, check=False
        )
    except FileNotFoundError:
        return {}, "there is no make on PATH"
    if made.returncode:
        said = made.stderr.decode(errors="replace").strip().splitlines()
        return {}, " ".join(said[-3:])
    if (folder / ".uv").is_symlink():
        (folder / ".uv").unlink()
    found = bench.store_folder(folder)
    return {
        path: entry
        for path, entry in found.items()
        if path.startswith(FOLDER) and path.endswith(".txt") and merged.get(path) != entry
    }, ""
