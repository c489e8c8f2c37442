"""Submit a compiled job with its data, environment and tags, and cancel a job."""

import re
import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from kedro_azure_mlops.azure.assets import JobData, find_or_register
from kedro_azure_mlops.azure.cloud_job import ENDED, no_such_job
from kedro_azure_mlops.azure.environment import ensure_environment, reference
from kedro_azure_mlops.azure.snapshot import copy_snapshot
from kedro_azure_mlops.azure.workspace import (
    azure_errors,
    validation_faults,
    without_secrets,
    workspace,
)
from kedro_azure_mlops.ci import in_ci, report_outputs
from kedro_azure_mlops.config import SERVERLESS
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks.code_version import code_version
from kedro_azure_mlops.job.compilation import Compiled, compile_job
from kedro_azure_mlops.job.project import Project, read_project

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import PipelineJob

_CANCELLING = "CancelRequested"


@dataclass(frozen=True)
class SentJob:
    """A submitted job: its name and its page in the Studio."""

    name: str
    studio: str


def submit_job(
    env: str,
    parameters: Mapping[str, str] | None = None,
    data: Mapping[str, str] | None = None,
    *,
    data_of: str | None = None,
    root: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> SentJob:
    """Submit the pipeline to Azure ML as a job; in CI also report it to later steps.

    The outputs are ``job``, ``studio``, ``resource_group``, ``workspace`` and ``location``.

    Parameters
    ----------
    env
        The environment to compile the job for.
    parameters
        Dotted names of parameters and their values as text; they become inputs of the job.
    data
        Data assets, ``azureml:name:version`` or ``azureml:name@latest``, instead of local data.
    data_of
        The environment that ``update_policy`` of ``mlops.yml`` watches: the parameters in
        ``update_policy`` are taken from it, so that the job trains on its data.
    root
        Folder of the project; by default the current one.
    say
        Called with a line for each asset that is uploaded or already exists.

    Raises
    ------
    OperationError
        If the job cannot be prepared or submitted, or ``data_of`` is not the watched
        environment; no job is created then.
    """
    root = root or Path.cwd()
    if data_of and data_of != env:
        parameters = _watched_parameters(env, data_of, root, say) | dict(parameters or {})
    client = workspace(env, root)
    location = location_for_ci(client)  # before anything is submitted
    compiled = compile_job(env, parameters, for_once=True, write=False, root=root)
    job = prepare_job(client, compiled, parameters, data, say)
    with azure_errors("submitting the job"):
        created = client.jobs.create_or_update(job)
    sent = SentJob(str(created.name), str(created.studio_url))
    report_job(client, sent.name, sent.studio, location)
    return sent


def cancel_job(env: str, name: str, *, root: Path | None = None) -> str:
    """Cancel a job and return the outcome as a sentence; a job that has ended is left alone.

    Raises
    ------
    OperationError
        If there is no such job, or Azure refuses.
    """
    return cancel(workspace(env, root), name)


def _watched_parameters(
    env: str, watched: str, root: Path, say: Callable[[str], None]
) -> dict[str, str]:
    """Return the parameters of the update policy that differ from the environment's own."""
    from kedro_azure_mlops.refresh import read_update_policy

    policy = read_update_policy(env, root)
    if policy.watch != watched:
        raise OperationError(
            f"update_policy of {env} watches {policy.watch}, not {watched}: to train on the data "
            f"of {watched}, set update_policy.watch in mlops.yml of {env}."
        )
    if not policy.parameters:
        say(f"update_policy.parameters is empty: the job trains on the data of {env} itself")
    own = read_project(env, None, root)
    changed = {k: v for k, v in policy.parameters.items() if own.parameter(k) != v}
    if changed:
        say(f"taken from {watched}: {', '.join(changed)}")
    return {name: policy.as_text[name] for name in changed}


def location_for_ci(client: "MLClient") -> str:
    """Return the workspace's location, which waiting CI steps need; empty outside of CI.

    Raises
    ------
    OperationError
        If there is no such workspace, or Azure refuses.
    """
    if not in_ci():
        return ""
    with azure_errors(f"looking for the workspace {client.workspace_name}"):
        return str(client.workspaces.get(client.workspace_name).location)


def report_job(client: "MLClient", job: str, studio: str, location: str) -> None:
    """Report a job to the later steps of a CI run."""
    report_outputs(
        job=job,
        studio=studio,
        resource_group=str(client.resource_group_name),
        workspace=str(client.workspace_name),
        location=location,
    )


def prepare_job(
    client: "MLClient",
    compiled: Compiled,
    parameters: Mapping[str, str] | None = None,
    given: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> "PipelineJob":
    """Register the assets of a compiled job, and return it ready to be submitted or scheduled.

    Parameters
    ----------
    parameters
        The parameters that the job was compiled with.
    given
        Data assets, ``azureml:name:version`` or ``azureml:name@latest``, instead of local data.
    say
        Called with a line for each asset that is uploaded or already exists.

    Raises
    ------
    OperationError
        If the project cannot be compiled or uploaded, or Azure refuses.
    """
    project, body = compiled.project, compiled.job
    for line in (*compiled.notes, *(f"warning: {line}" for line in compiled.warnings)):
        say(line)
    with ExitStack() as stack:
        code = _copy_code(project.root, stack) if _steps_with_code(body) else ""
        compiled.write()
        _refuse_unknown_computes(client, project.env, body)
        data = find_or_register(client, compiled.file, body.get("inputs", {}), given or {}, say)
        if _uses_own_environment(project, body):
            ensure_environment(client, project.root, project.config, say)
        changes = {f"inputs.{name}.path": found.path for name, found in data.items()}
        job = _load(compiled.file, changes | dict.fromkeys(_steps_with_code(body), code))
        job.tags = _tags(project, parameters or {}, data)
        # the copy is needed until the job is submitted
        weakref.finalize(job, stack.pop_all().close)
    return job


def _copy_code(root: Path, stack: ExitStack) -> str:
    """Copy the files to upload: Azure's client would search ignored folders too, many times."""
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="snapshot-")))
    return str(copy_snapshot(root, folder / "code"))


def _steps_with_code(compiled: Mapping[str, Any]) -> list[str]:
    """Return the keys under which steps name their code."""
    steps = {
        f"jobs.{name}.component" if "component" in step else f"jobs.{name}": step
        for name, step in compiled["jobs"].items()
    }
    return [f"{key}.code" for key, step in steps.items() if "code" in step.get("component", step)]


def _refuse_unknown_computes(client: "MLClient", env: str, compiled: Mapping[str, Any]) -> None:
    """Refuse a missing compute before the upload: Azure ML would report it only afterwards."""
    from azure.core.exceptions import ResourceNotFoundError

    default = compiled["settings"]["default_compute"]
    steps = [step for step in compiled["jobs"].values() if step["type"] != "spark"]
    names = {step.get("compute", default).removeprefix("azureml:") for step in steps}
    for name in sorted(names - {SERVERLESS}):
        with azure_errors(f"looking for the compute {name}"):
            try:
                client.compute.get(name)
            except ResourceNotFoundError as error:
                raise OperationError(
                    f"The workspace {client.workspace_name} has no compute {name}: name another in "
                    "azureml.yml, or create it with: "
                    f"kedro mlops provision --env {env}"
                ) from error


def _uses_own_environment(project: Project, compiled: Mapping[str, Any]) -> bool:
    own = reference(project.root, project.config)
    steps = (step.get("component", step) for step in compiled["jobs"].values())
    return any(step.get("environment") == own for step in steps)


def _load(file: Path, changes: Mapping[str, Any]) -> "PipelineJob":
    from azure.ai.ml import load_job
    from marshmallow import ValidationError

    overrides = [{key: value} for key, value in changes.items()]
    try:
        with azure_errors(f"reading {file.name}"):
            return cast("PipelineJob", load_job(file, params_override=overrides))
    except ValidationError as error:
        faults = validation_faults(str(error)).partition("\n")[0]
        raise OperationError(
            f"{file.name} is not a job that Azure ML accepts: {without_secrets(faults)}"
        ) from error


def _tags(
    project: Project, parameters: Mapping[str, str], data: Mapping[str, JobData]
) -> dict[str, str]:
    """Return tags on a job's sources, which ``reproduce`` and the tracking hook of a step read."""
    tags = code_version(project.root) | {"env": project.env}
    if parameters:
        tags["params"] = ",".join(f"{name}={value}" for name, value in parameters.items())
    for name, found in data.items():
        # the address of a datastore keeps its azureml://; a URL may contain a signature
        tags[f"data.{name}"] = re.sub("^azureml:(?!/)", "", found.path).split("?")[0]
        if found.digest:
            tags[f"data.digest.{name}"] = found.digest
        if found.local:
            is_inside = found.local.is_relative_to(project.root.resolve())
            shown_path = (
                found.local.relative_to(project.root.resolve()) if is_inside else found.local.name
            )
            tags[f"data.path.{name}"] = Path(shown_path).as_posix()
    return tags


def cancel(client: "MLClient", name: str) -> str:
    """Cancel a job and return the outcome, as a sentence.

    A job that has ended is left alone.

    Raises
    ------
    OperationError
        If there is no such job, or Azure refuses.
    """
    from azure.core.exceptions import HttpResponseError

    status = _status(client, name)
    if status not in {*ENDED, _CANCELLING}:
        with azure_errors(f"cancelling the job {name}"):
            try:
                # do not wait until all its machines are released
                client.jobs.begin_cancel(name, polling=False)
            except HttpResponseError:
                status = _status(client, name)
                if status not in ENDED:  # it may have ended in the meantime
                    raise
    if status in ENDED:
        return f"the job {name} has already ended: it is {status}"
    return f"the job {name} is being cancelled"


def _status(client: "MLClient", name: str) -> str:
    with azure_errors(f"looking for the job {name}", no_such_job(client, name)):
        status = client.jobs.get(name).status
    return str(getattr(status, "value", status))
