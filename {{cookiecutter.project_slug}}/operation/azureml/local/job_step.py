"""One step of a job file: its component and its own settings put together."""

import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operation.azureml.local.references import FromStep, Source, Value, job_output_of, source_of
from operation.errors import OperationError

# of a Spark job: variables of its driver
_DRIVER_VARIABLE = "spark.yarn.appMasterEnv."


@dataclass(frozen=True)
class Step:
    """A step as it can be run here."""

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

    @property
    def needs(self) -> set[str]:
        """Names of the steps that must be done before."""
        return {source.step for source in self.inputs.values() if isinstance(source, FromStep)}


def read_step(
    name: str, raw: Mapping[str, Any], folder: Path, job_outputs: Mapping[str, Any]
) -> Step:
    """Read a step.

    Parameters
    ----------
    folder
        What its code is relative to.
    job_outputs
        The outputs of the job, which say the types of those that it keeps.

    Raises
    ------
    OperationError
        If it cannot be run here.
    """
    component = raw.get("component") or {}
    if not isinstance(component, Mapping):
        raise OperationError(
            f"Step {name} uses the component {component}, which is not in this file: only steps "
            "that are written out can run here."
        )
    both = {**component, **raw}
    if both.get("type", "command") not in ("command", "spark"):
        raise OperationError(
            f"Step {name} is of type {both['type']}; only command and spark can run here."
        )
    resources, limits = both.get("resources") or {}, both.get("limits") or {}
    declared, given = component.get("outputs") or {}, raw.get("outputs") or {}
    kept = {port: found for port, output in given.items() if (found := job_output_of(output))}
    return Step(
        name=name,
        command=_command(name, both),
        code=(folder / both["code"]).resolve() if both.get("code") else None,
        environment=str(both.get("environment") or ""),
        variables={key: str(value) for key, value in _variables(both)},
        inputs=dict(_inputs(name, component.get("inputs") or {}, raw.get("inputs") or {})),
        outputs={
            port: _type(given.get(port), job_outputs.get(kept.get(port, "")), declared.get(port))
            for port in {**declared, **given}
        },
        kept=kept,
        distribution=both.get("distribution") or {},
        instances=int(resources.get("instance_count") or 1),
        timeout=float(limits["timeout"]) if limits.get("timeout") else None,
        is_deterministic=both.get("is_deterministic", True),
    )


def _command(name: str, both: Mapping[str, Any]) -> str:
    if both.get("type") == "spark":
        entry = both.get("entry")
        if not isinstance(entry, Mapping) or "file" not in entry:
            raise OperationError(f"Step {name} has no entry.file, which is what is started here.")
        return f"{shlex.quote(sys.executable)} {entry['file']} {both.get('args') or ''}".strip()
    command = str(both.get("command") or "")
    if not command or "$[[" in command:
        raise OperationError(
            f"Step {name} has {'optional parts in its' if command else 'no'} command: that cannot "
            "run here."
        )
    # the folder of the project in the image, whose place this project takes
    return command if both.get("code") else re.sub(r"^\s*cd\s+\S+\s*&&\s*", "", command)


def _variables(both: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from (both.get("environment_variables") or {}).items()
    for key, value in (both.get("conf") or {}).items():
        if key.startswith(_DRIVER_VARIABLE):
            yield key.removeprefix(_DRIVER_VARIABLE), value


def _inputs(
    step: str, declared: Mapping[str, Any], given: Mapping[str, Any]
) -> Iterator[tuple[str, Source]]:
    for name, raw in given.items():
        yield name, source_of(f"input {name} of step {step}", raw)
    for name, raw in declared.items():
        if name not in given and isinstance(raw, Mapping) and "default" in raw:
            yield name, Value(str(raw["default"]))


def _type(*outputs: Any) -> str:
    """Return the first type that is given: the step's, the job's, the component's."""
    types = (output.get("type") for output in outputs if isinstance(output, Mapping))
    return next((str(kind) for kind in types if kind), "uri_folder")
