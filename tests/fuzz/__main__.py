"""Fuzz for some minutes: ``python -m tests.fuzz --minutes 10 --target tables --first 7``."""

import argparse
import logging
import random
import sys

from tests.fuzz.fuzzing import run
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Divide the time among the targets; return 1 at the first wrongly parsed input."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--first", type=int, help="number of the first input, to reproduce it")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    first = random.SystemRandom().randrange(10**9) if options.first is None else options.first
    targets = options.target or list(TARGETS)
    for target in targets:
        seconds = options.minutes * 60 / len(targets)
        try:
            tried, accepted = run(target, TARGETS[target], rounds=1, seconds=seconds, first=first)
        except AssertionError as error:
            sys.stderr.write(f"{error}\nAdd it to tests/fuzz/corpus/{target}.\n")
            return 1
        sys.stdout.write(f"{target}: {tried:,} inputs from {first}, {accepted:,} accepted\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
