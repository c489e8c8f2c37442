"""A picture of drift: what each sensor read in the training, and what it reads since."""

from math import ceil

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_BLUE, _RED, _GREY = "#2f6690", "#c1292e", "#8d99ae"
_MOST_SENSORS, _COLUMNS, _BINS = 12, 3, 40


def plot_drift(train: pd.DataFrame, new: pd.DataFrame, table: pd.DataFrame, most: float) -> Figure:
    """Draw both distributions of each sensor, those that moved furthest first.

    Parameters
    ----------
    table
        As ``compare`` returns it; of more than twelve sensors the first twelve are drawn.
    most
        The index above which it is drift: a red title.
    """
    order = table["stability_index"].fillna(np.inf).sort_values(ascending=False, kind="stable")
    sensors = list(order.index[:_MOST_SENSORS])
    columns = min(len(sensors), _COLUMNS)
    rows = ceil(len(sensors) / columns)
    figure = Figure(figsize=(4.4 * columns, 3 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, sensor in zip(axes, sensors, strict=False):
        _draw_sensor(axis, _readings(train, sensor), _readings(new, sensor))
        index = table.loc[sensor, "stability_index"]
        said = "not in training" if np.isnan(index) else f"stability index {index:.3f}"
        is_drift = np.isnan(index) or index > most
        axis.set_title(f"{sensor}: {said}", color=_RED if is_drift else "black", fontsize=10)
    for axis in axes[len(sensors) :]:
        axis.set_axis_off()
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def _readings(table: pd.DataFrame, sensor: str) -> np.ndarray:
    return table.loc[table["sensor_id"] == sensor, "temperature"].to_numpy()


def _draw_sensor(axis: Axes, before: np.ndarray, now: np.ndarray) -> None:
    both = np.concatenate([before, now])
    bins = np.linspace(both.min(), np.nextafter(both.max(), np.inf), _BINS)
    for readings, label, style in (
        (before, "training", {"color": _GREY, "alpha": 0.6}),
        (now, "now", {"color": _BLUE, "histtype": "step", "linewidth": 1.5}),
    ):
        if len(readings):
            shares = np.full(len(readings), 100 / len(readings))
            axis.hist(readings, bins, weights=shares, label=label, **style)
    axis.set(xlabel="temperature", ylabel="% of the readings")
