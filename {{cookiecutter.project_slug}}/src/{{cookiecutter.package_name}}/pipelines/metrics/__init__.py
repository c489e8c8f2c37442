"""Scores to metrics, plots, the gate's decision and the report."""

from kedro.pipeline import Node, Pipeline
from kedro_azure_mlops.registry.gate import decide

from .nodes import (
    choose_model,
    collect_metrics,
    compare_detectors,
    cost_of_serving,
    measure_slices,
    refit_challenger,
    write_report,
)
from .plots import plot_precision_recall, plot_score_histogram, plot_timeline

_COMPARED = ["clean_temperatures", "train", "test", "held_out_scores"]
_BY = ["labels", "challenger", "candidate", "champion"]
_REPORTED = ["cleaning_report", "held_out_scores", "comparison", "slices", "gate"]
_JUDGED = ["comparison", "compared_champion", "params:gate", "cost", "slices"]
_DRAWN = ["held_out_scores", "labels"]
_SLICED = [*_DRAWN, "test", "candidate", "params:evaluation"]
_CHOSEN = ["verdict", "challenger", "candidate"]
_REFIT = ["challenger", "features", *_DRAWN, "params:detector", "params:training"]


def create_pipeline(**_: object) -> Pipeline:
    """Refit, compare detectors on the held-out rows, draw them, and let the gate decide."""
    nodes = [
        Node(refit_challenger, _REFIT, "candidate", name="refit_challenger"),
        Node(
            compare_detectors,
            inputs=[*_COMPARED, *_BY, "params:detector", "params:evaluation"],
            outputs=["comparison", "compared_champion"],
            name="compare_detectors",
        ),
        Node(measure_slices, _SLICED, "slices", name="measure_slices"),
        Node(collect_metrics, ["comparison", "slices"], "metrics", name="collect_metrics"),
        Node(cost_of_serving, ["challenger", "test"], "cost", name="measure_cost"),
        Node(decide, _JUDGED, "verdict", name="decide"),
        Node(choose_model, _CHOSEN, ["detector", "gate"], name="choose_model"),
        Node(
            plot_timeline,
            inputs=["scores", *_DRAWN, "params:unit"],
            outputs="timeline_plot",
            name="plot_timeline",
        ),
        Node(plot_score_histogram, _DRAWN, "score_histogram", name="plot_score_histogram"),
        Node(plot_precision_recall, _DRAWN, "precision_recall_plot", name="plot_precision_recall"),
        Node(write_report, _REPORTED, "report", name="write_report"),
    ]
    return Pipeline(nodes)
