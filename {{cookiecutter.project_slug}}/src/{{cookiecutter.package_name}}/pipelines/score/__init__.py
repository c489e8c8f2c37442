"""New readings and the model in service to scores."""

from kedro.pipeline import Node, Pipeline

from .nodes import model_to_score_with, score_new_readings

_MODELS = ["champion", "trained_model", "params:score"]


def create_pipeline(**_: object) -> Pipeline:
    """Score a file or a folder of files, piece by piece."""
    nodes = [
        Node(model_to_score_with, _MODELS, "scoring_model", name="choose_model"),
        Node(
            score_new_readings,
            inputs=["new_readings", "scoring_model", "params:score"],
            outputs="new_scores",
            name="score_new_readings",
        ),
    ]
    return Pipeline(nodes)
