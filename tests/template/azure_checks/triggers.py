"""Check the names and stages of the pipelines that trigger another one of this project.

A file ``azure_pipelines/train.yml`` is the pipeline ``<name of the project>-train``.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.template.azure_checks.document import Fault, Items, Mapping, Text
from tests.template.azure_checks.graph import Stage
from tests.template.azure_checks.marks import OPEN


def prefix_of(root: Path) -> str:
    """Return the prefix of the project's pipeline names; empty if the project has no name."""
    try:
        settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    project = settings.get("project")
    name = project.get("name") if isinstance(project, dict) else None
    return f"{name}-" if isinstance(name, str) and name else ""


def names_of(stages: list[Stage]) -> set[str]:
    """Return the stage names in lower case, with a star for a name known only in a run."""
    return {"*" if OPEN in stage.name else stage.name.lower() for stage in stages if stage.name}


def faults_of(document: Mapping, prefix: str, stages: dict[str, set[str]]) -> Iterator[Fault]:
    """Yield unknown pipelines and stages; ``stages`` has the stages of each file."""
    resources = document.get("resources")
    listed = resources.get("pipelines") if isinstance(resources, Mapping) else None
    for resource in listed if isinstance(listed, Items) else ():
        source = resource.get("source") if isinstance(resource, Mapping) else None
        if not isinstance(source, Text) or OPEN in source or "project" in resource:
            continue
        if not prefix or not source.lower().startswith(prefix.lower()):
            continue
        known = {name.lower(): name for name in stages}
        file = known.get(source[len(prefix) :].lower())
        if file is None:
            text = f"no file defines the pipeline {source}: there are {', '.join(sorted(stages))}"
            yield Fault(source.location, f"{text}; for one of another project, add its project")
        else:
            yield from _stage_faults(resource.get("trigger"), file, stages[file])


def _stage_faults(trigger: object, file: str, known: set[str]) -> Iterator[Fault]:
    named = trigger.get("stages") if isinstance(trigger, Mapping) else None
    for stage in named if isinstance(named, Items) else ():
        if isinstance(stage, Text) and OPEN not in stage and not known & {"*", stage.lower()}:
            have = ", ".join(sorted(known)) or "none"
            yield Fault(stage.location, f"the pipeline {file} has no stage {stage}: it has {have}")
