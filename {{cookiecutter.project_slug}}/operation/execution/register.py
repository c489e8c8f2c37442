"""Register the model of the last run, with what the run says of it; exit status 1 if refused.

Runs register their models themselves. This is for a run without tracking, for a registry that is
not the tracking server, and, with --folder, for the same model when it lies elsewhere.
"""

import argparse
from pathlib import Path

from operation.registry import open_registry
from operation.registry.config import read_registry_settings
from operation.registry.registration import read_last_run, register_last_run

DEFAULT_ENV = "local"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="the model folder (default: the last run's)"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Check that the gate has judged this very model, then register it."""
    root = Path.cwd()
    settings = read_registry_settings(root, arguments.env)
    last = read_last_run(root, arguments.env, arguments.folder)
    registry = open_registry(arguments.env, root)
    register_last_run(registry, settings, last, _say)
    return 0


def _say(text: str) -> None:
    print(f"register: {text}", flush=True)
