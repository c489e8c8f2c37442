"""A picture of drift: how values were distributed in the training, and how they are now."""

from math import ceil
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kedro_azure_mlops.monitor.drift import Drift

_BLUE, _RED, _GREY = "#2f6690", "#c1292e", "#8d99ae"
_MOST, _COLUMNS, _BINS = 12, 3, 40


def plot_drift(found: Drift) -> Figure:
    """Draw both distributions of what was compared, those that moved furthest first.

    Of more than twelve the first twelve are drawn. What drifted has a red title.
    """
    index = found.table["stability_index"]
    order = index.fillna(np.inf).sort_values(ascending=False, kind="stable")
    names = list(order.index[:_MOST])
    columns = min(len(names), _COLUMNS)
    rows = ceil(len(names) / columns)
    figure = Figure(figsize=(4.4 * columns, 3 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    drifted = set(found.drifted)
    for axis, name in zip(axes, names, strict=False):
        _draw(axis, found.before.get(name, np.zeros(0)), found.now[name])
        said = "not in training" if np.isnan(index[name]) else f"stability index {index[name]:.3f}"
        axis.set_title(f"{name}: {said}", color=_RED if name in drifted else "black", fontsize=10)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def visible_rows(values: np.ndarray, columns: int = 2_000) -> np.ndarray:
    """Choose the rows of a long line that can be seen: the lowest and the highest of each column.

    Parameters
    ----------
    values
        Shape ``(n,)``, in the order in which they are drawn.
    columns
        In how many the line is cut, more than the picture has pixels.

    Returns
    -------
    Rows, ascending; all of them where they are few.
    """
    rows = len(values) // columns
    if rows < 3:
        return np.arange(len(values))
    cut = values[: rows * columns].reshape(columns, rows)
    chosen = np.stack([cut.argmin(axis=1), cut.argmax(axis=1)], axis=1)
    chosen += rows * np.arange(columns)[:, None]
    return np.unique(np.append(chosen, np.arange(rows * columns, len(values))))


def _draw(axis: Axes, before: np.ndarray, now: np.ndarray) -> None:
    before, now = (values[np.isfinite(values)] for values in (before, now))
    both = np.concatenate([before, now])
    if not len(both):
        return
    bins = np.linspace(both.min(), np.nextafter(both.max(), np.inf), _BINS)
    styles: tuple[tuple[np.ndarray, str, dict[str, Any]], ...] = (
        (before, "training", {"color": _GREY, "alpha": 0.6}),
        (now, "now", {"color": _BLUE, "histtype": "step", "linewidth": 1.5}),
    )
    for values, label, style in styles:
        if len(values):
            shares = np.full(len(values), 100 / len(values))
            axis.hist(values, bins.tolist(), weights=shares, label=label, **style)
    axis.set(ylabel="% of the rows")
