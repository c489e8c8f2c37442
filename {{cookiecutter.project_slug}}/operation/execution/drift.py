"""Compare the readings that the last run held out, its newest, with its training readings.

Prints a table and draws data/processed/drift.png. Exit status 1 means drift: the stability index
of a sensor is above --most, or a sensor was not in the training. In CI it tells later steps whether
there is drift.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from operation.ci import tell
from operation.monitoring.drift import compare, drifted
from operation.monitoring.plots import plot_drift

DEFAULT_ENV = "local"
_PICTURE = Path("data/processed/drift.png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "--most", type=float, default=0.25, help="index above which it is drift (default: 0.25)"
    )
    parser.add_argument(
        "--answer", action="store_true", help="exit status 0 also if there is drift, for CI"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Answer with the sensors that drifted."""
    found = _stored(arguments.env)
    if found is None:
        said = f"there are no readings to compare yet, type: {_run(arguments.env)}"
        print(f"drift: {said}", file=sys.stderr)
        return 2
    train, new = found
    table = compare(train, new)
    names = drifted(table, arguments.most)
    _PICTURE.parent.mkdir(parents=True, exist_ok=True)
    plot_drift(train, new, table, arguments.most).savefig(_PICTURE)
    print(table.to_string(float_format=lambda value: f"{value:.3f}", na_rep="new"))
    verdict = f"Drift: {', '.join(names)}" if names else "No drift"
    print(f"\n{verdict} (stability index above {arguments.most:g}, or a sensor not in training)")
    print(f"drift: see {_PICTURE.as_posix()}", flush=True)
    tell(drifted=bool(names))
    return 1 if names and not arguments.answer else 0


def _stored(env: str) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Read the training and the held-out readings of the last run; None without them."""
    bootstrap_project(Path.cwd())
    with KedroSession.create(env=env) as session:
        catalog = session.load_context().catalog
        if not (catalog.exists("train") and catalog.exists("test")):
            return None
        return catalog.load("train"), catalog.load("test")


def _run(env: str) -> str:
    return "make run" if env == DEFAULT_ENV else f"make run ENV={env}"
