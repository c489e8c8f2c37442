"""Entry of a Spark step: ``kedro run`` in the Python of the Spark driver.

Azure ML starts a file from the uploaded code, so a project with Spark steps has a
``spark_entry.py`` with two lines::

    from kedro_azure_mlops.job.spark_entry import main
    main(__file__)

Its arguments are the port bindings of the step, followed by those of ``kedro``.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def main(file: str, arguments: Sequence[str] | None = None) -> None:
    """Bind the ports and run ``kedro`` in the project that a file belongs to."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    here = Path(file).resolve()
    root = next((p for p in here.parents if (p / "pyproject.toml").is_file()), here.parent)
    bindings = [argument for argument in given if argument.startswith("BIND__")]
    for binding in bindings:
        name, _, place = binding.partition("=")
        os.environ[name] = place
    os.chdir(root)
    # The driver joins arguments with spaces and keeps their quotes.
    rest = (argument.strip('"') for argument in given[len(bindings) :])
    sys.argv = ["kedro", *rest]
    from kedro.framework.cli.cli import main as kedro

    kedro()
