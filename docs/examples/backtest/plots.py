"""A plot of the backtest: quality and alarms over time, one line per schedule."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kedro_azure_mlops.baselines import BASELINES

from .nodes import BacktestParameters

_SCHEDULES = ("#2f6690", "#c1292e", "#f4a259", "#5b8e7d", "#6d597a")
_GREY = "#8d99ae"
_STYLES = dict(zip(BASELINES, ("--", ":", "-."), strict=True))
_PANELS = {
    "average_precision": "average precision",
    "event_recall": "share of faults found",
    "false_alarms_per_week": "false alarms\nper sensor and week",
    "alarms_per_week": "alarms\nper sensor and week",
    "share_flagged": "share flagged",
}


def plot_backtest(periods: pd.DataFrame, parameters: BacktestParameters) -> Figure:
    """Plot the metrics of each schedule and one-line baseline by period.

    With labelled faults: average precision, share of faults found and false alarms; a period
    without a fault is a gap in the first two. Without labels: alarms and flagged rows.
    """
    labelled = "average_precision" in periods.columns
    names = list(_PANELS)[:3] if labelled else list(_PANELS)[3:]
    height = 1.1 + 2.5 * len(names)
    figure = Figure(figsize=(11, height))
    figure.subplots_adjust(left=0.09, right=0.98, bottom=0.6 / height, top=1 - 0.5 / height)
    axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axis, metric in zip(axes, names, strict=True):
        _plot_metric(axis, periods, metric)
        axis.set_ylabel(_PANELS[metric])
        axis.margins(x=0.02)
        axis.set_ylim(bottom=0)
    axes[-1].set_xlabel(f"middle of each period of {parameters.period}")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(handles), frameon=False)
    return figure


def _plot_metric(axis: Axes, periods: pd.DataFrame, metric: str) -> None:
    by_detector = dict(iter(periods.groupby("detector", sort=False)))
    schedules = [name for name in by_detector if name not in BASELINES]
    for number, name in enumerate(schedules):
        colour = _SCHEDULES[number % len(_SCHEDULES)]
        # Different widths keep overlapping lines visible.
        width = 1.5 + 2.0 * (len(schedules) - 1 - number)
        _plot_line(axis, by_detector[name], metric, color=colour, linewidth=width, marker="o")
    for name, style in _STYLES.items():
        if name in by_detector:
            _plot_line(axis, by_detector[name], metric, color=_GREY, linestyle=style)


def _plot_line(axis: Axes, rows: pd.DataFrame, metric: str, **style: object) -> None:
    middle = rows["start"] + (rows["end"] - rows["start"]) / 2
    name = rows["detector"].iloc[0]
    readable = name.replace("_", " ")
    label = readable if name in BASELINES else f"refit {readable}"
    axis.plot(middle, rows[metric], label=label, markersize=4, **style)
