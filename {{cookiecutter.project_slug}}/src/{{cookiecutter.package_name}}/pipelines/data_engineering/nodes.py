"""Describe readings by features and keep the newest ones for testing."""

import numpy as np
import pandas as pd
from kedro_azure_mlops.errors import OperationError

from ...features import build_features
from ...parameters import FeatureParameters


def engineer_features(clean: pd.DataFrame, parameters: FeatureParameters) -> pd.DataFrame:
    """Build causal features of every reading that was not sent twice."""
    return build_features(clean[~clean["repeated"]].drop(columns="repeated"), parameters)


def split_by_time(
    clean: pd.DataFrame, features: pd.DataFrame, train_rows: int | None, train_fraction: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split at the time of one reading, for all sensors alike.

    Parameters
    ----------
    train_rows
        Number of readings, in order of time, to train on; if None, ``train_fraction`` of them.

    Returns
    -------
    Training rows, all before the split, and held-out rows, all from it on.

    Raises
    ------
    OperationError
        If one of the parts would be empty.
    """
    rows = _training_rows(len(clean), train_rows, train_fraction)
    split = np.partition(clean["timestamp"].to_numpy(), rows)[rows]
    before = features["timestamp"] < split
    if not before.any():
        raise OperationError(
            f"The first {rows} readings all have the time {split}: nothing is left to train on. "
            "Give a larger train_rows or train_fraction."
        )
    return features[before], features[~before]


def _training_rows(n_rows: int, train_rows: int | None, train_fraction: float) -> int:
    if n_rows < 2:
        raise OperationError("There is one reading: nothing is left to hold out.")
    if train_rows is not None:
        if not isinstance(train_rows, int) or not 0 < train_rows < n_rows:
            raise OperationError(
                f"train_rows={train_rows}: give a whole number from 1 to {n_rows - 1}, one less "
                "than the readings, so that some are held out."
            )
        return train_rows
    if not isinstance(train_fraction, int | float) or not 0 < train_fraction < 1:
        raise OperationError(f"train_fraction={train_fraction}: give a number between 0 and 1.")
    return max(int(train_fraction * n_rows), 1)
