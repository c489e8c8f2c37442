"""Let the previous champion of an environment be the champion again; exit status 1 if refused."""

import argparse
import sys

from operation.interruption import until_interrupted
from operation.registry import open_registry
from operation.registry.promotion import roll_back

DEFAULT_ENV = "local"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("--to", metavar="N", help="this earlier champion, not the previous one")
    parser.add_argument(
        "--if-champion", metavar="N", help="only if this version is the champion still"
    )
    parser.add_argument("--reason", metavar="TEXT", help="why; it is kept with the version")


def execute(arguments: argparse.Namespace) -> int:
    """Check the files of the earlier champion, then move back to it."""
    reason = (arguments.reason or "").strip()
    if not reason:
        print("rollback: say why: --reason TEXT. Nothing was changed.", file=sys.stderr)
        return 1
    registry = open_registry(arguments.env)

    def work() -> int:
        roll_back(registry, arguments.to, reason, _say, expected=arguments.if_champion)
        return 0

    return until_interrupted(work, "rollback: interrupted; see: make champion")


def _say(text: str) -> None:
    print(f"rollback: {text}", flush=True)
