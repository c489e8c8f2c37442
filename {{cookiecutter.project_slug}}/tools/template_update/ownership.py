"""Which files belong to the user after day one, and what that does to an update.

`.template-owned` lists them in the patterns of `.gitignore`. Such a file is updated while nobody
edits it; once edited it stays as it is, and the report says so.
"""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

from .git import Entries, index_lines, words
from .workbench import Workbench

LIST = ".template-owned"
HOW_TO_SEE = "see: git diff template/old template/new -- :/{path}"


@dataclass
class Change:
    """What the template did to its files, and what an update leaves out of it and why."""

    before: Entries
    after: Entries
    renames: dict[str, str] = field(default_factory=dict)
    notes: list[tuple[str, str, str]] = field(default_factory=list)
    """Kind, path and remark of each file that is left out."""

    @property
    def changed(self) -> list[str]:
        """The paths that are not the same before and after."""
        paths = sorted(self.before.keys() | self.after.keys())
        return [path for path in paths if self.before.get(path) != self.after.get(path)]

    def leave_out(self, path: str, kind: str, remark: str) -> None:
        """Make a file what it was, so that the merge sees no change of the template's."""
        if path in self.before:
            self.after[path] = self.before[path]
        else:
            self.after.pop(path, None)
        self.notes.append((kind, path, remark))


def matching(bench: Workbench, paths: set[str], patterns: str) -> set[str]:
    """Return the paths that patterns of the form of a .gitignore name."""
    if not patterns.strip() or not paths:
        return set()
    place = bench.new_index() | {"GIT_WORK_TREE": str(bench.folder)}
    empty = ("100644", bench.store_blob(b""))
    rules = bench.folder / "patterns"
    rules.write_text(patterns, encoding="utf-8")
    stdin = index_lines(dict.fromkeys(sorted(paths), empty))
    bench.must("update-index", "-z", "--index-info", stdin=stdin, **place)
    listed = ("ls-files", "--cached", "--ignored", "-z", f"--exclude-from={rules}")
    return set(words(bench.must(*listed, **place)))


def is_untouched(path: str, change: Change, yours: Entries) -> bool:
    """Say whether a file is what the template made of it, at its place or moved as it was."""
    if yours.get(path) == change.before.get(path):
        return True
    made = change.before.get(path)
    return path not in yours and any(
        entry == made for other, entry in yours.items() if other not in change.before
    )


def keep_owned(change: Change, yours: Entries, owned: set[str]) -> None:
    """Leave edited files of the user's as they are; only their name may change."""
    targets = {new: old for old, new in change.renames.items()}
    for path in change.changed:
        old = targets.get(path)
        if old in owned and old in yours and not is_untouched(old, change, yours):
            change.after[path] = change.before[old]
            remark = f"moved there from {old}; {HOW_TO_SEE.format(path=path)}"
            change.notes.append(("yours kept", path, remark))
            continue
        differs = yours.get(path) != change.after.get(path)
        stays = path in owned and path not in change.renames and differs
        if stays and not is_untouched(path, change, yours):
            kind = "yours kept" if path in yours else "left deleted"
            change.leave_out(path, kind, HOW_TO_SEE.format(path=path))


def leave_out_of_removed_folders(change: Change, yours: Entries) -> None:
    """Add nothing to a folder of the template's that the user removed as a whole."""

    def folders(paths: Entries) -> set[str]:
        return {str(parent) for path in paths for parent in PurePosixPath(path).parents}

    removed = folders(change.before) - folders(yours)
    for path in change.changed:
        if path in change.before or path in yours or path in change.renames.values():
            continue
        parents = (str(parent) for parent in PurePosixPath(path).parents)
        if folder := next((parent for parent in parents if parent in removed), None):
            change.leave_out(path, "left out", f"you removed or renamed {folder}/")
