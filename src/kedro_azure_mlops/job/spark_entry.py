"""Entry point of a Spark step: runs ``kedro run`` in the Python process of the Spark driver.

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
    all_arguments = list(sys.argv[1:] if arguments is None else arguments)
    entry = Path(file).resolve()
    root = next((p for p in entry.parents if (p / "pyproject.toml").is_file()), entry.parent)
    bindings = [argument for argument in all_arguments if argument.startswith("BIND__")]
    for binding in bindings:
        name, _, path = binding.partition("=")
        os.environ[name] = path
    os.chdir(root)
    # The driver joins arguments with spaces and keeps their quotes.
    kedro_arguments = (argument.strip('"') for argument in all_arguments[len(bindings) :])
    sys.argv = ["kedro", *kedro_arguments]
    from kedro.framework.cli.cli import main as kedro

    kedro()
