"""Make the compiled job one that can be sent: data registered, environment there, tags."""

import weakref
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from {{ cookiecutter.package_name }}.tracking.code_version import code_version

from operation.azureml.cloud.inputs import JobData, find_or_register
from operation.azureml.compilation.job import as_yaml, compile_job
from operation.azureml.compilation.steps import job_file
from operation.azureml.config import SERVERLESS
from operation.azureml.environment import ensure_environment, reference
from operation.azureml.project import Project
from operation.azureml.snapshot import copy_snapshot
from operation.azureml.utils import azure_errors
from operation.errors import OperationError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import PipelineJob


def submit(
    client: "MLClient",
    project: Project,
    parameters: Mapping[str, str] | None = None,
    given: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> "PipelineJob":
    """Send the project's pipeline as a job, and return it as the workspace has it.

    Raises
    ------
    OperationError
        If it cannot be prepared or sent; there is no job then.
    """
    job = prepare_job(client, project, parameters, given, say)
    with azure_errors("sending the job"):
        return client.jobs.create_or_update(job)


def prepare_job(
    client: "MLClient",
    project: Project,
    parameters: Mapping[str, str] | None = None,
    given: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> "PipelineJob":
    """Compile the job, register what it needs, and return it ready to be sent or scheduled.

    Parameters
    ----------
    parameters
        What ``--params`` names.
    given
        Data assets, ``azureml:name:version`` or ``azureml:name@latest``, instead of local data.
    say
        Is told what is uploaded and what is there already.

    Raises
    ------
    OperationError
        If the project cannot be compiled or uploaded as it is, or Azure refuses.
    """
    compiled = compile_job(project, parameters)
    with ExitStack() as stack:
        code = _copied(project.root, stack) if _steps_with_code(compiled) else ""
        file = _written(project, compiled, parameters)
        _refuse_unknown_computes(client, project.env, compiled)
        data = find_or_register(client, file, compiled["inputs"], given or {}, say)
        if _takes_environment(project, compiled):
            ensure_environment(client, project.root, project.config, say)
        changes = {f"inputs.{name}.path": found.path for name, found in data.items()}
        job = _loaded(file, changes | dict.fromkeys(_steps_with_code(compiled), code))
        job.tags = _tags(project, parameters or {}, data)
        # the copy is needed until the job is sent
        weakref.finalize(job, stack.pop_all().close)
    return job


def _copied(root: Path, stack: ExitStack) -> str:
    """Copy what is to be uploaded: Azure's client would search ignored folders too, many times."""
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="snapshot-")))
    return str(copy_snapshot(root, folder / "code"))


def _steps_with_code(compiled: Mapping[str, Any]) -> list[str]:
    """Name the keys under which steps have their code."""
    steps = {
        f"jobs.{name}.component" if "component" in step else f"jobs.{name}": step
        for name, step in compiled["jobs"].items()
    }
    return [f"{key}.code" for key, step in steps.items() if "code" in step.get("component", step)]


def _written(
    project: Project, compiled: Mapping[str, Any], parameters: Mapping[str, str] | None
) -> Path:
    file = job_file(project.root, project.env, parameters)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(as_yaml(compiled), encoding="utf-8")
    return file


def _refuse_unknown_computes(client: "MLClient", env: str, compiled: Mapping[str, Any]) -> None:
    """Ask before anything is uploaded: Azure ML would say it after that."""
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
                    "azureml.yml, or make it with: "
                    f"python -m operation.execution provision --env {env}"
                ) from error


def _takes_environment(project: Project, compiled: Mapping[str, Any]) -> bool:
    ours = reference(project.root, project.config)
    steps = (step.get("component", step) for step in compiled["jobs"].values())
    return any(step.get("environment") == ours for step in steps)


def _loaded(file: Path, changes: Mapping[str, Any]) -> "PipelineJob":
    from azure.ai.ml import load_job

    with azure_errors(f"reading {file.name}"):
        return load_job(file, params_override=[{key: value} for key, value in changes.items()])


def _tags(
    project: Project, parameters: Mapping[str, str], data: Mapping[str, JobData]
) -> dict[str, str]:
    """Say what the job was made of: ``reproduce`` and the tracking hook of a step read this."""
    tags = code_version(project.root) | {"env": project.env}
    if parameters:
        tags["params"] = ",".join(f"{name}={value}" for name, value in parameters.items())
    for name, found in data.items():
        # an address may be signed
        tags[f"data.{name}"] = found.path.removeprefix("azureml:").split("?")[0]
        if found.digest:
            tags[f"data.digest.{name}"] = found.digest
        if found.local:
            inside = found.local.is_relative_to(project.root.resolve())
            place = found.local.relative_to(project.root.resolve()) if inside else found.local.name
            tags[f"data.path.{name}"] = Path(place).as_posix()
    return tags
