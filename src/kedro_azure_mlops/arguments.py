"""Run a program with additional arguments: ``python -m kedro_azure_mlops.arguments PROGRAM ...``.

Makefiles call it and pass the value of ``ARGS="--reason 'it is fine'"`` in ``TYPED_ARGS``. It is
split into words; neither make nor a shell expands anything in it.
"""

import contextlib
import os
import shlex
import sys
from collections.abc import Sequence


def main(program: Sequence[str]) -> int:
    """Run the program in this process; return 2 if it cannot start or ``ARGS`` cannot be split."""
    text = os.environ.get("TYPED_ARGS", "")
    try:
        words = [*program, *shlex.split(text)]
    except ValueError as error:
        sys.stderr.write(
            f"make: ARGS cannot be split into words: {text}\n"
            f"{error}. Quotes keep words together, as in ARGS=\"--reason 'it is fine'\"; "
            'type a literal one as ARGS="it\\\'s".\n'
        )
        return 2
    if not _is_silent():
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.write(f"{shlex.join(words)}\n")
            sys.stdout.flush()
    for name in [name for name in os.environ if name.startswith("TYPED_")]:
        del os.environ[name]  # hidden from the program's child processes
    try:
        os.execvp(words[0], words)  # noqa: S606, avoiding a shell is the point
    except (OSError, ValueError) as error:
        sys.stderr.write(f"make: {words[0]} cannot be started: {error}\n")
        return 2


def _is_silent() -> bool:
    """Return whether make runs with ``--silent``: short options come first, without a dash."""
    options = os.environ.get("MAKEFLAGS", "").partition(" ")[0]
    return "s" in options and not options.startswith("-")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
