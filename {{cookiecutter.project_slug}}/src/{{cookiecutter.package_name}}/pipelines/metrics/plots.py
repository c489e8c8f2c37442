"""Pictures of a run: readings with what was flagged, the scores, and how they rank."""

import numpy as np
import pandas as pd
from kedro_azure_mlops.monitor.plots import visible_rows
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...evaluation import Events

_BLUE, _RED, _GREY, _FAULT = "#2f6690", "#c1292e", "#8d99ae", "#f4a259"
_MOST_SENSORS = 8


def plot_timeline(
    scores: pd.DataFrame, held_out: pd.DataFrame, labels: pd.DataFrame, unit: str
) -> Figure:
    """Draw each sensor over time with flagged readings, labelled faults and the split.

    Of more than eight sensors, those with most flagged readings are drawn.
    """
    flagged = scores.groupby("sensor_id")["is_anomaly"].sum().sort_values(ascending=False)
    sensors = sorted(flagged.index[:_MOST_SENSORS])
    height = 1.2 + 1.9 * len(sensors)
    figure = Figure(figsize=(12, height))
    # Placed by hand: a layout engine would draw everything twice.
    figure.subplots_adjust(left=0.07, right=0.99, bottom=0.6 / height, top=1 - 0.5 / height)
    axes = figure.subplots(len(sensors), 1, sharex=True, squeeze=False)[:, 0]
    for axis, sensor in zip(axes, sensors, strict=True):
        rows = scores[scores["sensor_id"] == sensor].sort_values("timestamp", kind="stable")
        _draw_sensor(axis, rows, labels[labels["sensor_id"] == sensor], held_out["timestamp"].min())
        axis.set_ylabel(f"{sensor} [{unit}]")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper center", ncols=4, frameon=False)
    left_out = len(flagged) - len(sensors)
    if left_out:
        axes[-1].set_xlabel(f"{left_out} sensors with fewer flagged readings are not shown")
    return figure


def plot_score_histogram(held_out: pd.DataFrame, labels: pd.DataFrame) -> Figure:
    """Draw how the held-out readings score, faults apart, with the threshold."""
    score = held_out["score"].fillna(0).to_numpy()
    fault = Events(labels).contain(held_out)
    figure, axis = _one_axis()
    bins = np.linspace(min(score.min(), 0), max(score.max(), 1.1), 60)
    outside = "outside labelled faults" if fault.any() else "readings"
    axis.hist(score[~fault], bins, color=_BLUE, label=outside)
    if fault.any():
        axis.hist(score[fault], bins, color=_FAULT, alpha=0.8, label="in labelled faults")
    axis.axvline(1, color=_RED, linestyle="--", label="threshold")
    axis.set(xlabel="score (0 usual, above 1 anomaly)", ylabel="held-out readings", yscale="log")
    # above the axes, where it covers neither bars nor the threshold
    figure.legend(loc="upper center", ncols=3, frameon=False)
    return figure


def plot_precision_recall(held_out: pd.DataFrame, labels: pd.DataFrame) -> Figure:
    """Draw precision against recall of the held-out readings, with what chance would give."""
    fault = Events(labels).contain(held_out)
    figure, axis = _one_axis()
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    if not fault.any() or fault.all():
        axis.text(0.5, 0.5, "no labelled faults in the held-out readings", ha="center")
        return figure
    from sklearn.metrics import precision_recall_curve

    score = held_out["score"].fillna(0).to_numpy()
    precision, recall, _ = precision_recall_curve(fault, score)
    axis.plot(recall, precision, color=_BLUE, label="challenger")
    flagged = score > 1
    if flagged.any():
        at_threshold = (fault & flagged).sum() / fault.sum(), fault[flagged].mean()
        axis.plot(*at_threshold, "o", color=_RED, label="at the threshold")
    axis.axhline(fault.mean(), color=_GREY, linestyle="--", label="chance")
    axis.legend(frameon=False, loc="upper right")
    return figure


def _draw_sensor(axis: Axes, rows: pd.DataFrame, faults: pd.DataFrame, split: pd.Timestamp) -> None:
    drawn = rows.iloc[visible_rows(rows["temperature"].to_numpy())]
    axis.plot(drawn["timestamp"], drawn["temperature"], color=_BLUE, linewidth=0.6, label="reading")
    flagged = rows[rows["is_anomaly"] == 1]
    axis.plot(flagged["timestamp"], flagged["temperature"], ".", color=_RED, label="flagged")
    for number, fault in enumerate(faults.itertuples()):
        label = None if number else "labelled fault"
        axis.axvspan(fault.start, fault.end, color=_FAULT, alpha=0.4, linewidth=0, label=label)
    axis.axvline(split, color=_GREY, linestyle="--", label="held out from here")
    axis.margins(x=0.01)


def _one_axis() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, 4.5))
    return figure, figure.subplots()
