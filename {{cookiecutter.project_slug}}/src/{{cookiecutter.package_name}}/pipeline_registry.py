"""The registered pipelines."""

from pathlib import Path

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

# Run when named, and part of no other run.
ON_DEMAND = {"score"}


def register_pipelines() -> dict[str, Pipeline]:
    """Find every folder of ``pipelines``; ``__default__`` is all of them but those on demand.

    A pipeline that cannot be imported stops the run instead of being left out.
    """
    # what git leaves of a pipeline that is gone (__pycache__) is none
    found = (Path(__file__).parent / "pipelines").glob("*/__init__.py")
    pipelines = find_pipelines(True, [path.parent.name for path in found])
    usual = [pipeline for name, pipeline in pipelines.items() if name not in ON_DEMAND]
    pipelines["__default__"] = sum(usual, Pipeline([]))
    return pipelines
