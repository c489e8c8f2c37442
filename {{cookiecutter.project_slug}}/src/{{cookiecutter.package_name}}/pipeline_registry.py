"""The registered pipelines."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

# Run when named, and part of no other run.
ON_DEMAND = {"score"}


def register_pipelines() -> dict[str, Pipeline]:
    """Find every folder of ``pipelines``; ``__default__`` is all of them but those on demand.

    A pipeline that cannot be imported stops the run instead of being left out.
    """
    pipelines = find_pipelines(raise_errors=True)
    usual = [pipeline for name, pipeline in pipelines.items() if name not in ON_DEMAND]
    pipelines["__default__"] = sum(usual, Pipeline([]))
    return pipelines
