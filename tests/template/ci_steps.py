"""The shell steps of rendered workflows and pipelines, and the variables they may read."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.helpers import BakedProject
from tests.template.azure_checks.commands import scripts_of
from tests.template.azure_checks.document import read
from tests.template.azure_checks.graph import stages_of
from tests.template.azure_checks.parameters import choices, declared
from tests.template.azure_checks.templates import Expansion

WORKFLOWS = ("ci", "train", "deploy", "retrain", "template-update")
PIPELINES = ("ci", "train", "deploy", "template-update")  # train checks for drift itself
# variables set by the agent or by signing in with the service connection
PREDEFINED = {"PATH", "HOME", "AZURE_SUBSCRIPTION_ID", "BUILD_BUILDID", "GITHUB_RUN_ID"}


@dataclass(frozen=True)
class Step:
    """A step that runs shell, and the variables that it may read."""

    location: str
    script: str
    variables: frozenset[str] = field(default_factory=frozenset)
    environment: str = ""
    """The environment whose identity it signs in with."""


def pipeline_of(project: BakedProject, name: str, **parameters: Any) -> Any:
    """Return an Azure pipeline with its templates expanded; the current folder is the project."""
    document = read(Path(f"azure_pipelines/{name}.yml"), f"azure_pipelines/{name}.yml")
    known, _ = declared(document)
    values = {n.lower(): p.convert(p.default) for n, p in known.items()} | parameters
    return Expansion(Path(), {}, True).expand(document, values)


def steps_of_azure(project: BakedProject) -> Iterator[Step]:
    """Yield every shell step of the Azure pipelines, for each choice of their parameters."""
    for name in PIPELINES:
        file = f"azure_pipelines/{name}.yml"
        document = read(Path(file), file)
        for values in choices(declared(document)[0]):
            pipeline = Expansion(Path(), {}, True).expand(document, values)
            for stage in stages_of(pipeline):
                for job in stage.jobs:
                    yield from _steps_of_azure_job(file, pipeline, job)


def _steps_of_azure_job(file: str, pipeline: Any, job: Any) -> Iterator[Step]:
    known = {*pipeline.get("variables", {}), *job.body.get("variables", {})}
    for step in job.steps:
        variables = known | set(step.get("env", {}))
        names = frozenset(re.sub(r"\W", "_", name).upper() for name in variables)
        connection = str(step.get("inputs", {}).get("azureSubscription", ""))
        for script in scripts_of(step):
            yield Step(f"{file} {job.name}", str(script), names, connection.rpartition("-")[2])
        if "name" in step:  # later steps read its outputs as variables
            outputs = ("deployment", "champion", "drifted", "quality")
            known = known | {f"{step['name']}.{output}" for output in outputs}


def steps_of_github(project: BakedProject) -> Iterator[Step]:
    """Yield every shell step of the GitHub workflows and actions."""
    for name in sorted(n for n in project.files if re.match(r"\.github/(workflows|actions)/", n)):
        content = project.yaml(name)
        jobs = content.get("jobs") or {"action": content["runs"]}
        for job_name, job in jobs.items():
            for step in (step for step in job.get("steps", []) if "run" in step):
                names = frozenset({*job.get("env", {}), *step.get("env", {})})
                environment = job.get("environment", "").removesuffix("-read")
                yield Step(f"{name} {job_name}", step["run"], names, environment)
