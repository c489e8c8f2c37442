"""A pipeline job file (CLI v2), read as far as it can be run on this machine."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from operation.azureml.local.job_step import Step, read_step
from operation.azureml.local.references import FromJob, FromStep, Source, references_in, source_of
from operation.errors import OperationError


@dataclass(frozen=True)
class Job:
    """A pipeline job; its steps are in an order in which they can run."""

    file: Path
    name: str
    experiment: str
    inputs: Mapping[str, Source]
    steps: Mapping[str, Step]
    goes_on_after_failure: bool = False
    reuses_nothing: bool = False

    def step(self, name: str) -> Step:
        """Return a step by name.

        Raises
        ------
        OperationError
            If there is none.
        """
        if name not in self.steps:
            raise OperationError(
                f"There is no step {name}; the steps are: {', '.join(self.steps)}."
            )
        return self.steps[name]


def read_job(file: Path) -> Job:
    """Read a job.

    Raises
    ------
    OperationError
        If it is no pipeline job, or has what cannot be run here: says which step and what.
    """
    found = _yaml(file)
    if not isinstance(found, Mapping) or not isinstance(found.get("jobs"), Mapping):
        raise OperationError(f"{file.name} is no pipeline job: it has no jobs.")
    settings, outputs = found.get("settings") or {}, found.get("outputs") or {}
    steps = {
        name: read_step(name, raw, file.parent, outputs) for name, raw in found["jobs"].items()
    }
    job = Job(
        file=file,
        name=str(found.get("display_name") or file.stem),
        experiment=str(found.get("experiment_name") or file.stem),
        inputs={
            name: source_of(f"inputs.{name}", raw)
            for name, raw in (found.get("inputs") or {}).items()
        },
        steps=_ordered(steps),
        goes_on_after_failure=bool(settings.get("continue_on_step_failure")),
        reuses_nothing=bool(settings.get("force_rerun")),
    )
    for fault in _faults(job):
        raise OperationError(f"{file.name}: {fault}")
    return job


def _yaml(file: Path) -> Any:
    if not file.is_file():
        raise OperationError(f"There is no job file {file}.")
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise OperationError(f"{file.name} is no YAML: {error}") from error


def _ordered(steps: Mapping[str, Step]) -> dict[str, Step]:
    graph = {name: step.needs & set(steps) for name, step in steps.items()}
    try:
        return {name: steps[name] for name in TopologicalSorter(graph).static_order()}
    except CycleError as error:
        raise OperationError(f"Steps wait for each other: {' -> '.join(error.args[1])}.") from error


def _faults(job: Job) -> Iterator[str]:
    for step in job.steps.values():
        for name, source in step.inputs.items():
            match source:
                case FromJob(given) if given not in job.inputs:
                    yield f"input {name} of step {step.name} is {given}, no input of the job."
                case FromStep(maker, port) if port not in _outputs(job, maker):
                    yield f"input {name} of step {step.name} is {port} of {maker}: no such output."
        known = {f"inputs.{n}" for n in step.inputs} | {f"outputs.{n}" for n in step.outputs}
        for name in references_in(step.command):
            if name not in known:
                yield f"the command of step {step.name} uses {name}, which the step does not have."


def _outputs(job: Job, step: str) -> Mapping[str, str]:
    return job.steps[step].outputs if step in job.steps else {}
