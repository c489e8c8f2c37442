"""Plots of a run: series with their flagged rows, the scores, and how well they rank.

They need matplotlib, which is not a dependency of the plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kedro_azure_mlops.events import Events
from kedro_azure_mlops.monitor.plots import visible_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_precision_recall", "plot_score_histogram", "plot_series"]

_BLUE, _RED, _GREY, _EVENT = "#2f6690", "#c1292e", "#8d99ae", "#f4a259"
_BINS = 60


def plot_series(
    rows: pd.DataFrame,
    events: Events,
    value: str,
    *,
    split: pd.Timestamp,
    unit: str,
    most: int = 8,
) -> Figure:
    """Draw each series over time with flagged rows, labelled events and the split.

    Parameters
    ----------
    rows
        The columns that ``events`` names and ``value``, in any order.
    value
        The column that is drawn.
    split
        The time from which rows are held out.
    unit
        The unit of the values, for the axes.
    most
        The number of series to draw: those with the most flagged rows.
    """
    by_series, events = rows.groupby(events.by), events.touching(rows)
    flagged = (rows[events.flag] == 1).groupby(rows[events.by]).sum()
    flagged = flagged.sort_values(ascending=False)
    names = sorted(flagged.index[:most])
    height = 1.2 + 1.9 * len(names)
    figure = _figure(12, height)
    # Placed manually: a layout engine would draw everything twice.
    figure.subplots_adjust(left=0.07, right=0.99, bottom=0.6 / height, top=1 - 0.5 / height)
    axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axis, name in zip(axes, names, strict=True):
        own = by_series.get_group(name).sort_values(events.time, kind="stable")
        _draw_one(axis, own, events, value)
        for number, window in enumerate(_windows_of(events, name)):
            label = None if number else "labelled"
            axis.axvspan(*window, color=_EVENT, alpha=0.4, linewidth=0, label=label)
        axis.axvline(split, color=_GREY, linestyle="--", label="held out from here")
        axis.margins(x=0.01)
        axis.set_ylabel(f"{name} [{unit}]", parse_math=False)  # a name may contain $
    legend: dict[str, Any] = {}
    for axis in axes:
        handles, words = axis.get_legend_handles_labels()
        legend = dict(zip(words, handles, strict=True)) | legend
    figure.legend(legend.values(), legend, loc="upper center", ncols=4, frameon=False)
    if left_out := len(flagged) - len(names):
        axes[-1].set_xlabel(f"{left_out} more, with fewer flagged rows, are not shown")
    return figure


def plot_score_histogram(
    score: np.ndarray, truth: np.ndarray, *, threshold: float = 1.0, meaning: str = ""
) -> Figure:
    """Draw the scores of held-out rows, labelled ones separately, with the threshold.

    Parameters
    ----------
    score
        Shape ``(n,)``, higher is more unusual; a missing score counts as 0.
    truth
        Booleans, shape ``(n,)``: which rows are in labelled events.
    meaning
        What low and high scores mean, for the axis.
    """
    score = np.nan_to_num(score)
    figure = _figure(7, 4.5)
    axis = figure.subplots()
    bins = np.linspace(min(score.min(), 0), max(score.max(), 1.1 * threshold), _BINS).tolist()
    outside = "outside labelled events" if truth.any() else "rows"
    axis.hist(score[~truth], bins, color=_BLUE, label=outside)
    if truth.any():
        axis.hist(score[truth], bins, color=_EVENT, alpha=0.8, label="in labelled events")
    axis.axvline(threshold, color=_RED, linestyle="--", label="threshold")
    axis.set(xlabel=f"score {meaning}".strip(), ylabel="held-out rows", yscale="log")
    axis.set_ylim(bottom=0.5)  # a bin of one row would have no height above 1
    # above the axes, where it covers neither bars nor the threshold
    figure.legend(loc="upper center", ncols=3, frameon=False)
    return figure


def plot_precision_recall(
    score: np.ndarray, truth: np.ndarray, *, threshold: float = 1.0
) -> Figure:
    """Draw precision against recall of held-out rows, with the level of chance.

    Parameters
    ----------
    score, truth
        See ``plot_score_histogram``.
    """
    figure = _figure(7, 4.5)
    axis = figure.subplots()
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    if not truth.any() or truth.all():
        axis.text(0.5, 0.5, "no labelled events in the held-out rows", ha="center")
        return figure
    from sklearn.metrics import precision_recall_curve

    score = np.nan_to_num(score)
    precision, recall, _ = precision_recall_curve(truth, score)
    axis.plot(recall, precision, color=_BLUE, label="challenger")
    flagged = score > threshold
    if flagged.any():
        at_threshold = (truth & flagged).sum() / truth.sum(), truth[flagged].mean()
        axis.plot(*at_threshold, "o", color=_RED, label="at the threshold")
    axis.axhline(truth.mean(), color=_GREY, linestyle="--", label="chance")
    axis.legend(frameon=False, loc="upper right")
    return figure


def _draw_one(axis: Axes, rows: pd.DataFrame, events: Events, value: str) -> None:
    drawn = rows.iloc[visible_rows(rows[value].to_numpy())]
    axis.plot(drawn[events.time], drawn[value], color=_BLUE, linewidth=0.6, label=value)
    flagged = rows[rows[events.flag] == 1]
    axis.plot(flagged[events.time], flagged[value], ".", color=_RED, label="flagged")


def _windows_of(events: Events, name: str) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    own = events.windows[events.windows[events.by] == name]
    return list(zip(own["start"], own["end"], strict=True))


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))
