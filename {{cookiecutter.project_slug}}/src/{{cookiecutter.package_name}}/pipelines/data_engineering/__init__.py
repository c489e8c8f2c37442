"""Clean readings to features, split by time."""

from kedro.pipeline import Node, Pipeline

from .nodes import engineer_features, split_by_time


def create_pipeline(**_: object) -> Pipeline:
    """Build the features and split them into training and held-out rows."""
    nodes = [
        Node(
            engineer_features,
            inputs=["clean_temperatures", "params:features", "params:training"],
            outputs="features",
            name="engineer_features",
        ),
        Node(
            split_by_time,
            inputs=["clean_temperatures", "features", "params:training"],
            outputs=["train", "test"],
            name="split_by_time",
        ),
    ]
    return Pipeline(nodes)
