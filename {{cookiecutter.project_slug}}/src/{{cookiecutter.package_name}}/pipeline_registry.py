"""The registered pipelines."""

from pathlib import Path

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

# Run only by name, never as part of ``__default__``.
ON_DEMAND = {"score"}


def register_pipelines() -> dict[str, Pipeline]:
    """Register every folder of ``pipelines``; ``__default__`` is all but those in ``ON_DEMAND``.

    A pipeline that cannot be imported stops the run instead of being left out.
    """
    # a deleted pipeline can leave its __pycache__ behind: that is not a pipeline
    found = (Path(__file__).parent / "pipelines").glob("*/__init__.py")
    pipelines = find_pipelines(True, [path.parent.name for path in found])
    usual = [pipeline for name, pipeline in pipelines.items() if name not in ON_DEMAND]
    pipelines["__default__"] = sum(usual, Pipeline([]))
    return pipelines
