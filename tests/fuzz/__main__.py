"""Fuzz for some minutes: ``python -m tests.fuzz --minutes 10 --target tables --first 7``."""

import argparse
import logging
import random
import sys

from tests.fuzz.fuzzing import run
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Share the time among the targets; return 1 at the first input that is read wrongly."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--first", type=int, help="number of the first input, to see it again")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    first = random.SystemRandom().randrange(10**9) if given.first is None else given.first
    targets = given.target or list(TARGETS)
    for target in targets:
        seconds = given.minutes * 60 / len(targets)
        try:
            tried, accepted = run(target, TARGETS[target], rounds=1, seconds=seconds, first=first)
        except AssertionError as error:
            sys.stderr.write(f"{error}\nPut it into tests/fuzz/corpus/{target}.\n")
            return 1
        sys.stdout.write(f"{target}: {tried:,} inputs from {first}, {accepted:,} accepted\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
