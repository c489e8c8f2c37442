"""The update itself: render twice, merge, report, write."""

import contextlib
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.safety import redact
from kedro_azure_mlops.update import journal, merge, report, worktree
from kedro_azure_mlops.update.conversion import Conversion
from kedro_azure_mlops.update.environment import python_with_cookiecutter
from kedro_azure_mlops.update.git import Entries, Repository, Workbench, must
from kedro_azure_mlops.update.renderer import Rendered, Renderer
from kedro_azure_mlops.update.template import (
    RECORD,
    Record,
    Template,
    carry_over,
    newest,
    newest_of,
    read_questions,
    recorded_address,
)

Say = Callable[[str], None]

RULES_CHANGED = (
    "The attributes of files (.gitattributes) change. Files that this update writes are stored by "
    "the new ones. To store your other files by them, run: git add --renormalize ."
)


@dataclass(frozen=True)
class Update:
    """The outcome of an update, or of a dry run."""

    release: str
    """The tag, or the commit if it has none."""
    report: str
    """A line for each file that the template or the update changed."""
    conflicts: list[str]
    """Paths with conflicts that the user has to resolve."""
    is_staged: bool
    """True if files were changed; False after a dry run, or if there was nothing to do."""


def check_for_release(folder: Path, say: Say = print) -> bool:
    """Return whether the template has a newer release than a project was made from.

    Raises
    ------
    OperationError
        If the project has no record, or the template's repository does not answer.
    """
    repository = open_repository(folder, say)
    known = Record.read(repository.root)
    found = newest_of(known.url, repository.root)
    if not found:
        say(f"{known.url} has no release yet")
        return False
    tag, commit = found
    if commit == known.commit:
        say(f"this project is at {tag}, the newest release")
        return False
    moved = f" at another commit, {commit[:12]}" if tag == known.tag else ""
    say(f"this project is at {known.tag or known.commit[:12]}; the newest release is {tag}{moved}")
    if _is_ahead(known, tag, commit):
        return False
    say("Run: kedro mlops update")
    return True


def update_project(
    folder: Path,
    to: str | None = None,
    answers: Mapping[str, str] | None = None,
    *,
    dry_run: bool = False,
    say: Say = print,
) -> Update:
    """Merge a release of the template into a project and stage the outcome.

    Parameters
    ----------
    folder
        The project, without uncommitted changes.
    to
        A tag, branch or commit of the template; by default its newest release.
    answers
        New answers to the template's questions; other recorded ones are kept.
    dry_run
        Change nothing.
    say
        Called with the report and the next steps.

    Raises
    ------
    OperationError
        If the project cannot be updated; nothing was changed in this case.
    """
    repository = open_repository(folder, say)
    known, answers = Record.read(repository.root), dict(answers or {})
    python = python_with_cookiecutter(progress)
    with (
        worktree.naming_a_full_disk(repository),
        tempfile.TemporaryDirectory(prefix="template-update-") as scratch_folder,
    ):
        scratch = Path(scratch_folder).resolve()
        with Renderer(scratch / "render", python, _command(to=to), answers) as renderer:
            worktree.require_clean(repository)
            progress(f"fetching {known.url}")
            template = Template.clone(known.url, scratch / "template")
            template.require(known.commit)
            target = choose(template, to, known)
            if target.commit == known.commit and not answers:
                say(f"nothing to do: this project is at {target.name}")
                return Update(target.name, "", [], is_staged=False)
            progress(f"rendering {known.tag or known.commit[:12]} and {target.name}")
            prepared = prepare(repository, known, target, answers, template, renderer, scratch)
        if not prepared.changes_anything:
            say(f"nothing to do: this project is at {target.name} and has these answers")
            return Update(target.name, "", [], is_staged=False)
        text = "\n".join([*prepared.remarks, prepared.report.text() or "  no file changes"])
        say(text)
        worktree.require_room(repository, prepared.yours, prepared.merged.entries)
        conflicts = sorted(prepared.merged.conflicts)
        if dry_run:
            say(f"Nothing was changed. An update to {target.name} would do this.")
            return Update(target.name, text, conflicts, is_staged=False)
        write(repository, prepared)
    say(_next_steps(target.name, conflicts))
    return Update(target.name, text, conflicts, is_staged=True)


def abort_update(folder: Path, say: Say = print) -> None:
    """Undo a staged update; edits made since are moved to a folder that the message names.

    Raises
    ------
    OperationError
        If there is none, or it is committed.
    """
    repository = open_repository(folder, say)
    with worktree.naming_a_full_disk(repository):
        say(journal.abort(repository))


def link_project(
    folder: Path,
    url: str,
    to: str | None = None,
    answers: Mapping[str, str] | None = None,
    say: Say = print,
) -> None:
    """Write the record of a project that has none, and report how well it fits the files here.

    A record is missing if the template was a folder or an archive, if its hooks were refused, or if
    the project was created without a template.

    Raises
    ------
    OperationError
        If the folder is not a project or has a record, or an answer is to a question that the
        template does not have.
    """
    repository = open_repository(folder, say)
    path, answers = repository.root / RECORD, dict(answers or {})
    if path.exists():
        raise OperationError(f"{RECORD} exists already: remove it first if it is wrong")
    if not (repository.root / "pyproject.toml").is_file():
        raise OperationError(
            "this folder has no pyproject.toml: run the command in the folder of the project"
        )
    address = recorded_address(url, repository.root)
    source = address if Path(address).exists() else url  # with its credentials
    python = python_with_cookiecutter(progress)
    with (
        worktree.naming_a_full_disk(repository),
        tempfile.TemporaryDirectory(prefix="template-update-") as scratch_folder,
    ):
        scratch = Path(scratch_folder).resolve()
        again = _command(link=address, to=to)
        with Renderer(scratch / "render", python, again, answers) as renderer:
            template = Template.clone(address, scratch / "template", source=source)
            target = choose(template, to, Record(address, "", None, {}, None, {}))
            checkout = template.checkout(target.commit, "new", None)
            questions = read_questions(checkout)
            if unknown := sorted(set(answers) - set(questions)):
                raise OperationError(f"the template has no question {', '.join(unknown)}")
            slug = {"project_slug": repository.root.name}
            given = {key: value for key, value in slug.items() if key in questions} | answers
            renderer.ask(checkout, given, url=address, commit=target.commit, strict=True)
            rendered = renderer.answer(target.name)
            conversion = Conversion(repository, scratch, repository.committed())
            made = conversion.store(conversion.move_in(rendered.folder))
    record = Record(address, target.commit, target.tag, rendered.answers, None, {})
    path.write_text(record.text(), encoding="utf-8", newline="\n")
    say("\n".join(_report_fit(repository, record, target, made)))


def state_of(folder: Path) -> str:
    """Return the state in which an interrupted command has left a project."""
    with contextlib.suppress(OperationError):
        if journal.is_staged(Repository.around(folder)):
            return "an update is staged. To undo it: kedro mlops update --abort"
    return "no update is staged"


def open_repository(folder: Path, say: Say) -> Repository:
    """Return a project's repository, after undoing an update that was killed while writing."""
    repository = Repository.around(folder)
    with worktree.naming_a_full_disk(repository):
        if message := journal.recover(repository):
            say(message)
    return repository


def progress(text: str) -> None:
    """Print the current step to standard error, separate from the report."""
    print(f"update: {redact(text)}", file=sys.stderr)


def _command(**options: str | None) -> list[str]:
    """Return the words of the command with these options."""
    given = [(f"--{name}", value) for name, value in options.items() if value]
    return ["kedro", "mlops", "update", *(word for pair in given for word in pair)]


@dataclass(frozen=True)
class Target:
    """The commit that an update leads to."""

    commit: str
    tag: str | None

    @property
    def name(self) -> str:
        """The tag, or the commit if it has none."""
        return self.tag or self.commit[:12]


def choose(template: Template, to: str | None, known: Record) -> Target:
    """Return the commit to update to.

    Raises
    ------
    OperationError
        If there is no such commit, or no release.
    """
    if to:
        return Target(template.find(to), to if to in template.tags else None)
    tag = newest(template.tags)
    if not tag:
        raise OperationError(
            f"{template.url} has no release yet. Name a branch or commit of it: --to NAME"
        )
    commit = template.find(tag)
    if template.contains(known.commit, commit):
        return Target(known.commit, known.tag)  # made from a commit after the release
    return Target(commit, tag)


@dataclass(frozen=True)
class Prepared:
    """An update that is ready to be written."""

    yours: Entries
    merged: merge.Merged
    report: report.Report
    remarks: list[str]
    trees: tuple[str, str]

    @property
    def changes_anything(self) -> bool:
        """False if the project already has this release and these answers."""
        return bool(self.merged.conflicts) or self.merged.entries != self.yours


def prepare(
    repository: Repository,
    known: Record,
    target: Target,
    given: dict[str, str],
    template: Template,
    renderer: Renderer,
    scratch: Path,
) -> Prepared:
    """Render, merge and report; nothing outside the scratch folder is changed."""
    skipped = known.skipped(repository.root)
    old_template = template.checkout(known.commit, "old", known.directory)
    renderer.ask(old_template, known.answers, url=known.url, commit=known.commit, strict=False)
    new_template = template.checkout(target.commit, "new", known.directory)
    answers = carry_over(known.answers, given, new_template)
    renderer.ask(new_template, answers.values, url=known.url, commit=target.commit, strict=True)
    bench = Workbench(scratch / "bench", repository)
    # This work does not need the renders, so it is done while they are made.
    yours = repository.committed()
    conversion = Conversion(repository, scratch, yours)
    mine = {path: entry for path, entry in yours.items() if path != RECORD}
    bench.store_tree(mine)
    old = renderer.answer(f"the release this project was made from ({known.commit[:12]})")
    place, before = _store(conversion, old)
    new = renderer.answer(target.name)
    _, rendered = _store(conversion, new)
    repository.fetch({path: entry for path, entry in mine.items() if before.get(path) != entry})
    conversion.take_unconverted(place, before, rendered, mine)
    change = merge.Change(before, dict(rendered))
    conversion.require_lfs(change.changed)
    trees = bench.store_tree(change.before), bench.store_tree(change.after)
    change.renames = bench.renames(*trees)
    remarks = [*answers.notes, *_new_questions(answers.values, new)]
    new_record = known.moved(target.commit, target.tag, new.answers)
    locks_are_stale = _apply_rules(repository, bench, change, mine, skipped)
    merged = merge.merge(bench, conversion, change, mine)
    merge.keep_filtered(conversion, mine, merged)
    outcome = report.make_report(report.Sides.of(bench, change, mine, merged))
    if locks_are_stale:
        remarks.append(_lock_again(conversion, bench, merged, rendered, outcome))
    merged.entries[RECORD] = ("100644", conversion.store_text(RECORD, new_record.text()))
    if conversion.follow(yours, merged.entries):
        remarks.append(RULES_CHANGED)
    return Prepared(yours, merged, outcome, remarks, trees)


def write(repository: Repository, prepared: Prepared) -> None:
    """Change the work tree, if it has not changed since the update was prepared."""

    def check() -> None:
        worktree.require_clean(repository)
        if repository.head != repository.started_at:
            raise OperationError("a commit was made while the update was prepared: run it again")

    merged = prepared.merged
    old, new = prepared.trees
    references = f"update refs/template/old {old}\nupdate refs/template/new {new}\n"
    must("update-ref", "--stdin", cwd=repository.root, stdin=references.encode())
    journal.write(repository, prepared.yours, merged.entries, merged.conflicts, check)


def _store(conversion: Conversion, rendered: Rendered) -> tuple[Path, Entries]:
    """Store a render without its record, which is rewritten, not merged."""
    (rendered.folder / RECORD).unlink(missing_ok=True)
    place = conversion.move_in(rendered.folder)
    return place, conversion.store(place)


def _is_ahead(known: Record, tag: str, commit: str) -> bool:
    """Return whether a project was made from a commit after a release."""
    if known.tag and known.tag != tag and newest([known.tag]):
        return newest([tag, known.tag]) == known.tag
    with tempfile.TemporaryDirectory(prefix="template-update-") as folder:
        return Template.clone(known.url, Path(folder) / "template").contains(known.commit, commit)


def _new_questions(answers: dict[str, Any], rendered: Rendered) -> list[str]:
    """Return a remark on each question that was answered by its default."""
    return [
        f"{question} is a new question: {answer} was used (--answer {question}=... changes it)"
        for question, answer in rendered.answers.items()
        if question not in answers
    ]


def _apply_rules(
    repository: Repository,
    bench: Workbench,
    change: merge.Change,
    yours: Entries,
    skipped: list[str],
) -> bool:
    """Leave the user's own files out of a change; return whether locks are stale."""
    paths = change.before.keys() | change.after.keys() | yours.keys()
    for path in sorted(merge.matching(bench, paths, "\n".join(skipped))):
        if path in change.changed:
            change.leave_out(path, "yours kept", f"skip in {RECORD} or pyproject.toml lists it")
    locks_are_stale = merge.keep_locks(change, yours)
    listed = yours.get(merge.LIST) or change.after.get(merge.LIST)
    patterns = repository.read(listed).decode("utf-8", "replace") if listed else ""
    merge.keep_owned(change, yours, merge.matching(bench, paths, patterns))
    merge.leave_out_of_replaced_folders(bench, change, yours)
    merge.leave_out_of_removed_folders(change, yours)
    return locks_are_stale


def _lock_again(
    conversion: Conversion,
    bench: Workbench,
    merged: merge.Merged,
    rendered: Entries,
    outcome: report.Report,
) -> str:
    """Generate the locks of the merged project; return a remark on the outcome."""
    repository = conversion.repository
    made: Entries = {}
    how = "generated again from the merged .in files"
    if any(path.endswith(".in") or path == "Makefile" for path in merged.conflicts):
        remark = f"The locks are outdated: resolve the conflicts, then {merge.LOCK_BY_HAND}"
        fault = remark
    else:
        progress("running make lock, because both sides changed what is locked")
        made, fault = merge.make_locks(conversion, repository, merged.entries)
        remark = (
            f"The locks could not be generated again ({fault}): {merge.LOCK_BY_HAND}"
            if fault
            else "The locks were generated again from the merged .in files."
        )
    if fault:
        made = merge.pin_plugin(bench, repository, merged.entries, rendered)
        how = "yours, with the template's pin of kedro-azure-mlops"
        remark += ". Until then they are unchanged" + (", except for the plugin" if made else "")
    merged.entries |= made
    for path in made:
        outcome.add("locked", path, how)
    for path in filter(merge.is_lock, merged.entries.keys() & rendered.keys() - made.keys()):
        if fault and merged.entries[path] != rendered[path]:
            outcome.add("yours kept", path, merge.LOCK_BY_HAND)
    return remark


def _next_steps(release: str, conflicts: list[str]) -> str:
    """Return the user's next steps."""
    if conflicts:
        steps = [
            f"The update to {release} is staged, except for these conflicts:",
            *(f"  {path}" for path in conflicts),
            "Resolve each (edit, then git add or git rm it), then: git commit",
        ]
    else:
        steps = [
            f"The update to {release} is staged. Look at it: git diff --cached",
            f"Then: git commit --message 'Update the template to {release}'",
        ]
    return "\n".join([*steps, "To undo it: kedro mlops update --abort"])


def _report_fit(repository: Repository, record: Record, target: Target, made: Entries) -> list[str]:
    """Return how well a record fits the files of a project."""
    yours = repository.committed()
    same = sum(yours.get(name) == entry for name, entry in made.items())
    lost = sum(name not in yours for name in made)
    return [
        f"{RECORD} records {record.url} at {target.name}, with the answers",
        *(f"  {question}: {answer}" for question, answer in record.answers.items()),
        f"Of the {len(made)} files of such a project, {same} are identical here, ",
        f"{len(made) - same - lost} are different and {lost} are missing.",
        "If that is far from what you expect, remove it and give other answers or another --to.",
        f"Then: git add {RECORD} && git commit",
    ]
