"""Cancel a job on Azure ML; exit status 0 also if it has ended already."""

import argparse

from operation.azureml.cloud.cancellation import cancel
from operation.azureml.utils import workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("--job", metavar="NAME", required=True, help="as submit has called it")


def execute(arguments: argparse.Namespace) -> int:
    """Ask for it, until Azure has taken the request."""
    print(f"cancel: {cancel(workspace(arguments.env), arguments.job)}", flush=True)
    return 0
