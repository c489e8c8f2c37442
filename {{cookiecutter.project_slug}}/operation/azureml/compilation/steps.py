"""The steps of a job: what each is given and makes, its command, and where it runs."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from {{ cookiecutter.package_name }}.binding import PREFIX, port_of

from operation.azureml.compilation.cut import Cut
from operation.azureml.compilation.ports import Port, Ports, reference_to
from operation.azureml.config import Step
from operation.azureml.environment import reference
from operation.azureml.project import Project

FOLDER = "build/azureml"
_IDENTITIES = {"user": "user_identity", "managed": "managed"}
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_SPARK_SIZES = ("driver_cores", "driver_memory", "executor_cores", "executor_memory")


def job_file(root: Path, env: str, given: Mapping[str, str] | None = None) -> Path:
    """Return where the compiled job of an environment is kept.

    One with parameters that were ``given`` for once lies beside it: the other may be committed.
    """
    return root / FOLDER / f"{env}{'-params' if given else ''}.yml"


def relative_path(project: Project, path: str) -> str:
    """Make a local path relative to the compiled file, as ``az ml`` reads it."""
    if ":" in path:
        return path
    folder = job_file(project.root, project.env).parent
    return Path(os.path.relpath(project.root / path, folder)).as_posix()


def step_of(project: Project, ports: Ports, part: Cut, values: Mapping[str, Any]) -> dict[str, Any]:
    """Write a step of the job.

    Parameters
    ----------
    values
        The runtime parameters of the job; the step takes those that can matter to it.
    """
    taken = _taken(project, part, values)
    body = _spark if part.step.spark else _command
    inputs = {port.name: reference_to("parent.inputs", port.name) for port in ports.given(part)}
    for port in ports.linked(part):
        source = reference_to(f"parent.jobs.{ports.maker(port.dataset)}.outputs", port.name)
        inputs[port.name] = {"type": port.type, "path": source}
    inputs |= {port_of(name): reference_to("parent.inputs", port_of(name)) for name in taken}
    outputs = {port.name: _step_output(project, part, port) for port in ports.made(part)}
    return body(project, ports, part, taken) | {"inputs": inputs, "outputs": outputs}


def _taken(project: Project, part: Cut, values: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the parameters that can matter to a step, so that others do not make it run again."""
    groups = {name.removeprefix("params:") for node in part.nodes.nodes for name in node.inputs}
    everywhere = project.used_outside_nodes
    of_nodes = {
        name.removeprefix("params:")
        for pipe in project.pipelines.values()
        for name in pipe.inputs()
    }

    def matters(name: str) -> bool:
        family = {".".join(name.split(".")[: n + 1]) for n in range(name.count(".") + 1)}
        unknown = not family & of_nodes
        return bool("parameters" in groups or family & groups or family & everywhere or unknown)

    return {name: value for name, value in values.items() if matters(name)}


def _command(project: Project, ports: Ports, part: Cut, taken: Mapping[str, Any]) -> dict[str, Any]:
    step, config = part.step, project.config
    bindings, run = _bindings(ports, part), _kedro_run(project, step, taken)
    command = " ".join(["env", *bindings, "kedro", *run] if bindings else ["kedro", *run])
    if config.code is None:
        command = f"cd {config.working_directory} && {command}"
    component = {
        "type": "command",
        "name": part.name,
        "command": command,
        "code": relative_path(project, config.code) if config.code else None,
        "environment": _environment(project, step),
        "is_deterministic": not ports.reads_outside(part) if step.reuse is None else step.reuse,
        "inputs": {
            port.name: {"type": port.type} for port in (*ports.given(part), *ports.linked(part))
        }
        | {port_of(name): {"type": _TYPES[type(value)]} for name, value in taken.items()},
        "outputs": {port.name: {"type": port.type} for port in ports.made(part)},
    }
    return {
        "type": "command",
        "display_name": part.name,
        "compute": f"azureml:{step.compute}" if step.compute else None,
        "resources": {
            "instance_count": step.instance_count,
            "instance_type": step.instance_type,
            "shm_size": step.shm_size,
        },
        "distribution": step.distribution.model_dump() if step.distribution else None,
        "limits": {"timeout": step.timeout_seconds},
        "identity": identity_of(step.identity),
        "environment_variables": {k: str(v) for k, v in step.environment_variables.items()},
        "component": component,
    }


def _spark(project: Project, ports: Ports, part: Cut, taken: Mapping[str, Any]) -> dict[str, Any]:
    spark = part.step.spark
    sizes = {f"spark.{key.replace('_', '.')}": getattr(spark, key) for key in _SPARK_SIZES}
    return {
        "type": "spark",
        "display_name": part.name,
        "code": relative_path(project, project.config.code or "."),
        "entry": {"file": "operation/azureml/spark_entry.py"},
        "args": " ".join([*_bindings(ports, part), *_kedro_run(project, part.step, taken)]),
        "conf": sizes | {"spark.executor.instances": spark.executor_instances} | spark.conf,
        "resources": {
            "instance_type": spark.instance_type,
            "runtime_version": spark.runtime_version,
        },
        "environment": part.step.environment,
        "identity": identity_of(part.step.identity or "managed"),
    }


def _bindings(ports: Ports, part: Cut) -> list[str]:
    sides = (("inputs", ports.given(part) + ports.linked(part)), ("outputs", ports.made(part)))
    return [f"{PREFIX}{port.name}={port.place(side)}" for side, of in sides for port in of]


def _kedro_run(project: Project, step: Step, taken: Mapping[str, Any]) -> list[str]:
    """Write the command that a person would type."""
    pipeline = project.config.pipeline
    pipelines = step.pipelines or ([pipeline] if pipeline != "__default__" else [])
    filters = {
        "pipelines": pipelines,
        "tags": step.tags,
        "nodes": step.nodes,
        "namespaces": step.namespaces,
    }
    run = ["run", "--env", project.env]
    for option, names in filters.items():
        run += [f"--{option}", ",".join(names)] if names else []
    if taken:
        pairs = (f"{name}={reference_to('inputs', port_of(name))}" for name in taken)
        run += ["--params", f'"{",".join(pairs)}"']
    return run


def _step_output(project: Project, part: Cut, port: Port) -> str | dict[str, Any]:
    if port.dataset in project.config.outputs:
        return reference_to("parent.outputs", port.name)
    return {"type": port.type, "mode": "direct" if part.step.spark else "upload"}


def _environment(project: Project, step: Step) -> str | dict[str, Any]:
    if step.environment:
        return step.environment
    if project.config.image:
        return {"image": project.config.image}
    return reference(project.root, project.config)


def identity_of(kind: str | None) -> dict[str, str] | None:
    """Write an identity, ``user`` or ``managed``, as Azure ML does; None stays None."""
    return {"type": _IDENTITIES[kind]} if kind else None
