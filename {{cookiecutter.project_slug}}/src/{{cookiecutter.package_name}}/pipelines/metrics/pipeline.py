"""Scores to metrics, plots, the gate's decision and the report."""

from kedro.pipeline import Node, Pipeline

from .nodes import collect_metrics, compare_detectors, decide, measure_cost, write_report
from .plots import plot_precision_recall, plot_score_histogram, plot_timeline


def create_pipeline(**_: object) -> Pipeline:
    """Compare detectors on the held-out rows, draw them, and let the gate decide."""
    return Pipeline(
        [
            Node(
                compare_detectors,
                inputs=[
                    "clean_temperatures",
                    "train",
                    "test",
                    "scores",
                    "labels",
                    "detector",
                    "champion",
                    "params:detector",
                    "params:evaluation",
                ],
                outputs=["comparison", "compared_champion"],
                name="compare_detectors",
            ),
            Node(collect_metrics, inputs="comparison", outputs="metrics", name="collect_metrics"),
            Node(measure_cost, inputs=["detector", "test"], outputs="cost", name="measure_cost"),
            Node(
                decide,
                inputs=[
                    "comparison",
                    "compared_champion",
                    "cost",
                    "params:model_name",
                    "params:gate",
                    "parameters",
                ],
                outputs="gate",
                name="decide",
            ),
            Node(
                plot_timeline,
                inputs=["scores", "held_out_scores", "labels"],
                outputs="timeline_plot",
                name="plot_timeline",
            ),
            Node(
                plot_score_histogram,
                inputs=["held_out_scores", "labels"],
                outputs="score_histogram",
                name="plot_score_histogram",
            ),
            Node(
                plot_precision_recall,
                inputs=["held_out_scores", "labels"],
                outputs="precision_recall_plot",
                name="plot_precision_recall",
            ),
            Node(
                write_report,
                inputs=["cleaning_report", "held_out_scores", "comparison", "gate"],
                outputs="report",
                name="write_report",
            ),
        ]
    )
