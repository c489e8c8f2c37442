"""A submitted job: its state, its outputs, and the inputs to repeat one of its steps locally."""

import io
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from kedro_azure_mlops.azure.assets import require_data
from kedro_azure_mlops.azure.downloads import download_found, download_once, download_output
from kedro_azure_mlops.azure.workspace import azure_errors, without_secrets, workspace
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks.binding import port_of
from kedro_azure_mlops.hooks.code_version import code_version
from kedro_azure_mlops.job.compilation import compile_job
from kedro_azure_mlops.job.project import split_parameters

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

COMPLETED, FAILED = "Completed", "Failed"
ENDED = (COMPLETED, FAILED, "Canceled", "NotResponding")
_INPUTS = "job-inputs"  # next to the folders of steps, whose names have no hyphen
_ASSET = re.compile(r"azureml:(?:/.*/data/)?([^:/@]+)(?::|/versions/)([^/:]+)")
_OUTPUT = re.compile(r"parent\.jobs\.(\w+)\.outputs\.(\w+)")
_INPUT = re.compile(r"parent\.inputs\.(\w+)")


@dataclass(frozen=True)
class CloudStep:
    """A step that has started: ``run`` is the name of its own job."""

    run: str
    status: str


@dataclass(frozen=True)
class CloudJob:
    """A pipeline job of a workspace; ``fetch`` also sets ``step`` and the paths of its inputs."""

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
        """Return whether it has finished, successfully or not."""
        return self.status in ENDED

    @property
    def failed(self) -> list[str]:
        """The names of the steps that failed."""
        return [name for name, step in self.steps.items() if step.status == FAILED]

    @property
    def parameters(self) -> dict[str, str]:
        """The values of its parameters as text, by input name."""
        inputs = self.definition.get("inputs", {}).items()
        return {name: str(value) for name, value in inputs if not isinstance(value, dict)}

    @property
    def data(self) -> dict[str, dict[str, str]]:
        """The type and path of its data, by input name."""
        inputs = self.definition.get("inputs", {}).items()
        return {name: value for name, value in inputs if isinstance(value, dict)}

    def named_by(self, step: str, pattern: re.Pattern[str]) -> list[Any]:
        """Return the matches of a pattern in the inputs of a step."""
        inputs = self.definition["jobs"][step].get("inputs", {})
        return [match for value in inputs.values() for match in pattern.findall(str(value))]


def read_job(client: "MLClient", name: str) -> CloudJob:
    """Read a job and its steps.

    Raises
    ------
    OperationError
        If there is no such job, or it is not a pipeline job.
    """
    with azure_errors(f"looking for the job {name}", no_such_job(client, name)):
        job = client.jobs.get(name)
        if job.type != "pipeline":
            raise OperationError(f"{name} is a {job.type} job; give the name of a pipeline job.")
        steps = steps_of(client, name)
    text = io.StringIO()
    job.dump(text)
    return CloudJob(
        name=name,
        status=_text_of(job.status),
        studio=str(job.studio_url),
        tags=dict(job.tags or {}),
        definition=yaml.safe_load(text.getvalue()),
        steps=steps,
    )


def no_such_job(client: "MLClient", name: str) -> dict[int, str]:
    """Return the advice for a job that Azure does not find."""
    place = f"the workspace {client.workspace_name}"
    return {404: f"There is no job {name} in {place}, or there is no such workspace"}


def steps_of(client: "MLClient", name: str) -> dict[str, CloudStep]:
    """Return the steps of a job that have started."""
    children = client.jobs.list(parent_job_name=name)
    return {str(c.display_name or c.name): CloudStep(c.name, _text_of(c.status)) for c in children}


def fetch(
    client: "MLClient",
    name: str,
    target: Path,
    step: str | None = None,
    given: Collection[str] = (),
) -> CloudJob:
    """Download the inputs of a job's step, so that the step can be repeated locally.

    Parameters
    ----------
    target
        The folder for outputs of earlier steps, ``<step>/<port>``, and the job's own inputs.
    step
        The step to repeat; by default the one that failed.
    given
        The inputs of the job that are not needed.

    Raises
    ------
    OperationError
        If there is no such job or step, no step has failed, an earlier step lacks an output, or
        an input cannot be downloaded.
    """
    job = read_job(client, name)
    step = step or _failed_step(job)
    if step not in job.definition["jobs"]:
        known = ", ".join(job.definition["jobs"])
        raise OperationError(f"The job {name} has no step {step}; it has: {known}.")
    for earlier, port in job.named_by(step, _OUTPUT):
        _fetch_output(client, job, earlier, port, target / earlier)
    wanted = [key for key in job.named_by(step, _INPUT) if key in job.data and key not in given]
    inputs = {key: _fetch_input(client, job, key, target / _INPUTS / key) for key in wanted}
    return replace(job, step=step, inputs=inputs)


def _text_of(status: Any) -> str:
    """Return the text of a status, which is a string or an Enum."""
    return str(getattr(status, "value", status))


def _failed_step(job: CloudJob) -> str:
    if job.failed:
        return job.failed[0]
    if not job.ended:
        raise OperationError(f"The job {job.name} is {job.status}: no step has failed yet.")
    raise OperationError(
        f"The job {job.name} is {job.status} and none of its steps failed. To repeat one, use "
        f"--step: {', '.join(job.definition['jobs'])}."
    )


def _fetch_output(client: "MLClient", job: CloudJob, step: str, port: str, target: Path) -> None:
    if (target / port).exists():  # the outputs of a completed step do not change
        return
    status = job.steps[step].status if step in job.steps else "not started"
    if status != COMPLETED:
        raise OperationError(f"The step {step} is {status}: there is no {port} to continue from.")
    if not download_output(client, job.steps[step].run, port, target):
        raise OperationError(f"The output {port} of step {step} is not in the workspace any more.")


def _fetch_input(client: "MLClient", job: CloudJob, name: str, target: Path) -> Path:
    data = job.data[name]
    if match := _ASSET.fullmatch(data["path"]):
        return download_found(client, require_data(client, match[1], match[2]), target)
    if not data["path"].startswith("azureml://"):
        address = without_secrets(data["path"].removeprefix("azureml:"))
        raise OperationError(
            f"The input {name} of the job {job.name} is {address}, which is not in a datastore of "
            f"the workspace: use a local copy with --input {name}=PATH"
        )
    download_once(client, data["path"], target)
    return next(target.iterdir()) if data["type"] == "uri_file" else target


def fetch_output(client: "MLClient", job: CloudJob, port: str, target: Path, why: str) -> Path:
    """Download an output of a job into ``<target>/<port>`` and return that folder.

    Parameters
    ----------
    why
        What needs the output, as a participle such as ``registered``, for the error message.

    Raises
    ------
    OperationError
        If no step has the output, its step has not completed, or it was deleted.
    """
    steps = job.definition["jobs"].items()
    producer = next((name for name, step in steps if port in step.get("outputs", {})), None)
    if producer is None:
        raise OperationError(
            f"The job {job.name} has no output {port}: list it under outputs in azureml.yml, so "
            f"that later jobs can be {why}."
        )
    if producer not in job.steps or job.steps[producer].status != COMPLETED:
        raise OperationError(f"The job {job.name} is {job.status}: step {producer} has no {port}.")
    if not download_output(client, job.steps[producer].run, port, target):
        raise OperationError(f"The {port} of job {job.name} is not in the workspace any more.")
    return target / port


FOLDER = "build/cloud"
_RUN = "local-run"  # next to the folders of steps, whose names have no hyphen


@dataclass(frozen=True)
class Repetition:
    """The arguments of ``run_local`` that repeat a step."""

    file: Path
    work: Path
    step: str | None = None
    outputs: Path | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)


def repetition_of(
    env: str,
    name: str,
    step: str | None,
    root: Path,
    say: Callable[[str], None],
    given: Collection[str] = (),
) -> Repetition:
    """Fetch the inputs of the failed step of a job, or of another step.

    Parameters
    ----------
    say
        Called with a sentence for each difference between the local code and the job's.
    given
        The inputs of the job that are not needed.

    Raises
    ------
    OperationError
        If there is no such job, step or output, or the job belongs to another environment.
    """
    target = root / FOLDER / name
    job = fetch(workspace(env, root), name, target, step, given)
    if job.tags.get("env", env) != env:
        raise OperationError(
            f"The job {name} was submitted with --env {job.tags['env']}: use that environment."
        )
    for warning in _code_differences(job, root):
        say(warning)
    submitted = split_parameters(job.tags.get("params", ""))
    values = {key: job.parameters.get(port_of(key), value) for key, value in submitted.items()}
    file = compile_job(env, values, for_once=True, root=root).file
    known = yaml.safe_load(file.read_text(encoding="utf-8"))["inputs"]
    return Repetition(
        file=file,
        work=target / _RUN,
        step=job.step,
        outputs=target,
        parameters={key: value for key, value in job.parameters.items() if key in known},
        inputs={key: str(path) for key, path in job.inputs.items() if key in known},
    )


def _code_differences(job: CloudJob, root: Path) -> Iterator[str]:
    local, commit = code_version(root), job.tags.get("git.commit")
    if commit is None:
        yield "the job does not record its commit; the local code is used"
        return
    if local.get("git.commit") != commit:
        yield (
            f"the job was made from commit {commit}, the local one is "
            f"{local.get('git.commit', 'none')}; the local code is used. To use the job's, run: "
            f"git checkout {commit}"
        )
    elif local["git.dirty"] == "true":
        yield f"local files differ from commit {commit}, from which the job was made"
    if job.tags.get("git.dirty") == "true":
        yield f"the job was made from files that differed from commit {commit}"
