"""The report of an update: a line for each file that the template or the update changed."""

from dataclasses import dataclass, field
from shlex import quote

from kedro_azure_mlops.update.git import Entries, Workbench
from kedro_azure_mlops.update.merge import Change, Merged, how_to_see

ORDER = (
    "conflict", "merged", "updated", "added", "removed", "moved", "locked",
    "yours kept", "left deleted", "left out", "already applied",
)  # fmt: skip
TEMPLATES = "the template's version: git show {}"
FILTERED = "the template's version: git cat-file --filters {}"


@dataclass
class Report:
    """Lines about files, and the files that they mention."""

    lines: list[tuple[str, str, str]] = field(default_factory=list)
    mentioned: set[str] = field(default_factory=set)

    def add(self, kind: str, path: str, remark: str = "", *others: str) -> None:
        """Add a line about a file; the remark mentions the others."""
        line = (kind, path, remark and f"  ({remark})")
        if line not in self.lines:
            self.lines.append(line)
        self.mentioned |= {path, *others}

    def text(self) -> str:
        """Return all lines, in the order of ``ORDER``."""
        lines = sorted(self.lines, key=lambda line: (ORDER.index(line[0]), line[1]))
        return "\n".join(f"  {kind:<17}{path}{remark}" for kind, path, remark in lines)


@dataclass(frozen=True)
class Sides:
    """The data that an update's report is made from."""

    change: Change
    yours: Entries
    merged: Merged
    template_moved: dict[str, str]
    you_moved: dict[str, str]

    @classmethod
    def of(cls, bench: Workbench, change: Change, yours: Entries, merged: Merged) -> "Sides":
        """Collect the data, including the files that either side moved."""
        before, after, mine = (bench.store_tree(e) for e in (change.before, change.after, yours))
        moves = bench.renames(before, after), bench.renames(before, mine)
        return cls(change, yours, merged, *moves)


def make_report(sides: Sides) -> Report:
    """Return the report of an update."""
    report = Report()
    report_conflicts(sides, report)
    for kind, path, remark in sides.change.notes:
        report.add(kind, path, remark)
    for old, new in sides.template_moved.items():
        if not {old, new} & report.mentioned:
            report_move(sides, old, new, report)
    for path in sides.change.changed:
        if path not in report.mentioned:
            report_file(sides, path, report)
    report_rest(sides, report)
    return report


def report_conflicts(sides: Sides, report: Report) -> None:
    """Report the conflicts, which the user has to resolve."""
    merged = sides.merged
    for path, stages in merged.conflicts.items():
        others = [other for other, texts in merged.mentioned.items()
                 if set(texts) & set(merged.mentioned.get(path, []))]  # fmt: skip
        if set(stages) == {1, 2}:
            remark = "you changed it, the template removed it: git add or git rm it"
        elif 3 in stages and 2 in stages and path in merged.entries:
            content = "contains both" if has_markers(sides, path) else "is yours"
            how = (FILTERED if path in merged.filtered else TEMPLATES).format(quote(f":3:./{path}"))
            remark = f"both sides changed it; the file {content}; {how}"
        else:
            remark = "; ".join(merged.mentioned.get(path, ["see git status"]))
        report.add("conflict", path, remark, *others)


def has_markers(sides: Sides, path: str) -> bool:
    """Return whether a conflicting file has git's markers; binary files have none."""
    mine = sides.merged.conflicts[path].get(2)
    return sides.merged.entries[path] != mine


def report_move(sides: Sides, old: str, new: str, report: Report) -> None:
    """Report the outcome for a file that the template moved."""
    merged = sides.merged
    if new in merged.entries and old not in merged.entries:
        edited = merged.entries[new] != sides.change.after[new]
        report.add("moved", new, f"from {old}" + (", with your edits" * edited), old)
    elif new in merged.deleted or old in merged.deleted:
        report.add("left deleted", old, f"you deleted it, the template moved it to {new}", new)


def report_file(sides: Sides, path: str, report: Report) -> None:
    """Report the outcome for a file that the template changed, added or removed."""
    before, after = sides.change.before.get(path), sides.change.after.get(path)
    mine, now = sides.yours.get(path), sides.merged.entries.get(path)
    moved_to = sides.you_moved.get(path)
    if moved_to and mine is None and moved_to in sides.yours:
        gone = after is None
        if sides.merged.entries.get(moved_to) != sides.yours[moved_to]:
            report.add("merged", moved_to, f"the template changed {path}, which you moved", path)
        else:
            what = "removed" if gone else "changed"
            report.add("yours kept", moved_to, f"the template {what} {path}", path)
    elif mine == after == now:
        report.add("already applied", path)
    elif now == mine and mine is None:
        report.add("left deleted", path, "you deleted it, the template changed it")
    elif now == mine:
        report.add("yours kept", path, how_to_see(path))
    elif now == after:
        kind = "updated" if before and after else "added" if after else "removed"
        report.add(kind, path)
    else:
        report.add("merged", path, "your changes and the template's")


def report_rest(sides: Sides, report: Report) -> None:
    """Report every other file that the update changes."""
    paths = sides.yours.keys() | sides.merged.entries.keys()
    for path in sorted(paths - report.mentioned):
        mine, now = sides.yours.get(path), sides.merged.entries.get(path)
        if mine != now:
            report.add("merged" if mine and now else "added" if now else "removed", path)
