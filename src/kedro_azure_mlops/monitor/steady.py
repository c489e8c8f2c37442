"""Find the series that have not drifted since training, and compare the flags of models on them.

A model that was fitted before the world changed flags everything new. It should not be blamed for
that, so it is judged only on the series that have not drifted.
"""

import logging
from typing import Any

import numpy as np
import pandas as pd

from kedro_azure_mlops.monitor.comparison import compare_rows
from kedro_azure_mlops.monitor.profile import Profile

__all__ = ["share_agreeing", "share_flagged", "steady_series"]

logger = logging.getLogger(__name__)
_NONE_STEADY = "Every series has drifted: none is left to judge %s on"


def steady_series(model: Any, rows: pd.DataFrame) -> list[str]:
    """List the series whose newest rows raise no alarm against the profile of a model.

    A series that has changed permanently is still in alarm; one with a past fault is not.

    Parameters
    ----------
    model
        A model with a ``schema`` whose history is by series. Without ``profile``, all are listed.
    rows
        The columns of ``schema.inputs``; others are ignored.
    """
    schema = model.schema
    series = set(rows[schema.history.by].unique())
    if profile := getattr(model, "profile", None):
        inputs = rows[[column.name for column in schema.inputs]]
        windows = compare_rows(inputs, Profile.from_dict(profile), schema).windows
        newest = windows[windows["end"] == windows["end"].max()]
        series -= set(newest.loc[newest["alarm"].astype(bool), "key"])
    return sorted(series)


def share_flagged(scored: pd.DataFrame, flag: str) -> float:
    """Return the share of flagged rows; 0, with a warning, if there are no rows."""
    if scored.empty:
        logger.warning(_NONE_STEADY, "flags")
        return 0.0
    return float((scored[flag] == 1).mean())


def share_agreeing(
    ours: pd.DataFrame, theirs: pd.DataFrame, flag: str, among: np.ndarray | pd.Series
) -> float:
    """Return the share of rows on which two flags agree; 1, with a warning, if there are no rows.

    Parameters
    ----------
    ours, theirs
        The same rows, scored by two models.
    among
        Mask of the rows to count, shape ``(n,)``.
    """
    counted = np.asarray(among, bool)
    if not counted.any():
        logger.warning(_NONE_STEADY, "agreement")
        return 1.0
    same = (ours[flag] == 1).to_numpy() == (theirs[flag] == 1).to_numpy()
    return float(same[counted].mean())
