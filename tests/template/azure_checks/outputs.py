"""Check that results and outputs that are read from other jobs and stages exist."""

import re
from collections.abc import Iterator
from typing import Any

from tests.template.azure_checks.document import Fault, Items, Location, Mapping, Text
from tests.template.azure_checks.expressions import ExpressionError, parse, paths
from tests.template.azure_checks.graph import Job, Stage
from tests.template.azure_checks.marks import OPEN

_MACRO = re.compile(r"\$\(([A-Za-z_]\w*)\.(\w+)\)")
_PREDEFINED = {
    "agent", "build", "checks", "common", "environment", "pipeline", "resources", "strategy",
    "system", "tf",
}  # fmt: skip
_SHELL = ("script", "bash", "pwsh", "powershell", "inlineScript")


def faults_of(stages: list[Stage]) -> Iterator[Fault]:
    """Yield outputs that do not exist or cannot be read."""
    for stage in stages:
        for location, path in _paths_in(stage.body):
            yield from _stage_faults(location, path, stage, stages)
        for job in stage.jobs:
            for location, path in _paths_in(job.body):
                yield from _job_faults(location, path, job, stage, stages)
            for step in job.steps:
                yield from _step_faults(step, job)


def _paths_in(body: Mapping) -> Iterator[tuple[Location, list[str]]]:
    """Yield the paths in the condition and the variables of a stage or job."""
    for text in [body.get("condition"), *_values(body.get("variables"))]:
        if isinstance(text, Text) and OPEN not in text:
            yield from (
                (text.location, path) for path in _paths(text, text is body.get("condition"))
            )


def _values(variables: Any) -> list[Any]:
    if isinstance(variables, Items):
        return [item.get("value") for item in variables if isinstance(item, Mapping)]
    return list(variables.values()) if isinstance(variables, Mapping) else []


def _paths(text: str, is_condition: bool) -> list[list[str]]:
    inside = text.strip()
    if inside.startswith("$[") and inside.endswith("]"):
        inside = inside[2:-1]
    elif not is_condition:
        return []
    try:
        return list(paths(parse(inside)))
    except ExpressionError:  # reported by the check of the file
        return []


def _stage_faults(
    location: Location, path: list[str], stage: Stage, stages: list[Stage]
) -> Iterator[Fault]:
    root = path[0].lower()
    if root == "dependencies" and len(path) > 1:
        other = _find(stages, path[1])
        yield from _dependency_faults(location, "stage", path[1], other, stage)
        yield from _property_faults(location, path, 2)
        if other and path[2:3] == ["outputs"] and len(path) == 4:
            job_name, _, rest = path[3].partition(".")
            job = _find(other.jobs, job_name)
            if job is None:
                yield Fault(
                    location, f"stage {other.name} has no job {job_name}: {_list_jobs(other.jobs)}"
                )
            else:
                yield from _output_faults(location, rest, job, f"{job.name}.")
    elif root == "stagedependencies" and _is_condition(location, stage):
        hint = "dependencies.STAGE.outputs['JOB.STEP.NAME']"
        yield Fault(
            location, f"the condition of a stage cannot use stageDependencies: write {hint}"
        )


def _is_condition(location: Location, stage: Stage) -> bool:
    condition = stage.body.get("condition")
    return isinstance(condition, Text) and condition.location == location


def _job_faults(
    location: Location, path: list[str], job: Job, stage: Stage, stages: list[Stage]
) -> Iterator[Fault]:
    root = path[0].lower()
    if root == "dependencies" and len(path) > 1:
        other = _find(stage.jobs, path[1])
        yield from _dependency_faults(location, "job", path[1], other, job)
        yield from _property_faults(location, path, 2)
        if other and path[2:3] == ["outputs"] and len(path) == 4:
            yield from _output_faults(location, path[3], other, "")
    elif root == "stagedependencies" and len(path) > 2:
        before = _find(stages, path[1])
        yield from _property_faults(location, path, 3)
        yield from _dependency_faults(location, "stage", path[1], before, stage)
        if before is None:
            return
        other = _find(before.jobs, path[2])
        if other is None:
            yield Fault(
                location, f"stage {before.name} has no job {path[2]}: {_list_jobs(before.jobs)}"
            )
        elif path[3:4] == ["outputs"] and len(path) == 5:
            yield from _output_faults(location, path[4], other, "")


def _property_faults(location: Location, path: list[str], depth: int) -> Iterator[Fault]:
    word = path[depth] if len(path) > depth else ""
    if word.lower() not in ("result", "outputs"):
        text = f"{'.'.join(path[:depth])} has no {word or 'value'}"
        yield Fault(location, f"{text}: it has result and outputs['...']")


def _find(members: list[Any], name: str) -> Any:
    return next((m for m in members if m.name.lower() == name.lower()), None)


def _list_jobs(jobs: list[Job]) -> str:
    return f"it has {', '.join(job.name for job in jobs if job.name) or 'none'}"


def _dependency_faults(
    location: Location, kind: str, name: str, other: Any, member: Any
) -> Iterator[Fault]:
    if other is None:
        yield Fault(location, f"there is no {kind} {name} to read from")
    elif name.lower() not in {d.lower() for d in member.depends_on}:
        text = f"{kind} {name} is read here but is not a dependency: add it to dependsOn"
        yield Fault(location, text)


def _output_faults(location: Location, key: str, job: Job, prefix: str) -> Iterator[Fault]:
    """Check STEP.NAME, or JOB.STEP.NAME of a runOnce deployment."""
    words = key.split(".")
    expected_words = 3 if job.is_deployment else 2
    matrix = not job.is_deployment and isinstance(job.body.get("strategy"), Mapping)
    if matrix or (job.is_deployment and job.strategy != "runOnce"):
        words = words[-2:]
    elif len(words) != expected_words or (
        job.is_deployment and words[0].lower() != job.name.lower()
    ):
        form = f"{prefix}{job.name}.STEP.NAME" if job.is_deployment else f"{prefix}STEP.NAME"
        kind = "deployment" if job.is_deployment else "job"
        text = f"an output of the {kind} {job.name} is written '{form}', not '{prefix}{key}'"
        yield Fault(location, text)
        return
    step = words[-2] if len(words) > 1 else key
    unresolved = any(OPEN in name for name in job.step_names)
    if not unresolved and step.lower() not in map(str.lower, job.step_names):
        have = ", ".join(job.step_names) or "none"
        text = f"job {job.name} has no step named {step}: it has {have}"
        yield Fault(location, text)
    elif len(words) > 1:
        yield from _unreported_output(location, job, step, words[-1])


def _unreported_output(location: Location, job: Job, step: str, name: str) -> Iterator[Fault]:
    reported = job.reported.get(step.lower())
    if reported is not None and name.lower() not in reported:
        have = ", ".join(sorted(reported)) or "nothing"
        yield Fault(location, f"step {step} of job {job.name} reports no {name}: it has {have}")


def _step_faults(step: Mapping, job: Job) -> Iterator[Fault]:
    condition = step.get("condition")
    if isinstance(condition, Text) and OPEN not in condition:
        for path in _paths(condition, True):
            if path[0].lower() in ("dependencies", "stagedependencies"):
                text = f"the condition of a step cannot use {path[0]}"
                yield Fault(condition.location, f"{text}: map it to a variable of the job")
            elif path[0].lower() == "variables" and "." in path[-1]:
                yield from _variable_faults(condition.location, path[-1], step, job)
    before = [s.lower() for s in _names_before(step, job)]
    for key, text in _texts(step):
        for first, name in _MACRO.findall(text) if key not in _SHELL else ():
            if first.lower() not in {*_PREDEFINED, *before} and not _is_variable(job, first, name):
                wrong = f"$({first}.{name}) refers to no earlier step of job {job.name}"
                yield Fault(text.location, wrong)
            elif first.lower() in before:
                yield from _unreported_output(text.location, job, first, name)


def _variable_faults(location: Location, name: str, step: Mapping, job: Job) -> Iterator[Fault]:
    """Check STEP.NAME in the condition of a step."""
    first, _, output = name.partition(".")
    if first.lower() in {s.lower() for s in _names_before(step, job)}:
        yield from _unreported_output(location, job, first, output)
    elif first.lower() not in _PREDEFINED and not _is_variable(job, first, output):
        text = f"variables['{name}'] refers to no earlier step of job {job.name}"
        yield Fault(location, text)


def _names_before(step: Mapping, job: Job) -> Iterator[str]:
    for other in job.steps:
        if other is step:
            return
        if "name" in other:
            yield str(other["name"])


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, Text]]:
    if isinstance(value, Text):
        yield key, value
    for name, inner in value.items() if isinstance(value, Mapping) else ():
        yield from _texts(inner, name)


def _is_variable(job: Job, first: str, name: str) -> bool:
    variables = job.body.get("variables")
    names = variables if isinstance(variables, Mapping) else ()
    return f"{first}.{name}" in names
