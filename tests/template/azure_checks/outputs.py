"""Check that what is read of other jobs and stages is there: results and outputs of their steps."""

import re
from collections.abc import Iterator
from typing import Any

from tests.template.azure_checks.document import Fault, Items, Mapping, Place, Text
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
    """Report which outputs do not exist or are not known where they are read."""
    for stage in stages:
        for place, path in _read_in(stage.body):
            yield from _at_stage(place, path, stage, stages)
        for job in stage.jobs:
            for place, path in _read_in(job.body):
                yield from _at_job(place, path, job, stage, stages)
            for step in job.steps:
                yield from _at_step(step, job)


def _read_in(body: Mapping) -> Iterator[tuple[Place, list[str]]]:
    """Return the paths in the condition and the variables of a stage or job."""
    for text in [body.get("condition"), *_values(body.get("variables"))]:
        if isinstance(text, Text) and OPEN not in text:
            yield from ((text.place, path) for path in _paths(text, text is body.get("condition")))


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
    except ExpressionError:  # told by the check of the file itself
        return []


def _at_stage(place: Place, path: list[str], stage: Stage, stages: list[Stage]) -> Iterator[Fault]:
    root = path[0].lower()
    if root == "dependencies" and len(path) > 1:
        other = _find(stages, path[1])
        yield from _waits(place, "stage", path[1], other, stage)
        yield from _of_kind(place, path, 2)
        if other and path[2:3] == ["outputs"] and len(path) == 4:
            job_name, _, rest = path[3].partition(".")
            job = _find(other.jobs, job_name)
            if job is None:
                yield Fault(place, f"stage {other.name} has no job {job_name}: {_have(other.jobs)}")
            else:
                yield from _output(place, rest, job, f"{job.name}.")
    elif root == "stagedependencies" and _is_condition(place, stage):
        hint = "dependencies.STAGE.outputs['JOB.STEP.NAME']"
        yield Fault(place, f"the condition of a stage knows no stageDependencies: write {hint}")


def _is_condition(place: Place, stage: Stage) -> bool:
    condition = stage.body.get("condition")
    return isinstance(condition, Text) and condition.place == place


def _at_job(
    place: Place, path: list[str], job: Job, stage: Stage, stages: list[Stage]
) -> Iterator[Fault]:
    root = path[0].lower()
    if root == "dependencies" and len(path) > 1:
        other = _find(stage.jobs, path[1])
        yield from _waits(place, "job", path[1], other, job)
        yield from _of_kind(place, path, 2)
        if other and path[2:3] == ["outputs"] and len(path) == 4:
            yield from _output(place, path[3], other, "")
    elif root == "stagedependencies" and len(path) > 2:
        before = _find(stages, path[1])
        yield from _of_kind(place, path, 3)
        yield from _waits(place, "stage", path[1], before, stage)
        if before is None:
            return
        other = _find(before.jobs, path[2])
        if other is None:
            yield Fault(place, f"stage {before.name} has no job {path[2]}: {_have(before.jobs)}")
        elif path[3:4] == ["outputs"] and len(path) == 5:
            yield from _output(place, path[4], other, "")


def _of_kind(place: Place, path: list[str], depth: int) -> Iterator[Fault]:
    word = path[depth] if len(path) > depth else ""
    if word.lower() not in ("result", "outputs"):
        text = f"{'.'.join(path[:depth])} has no {word or 'value of its own'}"
        yield Fault(place, f"{text}: it has result and outputs['...']")


def _find(members: list[Any], name: str) -> Any:
    return next((m for m in members if m.name.lower() == name.lower()), None)


def _have(jobs: list[Job]) -> str:
    return f"it has {', '.join(job.name for job in jobs if job.name) or 'none'}"


def _waits(place: Place, kind: str, name: str, other: Any, member: Any) -> Iterator[Fault]:
    if other is None:
        yield Fault(place, f"there is no {kind} {name} to read from")
    elif name.lower() not in {d.lower() for d in member.depends_on}:
        text = f"{kind} {name} is read here, but not waited for: add it to dependsOn"
        yield Fault(place, text)


def _output(place: Place, key: str, job: Job, prefix: str) -> Iterator[Fault]:
    """Check STEP.NAME, or JOB.STEP.NAME of a deployment that runs once."""
    words = key.split(".")
    wanted = 3 if job.is_deployment else 2
    matrix = not job.is_deployment and isinstance(job.body.get("strategy"), Mapping)
    if matrix or (job.is_deployment and job.strategy != "runOnce"):
        words = words[-2:]
    elif len(words) != wanted or (job.is_deployment and words[0].lower() != job.name.lower()):
        form = f"{prefix}{job.name}.STEP.NAME" if job.is_deployment else f"{prefix}STEP.NAME"
        kind = "deployment" if job.is_deployment else "job"
        text = f"an output of the {kind} {job.name} is written '{form}', not '{prefix}{key}'"
        yield Fault(place, text)
        return
    step = words[-2] if len(words) > 1 else key
    unresolved = any(OPEN in name for name in job.step_names)
    if not unresolved and step.lower() not in map(str.lower, job.step_names):
        have = ", ".join(job.step_names) or "none"
        text = f"job {job.name} has no step of the name {step}: it has {have}"
        yield Fault(place, text)
    elif len(words) > 1:
        yield from _told(place, job, step, words[-1])


def _told(place: Place, job: Job, step: str, name: str) -> Iterator[Fault]:
    reported = job.reported.get(step.lower())
    if reported is not None and name.lower() not in reported:
        have = ", ".join(sorted(reported)) or "nothing"
        yield Fault(place, f"step {step} of job {job.name} reports no {name}: it has {have}")


def _at_step(step: Mapping, job: Job) -> Iterator[Fault]:
    condition = step.get("condition")
    if isinstance(condition, Text) and OPEN not in condition:
        for path in _paths(condition, True):
            if path[0].lower() in ("dependencies", "stagedependencies"):
                text = f"the condition of a step knows no {path[0]}"
                yield Fault(condition.place, f"{text}: map it to a variable of the job")
            elif path[0].lower() == "variables" and "." in path[-1]:
                yield from _of_variable(condition.place, path[-1], step, job)
    before = [s.lower() for s in _names_before(step, job)]
    for key, text in _texts(step):
        for first, name in _MACRO.findall(text) if key not in _SHELL else ():
            if first.lower() not in {*_PREDEFINED, *before} and not _is_variable(job, first, name):
                wrong = f"$({first}.{name}) names no step before this one in job {job.name}"
                yield Fault(text.place, wrong)
            elif first.lower() in before:
                yield from _told(text.place, job, first, name)


def _of_variable(place: Place, name: str, step: Mapping, job: Job) -> Iterator[Fault]:
    """Check STEP.NAME in the condition of a step."""
    first, _, output = name.partition(".")
    if first.lower() in {s.lower() for s in _names_before(step, job)}:
        yield from _told(place, job, first, output)
    elif first.lower() not in _PREDEFINED and not _is_variable(job, first, output):
        text = f"variables['{name}'] names no step before this one in job {job.name}"
        yield Fault(place, text)


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
