"""Update this project to the newest release of its template, as a pull request: for CI.

The update is committed to a branch template-update/TAG of origin. The work tree and the branch that
is checked out stay as they are, and no branch is made here.

exit status: 0 proposed, or nothing to do; 1 the update has conflicts, which takes a person: nothing
was pushed; 2 could not be tried
"""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from . import journal, update
from .branch import Update, push
from .errors import RefusedError, exit_status
from .git import Repository, must, run
from .hosting import Proposal
from .record import Record
from .services import host_of

HEADS = "refs/heads/"


def say(text: str) -> None:
    """Tell what is done."""
    print(f"template-pull-request: {text}", flush=True)


def propose(repository: Repository, to: str | None) -> int:
    """Update, push and open a pull request; return the exit status."""
    host, base = host_of(repository.root), base_of(repository.root)
    with staged(repository, to) as found:
        if found is None:
            say("nothing to do")
            return 0
        if found.conflicts:
            say(f"the update to {found.name} has conflicts (above); nothing was pushed.")
            say("Settle them on a laptop: make template-update")
            return 1
        known = host.known(found.branch)
        opened = next((one for one in known if one.is_open), None)
        closed = next((one for one in known if found.mark in one.text), None)
        if closed and not opened:
            say(f"pull request {closed.number} proposed this very update, and somebody closed it.")
            say("It is not proposed again; open that one anew if it is wanted after all")
            return 0
        if not push(repository.root, host, found, say):
            return 0
    proposal = Proposal(found.branch, base, found.title, quoted(found, host.longest))
    if opened:
        say(f"brought up to date: {host.change(opened.number, proposal)}")
    else:
        say(f"opened: {host.open(proposal)}")
    return 0


@contextlib.contextmanager
def staged(repository: Repository, to: str | None) -> Iterator[Update | None]:
    """Stage the update for as long as this lasts; None if there is nothing to update."""
    if is_staged(repository):
        message = "something is staged and not committed: git commit, or git stash"
        raise RefusedError(message)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = update.update(repository, to, {}, dry_run=False)
    try:
        if not is_staged(repository):
            print(said.getvalue(), end="")
            yield None
            return
        record = Record.read(repository.root)
        # what the updater says after its report is for a person at this work tree
        report = said.getvalue().partition("\nThe update to ")[0]
        print(report)
        conflicts = status != 0
        # conflicts have no tree
        tree = "" if conflicts else must("write-tree", cwd=repository.root).decode().strip()
        yield Update(record.tag or record.commit[:12], report, conflicts, tree)
    finally:
        if is_staged(repository):
            journal.abort(repository)


def is_staged(repository: Repository) -> bool:
    """Say whether the index holds something that no commit does, here or beside the project."""
    return run("diff", "--cached", "--quiet", cwd=repository.root).returncode != 0


def quoted(found: Update, longest: int) -> str:
    """Write the report as the text of a pull request, as far as the service takes it."""
    # first, because Azure Repos shows in its lists only how a text begins
    begin = (
        f"<!-- {found.mark} -->\n"
        f"The template's release {found.name}, merged into this project:\n\n```\n"
    )
    end = (
        "\n```\n\nMade by `make template-pull-request`. To look at it on a laptop: "
        f"`git fetch origin && git switch {found.branch}`"
    )
    rest = "\n  (the rest is in the message of the commit)"
    room, report = longest - len(begin) - len(end), found.report
    shown = report if len(report) <= room else report[: room - len(rest)] + rest
    return f"{begin}{shown}{end}"


def base_of(root: Path) -> str:
    """Return the branch that is checked out, also where CI has checked out its commit.

    Raises
    ------
    RefusedError
        If it is not known.
    """
    here = run("symbolic-ref", "--short", "--quiet", "HEAD", cwd=root).stdout.decode().strip()
    in_ci = [os.environ.get(name, "") for name in ("BUILD_SOURCEBRANCH", "GITHUB_REF")]
    heads = [name.removeprefix(HEADS) for name in in_ci if name.startswith(HEADS)]
    found = [name for name in (here, *heads) if name]
    if not found:
        message = "no branch is checked out, so there is none to propose a change to: git switch"
        raise RefusedError(message)
    return found[0]


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(
        prog="make template-pull-request",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument(
        "--to", metavar="TAG", help="a tag, branch or commit; default: newest release"
    )
    return found


def main() -> int:
    """Run the command line."""
    return exit_status("template-pull-request", lambda: act(parser().parse_args().to))


def act(to: str | None) -> int:
    """Mend what an update that was cut off has left, then propose the newest one."""
    repository = Repository.around(Path.cwd())
    if message := journal.recover(repository):
        say(message)
    return propose(repository, to)


if __name__ == "__main__":
    sys.exit(main())
