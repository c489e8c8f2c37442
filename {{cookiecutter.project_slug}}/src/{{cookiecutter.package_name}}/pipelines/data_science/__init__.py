"""Features to a detector and the scores of every reading."""

from kedro.pipeline import Node, Pipeline

from .nodes import score_readings, train_detector


def create_pipeline(**_: object) -> Pipeline:
    """Train the detector and score every reading by what was known before it."""
    nodes = [
        Node(
            train_detector,
            inputs=["train", "labels", "params:detector", "params:features", "params:validation"],
            outputs="challenger",
            name="train_detector",
        ),
        Node(
            score_readings,
            inputs=["clean_temperatures", "features", "test", "challenger", "params:detector"],
            outputs=["scores", "held_out_scores"],
            name="score_readings",
        ),
    ]
    return Pipeline(nodes)
