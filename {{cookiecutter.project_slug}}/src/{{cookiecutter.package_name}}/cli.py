"""``kedro run`` of this project: with a report after it, and errors in words."""

from kedro_azure_mlops.cli.run import cli, run

__all__ = ["cli", "run"]
