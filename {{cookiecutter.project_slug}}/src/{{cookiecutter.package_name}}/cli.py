"""``kedro run`` of this project: prints a report at the end, and errors as messages."""

from kedro_azure_mlops.cli.run import cli, run

__all__ = ["cli", "run"]
