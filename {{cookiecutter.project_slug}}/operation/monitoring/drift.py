"""Compare the readings that the last run held out, its newest, with its training readings.

``python -m operation.monitoring.drift --env ENV`` prints a table; exit status 1 means drift.

The population stability index (Siddiqi, Credit Risk Scorecards, 2006) compares shares of readings
in the training deciles: below 0.1 is taken for stable, above 0.25 for drift.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

_BINS = 10
_FEWEST = 0.5  # of a reading: an empty bin would make the logarithm infinite


def population_stability(train: np.ndarray, new: np.ndarray) -> float:
    """Compute the index of two samples, shapes ``(n,)`` and ``(m,)``; 0 means the same shares.

    Raises
    ------
    ValueError
        If one of the samples is empty.
    """
    if not len(train) or not len(new):
        raise ValueError("drift needs readings on both sides")
    edges = np.unique(np.quantile(train, np.linspace(0, 1, _BINS + 1)[1:-1]))
    shares = []
    for sample in (train, new):
        counts = np.bincount(np.searchsorted(edges, sample), minlength=len(edges) + 1)
        shares.append(np.maximum(counts, _FEWEST) / len(sample))
    expected, found = shares
    return float(np.sum((found - expected) * np.log(found / expected)))


def compare(train: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Measure how far each sensor's readings moved.

    Returns
    -------
    A row a sensor of ``new``: ``stability_index``, the ``median`` in training and now, and the
    number of ``readings``. A sensor that training did not see has no index (NaN).
    """
    before = dict(list(train.groupby("sensor_id")["temperature"]))
    rows = {}
    for sensor, now in new.groupby("sensor_id")["temperature"]:
        known = before.get(sensor)
        rows[sensor] = {
            "stability_index": np.nan
            if known is None
            else population_stability(known.to_numpy(), now.to_numpy()),
            "median_in_training": np.nan if known is None else known.median(),
            "median_now": now.median(),
            "readings": len(now),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("sensor_id")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison of the stored held-out readings with the training readings."""
    parser = argparse.ArgumentParser(prog="python -m operation.monitoring.drift")
    parser.add_argument("--env", default="local", help="configuration to use: dev, stage, prod")
    parser.add_argument("--most", type=float, default=0.25, help="index above which it is drift")
    options = parser.parse_args(arguments)
    bootstrap_project(Path.cwd())
    with KedroSession.create(env=options.env) as session:
        catalog = session.load_context().catalog
        if not (catalog.exists("train") and catalog.exists("test")):
            print("drift: there are no readings to compare yet, type: make run", file=sys.stderr)
            return 2
        table = compare(catalog.load("train"), catalog.load("test"))
    print(table.to_string(float_format=lambda value: f"{value:.3f}", na_rep="new"))
    drifted = table.index[(table["stability_index"] > options.most) | table.isna().any(axis=1)]
    verdict = f"Drift: {', '.join(drifted)}" if len(drifted) else "No drift"
    print(f"\n{verdict} (stability index above {options.most:g}, or a sensor not in training)")
    return 1 if len(drifted) else 0


if __name__ == "__main__":
    sys.exit(main())
