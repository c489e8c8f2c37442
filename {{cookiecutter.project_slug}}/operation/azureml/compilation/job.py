"""Compile the pipeline to an Azure ML pipeline job (CLI v2), without Azure: a pure function."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from {{ cookiecutter.package_name }}.binding import port_of

from operation.azureml.compilation.cut import cut
from operation.azureml.compilation.ports import Port, Ports
from operation.azureml.compilation.steps import identity_of, job_file, relative_path, step_of
from operation.azureml.config import Output
from operation.azureml.project import Project, read_project, typed
from operation.errors import OperationError

_SCHEMA = "https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json"
# Values stand between double quotes in the command of a step.
_UNSAFE = set('",$`\\\n{}[]')


def write_job(
    env: str, parameters: Mapping[str, str] | None = None, *, for_once: bool = False
) -> Path:
    """Compile the job of an environment to ``build/azureml/<env>.yml``.

    Parameters
    ----------
    for_once
        Keep a job with parameters apart, in ``<env>-params.yml``.

    Raises
    ------
    OperationError
        If it cannot be compiled: says what is wrong and where.
    """
    project = read_project(env, parameters)
    file = job_file(project.root, env, parameters if for_once else None)
    text = as_yaml(compile_job(project, parameters))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def as_yaml(job: Mapping[str, Any]) -> str:
    """Write a job as YAML, the same bytes for the same job."""
    head = "# Made by `make compile`; do not edit. `az ml job create -f` takes it too.\n"
    return head + yaml.safe_dump(dict(job), sort_keys=False, width=10_000, allow_unicode=True)


def compile_job(project: Project, parameters: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Turn a project into a pipeline job.

    Parameters
    ----------
    parameters
        Runtime parameters that become inputs of the job, besides ``params`` of ``azureml.yml``.

    Raises
    ------
    OperationError
        If the pipeline cannot be cut as configured, or a dataset cannot cross between steps.
    """
    config = project.config
    if project.env == "local":
        raise OperationError(
            "The environment local is yours alone: its folder is not uploaded, so a job would run "
            "without it. Give --env dev, stage or prod."
        )
    cuts = cut(project.pipelines, config)
    ports = Ports(project, cuts)
    values = {
        name: _value(project, name) for name in dict.fromkeys([*config.params, *(parameters or ())])
    }
    given = {port.dataset: port for part in cuts for port in ports.given(part)}
    kept = [port for part in cuts for port in ports.made(part) if port.dataset in config.outputs]
    _refuse_clashes(ports.datasets(), values)
    _refuse_places_of_inputs(project, ports, given)
    job = {
        "$schema": _SCHEMA,
        "type": "pipeline",
        "display_name": project.name,
        "experiment_name": config.experiment,
        "settings": {
            "default_compute": f"azureml:{config.compute}",
            "continue_on_step_failure": False,
        },
        "identity": identity_of(config.identity),
        "inputs": {port.name: _job_input(project, ports, port) for port in given.values()}
        | {port_of(name): value for name, value in values.items()},
        "outputs": {port.name: _job_output(project, port) for port in kept},
        "jobs": {part.name: step_of(project, ports, part, values) for part in cuts},
    }
    return _without_none(job)


def _value(project: Project, name: str) -> Any:
    value = project.parameter(name)
    if not _arrives_as_it_is(value):
        raise OperationError(
            f"The parameter {name} is {value!r}: as an input of a job it must be a number, a truth "
            "value or a plain text that cannot be taken for one, without quotes, commas and the "
            "like. Set it in parameters.yml of the environment instead."
        )
    return value


def _arrives_as_it_is(value: Any) -> bool:
    """Say whether ``--params`` gives the same value: it takes the text ``007`` for a number."""
    if value is None or _UNSAFE & set(str(value)):
        return False
    read = typed({"value": str(value)})["value"]
    return type(read) is type(value) and read == value


def _refuse_clashes(datasets: Iterable[str], parameters: Iterable[str]) -> None:
    """Refuse parameters whose input would have the name of another one, or of a dataset."""
    taken = {port_of(name).lower(): f"the dataset {name}" for name in datasets}
    for name in parameters:
        port = port_of(name).lower()
        if port in taken:
            raise OperationError(
                f"The parameter {name} and {taken[port]} would be one input of the job, {port}: "
                "leave the parameter out, or rename one of them."
            )
        taken[port] = f"the parameter {name}"


def _refuse_places_of_inputs(project: Project, ports: Ports, given: Iterable[str]) -> None:
    """Refuse to offer a path as parameter that the input of the same data has overruled."""
    places = {ports.path(name): name for name in given}
    for name in project.config.params:
        if (value := project.parameter(name)) in places:
            raise OperationError(
                f"params: {name} in azureml.yml has no effect in a job, which is given the input "
                f"{places[value]}: leave it out, and change that input instead."
            )


def _job_input(project: Project, ports: Ports, port: Port) -> dict[str, Any]:
    configured = project.config.inputs.get(port.dataset)
    return {
        "type": port.type,
        "path": relative_path(project, ports.path(port.dataset)),
        "mode": configured.mode if configured else None,
    }


def _job_output(project: Project, port: Port) -> dict[str, Any]:
    output = project.config.outputs[port.dataset] or Output()
    return {
        "type": output.type,
        "mode": output.mode,
        "path": output.path,
        "name": output.name,
        "version": output.version,
    }


def _without_none(value: Any) -> Any:
    """Leave out what is not set: None, and mappings of nothing else."""
    if not isinstance(value, Mapping):
        return value
    kept = {key: _without_none(item) for key, item in value.items()}
    return {key: item for key, item in kept.items() if item is not None and item != {}}
