"""Raw readings to the results of each retraining schedule."""

from kedro.pipeline import Node, Pipeline

from .. import data_engineering, pre_processing
from .nodes import collect_backtest_metrics, measure_schedules, score_by_schedule
from .plots import plot_backtest
from .report import write_backtest_report


def create_pipeline(**_: object) -> Pipeline:
    """Walk forward over the history once per schedule and compare the results.

    It starts from the raw readings, so that it runs on its own right after a clone.
    """
    features = data_engineering.create_pipeline().only_nodes("engineer_features")
    return (
        pre_processing.create_pipeline()
        + features
        + Pipeline(
            [
                Node(
                    score_by_schedule,
                    inputs=["features", "params:detector", "params:features", "params:backtest"],
                    outputs="backtest_scores",
                    name="score_by_schedule",
                ),
                Node(
                    measure_schedules,
                    inputs=[
                        "backtest_scores",
                        "labels",
                        "params:detector",
                        "params:evaluation",
                        "params:backtest",
                    ],
                    outputs=["backtest", "backtest_periods"],
                    name="measure_schedules",
                ),
                Node(
                    collect_backtest_metrics,
                    inputs="backtest",
                    outputs="backtest_metrics",
                    name="collect_backtest_metrics",
                ),
                Node(
                    plot_backtest,
                    inputs=["backtest_periods", "params:backtest"],
                    outputs="backtest_plot",
                    name="plot_backtest",
                ),
                Node(
                    write_backtest_report,
                    inputs=["backtest", "backtest_scores", "labels", "params:backtest"],
                    outputs="backtest_report",
                    name="write_backtest_report",
                ),
            ]
        )
    )
