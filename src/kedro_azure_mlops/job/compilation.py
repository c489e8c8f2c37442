"""Compile the pipeline to an Azure ML pipeline job (CLI v2), without contacting Azure.

Each step runs an ordinary ``kedro run`` command, prefixed with the paths of its ports.
``az ml job create -f`` accepts the same file as ``submit`` and ``local``.
"""

import difflib
import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kedro_azure_mlops.config import AzureML, Output, Step, read_mlops
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks.binding import PREFIX, entry_of, port_of, refuse_unknown_entry
from kedro_azure_mlops.job.carried import FORMATS
from kedro_azure_mlops.job.cut import Cut, cut
from kedro_azure_mlops.job.ports import Port, Ports, reference_to, refuse_illegal_port
from kedro_azure_mlops.job.project import Project, read_project, typed

FOLDER = "build/azureml"
MONITOR = "monitor"
_SCHEMA = "https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json"
# Values are double-quoted in the command of a step.
_UNSAFE = set('",$`\\\n{}[]')
_IDENTITIES = {"user": "user_identity", "managed": "managed"}
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_SPARK_SIZES = ("driver_cores", "driver_memory", "executor_cores", "executor_memory")


@dataclass(frozen=True)
class Compiled:
    """A compiled job and the path of its file, which may not exist yet.

    ``notes`` inform the user, ``warnings`` point out settings that will not work as expected;
    ``champion_readers`` are the steps whose only dependency outside the job is the champion:
    locally they are reused until the champion changes.
    """

    project: Project
    file: Path
    job: Mapping[str, Any]
    notes: list[str]
    warnings: list[str]
    champion_readers: list[str]

    @property
    def text(self) -> str:
        """The job as YAML."""
        return as_yaml(self.job)

    def write(self) -> None:
        """Write the file."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(self.text, encoding="utf-8")

    def differences(self) -> list[str]:
        """Return a unified diff against the existing file, by line; empty if it is up to date.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        """
        existing = self.file.read_text(encoding="utf-8").splitlines()
        name = self.file.relative_to(self.project.root).as_posix()
        current = self.text.splitlines()
        return list(difflib.unified_diff(existing, current, name, "compiled now", n=1, lineterm=""))


def compile_job(
    env: str,
    parameters: Mapping[str, str] | None = None,
    *,
    for_once: bool = False,
    write: bool = True,
    root: Path | None = None,
) -> Compiled:
    """Compile the job of an environment to ``build/azureml/<env>.yml``.

    Parameters
    ----------
    env
        An environment of the configuration, such as ``dev``.
    parameters
        Job inputs in addition to ``params`` of ``azureml.yml``: dotted names and their values, as
        text.
    for_once
        Write a job with parameters to ``<env>-params.yml``: ``<env>.yml`` may be committed.
    write
        Whether to write the file.
    root
        The folder of the project; the current one by default.

    Raises
    ------
    OperationError
        If the job cannot be compiled; the message names the fault and its location.

    References
    ----------
    https://learn.microsoft.com/azure/machine-learning/reference-yaml-job-pipeline
    """
    compiled = compile_project(read_project(env, parameters, root), parameters, for_once=for_once)
    if write:
        compiled.write()
    return compiled


def compile_project(
    project: Project, parameters: Mapping[str, str] | None = None, *, for_once: bool = False
) -> Compiled:
    """Compile a loaded project to a pipeline job; nothing is written.

    Raises
    ------
    OperationError
        If the pipeline cannot be cut as configured, or a dataset cannot cross between steps.
    """
    _refuse_local(project)
    _refuse_unknown_entries(project)
    cuts = cut(project.pipelines, project.config)
    ports = Ports(project, cuts)
    return Compiled(
        project=project,
        file=job_file(project.root, project.env, parameters if for_once else None),
        job=_job(project, cuts, ports, parameters),
        notes=_notes(ports),
        warnings=[*_warnings(project, ports), *_left_out_modules(project)],
        champion_readers=[part.name for part in cuts if _reads_only_champion(project, ports, part)],
    )


def compile_monitor(env: str, *, root: Path | None = None) -> Compiled:
    """Compile the job that monitors an environment to ``build/azureml/<env>-monitor.yml``.

    Its only step runs ``kedro mlops monitor``, which exits with 1 on an alarm and fails the job.
    Nothing is written.

    Raises
    ------
    OperationError
        As ``compile_job``; also for the environment ``local``, which is not uploaded.
    """
    from kedro_azure_mlops.monitor.result import history_of

    project = read_project(env, None, root)
    _refuse_local(project)
    config = project.config
    experiment = history_of(read_mlops(project.root, env), env)  # with the monitoring results
    command = _in_project(config, f"kedro mlops monitor --env {env}")
    component = {
        "type": "command",
        "name": MONITOR,
        "command": command,
        "code": _relative(project, config.code) if config.code else None,
        "environment": _environment(project, Step()),
        "is_deterministic": False,
    }
    step = {"type": "command", "display_name": MONITOR, "component": component}
    job = _head(project, experiment) | {"jobs": {MONITOR: step}}
    file = project.root / FOLDER / f"{env}-{MONITOR}.yml"
    return Compiled(project, file, _without_none(job), [], [], [])


def as_yaml(job: Mapping[str, Any]) -> str:
    """Return a job as YAML; the same job always gives the same bytes."""
    head = "# Made by `kedro mlops compile`; do not edit. `az ml job create -f` takes it too.\n"
    return head + yaml.safe_dump(dict(job), sort_keys=False, width=10_000, allow_unicode=True)


def job_file(root: Path, env: str, parameters: Mapping[str, str] | None = None) -> Path:
    """Return the path of an environment's compiled job.

    A job with one-off parameters has a separate file, because ``<env>.yml`` may be committed.
    """
    return root / FOLDER / f"{env}{'-params' if parameters else ''}.yml"


def _refuse_local(project: Project) -> None:
    if project.env == "local":
        raise OperationError(
            "The environment local is private: its folder is not uploaded, so a job would run "
            "without it. Use --env dev, stage or prod."
        )


def _refuse_unknown_entries(project: Project) -> None:
    """Refuse names in ``mlops.yml`` that no catalog entry has, as the steps of the job would."""
    datasets = {name for one in project.pipelines.values() for name in one.datasets()}
    for key, name in project.mlops.entries if project.mlops else []:
        if name not in datasets and entry_of(project.catalog, name) is None:
            refuse_unknown_entry(project.catalog, name, key)


def _head(project: Project, experiment: str) -> dict[str, Any]:
    """Return the keys that all jobs of an environment share."""
    return {
        "$schema": _SCHEMA,
        "type": "pipeline",
        "display_name": project.name,
        "experiment_name": experiment,
        "settings": {
            "default_compute": f"azureml:{project.config.compute}",
            "continue_on_step_failure": False,
        },
        "identity": _identity(project.config.identity),
    }


def _job(
    project: Project, cuts: list[Cut], ports: Ports, parameters: Mapping[str, str] | None
) -> dict[str, Any]:
    config = project.config
    requested = parameters or {}
    values = {
        name: _value(project, name, is_requested=name in requested)
        for name in dict.fromkeys([*config.params, *requested])
    }
    inputs = {port.dataset: port for part in cuts for port in ports.given(part)}
    outputs = [port for part in cuts for port in ports.made(part) if port.dataset in config.outputs]
    _refuse_clashes(ports.datasets(), values)
    _refuse_overridden_paths(project, ports, inputs, requested)
    job = _head(project, project.experiment) | {
        "inputs": {port.name: _job_input(project, ports, port) for port in inputs.values()}
        | {port_of(name): value for name, value in values.items() if value is not None},
        "outputs": {port.name: _job_output(project, port) for port in outputs},
        "jobs": {part.name: _step(project, ports, part, values) for part in cuts},
    }
    complete: dict[str, Any] = _without_none(job)
    return complete


def _notes(ports: Ports) -> list[str]:
    """Return a note on carried datasets, since a catalog entry would store them differently."""
    carried = [
        f"{name} ({maker} -> {reader})" if reader else f"{name} (an output of {maker})"
        for name, (maker, reader) in ports.carried().items()
    ]
    if not carried:
        return []
    return [
        f"carried between steps as {FORMATS}, because no catalog entry stores it: "
        + ", ".join(carried)
    ]


def _warnings(project: Project, ports: Ports) -> list[str]:
    """Warn about a gate that can never promote a model: it judges the metrics of another run."""
    gate = project.mlops.gate if project.mlops else None
    if gate is None or gate.table is None or gate.decision is None:
        return []
    table, decision = ports.maker(gate.table), ports.maker(gate.decision)
    if table is None or decision is None or table == decision:
        return []
    return [
        f"step {decision} judges the model ({gate.decision}) by metrics that step {table} "
        f"measured ({gate.table}), but only a step that measured a model itself can promote it: "
        "no model of this job becomes champion. Put both nodes in one step of azureml.yml."
    ]


def _left_out_modules(project: Project) -> list[str]:
    """Warn about modules of the project that this process has imported, but no job uploads."""
    from kedro_azure_mlops.azure.snapshot import files_left_out, rules_file

    root = project.root.resolve()
    source, installed = f"{root / project.source}{os.sep}", f"{sys.prefix}{os.sep}"
    names = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    files = [Path(n) for n in names if n.startswith(source) and not n.startswith(installed)]
    used, rules = {file.relative_to(root) for file in files}, rules_file(root)
    if not used or rules is None or project.config.code is None:  # the code is in the image
        return []
    return [
        f"{file.as_posix()} is imported, but {rules.name} leaves it out of the job: let it through "
        f"with the line !/{file.as_posix()}"
        for file in files_left_out(root, sorted(used))
    ]


def _reads_only_champion(project: Project, ports: Ports, part: Cut) -> bool:
    champion = project.mlops.champion if project.mlops else None
    return part.step.reuse is None and ports.read_outside(part) == [champion]


def _value(project: Project, name: str, *, is_requested: bool) -> Any:
    value = project.parameter(name)
    if value is None and is_requested:
        return None  # a job input cannot be null: the command sets it
    if not _arrives_unchanged(value):
        raise OperationError(
            f"The parameter {name} is {value!r}: a job input must be a number, a boolean or plain "
            "text that does not read as either, without quotes, commas, brackets, $ or backslash. "
            "Set it in parameters.yml of the environment instead."
        )
    return value


def _arrives_unchanged(value: Any) -> bool:
    """Return whether ``--params`` preserves a value: it reads the text ``007`` as a number."""
    if value is None or _UNSAFE & set(str(value)):
        return False
    read = typed({"value": str(value)})["value"]
    return type(read) is type(value) and bool(read == value)


def _refuse_clashes(datasets: Iterable[str], parameters: Iterable[str]) -> None:
    """Refuse parameters whose job input would clash with another one, or cannot have its name."""
    taken = {port_of(name).lower(): f"the dataset {name}" for name in datasets}
    for name in parameters:
        refuse_illegal_port(f"The parameter {name}", port_of(name))
        port = port_of(name).lower()
        if port in taken:
            raise OperationError(
                f"The parameter {name} and {taken[port]} would share the job input {port}: "
                "leave the parameter out, or rename one of them."
            )
        taken[port] = f"the parameter {name}"


def _refuse_overridden_paths(
    project: Project, ports: Ports, inputs: Iterable[str], requested: Iterable[str]
) -> None:
    """Refuse a path parameter that is overridden by the input of the same data."""
    overruled = {ports.overruled(name): name for name in inputs}
    for name in requested:
        if (value := project.parameter(name)) is not None and value in overruled:
            raise OperationError(
                f"The parameter {name}={value} would have no effect: azureml.yml overrides it "
                f"with inputs.{overruled[value]}.path. Leave one of them out."
            )
    read_from = {ports.path(name): name for name in inputs}
    for name in project.config.params:
        if (value := project.parameter(name)) in read_from:
            raise OperationError(
                f"params: {name} in azureml.yml has no effect: the job reads the input "
                f"{read_from[value]}. Remove the parameter and change that input instead."
            )


def _relative(project: Project, path: str) -> str:
    """Make a local path relative to the compiled file, as ``az ml`` reads it."""
    if ":" in path:
        return path
    folder = job_file(project.root, project.env).parent
    return Path(os.path.relpath(project.root / path, folder)).as_posix()


def _job_input(project: Project, ports: Ports, port: Port) -> dict[str, Any]:
    configured = project.config.inputs.get(port.dataset)
    return {
        "type": port.type,
        "path": _relative(project, ports.path(port.dataset)),
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


def _step(project: Project, ports: Ports, part: Cut, values: Mapping[str, Any]) -> dict[str, Any]:
    taken = _relevant_parameters(project, part, values)
    body = _spark if part.step.spark else _command
    inputs: dict[str, Any] = {
        port.name: reference_to("parent.inputs", port.name) for port in ports.given(part)
    }
    for port in ports.linked(part):
        source = reference_to(f"parent.jobs.{ports.maker(port.dataset)}.outputs", port.name)
        inputs[port.name] = {"type": port.type, "path": source}
    inputs |= {
        port_of(name): reference_to("parent.inputs", port_of(name))
        for name, value in taken.items()
        if value is not None
    }
    outputs = {port.name: _step_output(project, part, port) for port in ports.made(part)}
    return body(project, ports, part, taken) | {"inputs": inputs, "outputs": outputs}


def _relevant_parameters(project: Project, part: Cut, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that can affect a step, so that others do not cause a rerun."""
    groups = {name.removeprefix("params:") for node in part.nodes.nodes for name in node.inputs}
    in_configuration = project.used_outside_nodes
    used_by_nodes = {
        name.removeprefix("params:")
        for pipe in project.pipelines.values()
        for name in pipe.inputs()
    }

    def is_relevant(name: str) -> bool:
        family = {".".join(name.split(".")[: n + 1]) for n in range(name.count(".") + 1)}
        # a node may use one key of a group, params:model.alpha, while the job sets the whole group
        below = {each for each in groups if each.startswith(f"{name}.")}
        unknown = not family & used_by_nodes and not any(
            each.startswith(f"{name}.") for each in used_by_nodes
        )
        return bool(
            "parameters" in groups
            or family & groups
            or below
            or family & in_configuration
            or unknown
        )

    return {name: value for name, value in values.items() if is_relevant(name)}


def _command(project: Project, ports: Ports, part: Cut, taken: Mapping[str, Any]) -> dict[str, Any]:
    step, config = part.step, project.config
    bindings, run = _bindings(ports, part), _kedro_run(project, step, taken)
    command = " ".join(["env", *bindings, "kedro", *run] if bindings else ["kedro", *run])
    component = {
        "type": "command",
        "name": part.name,
        "command": _in_project(config, command),
        "code": _relative(project, config.code) if config.code else None,
        "environment": _environment(project, step),
        "is_deterministic": not ports.read_outside(part) if step.reuse is None else step.reuse,
        "inputs": {
            port.name: {"type": port.type} for port in (*ports.given(part), *ports.linked(part))
        }
        | {
            port_of(name): {"type": _TYPES[type(value)]}
            for name, value in taken.items()
            if value is not None
        },
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
        "identity": _identity(step.identity),
        "environment_variables": {k: str(v) for k, v in step.environment_variables.items()},
        "component": component,
    }


def _in_project(config: AzureML, command: str) -> str:
    """Return a command that runs in the project's folder, also if the code is in an image."""
    if config.code is not None:
        return command
    return f"cd {shlex.quote(str(config.working_directory))} && {command}"


def _spark(project: Project, ports: Ports, part: Cut, taken: Mapping[str, Any]) -> dict[str, Any]:
    spark = part.step.spark
    assert spark is not None  # noqa: S101 - checked by the caller
    if not (project.root / spark.entry).is_file():
        raise OperationError(
            f"step {part.name} runs on Spark, which starts a file of the project, but there is no "
            f"{spark.entry}. Create it with these two lines:\n"
            "from kedro_azure_mlops.job.spark_entry import main\nmain(__file__)"
        )
    sizes = {f"spark.{key.replace('_', '.')}": getattr(spark, key) for key in _SPARK_SIZES}
    return {
        "type": "spark",
        "display_name": part.name,
        "code": _relative(project, project.config.code or "."),
        "entry": {"file": spark.entry},
        "args": " ".join([*_bindings(ports, part), *_kedro_run(project, part.step, taken)]),
        "conf": sizes | {"spark.executor.instances": spark.executor_instances} | spark.conf,
        "resources": {
            "instance_type": spark.instance_type,
            "runtime_version": spark.runtime_version,
        },
        "environment": part.step.environment,
        "identity": _identity(part.step.identity or "managed"),
    }


def _bindings(ports: Ports, part: Cut) -> list[str]:
    sides = (("inputs", ports.given(part) + ports.linked(part)), ("outputs", ports.made(part)))
    return [f"{PREFIX}{port.name}={port.place(side)}" for side, ones in sides for port in ones]


def _kedro_run(project: Project, step: Step, taken: Mapping[str, Any]) -> list[str]:
    """Return the arguments of the step's ``kedro`` command."""
    pipeline = project.config.pipeline
    pipelines = step.pipelines or ([pipeline] if pipeline != "__default__" else [])
    filters = {
        _pipelines_option(pipelines): pipelines,
        "--tags": step.tags,
        "--nodes": step.nodes,
        "--namespaces": step.namespaces,
    }
    run = ["run", "--env", project.env]
    for option, names in filters.items():
        run += [option, ",".join(names)] if names else []
    if taken:
        pairs = (
            f"{name}={'null' if value is None else reference_to('inputs', port_of(name))}"
            for name, value in taken.items()
        )
        run += ["--params", f'"{",".join(pairs)}"']
    return run


def _pipelines_option(names: list[str]) -> str:
    """Return the option of the installed Kedro: early 1.x releases run a single pipeline."""
    from kedro.framework.cli.project import run

    if any("--pipelines" in option.opts for option in run.params):
        return "--pipelines"
    if len(names) > 1:
        raise OperationError(
            f"a step of the pipelines {', '.join(names)} needs `kedro run --pipelines`, which the "
            "installed Kedro lacks: update it, or name one pipeline, tags or nodes."
        )
    return "--pipeline"


def _step_output(project: Project, part: Cut, port: Port) -> str | dict[str, Any]:
    if port.dataset in project.config.outputs:
        return reference_to("parent.outputs", port.name)
    return {"type": port.type, "mode": "direct" if part.step.spark else "upload"}


def _environment(project: Project, step: Step) -> str | dict[str, Any]:
    from kedro_azure_mlops.azure.environment import reference

    if step.environment:
        return step.environment
    if project.config.image:
        return {"image": project.config.image}
    return reference(project.root, project.config)


def _identity(kind: str | None) -> dict[str, str] | None:
    return {"type": _IDENTITIES[kind]} if kind else None


def _without_none(value: Any) -> Any:
    """Drop unset values: None, and mappings that hold nothing else."""
    if not isinstance(value, Mapping):
        return value
    cleaned = {key: _without_none(item) for key, item in value.items()}
    return {key: item for key, item in cleaned.items() if item is not None and item != {}}
