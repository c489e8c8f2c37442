"""``kedro mlops update``: merge a newer release of the template.

It needs neither Kedro nor the project's environment: ``python -m kedro_azure_mlops update`` works
from the wheel alone, with a Python that has click.
"""

import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from kedro_azure_mlops.cli import Command
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.terminal import prefixed_printer, show, show_error, show_note


class _Update(Command):
    """A command that exits with 2 on any fault, because 1 means conflicts."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            show_note("update", f"interrupted; {_state()}")
            ctx.exit(130)
        except OSError as error:
            show_error("update", error)
            ctx.exit(2)
        except Exception:  # noqa: BLE001 - Python would exit with 1
            traceback.print_exc()
            show_error("update", f"this is a bug in the update; {_state()}")
            ctx.exit(2)


@click.command("update", cls=_Update)
@click.option("--check", is_flag=True, help="only report whether there is a newer release")
@click.option("--dry-run", is_flag=True, help="print what would be done, change nothing")
@click.option("--abort", is_flag=True, help="undo an update that is not committed")
@click.option("--link", metavar="URL", help="write the template record of a project that has none")
@click.option("--pull-request", is_flag=True, help="propose the update on its own branch, for CI")
@click.option("--to", metavar="TAG", help="a tag, branch or commit (default: newest release)")
@click.option(
    "--answer", "answers", metavar="KEY=VALUE", multiple=True, help="change an answer; repeatable"
)
def command(
    check: bool,
    dry_run: bool,
    abort: bool,
    link: str | None,
    pull_request: bool,
    to: str | None,
    answers: tuple[str, ...],
) -> int:
    """Merge a newer release of the template into this project and stage the result.

    Exit status: 0 done, or nothing to do; 1 there are conflicts for you to resolve (with --check:
    there is a newer release); 2 it could not run or did not finish; the message says what changed.
    """
    from kedro_azure_mlops.update import update

    if sum((check, dry_run, abort, link is not None, pull_request)) > 1:
        raise click.UsageError("give one of --check, --dry-run, --abort, --link and --pull-request")
    if (check or abort) and (to is not None or answers):
        raise click.UsageError("--check and --abort cannot be combined with --to or --answer")
    if "" in (to, link):
        raise click.UsageError("--to and --link must not be empty")
    changes = _parse_answers(answers)
    if pull_request and changes:
        raise click.UsageError(
            "--pull-request cannot be combined with --answer: change answers on a laptop"
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path.cwd()
    if abort:
        update.abort_update(folder, show)
    elif check:
        return int(update.check_for_release(folder, show))
    elif link is not None:
        update.link_project(folder, link, to, changes, say=show)
    elif pull_request:
        from kedro_azure_mlops.update.pull_request import propose_update

        return int(not propose_update(folder, to, prefixed_printer("update")))
    else:
        result = update.update_project(folder, to, changes, dry_run=dry_run, say=show)
        return int(bool(result.conflicts))
    return 0


def _state() -> str:
    from kedro_azure_mlops.update.update import state_of

    return state_of(Path.cwd())


def _parse_answers(pairs: tuple[str, ...]) -> dict[str, str]:
    if malformed := [pair for pair in pairs if "=" not in pair]:
        raise OperationError(f"--answer must be KEY=VALUE, not {malformed[0]}")
    if undecodable := [pair for pair in pairs if not _is_unicode(pair)]:
        raise OperationError(
            f"--answer {undecodable[0]!a} has characters that cannot be decoded: this locale, or "
            "the terminal, is not UTF-8. Run first: export LC_ALL=C.UTF-8"
        )
    return dict(pair.split("=", maxsplit=1) for pair in pairs)


def _is_unicode(text: str) -> bool:
    """Return whether all bytes of a text could be decoded."""
    return not any("\udc80" <= letter <= "\udcff" for letter in text)
