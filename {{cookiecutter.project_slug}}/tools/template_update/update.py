"""The update itself: render twice, merge, tell, write."""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import journal, locks, merge, ownership, record, report, worktree
from .answers import carry_over
from .errors import RefusedError
from .git import Entries, Repository, must
from .record import Record
from .releases import Template, newest, newest_of
from .renderer import Rendered, Renderer
from .workbench import Workbench


def progress(text: str) -> None:
    """Say what is being done, apart from the report."""
    print(f"template-update: {text}", file=sys.stderr)


def check(repository: Repository) -> int:
    """Say whether there is a newer release; return 1 if there is."""
    known = Record.read(repository.root)
    found = newest_of(known.url, repository.root)
    if not found:
        print(f"{known.url} has no release yet")
        return 0
    tag, commit = found
    if commit == known.commit:
        print(f"this project is at {tag}, the newest release")
        return 0
    print(f"this project is at {known.tag or known.commit[:12]}; the newest release is {tag}")
    if is_ahead(known, tag, commit):
        return 0
    print("Type: make template-update")
    return 1


def is_ahead(known: Record, tag: str, commit: str) -> bool:
    """Say whether a project was made from something later than a release."""
    if known.tag and newest([known.tag]):
        return newest([tag, known.tag]) == known.tag
    with tempfile.TemporaryDirectory(prefix="template-update-") as folder:
        return Template.clone(known.url, Path(folder) / "template").contains(known.commit, commit)


@dataclass(frozen=True)
class Target:
    """Where an update leads."""

    commit: str
    tag: str | None

    @property
    def name(self) -> str:
        """What people call it."""
        return self.tag or self.commit[:12]


def choose(template: Template, to: str | None, known: Record) -> Target:
    """Return the commit to update to.

    Raises
    ------
    RefusedError
        If there is no such commit, or no release.
    """
    if to:
        return Target(template.find(to), to if to in template.tags else None)
    tag = newest(template.tags)
    if not tag:
        message = f"{template.url} has no release yet. Name a branch or commit: --to main"
        raise RefusedError(message)
    commit = template.find(tag)
    if template.contains(known.commit, commit):
        return Target(known.commit, known.tag)  # made from something later than the release
    return Target(commit, tag)


@dataclass(frozen=True)
class Prepared:
    """An update that is ready to be written."""

    head: str
    yours: Entries
    merged: merge.Merged
    report: report.Report
    remarks: list[str]
    trees: tuple[str, str]

    @property
    def status(self) -> int:
        """The exit status: 1 if a person has to settle something."""
        return 1 if self.merged.conflicts else 0


def update(
    repository: Repository, to: str | None, answers: dict[str, str], *, dry_run: bool
) -> int:
    """Update the project; return 1 if conflicts are left."""
    known = Record.read(repository.root)
    with tempfile.TemporaryDirectory(prefix="template-update-") as folder:
        scratch = Path(folder).resolve()
        with Renderer(scratch / "render") as renderer:
            worktree.require_clean(repository)
            progress(f"reading {known.url}")
            template = Template.clone(known.url, scratch / "template")
            template.require(known.commit)
            target = choose(template, to, known)
            if target.commit == known.commit and not answers:
                print(f"nothing to do: this project is at {target.name}")
                return 0
            progress(f"rendering {known.tag or known.commit[:12]} and {target.name}")
            prepared = prepare(repository, known, target, answers, template, renderer, scratch)
        for remark in prepared.remarks:
            print(remark)
        print(prepared.report.text() or "  no file changes")
        worktree.require_room(repository, prepared.yours, prepared.merged.entries)
        if dry_run:
            print(f"Nothing was changed. An update to {target.name} would do this.")
            return prepared.status
        write(repository, prepared)
    say_what_is_next(repository, target, prepared)
    return prepared.status


def prepare(
    repository: Repository,
    known: Record,
    target: Target,
    given: dict[str, str],
    template: Template,
    renderer: Renderer,
    scratch: Path,
) -> Prepared:
    """Render, merge and tell; nothing outside of the scratch folder is changed."""
    old_template = template.checkout(known.commit, "old", known.directory)
    renderer.ask(old_template, known.answers, url=known.url, commit=known.commit, strict=False)
    new_template = template.checkout(target.commit, "new", known.directory)
    answers = carry_over(known.answers, given, new_template)
    renderer.ask(new_template, answers.values, url=known.url, commit=target.commit, strict=True)
    bench = Workbench(scratch / "bench", repository)
    # All that can be done before the renders are there is done while they are made.
    head, yours = repository.head, repository.committed()
    mine = {path: entry for path, entry in yours.items() if path != record.NAME}
    my_tree = bench.store_tree(mine)
    old = renderer.answer(f"the release this project was made from ({known.commit[:12]})")
    before = store(bench, old)
    new = renderer.answer(target.name)
    change = ownership.Change(before, store(bench, new))
    trees = bench.store_tree(change.before), bench.store_tree(change.after)
    change.renames = bench.renames(*trees)
    remarks = [*answers.notes, *new_questions(answers.values, new)]
    following = known.moved(target.commit, target.tag, new.answers)
    settled = apply_rules(repository, bench, change, mine, following.skipped)
    merged = merge.merge(bench, change, my_tree)
    told = report.tell(report.Sides.of(bench, change, mine, merged))
    if settled.stale:
        remarks.append(lock_again(repository, bench, merged, told, scratch))
    merged.entries[record.NAME] = ("100644", bench.store_blob(following.text().encode("utf-8")))
    return Prepared(head, yours, merged, told, remarks, trees)


def store(bench: Workbench, rendered: Rendered) -> Entries:
    """Store a render without its record, which is written anew and not merged."""
    (rendered.folder / record.NAME).unlink(missing_ok=True)
    return bench.store_folder(rendered.folder)


def new_questions(answers: dict[str, Any], rendered: Rendered) -> list[str]:
    """Say which questions were answered by their default."""
    return [
        f"{question} is a new question: {answer} was taken (--answer {question}=... changes it)"
        for question, answer in rendered.answers.items()
        if question not in answers
    ]


def apply_rules(
    repository: Repository,
    bench: Workbench,
    change: ownership.Change,
    yours: Entries,
    skipped: list[str],
) -> locks.Locks:
    """Leave out of a change what is none of the template's business any more."""
    paths = change.before.keys() | change.after.keys() | yours.keys()
    for path in sorted(ownership.matching(bench, paths, "\n".join(skipped))):
        if path in change.changed:
            change.leave_out(path, "yours kept", f"{record.NAME} says to skip it")
    settled = locks.Locks.settle(change, yours)
    listed = yours.get(ownership.LIST) or change.after.get(ownership.LIST)
    patterns = repository.read(listed).decode("utf-8", "replace") if listed else ""
    ownership.keep_owned(change, yours, ownership.matching(bench, paths, patterns))
    ownership.leave_out_of_removed_folders(change, yours)
    return settled


def lock_again(
    repository: Repository,
    bench: Workbench,
    merged: merge.Merged,
    told: report.Report,
    scratch: Path,
) -> str:
    """Make the locks of the merged project; return what is to be said of it."""
    if any(path.endswith(".in") or path == "Makefile" for path in merged.conflicts):
        return f"The locks are not made again: settle the conflicts, then {locks.BY_HAND}"
    progress("both sides changed what is locked: make lock")
    made, fault = locks.make_again(bench, repository, merged.entries, scratch / "locks")
    if fault:
        kept = f"They are as you had them; {locks.BY_HAND}"
        return f"The locks could not be made again ({fault}).\n{kept}"
    merged.entries |= made
    for path in made:
        told.say("locked", path, "made again from the merged .in files")
    return "The locks were made again from the merged .in files."


def write(repository: Repository, prepared: Prepared) -> None:
    """Change the work tree, if it still is what the update was made for."""

    def check() -> None:
        worktree.require_clean(repository)
        if repository.head != prepared.head:
            message = "a commit was made while the update was prepared: call it again"
            raise RefusedError(message)

    merged = prepared.merged
    old, new = prepared.trees
    references = f"update refs/template/old {old}\nupdate refs/template/new {new}\n"
    must("update-ref", "--stdin", cwd=repository.root, stdin=references.encode())
    journal.write(
        repository, prepared.head, prepared.yours, merged.entries, merged.conflicts, check
    )


def say_what_is_next(repository: Repository, target: Target, prepared: Prepared) -> None:
    """Say what a person does now."""
    if prepared.merged.conflicts:
        paths = "\n".join(f"  {path}" for path in sorted(prepared.merged.conflicts))
        print(f"The update to {target.name} is staged, but for these conflicts:\n{paths}")
        print("Settle each (edit, then git add or git rm it), then: git commit")
    else:
        print(f"The update to {target.name} is staged. Look at it: git diff --cached")
        print(f"Then: git commit --message 'Update the template to {target.name}'")
    print("To undo it: make template-update ARGS=--abort")
