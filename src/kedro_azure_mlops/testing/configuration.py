"""Check that an environment's configuration matches the pipelines, for tests of any project."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kedro_azure_mlops.config import Mlops, bootstrap, read_mlops

__all__ = ["find_unknown_entries"]


def find_unknown_entries(root: Path, env: str) -> list[str]:
    """Find entries that ``mlops.yml`` or the pipelines use but an environment's catalog lacks.

    Returns
    -------
    A sentence for each: the key of ``mlops.yml`` and the entry that it names, or the pipeline and
    the entry that it reads. An entry that matches a pattern of the catalog counts as present.

    Raises
    ------
    OperationError
        If ``mlops.yml`` itself is invalid.
    """
    from kedro.framework.project import pipelines
    from kedro.framework.session import KedroSession

    bootstrap(root)
    with KedroSession.create(project_path=root, env=env) as session:
        catalog = session.load_context().catalog
    named = [(f"{key} in mlops.yml names", entry) for key, entry in _entries(read_mlops(root, env))]
    for name, pipeline in pipelines.items():
        named += [(f"the pipeline {name} reads", entry) for entry in sorted(pipeline.inputs())]
    return [
        f"{reference} {entry}, which is not an entry of the catalog of {env}"
        for reference, entry in named
        if entry not in catalog
    ]


def _entries(config: Mlops) -> Iterator[tuple[str, str]]:
    """Yield each key that names entries, with each entry that it names."""
    tracking, gate, watched = config.tracking, config.gate, config.monitoring
    batch = config.deployment.batch
    keys: dict[str, Any] = {
        "tracking.model": tracking.model,
        "tracking.data": tracking.data,
        "tracking.data_report": tracking.data_report,
        "tracking.scores": tracking.scores,
        "tracking.metrics": tracking.metrics,
        "tracking.artifacts": tracking.artifacts,
        "gate.table": gate.table,
        "gate.slices": gate.slices,
        "gate.judged": gate.judged,
        "gate.decision": gate.decision,
        "champion": config.champion,
        "report": config.report,
        "monitoring.data": watched.data,
        "monitoring.labels": watched.labels,
        "deployment.batch.input": batch.input if batch else None,
        "deployment.batch.output": batch.output if batch else None,
    }
    for key, named in keys.items():
        for entry in named if isinstance(named, list) else [named]:
            if entry is not None:
                yield key, entry
