"""Pictures of a run: readings with what was flagged, the scores, and how they rank."""

import pandas as pd
from kedro_azure_mlops import plots
from matplotlib.figure import Figure

from ...evaluation import Events


def plot_timeline(
    scores: pd.DataFrame, held_out: pd.DataFrame, labels: pd.DataFrame, unit: str
) -> Figure:
    """Draw each sensor over time with flagged readings, labelled faults and the split.

    Of more than eight sensors, those with most flagged readings are drawn.
    """
    split = held_out["timestamp"].min()
    return plots.plot_series(scores, Events(labels), "temperature", split=split, unit=unit)


def plot_score_histogram(held_out: pd.DataFrame, labels: pd.DataFrame) -> Figure:
    """Draw how the held-out readings score, faults apart, with the threshold."""
    score, fault = held_out["score"].to_numpy(), Events(labels).contain(held_out)
    return plots.plot_score_histogram(score, fault, meaning="(0 usual, above 1 anomaly)")


def plot_precision_recall(held_out: pd.DataFrame, labels: pd.DataFrame) -> Figure:
    """Draw precision against recall of the held-out readings, with what chance would give."""
    score, fault = held_out["score"].to_numpy(), Events(labels).contain(held_out)
    return plots.plot_precision_recall(score, fault)
