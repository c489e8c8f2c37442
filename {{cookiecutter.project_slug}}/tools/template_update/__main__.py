"""Update this project to a newer release of the template it was rendered from.

exit status: 0 done, or nothing to do; 1 conflicts are left to you (with --check: there is a newer
release); 2 could not be tried, and nothing was changed
"""

import argparse
import sys
from pathlib import Path

from . import journal, link, update
from .errors import RefusedError, exit_status
from .git import Repository


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(
        prog="make template-update",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = found.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="only say whether there is a newer one")
    what.add_argument(
        "--dry-run", action="store_true", help="say what would be done, change nothing"
    )
    what.add_argument("--abort", action="store_true", help="undo an update that is not committed")
    what.add_argument("--link", metavar="URL", help="write the record of a project that has none")
    found.add_argument(
        "--to", metavar="TAG", help="a tag, branch or commit; default: newest release"
    )
    found.add_argument(
        "--answer", metavar="KEY=VALUE", action="append", default=[], help="change an answer"
    )
    return found


def given(pairs: list[str]) -> dict[str, str]:
    """Return the answers that were typed.

    Raises
    ------
    RefusedError
        If one has no value.
    """
    if unfit := [pair for pair in pairs if "=" not in pair]:
        message = f"--answer takes KEY=VALUE, not {unfit[0]}"
        raise RefusedError(message)
    return dict(pair.split("=", maxsplit=1) for pair in pairs)


def act(options: argparse.Namespace) -> int:
    """Do what was asked for; return the exit status."""
    repository = Repository.around(Path.cwd())
    if message := journal.recover(repository):
        print(message)
    if options.abort:
        print(journal.abort(repository))
        return 0
    if options.check:
        return update.check(repository)
    answers = given(options.answer)
    if options.link:
        return link.link(repository, options.link, options.to, answers)
    return update.update(repository, options.to, answers, dry_run=options.dry_run)


def main() -> int:
    """Run the command line."""
    return exit_status(
        "template-update", lambda: act(parser().parse_args()), unchanged="nothing was changed"
    )


if __name__ == "__main__":
    sys.exit(main())
