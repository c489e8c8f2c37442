"""Update a project to the newest release of its template, as a pull request: for CI.

The update is committed to a branch template-update/[FOLDER/]TAG of origin, where FOLDER is that of
a project that is not at the top. The work tree and the current branch are left unchanged, and no
local branch is created.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.update import journal
from kedro_azure_mlops.update.git import Repository, must, run
from kedro_azure_mlops.update.hosting import Host, Known, Proposal, host_of
from kedro_azure_mlops.update.update import open_repository, update_project

Say = Callable[[str], None]

MARK = "Template-Update-Tree"
"""Trailer of our commits; if it names another tree, a person has amended the commit."""
UNKNOWN_AUTHOR = {"NAME": "template-update", "EMAIL": "template-update@localhost"}
HEADS = "refs/heads/"


@dataclass(frozen=True)
class StagedUpdate:
    """An update that is staged."""

    release: str
    folder: str
    """The project's folder in the repository; empty for the top."""
    report: str
    conflicts: bool
    tree: str
    """The object name of the staged tree; empty if there are conflicts."""

    @property
    def branch(self) -> str:
        """The branch that it is pushed to."""
        # a branch cannot have all characters of a path
        folder = re.sub(r"[^\w/-]", lambda found: f"%{ord(found[0]):02X}", self.folder)
        return "/".join(filter(None, ("template-update", folder, self.release)))

    @property
    def title(self) -> str:
        """The title of its commit and its pull request."""
        place = self.folder and f" of {self.folder}"
        return f"Update the template{place} to {self.release}"

    @property
    def mark(self) -> str:
        """The line that identifies its commit and its pull request."""
        return f"{MARK}: {self.tree}"


def propose_update(folder: Path, to: str | None = None, say: Say = print) -> bool:
    """Open a pull request with an update, or update the open one.

    Parameters
    ----------
    folder
        The project; its origin is on GitHub (``gh`` opens the request) or Azure Repos (``az``).
    to
        A tag, branch or commit of the template; by default its newest release.

    Returns
    -------
    bool
        False if the update has conflicts, which a person has to resolve: nothing was pushed.

    Raises
    ------
    OperationError
        If the project cannot be updated, or the update cannot be pushed or proposed.
    """
    repository = open_repository(folder, say)
    host, base = host_of(repository.root), _base_branch(repository.root)
    with _staged(repository, to, say) as staged:
        if staged is None:
            return True
        if staged.conflicts:
            say(f"the update to {staged.release} has conflicts (above); nothing was pushed.")
            say("Resolve them on a laptop: kedro mlops update")
            return False
        found, known = _named(staged, host)
        opened = next((one for one in known if one.is_open), None)
        closed = next((one for one in known if found.mark in one.text), None)
        if closed and not opened:
            say(f"pull request {closed.number} proposed this same update and was closed.")
            say("It is not proposed again: reopen that one if you want it after all")
            return True
        if not _push(repository.root, host, found, say):
            return True
    proposal = Proposal(found.branch, base, found.title, _description(found, host.longest))
    if opened:
        say(f"updated: {host.change(opened.number, proposal)}")
    else:
        say(f"opened: {host.open(proposal)}")
    return True


def _named(found: StagedUpdate, host: Host) -> tuple[StagedUpdate, list[Known]]:
    """Return the pull requests of an update; if one of earlier versions is open, under its name.

    Those did not name the folder, so projects of one repository shared a branch.
    """
    known, earlier = host.known(found.branch), replace(found, folder="")
    if not found.folder or any(one.is_open for one in known):
        return found, known
    own = [one for one in host.known(earlier.branch) if found.mark in one.text]
    if any(one.is_open for one in own):
        return earlier, own
    return found, known + own


@contextlib.contextmanager
def _staged(repository: Repository, to: str | None, say: Say) -> Iterator[StagedUpdate | None]:
    """Stage the update until the context ends; yield None if there is nothing to update."""
    if _is_staged(repository):
        raise OperationError("something is staged and not committed: git commit, or git stash")
    messages: list[str] = []
    try:
        update = update_project(repository.root, to, say=messages.append)
        if not _is_staged(repository):
            say("\n".join(messages))
            yield None
            return
        print(update.report)
        # conflicts have no tree
        tree = "" if update.conflicts else must("write-tree", cwd=repository.root).decode().strip()
        folder = repository.prefix.rstrip("/")
        yield StagedUpdate(update.release, folder, update.report, bool(update.conflicts), tree)
    finally:
        if _is_staged(repository):
            journal.abort(repository)


def _is_staged(repository: Repository) -> bool:
    """Return whether the index differs from HEAD, in the project or outside it."""
    compare = ("diff-index", "--cached", "--quiet", "HEAD")
    return run(*compare, cwd=repository.root).returncode != 0


def _push(root: Path, host: Host, found: StagedUpdate, say: Say) -> bool:
    """Push the staged update to its branch; False if someone else has committed to it."""
    tree, settings = found.tree, host.settings()
    reference = f"{HEADS}{found.branch}"
    listed = must("ls-remote", "origin", reference, cwd=root, settings=settings).decode().split()
    remote_commit = listed[0] if listed else ""
    if remote_commit:
        must("fetch", "--quiet", "--no-tags", "origin", reference, cwd=root, settings=settings)
        show = ("rev-list", "--max-count=1", "--no-commit-header", "--format=%T%n%B")
        message = must(*show, remote_commit, cwd=root).decode()
        remote_tree, _, body = message.partition("\n")
        if f"{MARK}: {remote_tree}" not in body.splitlines():
            say(f"someone else has worked on {found.branch} of origin: it is left unchanged")
            return False
        if remote_tree == tree:
            say(f"{found.branch} of origin has this update already")
            return True
    message = f"{found.title}\n\n{found.report}\n\n{found.mark}\n"
    commit = must(
        *("commit-tree", tree, "-p", "HEAD"),
        cwd=root,
        stdin=message.encode(),
        settings=_identity(root),
    )
    # replaces only the commit that was inspected
    lease = f"--force-with-lease={reference}:{remote_commit}"
    target = f"{commit.decode().strip()}:{reference}"
    pushed = run("push", "--quiet", lease, "origin", target, cwd=root, settings=settings)
    if pushed.returncode:
        raise OperationError(_not_pushed(found, pushed.stderr.decode(errors="replace").strip()))
    say(f"pushed {found.branch}")
    return True


def _not_pushed(found: StagedUpdate, complaint: str) -> str:
    """Return why it was not pushed, and what to do."""
    message = f"{found.branch} could not be pushed to origin: {complaint}"
    if "workflow" in complaint:
        message += (
            "\nThe update changes files in .github/workflows, which GITHUB_TOKEN must not change: "
            "set GH_TOKEN of this step to a token of an app or a person that may write workflows."
        )
    return message


def _identity(root: Path) -> dict[str, str]:
    """Return the variables that name an author if git has none configured."""
    settings: dict[str, str] = {}
    for role in ("AUTHOR", "COMMITTER"):
        known = run("-c", "user.useConfigOnly=true", "var", f"GIT_{role}_IDENT", cwd=root)
        if known.returncode:
            settings |= {f"GIT_{role}_{key}": value for key, value in UNKNOWN_AUTHOR.items()}
    return settings


def _description(found: StagedUpdate, longest: int) -> str:
    """Return the report as the text of a pull request, cut to the length that is allowed."""
    # first, because Azure Repos shows only the beginning of a text in its lists
    begin = (
        f"<!-- {found.mark} -->\n"
        f"The template's release {found.release}, merged into this project:\n\n```\n"
    )
    end = (
        "\n```\n\nMade by `kedro mlops update --pull-request`. To look at it on a laptop: "
        f"`git fetch origin && git switch {found.branch}`"
    )
    rest = "\n  (the rest is in the commit message)"
    room, report = longest - len(begin) - len(end), found.report
    shown = report if len(report) <= room else report[: room - len(rest)] + rest
    return f"{begin}{shown}{end}"


def _base_branch(root: Path) -> str:
    """Return the current branch, even if CI has checked out only its commit.

    Raises
    ------
    OperationError
        If it is not known.
    """
    branch = run("symbolic-ref", "--short", "--quiet", "HEAD", cwd=root).stdout.decode().strip()
    in_ci = [os.environ.get(name, "") for name in ("BUILD_SOURCEBRANCH", "GITHUB_REF")]
    heads = [name.removeprefix(HEADS) for name in in_ci if name.startswith(HEADS)]
    branches = [name for name in (branch, *heads) if name]
    if not branches:
        raise OperationError(
            "no branch is checked out, so there is none to propose a change to: git switch"
        )
    return branches[0]
