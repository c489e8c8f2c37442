"""Describe readings by features and keep the newest ones for testing."""

import numpy as np
import pandas as pd
from kedro_azure_mlops.errors import OperationError

from ...features import build_features
from ...parameters import FeatureParameters, TrainingParameters


def engineer_features(
    clean: pd.DataFrame, parameters: FeatureParameters, training: TrainingParameters
) -> pd.DataFrame:
    """Build causal features of every reading in the window that was not sent twice.

    Readings before the window are history: they describe later ones, and nothing learns from them.
    """
    features = build_features(clean[~clean["repeated"]].drop(columns="repeated"), parameters)
    if training.window == "all":
        return features
    return features[_newest(features["timestamp"], training.window)]


def split_by_time(
    clean: pd.DataFrame, features: pd.DataFrame, training: TrainingParameters
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split at the time of one reading, for all sensors alike.

    Returns
    -------
    Training rows, all before the split, and held-out rows, all from it on.

    Raises
    ------
    OperationError
        If one of the parts would be empty.
    """
    times = clean["timestamp"][clean["timestamp"] >= features["timestamp"].min()]
    if len(times) < 2:
        raise OperationError("There is one reading in training.window: none is left to hold out.")
    if isinstance(training.holdout, str):
        split = times[_newest(times, training.holdout)].min()
    else:
        rows = min(max(int((1 - training.holdout) * len(times)), 1), len(times) - 1)
        split = pd.Timestamp(np.partition(times.to_numpy(), rows)[rows])
    before = features["timestamp"] < split
    if not before.any():
        raise OperationError(
            f"No reading of training.window={training.window} is older than {split}: nothing is "
            f"left to train on. Give a smaller training.holdout than {training.holdout}, or a "
            "longer training.window."
        )
    return features[before], features[~before]


def _newest(times: pd.Series, span: str) -> pd.Series:
    return times > times.max() - pd.Timedelta(span)
