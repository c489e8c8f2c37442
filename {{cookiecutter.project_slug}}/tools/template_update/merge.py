"""Merge what the template changed into what the user has, by git and in memory."""

import os
from dataclasses import dataclass, field

from .errors import RefusedError
from .git import Entries, Entry, parse_entries, words
from .ownership import Change
from .workbench import Workbench

Stages = dict[int, Entry]
"""The versions of a conflicting file: 1 as rendered once, 2 yours, 3 the template's."""

SETTINGS = (
    "merge.conflictStyle=diff3",
    # A file of the user's follows a renamed folder only if a person moves it.
    "merge.directoryRenames=false",
    "merge.renames=true",
    "merge.renameLimit=100000",
)


@dataclass
class Merged:
    """The outcome of a merge."""

    entries: Entries
    """What the work tree is to hold, conflict markers included."""
    conflicts: dict[str, Stages] = field(default_factory=dict)
    mentioned: dict[str, list[str]] = field(default_factory=dict)
    """What git says of each conflicting path."""
    deleted: list[str] = field(default_factory=list)
    """What the user had deleted and the template changed or moved: it stays deleted."""


def parse_conflicts(listing: bytes) -> dict[str, Stages]:
    """Return the versions of each conflicting path."""
    conflicts: dict[str, Stages] = {}
    for part in words(listing):
        details, _, path = part.partition("\t")
        mode, name, stage = details.split()
        conflicts.setdefault(path, {})[int(stage)] = (mode, name)
    return conflicts


def parse_messages(listing: bytes) -> list[tuple[list[str], str]]:
    """Return of each message of a conflict the paths and the text."""
    parts = [os.fsdecode(part) for part in listing.split(b"\0")]
    messages = []
    while len(parts) > 1:
        end = int(parts[0]) + 1
        kind, text = parts[end : end + 2]
        if kind.startswith("CONFLICT"):
            messages.append((parts[1:end], text.strip()))
        parts = parts[end + 2 :]
    return messages


def merge(bench: Workbench, change: Change, yours: str) -> Merged:
    """Merge a change of the template into a tree.

    Raises
    ------
    RefusedError
        If git cannot merge at all.
    """
    base = bench.commit(bench.store_tree(change.before))
    # The names of these branches are the labels of conflict markers.
    sides = {"yours": yours, "template": bench.store_tree(change.after)}
    branches = (f"create refs/heads/{n} {bench.commit(t, base)}\n" for n, t in sides.items())
    bench.must("update-ref", "--stdin", stdin="".join(branches).encode())
    options = [word for setting in SETTINGS for word in ("-c", setting)]
    process = bench.run(*options, "merge-tree", "--write-tree", "-z", "yours", "template")
    if process.returncode not in (0, 1):
        said = process.stderr.decode(errors="replace").strip()
        message = f"git could not merge: {said}"
        raise RefusedError(message)
    tree, _, rest = process.stdout.partition(b"\0")
    merged = Merged(parse_entries(bench.must("ls-tree", "-r", "-z", tree.decode())))
    if process.returncode == 0:
        return merged
    # An empty part stands between the conflicting files and git's messages.
    conflicts, _, messages = (b"\0" + rest).partition(b"\0\0")
    merged.conflicts = parse_conflicts(conflicts)
    for paths, text in parse_messages(messages):
        for path in paths:
            merged.mentioned.setdefault(path, []).append(text)
    stay_deleted(merged)
    return merged


def stay_deleted(merged: Merged) -> None:
    """Leave out what the user deleted, whatever the template made of it."""
    for path, stages in list(merged.conflicts.items()):
        if set(stages) == {1, 3}:
            del merged.conflicts[path]
            merged.entries.pop(path, None)
            merged.deleted.append(path)
