"""Merge the template's changes into the user's files, with git and in memory.

Some changes are left out first: those to the user's own files (``.template-owned`` lists their
``.gitignore`` patterns) once they are edited, files in folders that the user removed, and locks
(``X.txt`` next to ``X.in``), which are replaced or generated again, never merged line by line.
"""

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from shlex import quote

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.update.conversion import Conversion, files_of
from kedro_azure_mlops.update.git import (
    Entries,
    Repository,
    Stages,
    Workbench,
    index_lines,
    parse_entries,
    words,
)

LIST = ".template-owned"
LOCKS = "requirements/"
LOCK_BY_HAND = "run: make lock"
# a requirement of a lock with the hashes and the comments that belong to it
PLUGIN_PIN = re.compile(rb"^kedro-azure-mlops(?:\[[^\]]*\])?==.*(?:\n .*)*", re.MULTILINE)
SETTINGS = (
    "merge.conflictStyle=diff3",
    # The user's own files do not follow a renamed folder.
    "merge.directoryRenames=false",
    "merge.renames=true",
    "merge.renameLimit=100000",
)


@dataclass
class Change:
    """The template's changes to its files, and notes on those that an update leaves out."""

    before: Entries
    after: Entries
    renames: dict[str, str] = field(default_factory=dict)
    notes: list[tuple[str, str, str]] = field(default_factory=list)
    """Kind, path and remark of each file that is left out."""

    @property
    def changed(self) -> list[str]:
        """The paths whose entries differ before and after."""
        paths = sorted(self.before.keys() | self.after.keys())
        return [path for path in paths if self.before.get(path) != self.after.get(path)]

    def undo(self, path: str) -> None:
        """Undo the template's change to a file, so that the merge sees none."""
        if path in self.before:
            self.after[path] = self.before[path]
        else:
            self.after.pop(path, None)

    def leave_out(self, path: str, kind: str, remark: str) -> None:
        """Undo the template's change to a file and note it for the report."""
        self.undo(path)
        self.notes.append((kind, path, remark))


def how_to_see(path: str) -> str:
    """Return the remark that names the command for a change that is left out."""
    return f"see: git diff template/old template/new -- {quote(f':/{path}')}"


def matching(bench: Workbench, paths: set[str], patterns: str) -> set[str]:
    """Return the paths that match the patterns of a .gitignore."""
    if not patterns.strip() or not paths:
        return set()
    place = bench.new_index() | {"GIT_WORK_TREE": str(bench.folder)}
    nothing = ("100644", "1" * (64 if bench.repository.hashes == "sha256" else 40))
    rules = bench.folder / "patterns"
    rules.write_text(patterns, encoding="utf-8")
    stdin = index_lines(dict.fromkeys(sorted(paths), nothing))
    bench.must("update-index", "-z", "--index-info", stdin=stdin, settings=place)
    listed = ("ls-files", "--cached", "--ignored", "-z", f"--exclude-from={rules}")
    return set(words(bench.must(*listed, settings=place)))


def is_untouched(path: str, change: Change, yours: Entries) -> bool:
    """Return whether a file is as the template rendered it, in place or moved unchanged."""
    if yours.get(path) == change.before.get(path):
        return True
    made = change.before.get(path)
    return path not in yours and any(
        entry == made for other, entry in yours.items() if other not in change.before
    )


def keep_owned(change: Change, yours: Entries, owned: set[str]) -> None:
    """Leave the user's edited files unchanged, except for their names."""
    targets = {new: old for old, new in change.renames.items()}
    for path in change.changed:
        old = targets.get(path)
        if old in owned and old in yours and not is_untouched(old, change, yours):
            change.after[path] = change.before[old]
            remark = f"moved there from {old}; {how_to_see(path)}"
            change.notes.append(("yours kept", path, remark))
            continue
        differs = yours.get(path) != change.after.get(path)
        stays = path in owned and path not in change.renames and differs
        if stays and not is_untouched(path, change, yours):
            kind = "yours kept" if path in yours else "left deleted"
            change.leave_out(path, kind, how_to_see(path))


def leave_out_of_removed_folders(change: Change, yours: Entries) -> None:
    """Leave out files that the template adds to a folder that the user removed."""

    def folders(paths: Entries) -> set[str]:
        return {str(parent) for path in paths for parent in PurePosixPath(path).parents}

    removed = folders(change.before) - folders(yours)
    for path in change.changed:
        if path in change.before or path in yours or path in change.renames.values():
            continue
        parents = (str(parent) for parent in PurePosixPath(path).parents)
        if folder := next((parent for parent in parents if parent in removed), None):
            change.leave_out(path, "left out", f"you removed or renamed {folder}/")


def leave_out_of_replaced_folders(bench: Workbench, change: Change, yours: Entries) -> None:
    """Leave out changes in a folder that is a file, a link or a submodule of the user.

    Git would move the user's to ``NAME~yours``.
    """
    own = {path for path, entry in yours.items() if entry != change.before.get(path)}
    blocked = {
        path: str(parent)
        for path in change.changed
        for parent in PurePosixPath(path).parents
        if str(parent) in own and path in change.after
    }
    if not blocked:
        return
    moved = bench.renames(bench.store_tree(change.before), bench.store_tree(yours))
    for path, place in blocked.items():
        if path not in moved:
            kind = "left deleted" if path in change.before else "left out"
            change.leave_out(path, kind, f"your {place} is not a folder")


def take_out_other_types(change: Change, yours: Entries) -> dict[str, Stages]:
    """Leave out files that have another type (file, link, submodule) on each side.

    Git would rename one of them.

    Returns
    -------
    dict
        The versions of each, for the user to choose from.
    """
    conflicts: dict[str, Stages] = {}
    for path in change.changed:
        before, mine, theirs = (side.get(path) for side in (change.before, yours, change.after))
        if mine and theirs and mine != before and mine[0][:3] != theirs[0][:3]:
            versions = enumerate((before, mine, theirs), start=1)
            conflicts[path] = {stage: entry for stage, entry in versions if entry}
            change.undo(path)
    return conflicts


def keep_locks(change: Change, yours: Entries) -> bool:
    """Leave the user's locks out of the merge if both sides changed requirements or locks.

    All locks are solved together, so this applies to all of them or none.

    Returns
    -------
    bool
        Whether they have to be generated again from the merged ``.in`` files.
    """
    paths = change.before.keys() | change.after.keys() | yours.keys()
    sources = {path for path in paths if path.startswith(LOCKS) and path.endswith(".in")}
    locks = sorted(path for source in sources if (path := source[:-3] + ".txt") in paths)
    involved = [path for path in [*sources, *locks] if path in change.before]
    if not set(change.changed) & {*sources, *locks}:
        return False
    if all(yours.get(path) == change.before[path] for path in involved):
        return False
    stale = bool(set(change.changed) & sources)
    for path in locks:
        if path in yours and path in change.changed and yours[path] != change.after.get(path):
            if stale:
                change.undo(path)
            else:
                change.leave_out(path, "yours kept", how_to_see(path))
    return stale


def is_lock(path: str) -> bool:
    """Return whether a file is a lock."""
    return path.startswith(LOCKS) and path.endswith(".txt")


def make_locks(
    conversion: Conversion, repository: Repository, merged: Entries
) -> tuple[Entries, str]:
    """Run the merged project's `make lock` in a copy; return the new locks, or why there are none.

    Versions that the project pins are kept if they still fit.
    """
    if "Makefile" not in merged:
        return {}, "the project has no Makefile"
    folder = conversion.stand_in()
    try:
        conversion.export(merged, folder)
    except OperationError as error:
        return {}, " ".join(str(error).split())
    if (repository.root / ".uv").exists():
        (folder / ".uv").symlink_to(repository.root / ".uv")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "MAKE"))}
    try:
        made = subprocess.run(
            ["make", "lock"], cwd=folder, env=environment, capture_output=True, check=False
        )
    except FileNotFoundError:
        return {}, "make is not on PATH"
    if made.returncode:
        complaint = made.stderr.decode(errors="replace").strip().splitlines()
        return {}, " ".join(complaint[-3:])
    modes = files_of(folder)
    locks = {path: modes[path] for path in filter(is_lock, modes)}
    found = conversion.store_files(folder, locks)
    return {path: entry for path, entry in found.items() if merged.get(path) != entry}, ""


def pin_plugin(
    bench: Workbench, repository: Repository, merged: Entries, rendered: Entries
) -> Entries:
    """Return the user's locks with the template's pin of the plugin, for when locking fails.

    The wheel of the previous release is gone, so its pin could not be installed.
    """
    changed: Entries = {}
    for path in filter(is_lock, merged.keys() & rendered.keys()):
        pin = PLUGIN_PIN.search(repository.read(rendered[path]))
        text = repository.read(merged[path])
        if pin and (new := PLUGIN_PIN.sub(pin[0].replace(b"\\", b"\\\\"), text)) != text:
            changed[path] = (merged[path][0], bench.store_blob(new))
    return changed


@dataclass
class Merged:
    """The outcome of a merge."""

    entries: Entries
    """The files that the work tree will contain, including conflict markers."""
    conflicts: dict[str, Stages] = field(default_factory=dict)
    mentioned: dict[str, list[str]] = field(default_factory=dict)
    """Git's messages about each conflicting path."""
    deleted: list[str] = field(default_factory=list)
    """Paths that the user deleted and the template changed or moved; they stay deleted."""
    filtered: set[str] = field(default_factory=set)
    """Conflicting binaries whose blobs hold something else, such as git-lfs pointers."""


def parse_conflicts(listing: bytes) -> dict[str, Stages]:
    """Return the versions of each conflicting path."""
    conflicts: dict[str, Stages] = {}
    for part in words(listing):
        details, _, path = part.partition("\t")
        mode, name, stage = details.split()
        conflicts.setdefault(path, {})[int(stage)] = (mode, name)
    return conflicts


def parse_messages(listing: bytes) -> list[tuple[list[str], str]]:
    """Return paths and text of each message about a conflict."""
    parts = [os.fsdecode(part) for part in listing.split(b"\0")]
    messages = []
    while len(parts) > 1:
        end = int(parts[0]) + 1
        kind, text = parts[end : end + 2]
        if kind.startswith("CONFLICT"):
            messages.append((parts[1:end], text.strip()))
        parts = parts[end + 2 :]
    return messages


def merge(bench: Workbench, conversion: Conversion, change: Change, yours: Entries) -> Merged:
    """Merge a change of the template into the user's files.

    Raises
    ------
    OperationError
        If git cannot merge at all.
    """
    of_other_types = take_out_other_types(change, yours)
    bench.set_attributes(conversion.merge_rules({*change.changed, *yours}))
    base = bench.commit(bench.store_tree(change.before))
    # The names of these branches are the labels of conflict markers.
    sides = {"yours": bench.store_tree(yours), "template": bench.store_tree(change.after)}
    branches = (f"create refs/heads/{n} {bench.commit(t, base)}\n" for n, t in sides.items())
    bench.must("update-ref", "--stdin", stdin="".join(branches).encode())
    options = [word for setting in SETTINGS for word in ("-c", setting)]
    process = bench.run(*options, "merge-tree", "--write-tree", "-z", "yours", "template")
    if process.returncode not in (0, 1):
        complaint = process.stderr.decode(errors="replace").strip()
        raise OperationError(f"git could not merge: {complaint}")
    tree, _, rest = process.stdout.partition(b"\0")
    entries = parse_entries(bench.must("ls-tree", "-r", "-z", tree.decode()))
    merged = Merged(entries, of_other_types)
    if process.returncode == 0:
        return merged
    # An empty part separates the conflicting files from git's messages.
    conflicts, _, messages = (b"\0" + rest).partition(b"\0\0")
    merged.conflicts |= parse_conflicts(conflicts)
    for paths, text in parse_messages(messages):
        for path in paths:
            merged.mentioned.setdefault(path, []).append(text)
    keep_deleted(merged)
    return merged


def keep_deleted(merged: Merged) -> None:
    """Leave out files that the user deleted, even if the template changed them."""
    for path, stages in list(merged.conflicts.items()):
        if set(stages) == {1, 3}:
            del merged.conflicts[path]
            merged.entries.pop(path, None)
            merged.deleted.append(path)


def keep_filtered(conversion: Conversion, yours: Entries, merged: Merged) -> None:
    """Keep the user's version of conflicting binaries that a filter stores as text.

    Git would write markers into that text, such as the git-lfs pointer of a picture.
    """
    places = {entry: path for path, entry in yours.items()}  # the path before the template moved it
    binaries = [
        path
        for path, stages in merged.conflicts.items()
        if {2, 3} <= set(stages) and merged.entries.get(path) not in (None, stages[2])
        if is_binary(conversion.repository.root / places.get(stages[2], path))
    ]
    if binaries:
        merged.filtered = set(conversion.attribute("filter", binaries))
    for path in merged.filtered:
        merged.entries[path] = merged.conflicts[path][2]


def is_binary(file: Path) -> bool:
    """Return whether git would treat a file as binary."""
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return b"\0" in opened.read(8000)
