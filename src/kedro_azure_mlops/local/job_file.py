"""A pipeline job file (CLI v2), parsed as far as it can run on this machine.

The settings of a step are merged with those of its component. References, such as those to inputs
and outputs in a command, are resolved.
"""

import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from kedro_azure_mlops.errors import OperationError

_REFERENCE = re.compile(r"\$\{\{\s*([\w.-]+)\s*\}\}")
# The quoted parts of a command, each with both of its quotes.
_QUOTED = re.compile(r"\\.|'[^']*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
_CHANGE_FOLDER = re.compile(r"^\s*cd\s+(?:'[^']*'|\"[^\"]*\"|\\.|[^\s'\"\\&])+\s*&&\s*")
# In a Spark job: variables of its driver, and cluster sizes, which do not apply to this machine.
_DRIVER_VARIABLE = "spark.yarn.appMasterEnv."
_SIZES = re.compile(r"spark\.((driver|executor)\.(cores|memory)|executor\.instances)")


@dataclass(frozen=True)
class Value:
    """A literal."""

    text: str


@dataclass(frozen=True)
class Data:
    """A file or folder, as the job file names it."""

    path: str


@dataclass(frozen=True)
class FromJob:
    """An input of the job."""

    name: str


@dataclass(frozen=True)
class FromStep:
    """An output of another step."""

    step: str
    port: str


Source = Value | Data | FromJob | FromStep


@dataclass(frozen=True)
class Step:
    """A step to run on this machine."""

    name: str
    command: str
    code: Path | None  # None: the code is in the image
    environment: str
    variables: Mapping[str, str]
    inputs: Mapping[str, Source]
    outputs: Mapping[str, str]  # types by port
    kept: Mapping[str, str]  # outputs of the job by port
    distribution: Mapping[str, Any]
    instances: int
    timeout: float | None
    is_deterministic: bool
    is_spark: bool

    @property
    def needs(self) -> set[str]:
        """The names of the steps that must finish first."""
        return {source.step for source in self.inputs.values() if isinstance(source, FromStep)}


@dataclass(frozen=True)
class Job:
    """A pipeline job; its steps are in execution order."""

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
            If there is no such step.
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
        If the file is not a pipeline job, or a step cannot run here; the message names the reason.
    """
    content = _yaml(file)
    if not isinstance(content, Mapping) or not isinstance(content.get("jobs"), Mapping):
        raise OperationError(f"{file.name} is not a pipeline job: it has no jobs.")
    settings, outputs = (_mapping(content, key, file.name) for key in ("settings", "outputs"))
    steps = {
        name: _read_step(name, _mapping(content["jobs"], name, f"{file.name}: jobs"), file, outputs)
        for name in content["jobs"]
    }
    job = Job(
        file=file,
        name=str(content.get("display_name") or file.stem),
        experiment=str(content.get("experiment_name") or file.stem),
        inputs={
            name: _source_of(f"inputs.{name}", raw)
            for name, raw in _mapping(content, "inputs", file.name).items()
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
    except UnicodeDecodeError as error:
        raise OperationError(
            f"{file.name} is not UTF-8 text, from byte {error.start} on: save it as UTF-8."
        ) from error
    except yaml.YAMLError as error:
        raise OperationError(f"{file.name} is not valid YAML: {error}") from error


def _mapping(owner: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    """Return the mapping with a key, empty if it is not set.

    Raises
    ------
    OperationError
        If it is something else; ``where`` says in the message what the key belongs to.
    """
    found = owner.get(key)
    if not isinstance(found, Mapping | None):
        raise OperationError(f"{where}: {key} is {found!r}, but must be a mapping of keys.")
    return found or {}


def _number(owner: Mapping[str, Any], key: str, where: str) -> float | None:
    """Return the number with a key; None if it is not set.

    Raises
    ------
    OperationError
        If it is something else; ``where`` says in the message what the key belongs to.
    """
    found = owner.get(key)
    try:
        return float(found) if found else None
    except (TypeError, ValueError):
        raise OperationError(f"{where}: {key} is {found!r}, but must be a number.") from None


def _ordered(steps: Mapping[str, Step]) -> dict[str, Step]:
    graph = {name: step.needs & set(steps) for name, step in steps.items()}
    try:
        return {name: steps[name] for name in TopologicalSorter(graph).static_order()}
    except CycleError as error:
        raise OperationError(
            f"Steps depend on each other: {' -> '.join(error.args[1])}."
        ) from error


def _faults(job: Job) -> Iterator[str]:
    for step in job.steps.values():
        for name, source in step.inputs.items():
            match source:
                case FromJob(key) if key not in job.inputs:
                    yield f"input {name} of step {step.name} is {key}, not an input of the job."
                case FromStep(maker, port) if port not in _outputs(job, maker):
                    yield f"input {name} of step {step.name} is {port}, no output of step {maker}."
        known = {f"inputs.{n}" for n in step.inputs} | {f"outputs.{n}" for n in step.outputs}
        for name in references_in(step.command):
            if name not in known:
                yield f"the command of step {step.name} uses {name}, which the step does not have."


def _outputs(job: Job, step: str) -> Mapping[str, str]:
    return job.steps[step].outputs if step in job.steps else {}


def _read_step(
    name: str, raw: Mapping[str, Any], file: Path, job_outputs: Mapping[str, Any]
) -> Step:
    """Read a step.

    Parameters
    ----------
    file
        The file of the job, from whose folder relative code paths start.
    job_outputs
        The outputs of the job, by name, with their types.

    Raises
    ------
    OperationError
        If the step cannot run here.
    """
    component = raw.get("component") or {}
    if not isinstance(component, Mapping):
        raise OperationError(
            f"Step {name} uses the component {component}, which is not in this file: only steps "
            "defined in the file can run here."
        )
    merged = {**component, **raw}
    if merged.get("type", "command") not in ("command", "spark"):
        raise OperationError(
            f"Step {name} is of type {merged['type']}; only command and spark can run here."
        )
    where = f"{file.name}: step {name}"
    resources, limits = (_mapping(merged, key, where) for key in ("resources", "limits"))
    inputs, declared = (_mapping(component, key, where) for key in ("inputs", "outputs"))
    bound = _mapping(raw, "outputs", where)
    kept = {port: found for port, output in bound.items() if (found := _job_output_of(output))}
    return Step(
        name=name,
        command=_command(merged, where),
        code=(file.parent / str(merged["code"])).resolve() if merged.get("code") else None,
        environment=str(merged.get("environment") or ""),
        variables={key: str(value) for key, value in _variables(merged, where)},
        inputs=dict(_inputs(name, inputs, _mapping(raw, "inputs", where))),
        outputs={
            port: _type(bound.get(port), job_outputs.get(kept.get(port, "")), declared.get(port))
            for port in {**declared, **bound}
        },
        kept=kept,
        distribution=_mapping(merged, "distribution", where),
        instances=int(_number(resources, "instance_count", f"{where}: resources") or 1),
        timeout=_number(limits, "timeout", f"{where}: limits"),
        is_deterministic=merged.get("is_deterministic", True),
        is_spark=merged.get("type") == "spark",
    )


def _command(merged: Mapping[str, Any], where: str) -> str:
    if merged.get("type") == "spark":
        entry = merged.get("entry")
        if not isinstance(entry, Mapping) or "file" not in entry:
            raise OperationError(f"{where} has no entry.file, so it cannot run here.")
        return f"{shlex.quote(sys.executable)} {entry['file']} {merged.get('args') or ''}".strip()
    command = str(merged.get("command") or "")
    if not command or "$[[" in command:
        raise OperationError(
            f"{where} has {'optional parts in its' if command else 'no'} command: that cannot run "
            "here."
        )
    # Drop the `cd` to the project's folder in the image: the command runs in this project.
    return command if merged.get("code") else _CHANGE_FOLDER.sub("", command)


def _variables(merged: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    yield from _mapping(merged, "environment_variables", where).items()
    words = []
    for key, value in _mapping(merged, "conf", where).items():
        if key.startswith(_DRIVER_VARIABLE):
            yield key.removeprefix(_DRIVER_VARIABLE), value
        elif not _SIZES.fullmatch(key):
            words += ["--conf", f"{key}={value}"]
    if words:  # read by pyspark when the step opens its session
        yield "PYSPARK_SUBMIT_ARGS", shlex.join([*words, "pyspark-shell"])


def _inputs(
    step: str, declared: Mapping[str, Any], bound: Mapping[str, Any]
) -> Iterator[tuple[str, Source]]:
    for name, raw in bound.items():
        yield name, _source_of(f"input {name} of step {step}", raw)
    for name, raw in declared.items():
        if name not in bound and isinstance(raw, Mapping) and "default" in raw:
            yield name, Value(str(raw["default"]))


def _type(*outputs: Any) -> str:
    """Return the first type that is set: by the step, the job or the component."""
    types = (output.get("type") for output in outputs if isinstance(output, Mapping))
    return next((str(kind) for kind in types if kind), "uri_folder")


def _source_of(where: str, raw: Any) -> Source:
    """Parse the source of an input.

    Raises
    ------
    OperationError
        If there is none, or it refers to something that cannot be an input.
    """
    text = raw.get("path") if isinstance(raw, Mapping) else raw
    if text is None:
        raise OperationError(f"{where} has neither a value nor a path.")
    match (_only_reference(text) or "").split("."):
        case ["parent", "inputs", name]:
            return FromJob(name)
        case ["parent", "jobs", step, "outputs", port]:
            return FromStep(step, port)
    if references_in(str(text)):
        raise OperationError(
            f"{where} is {text}: that is neither an input of the job nor a step's output."
        )
    return Data(str(text)) if isinstance(raw, Mapping) else Value(str(text))


def _job_output_of(output: Any) -> str | None:
    """Return the job output that a step's output is bound to; None if it is not bound."""
    text = output.get("path") if isinstance(output, Mapping) else output
    found = _only_reference(text)
    return found.removeprefix("parent.outputs.") if found else None


def references_in(text: str) -> list[str]:
    """Return the names in the references of a text."""
    return _REFERENCE.findall(text)


def fill_in(command: str, values: Mapping[str, str | Path]) -> str:
    """Replace references with values: text unchanged, as Azure ML does; paths quoted."""

    def value(match: re.Match[str]) -> str:
        found = values[match[1]]
        return found if isinstance(found, str) else _quote(command[: match.start()], str(found))

    return _REFERENCE.sub(value, command)


def _only_reference(text: Any) -> str | None:
    found = _REFERENCE.fullmatch(str(text).strip())
    return found[1] if found else None


def _quote(before: str, path: str) -> str:
    """Quote a path for its position: within quotes or outside of them."""
    open_quote = re.search("[\"']", _QUOTED.sub("", before))
    if open_quote is None:
        return shlex.quote(path)
    if open_quote[0] == "'":
        return path.replace("'", "'\\''")
    return re.sub(r'(["$`\\])', r"\\\1", path)
