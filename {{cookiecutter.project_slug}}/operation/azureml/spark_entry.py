"""What a Spark step starts: ``kedro run`` in the Python of the Spark driver.

Arguments are the bindings of the step's ports, then those of ``kedro``.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> None:
    """Bind the ports and run."""
    root = Path(__file__).resolve().parents[2]
    bindings = [argument for argument in arguments if argument.startswith("BIND__")]
    os.environ.update(binding.split("=", 1) for binding in bindings)
    os.chdir(root)
    # The driver joins arguments by blanks and leaves quotes in them.
    rest = (argument.strip('"') for argument in arguments[len(bindings) :])
    sys.argv = ["kedro", *rest]
    from kedro.framework.cli.cli import main as kedro

    kedro()


if __name__ == "__main__":
    main(sys.argv[1:])
