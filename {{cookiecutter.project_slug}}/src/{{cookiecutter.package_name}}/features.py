"""Causal features of the readings in a table, made by the function that serving uses too."""

import pandas as pd

from .parameters import FeatureParameters
from .scoring.features import FEATURES, describe

__all__ = ["FEATURES", "build_features"]


def build_features(clean: pd.DataFrame, parameters: FeatureParameters) -> pd.DataFrame:
    """Describe every reading by itself and by what its sensor did before it.

    Parameters
    ----------
    clean
        Columns ``timestamp``, ``sensor_id``, ``temperature`` (degrees, any unit), ordered by
        sensor and then by time.

    Returns
    -------
    The same rows and index with the columns of ``FEATURES`` added, in the unit of the
    temperature except for ``log_std_1h`` (natural logarithm of that unit). A row depends on
    itself and on earlier rows of its own sensor, never on later ones.
    """
    settings = parameters.model_dump()
    by_sensor = [
        pd.DataFrame(
            describe(rows["timestamp"].to_numpy(), rows["temperature"].to_numpy(float), **settings),
            rows.index,
            FEATURES,
        )
        for _, rows in clean.groupby("sensor_id", sort=False)
    ]
    features = pd.concat(by_sensor) if by_sensor else pd.DataFrame(columns=FEATURES, dtype=float)
    return clean.join(features)
