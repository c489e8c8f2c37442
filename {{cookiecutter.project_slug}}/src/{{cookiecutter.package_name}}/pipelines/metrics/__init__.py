"""Scores to metrics, plots, the gate's decision and the report."""

from kedro.pipeline import Node, Pipeline
from kedro_azure_mlops.registry.gate import decide

from .nodes import collect_metrics, compare_detectors, cost_of_serving, write_report
from .plots import plot_precision_recall, plot_score_histogram, plot_timeline

_COMPARED = ["clean_temperatures", "train", "test", "held_out_scores"]
_BY = ["labels", "detector", "champion"]
_REPORTED = ["cleaning_report", "held_out_scores", "comparison", "gate"]
_JUDGED = ["comparison", "compared_champion", "params:gate", "cost"]
_DRAWN = ["held_out_scores", "labels"]


def create_pipeline(**_: object) -> Pipeline:
    """Compare detectors on the held-out rows, draw them, and let the gate decide."""
    nodes = [
        Node(
            compare_detectors,
            inputs=[*_COMPARED, *_BY, "params:detector", "params:evaluation"],
            outputs=["comparison", "compared_champion"],
            name="compare_detectors",
        ),
        Node(collect_metrics, "comparison", "metrics", name="collect_metrics"),
        Node(cost_of_serving, ["detector", "test"], "cost", name="measure_cost"),
        Node(decide, _JUDGED, "gate", name="decide"),
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
