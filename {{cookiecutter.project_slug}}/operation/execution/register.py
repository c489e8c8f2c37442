"""Register the model of the last run, with what the run says of it; exit status 1 if refused.

Runs register their models themselves. This is for a run without tracking, for a registry that is
not the tracking server, with --folder for the same model when it lies elsewhere, and with --job for
the model of a job on Azure ML. In CI it tells later steps version and digest, and whether it is the
champion.
"""

import argparse
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from operation.ci import tell
from operation.errors import OperationError
from operation.interruption import until_interrupted
from operation.registry import open_registry
from operation.registry.config import read_registry_settings
from operation.registry.jobs import read_job_run
from operation.registry.registration import LastRun, read_last_run, register_last_run

DEFAULT_ENV = "local"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--folder", type=Path, metavar="DIR", help="the model folder (default: the last run's)"
    )
    which.add_argument("--job", metavar="NAME", help="of this job on Azure ML, not of the last run")


def execute(arguments: argparse.Namespace) -> int:
    """Check that the gate has judged this very model, then register it."""
    return until_interrupted(
        partial(_execute, arguments), "register: interrupted; see: make champion"
    )


def _execute(arguments: argparse.Namespace) -> int:
    root = Path.cwd()
    if not arguments.job:
        return _register(arguments.env, read_last_run(root, arguments.env, arguments.folder))
    if arguments.env == DEFAULT_ENV:
        raise OperationError("--job NAME needs the environment of its workspace: --env dev.")
    with TemporaryDirectory(prefix="registration-") as folder:
        last = read_job_run(arguments.env, arguments.job, root, Path(folder), _say)
        return _register(arguments.env, last)


def _register(env: str, last: LastRun) -> int:
    settings = read_registry_settings(Path.cwd(), env)
    register_last_run(open_registry(env), settings, last, _say, tell)
    return 0


def _say(text: str) -> None:
    print(f"register: {text}", flush=True)
