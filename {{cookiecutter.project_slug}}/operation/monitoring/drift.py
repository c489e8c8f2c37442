"""Compare new readings with those of the training.

The population stability index (Siddiqi, Credit Risk Scorecards, 2006) compares shares of readings
in the training deciles: below 0.1 is taken for stable, above 0.25 for drift.
"""

import numpy as np
import pandas as pd

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


def drifted(table: pd.DataFrame, most: float) -> list[str]:
    """Name the sensors of such a table whose index is above ``most``, or that have none."""
    return list(table.index[(table["stability_index"] > most) | table["stability_index"].isna()])
