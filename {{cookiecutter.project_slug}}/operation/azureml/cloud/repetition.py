"""Repeat a step of a cloud job here: with its data, its parameters and what earlier steps made."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from {{ cookiecutter.package_name }}.binding import port_of
from {{ cookiecutter.package_name }}.tracking.code_version import code_version

from operation.azureml.cloud.job import CloudJob, fetch
from operation.azureml.compilation.job import write_job
from operation.azureml.project import split_parameters
from operation.azureml.utils import workspace
from operation.errors import OperationError

FOLDER = "build/cloud"
_RUN = "local-run"  # stands beside folders of steps, whose names have no hyphen


@dataclass(frozen=True)
class Repetition:
    """What to give to ``run_job``."""

    file: Path
    work: Path
    step: str | None = None
    outputs: Path | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)


def repetition_of(
    env: str, name: str, step: str | None, root: Path, say: Callable[[str], None]
) -> Repetition:
    """Fetch what the failed step of a job was given, or another step.

    Parameters
    ----------
    say
        Is told where the code here is not the job's.

    Raises
    ------
    OperationError
        If there is no such job, step or output, or the job is of another environment.
    """
    target = root / FOLDER / name
    job = fetch(workspace(env), name, target, step)
    if job.tags.get("env", env) != env:
        raise OperationError(f"The job {name} was sent with --env {job.tags['env']}: give that.")
    for warning in _other_code(job, root):
        say(warning)
    asked = split_parameters(job.tags.get("params", ""))
    given = {key: job.parameters.get(port_of(key), value) for key, value in asked.items()}
    file = write_job(env, given, for_once=True)
    known = yaml.safe_load(file.read_text(encoding="utf-8"))["inputs"]
    return Repetition(
        file=file,
        work=target / _RUN,
        step=job.step,
        outputs=target,
        parameters={key: value for key, value in job.parameters.items() if key in known},
        inputs={key: str(path) for key, path in job.inputs.items() if key in known},
    )


def _other_code(job: CloudJob, root: Path) -> Iterator[str]:
    here, commit = code_version(root), job.tags.get("git.commit")
    if commit is None:
        yield "the job does not say which commit it was made of; what runs is the code here"
        return
    if here.get("git.commit") != commit:
        yield (
            f"the job was made of commit {commit}, here is {here.get('git.commit', 'none')}; what "
            f"runs is the code here. For the job's, type: git checkout {commit}"
        )
    elif here["git.dirty"] == "true":
        yield f"files here differ from commit {commit}, which the job was made of"
    if job.tags.get("git.dirty") == "true":
        yield f"the job was made of files that differed from commit {commit}"
