"""Report the models that a run compared: numbers for tracking, a table as text."""

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

__all__ = ["collect_metrics", "format_table"]

_MOST_TRACKED = 20  # slices; more would dominate MLflow's page of metrics
_TRACKED = re.compile(r"[\w.: -]+")  # the characters that MLflow allows in a name


def collect_metrics(comparison: pd.DataFrame, slices: pd.DataFrame) -> dict[str, float]:
    """Name each number for tracking; all but the challenger's are prefixed with their row's name.

    Up to 20 slices are included, as ``slice.<slice>.<metric>``, if MLflow allows the name.

    Parameters
    ----------
    comparison
        A row per model, ``challenger`` among them, and a column per metric.
    slices
        A row per slice of the data, and a column per metric of the challenger.
    """
    few = slices if len(slices) <= _MOST_TRACKED else slices[:0]
    few = few[few.index.map(lambda name: bool(_TRACKED.fullmatch(name)))]
    return {
        str(metric) if name == "challenger" else f"{name}.{metric}": float(value)
        for name, row in [*comparison.iterrows(), *few.rename("slice.{}".format).iterrows()]
        for metric, value in row.items()
        if np.isfinite(value)
    }


def format_table(table: pd.DataFrame, columns: Mapping[str, str]) -> str:
    """Format the columns of a table, as far as it has them, under readable names.

    Parameters
    ----------
    columns
        The readable name of each column, in display order.
    """
    shown = table[[name for name in columns if name in table.columns]]
    shown = shown.rename(index=lambda name: name.replace("_", " "), columns=dict(columns))
    return shown.rename_axis(None).to_string(float_format=lambda value: f"{value:.3f}", na_rep="-")
