"""Raw readings to clean ones."""

from kedro.pipeline import Node, Pipeline

from .nodes import clean


def create_pipeline(**_: object) -> Pipeline:
    """Clean the readings and count what was found in them."""
    nodes = [
        Node(
            clean,
            inputs=["raw_temperatures", "params:cleaning"],
            outputs=["clean_temperatures", "cleaning_report"],
            name="clean",
        )
    ]
    return Pipeline(nodes)
