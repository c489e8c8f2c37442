"""New readings and the model in service to scores."""

from kedro.pipeline import Node, Pipeline

from .nodes import choose_model, score_new_readings


def create_pipeline(**_: object) -> Pipeline:
    """Score a file or a folder of files, piece by piece."""
    return Pipeline(
        [
            Node(
                choose_model,
                inputs=["champion", "trained_model", "params:score"],
                outputs="scoring_model",
                name="choose_model",
            ),
            Node(
                score_new_readings,
                inputs=["new_readings", "scoring_model"],
                outputs="new_scores",
                name="score_new_readings",
            ),
        ]
    )
