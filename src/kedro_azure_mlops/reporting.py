"""What a run reports about the models it compared: numbers for tracking, a table for people."""

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

__all__ = ["collect_metrics", "format_table"]

_MOST_TRACKED = 20  # slices; of more, MLflow's page of metrics would show nothing else
_TRACKED = re.compile(r"[\w.: -]+")  # what MLflow takes in a name


def collect_metrics(comparison: pd.DataFrame, slices: pd.DataFrame) -> dict[str, float]:
    """Name each number for tracking: the challenger's as they are, others behind their row's name.

    Of at most 20 slices there are also ``slice.<slice>.<metric>``, if MLflow takes such a name.

    Parameters
    ----------
    comparison
        A row a model, ``challenger`` among them, a column a metric.
    slices
        A row a slice of the data, a column a metric of the challenger there.
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
    """Write those of some columns that a table has, by their names for people.

    Parameters
    ----------
    columns
        From a column to its name there, in the order that is shown.
    """
    shown = table[[name for name in columns if name in table.columns]]
    shown = shown.rename(index=lambda name: name.replace("_", " "), columns=dict(columns))
    return shown.rename_axis(None).to_string(float_format=lambda value: f"{value:.3f}", na_rep="-")
