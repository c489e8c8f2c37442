"""A job that was submitted: how it is, and what it takes to repeat a step of it here."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from operation.azureml.cloud.assets import require_data
from operation.azureml.cloud.downloads import download_found, download_once, download_output
from operation.azureml.utils import azure_errors
from operation.errors import OperationError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

COMPLETED, FAILED = "Completed", "Failed"
ENDED = (COMPLETED, FAILED, "Canceled", "NotResponding")
_INPUTS = "job-inputs"  # stands beside folders of steps, whose names have no hyphen
_ASSET = re.compile(r"azureml:(?:/.*/data/)?([^:/@]+)(?::|/versions/)([^/:]+)")
_OUTPUT = re.compile(r"parent\.jobs\.(\w+)\.outputs\.(\w+)")
_INPUT = re.compile(r"parent\.inputs\.(\w+)")


@dataclass(frozen=True)
class CloudStep:
    """A step as it ran, or as far as it is: ``run`` is the name of its own job."""

    run: str
    status: str


@dataclass(frozen=True)
class CloudJob:
    """A pipeline job of a workspace; after ``fetch`` also where the inputs of its step lie."""

    name: str
    status: str
    studio: str
    tags: Mapping[str, str]
    definition: Mapping[str, Any]
    steps: Mapping[str, CloudStep]
    step: str | None = None
    inputs: Mapping[str, Path] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Say whether nothing more will happen to it."""
        return self.status in ENDED

    @property
    def failed(self) -> list[str]:
        """Name the steps that failed."""
        return [name for name, step in self.steps.items() if step.status == FAILED]

    @property
    def parameters(self) -> dict[str, str]:
        """Return the values of its parameters, as text, by the names of its inputs."""
        given = self.definition.get("inputs", {}).items()
        return {name: str(value) for name, value in given if not isinstance(value, dict)}

    @property
    def data(self) -> dict[str, dict[str, str]]:
        """Return type and path of the data it was given, by the names of its inputs."""
        given = self.definition.get("inputs", {}).items()
        return {name: value for name, value in given if isinstance(value, dict)}

    def named_by(self, step: str, pattern: re.Pattern[str]) -> list[Any]:
        """Find what the inputs of a step refer to."""
        given = self.definition["jobs"][step].get("inputs", {})
        return [match for value in given.values() for match in pattern.findall(str(value))]


def read_job(client: "MLClient", name: str) -> CloudJob:
    """Ask how a job is.

    Raises
    ------
    OperationError
        If there is no such job, or it is no pipeline job.
    """
    with azure_errors(f"looking for the job {name}"):
        job = client.jobs.get(name)
        if job.type != "pipeline":
            raise OperationError(f"{name} is a {job.type} job; give the name of a pipeline job.")
        steps = steps_of(client, name)
    text = io.StringIO()
    job.dump(text)
    return CloudJob(
        name=name,
        status=_plain(job.status),
        studio=str(job.studio_url),
        tags=dict(job.tags or {}),
        definition=yaml.safe_load(text.getvalue()),
        steps=steps,
    )


def steps_of(client: "MLClient", name: str) -> dict[str, CloudStep]:
    """Ask how the steps of a job are that have been started."""
    children = client.jobs.list(parent_job_name=name)
    return {str(c.display_name or c.name): CloudStep(c.name, _plain(c.status)) for c in children}


def fetch(client: "MLClient", name: str, target: Path, step: str | None = None) -> CloudJob:
    """Bring what a step of a job was given into a folder, so that it can be repeated here.

    Parameters
    ----------
    target
        Gets the outputs of earlier steps as ``<step>/<port>``, and the job's own inputs.
    step
        The step to repeat; without it the one that failed.

    Raises
    ------
    OperationError
        If there is no such job or step, none has failed, or an earlier step has no such output.
    """
    job = read_job(client, name)
    step = step or _failed_step(job)
    if step not in job.definition["jobs"]:
        known = ", ".join(job.definition["jobs"])
        raise OperationError(f"The job {name} has no step {step}; it has: {known}.")
    for earlier, port in job.named_by(step, _OUTPUT):
        _fetch_output(client, job, earlier, port, target / earlier)
    wanted = {key: job.data[key] for key in job.named_by(step, _INPUT) if key in job.data}
    inputs = {key: _fetch_input(client, d, target / _INPUTS / key) for key, d in wanted.items()}
    return replace(job, step=step, inputs=inputs)


def _plain(status: Any) -> str:
    """Read a status, which is a text or an Enum."""
    return str(getattr(status, "value", status))


def _failed_step(job: CloudJob) -> str:
    if job.failed:
        return job.failed[0]
    if not job.ended:
        raise OperationError(f"The job {job.name} is {job.status}: no step has failed yet.")
    raise OperationError(
        f"The job {job.name} is {job.status} and no step of it failed. Give --step to repeat one: "
        f"{', '.join(job.definition['jobs'])}."
    )


def _fetch_output(client: "MLClient", job: CloudJob, step: str, port: str, target: Path) -> None:
    if (target / port).exists():  # what a step made does not change any more
        return
    status = job.steps[step].status if step in job.steps else "not started"
    if status != COMPLETED:
        raise OperationError(f"The step {step} is {status}: there is no {port} to go on from.")
    if not download_output(client, job.steps[step].run, port, target):
        raise OperationError(f"The output {port} of step {step} is not in the workspace any more.")


def _fetch_input(client: "MLClient", data: Mapping[str, str], target: Path) -> Path:
    if match := _ASSET.fullmatch(data["path"]):
        return download_found(client, require_data(client, match[1], match[2]), target)
    download_once(client, data["path"], target)
    return next(target.iterdir()) if data["type"] == "uri_file" else target
