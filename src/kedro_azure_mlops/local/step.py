"""One step of a local job, run in a fresh copy of the code with its ports bound to folders.

A step with unchanged inputs is reused, as on Azure ML: a record next to its outputs lists
everything that they depend on.
"""

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedro_azure_mlops.azure.snapshot import content_digest, copy_snapshot
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.local.job_file import Step, fill_in
from kedro_azure_mlops.local.process import (
    Ended,
    StepProcess,
    clean_environment,
    variables_of_ranks,
)

# Outputs of other types are folders, created empty.
_FILE = "uri_file"
_RECORD = "succeeded.json"


@dataclass(frozen=True)
class Given:
    """The inputs of one step: values of parameters, and files or folders."""

    values: Mapping[str, str]
    data: Mapping[str, Path]


@dataclass(frozen=True)
class Snapshot:
    """A copy of code that does not change while the job runs."""

    folder: Path
    digest: str


def take_snapshot(code: Path, target: Path) -> Snapshot:
    """Copy the files of a folder that would be uploaded.

    Raises
    ------
    OperationError
        If the folder has no such files, or a link points out of it.
    """
    if not code.is_dir():
        raise OperationError(f"The code of the job should be in {code}, which is not a folder.")
    copy_snapshot(code, target)
    return Snapshot(target, content_digest(target))


def output_path(folder: Path, port: str) -> Path:
    """Return the path of an output of a step that runs in a folder."""
    return folder / "outputs" / port


def has_succeeded(folder: Path) -> bool:
    """Return whether a step has succeeded in a folder, so that its outputs are complete."""
    return _read_record(folder) is not None


class LocalStep:
    """A step, the folder it runs in and its inputs.

    Parameters
    ----------
    champion
        A text that identifies the champion that the step reads. None if the step reads no champion,
        or if the lookup failed.
    """

    def __init__(
        self, step: Step, folder: Path, inputs: Given, code: Snapshot, champion: str | None = None
    ) -> None:
        self.step = step
        self._folder = folder
        self._inputs = inputs
        self._code = code
        self._is_reusable = step.is_deterministic or champion is not None
        self._cause = _cause_of(step, code.digest, inputs, champion)
        self._outputs = {port: output_path(folder, port) for port in step.outputs}
        self._lock = threading.Lock()
        self._process: StepProcess | None = None
        self.interrupted = False

    @property
    def log(self) -> Path:
        """The path of the log of the first process."""
        return self._folder / "log.txt"

    def why_run(self) -> str | None:
        """Return why the step has to run; None if its outputs can be reused."""
        if not self._is_reusable:
            return "it is never reused"
        record = _read_record(self._folder)
        if record is None:
            return "it has no result yet"
        recorded = record["cause"]
        names = [*self._cause, *(name for name in recorded if name not in self._cause)]
        changed = [name for name in names if recorded.get(name) != self._cause.get(name)]
        if changed:
            return f"its {' and '.join(changed)} changed"
        if _contents(self._outputs) != record["made"]:
            return "its outputs have been changed since then"
        return None

    def run(self, variables: Mapping[str, str], write: Callable[[str], None]) -> Ended:
        """Run the command and record its success.

        Parameters
        ----------
        variables
            Variables to set in addition to the step's own.
        write
            Called with each line of the first process.
        """
        self._prepare()
        ended = self._build(variables, write).run(self.step.timeout)
        if self.interrupted:
            return Ended("it was interrupted", self.log)
        missing = [port for port, path in self._outputs.items() if not path.exists()]
        if ended.problem is None and missing:
            return Ended(f"it did not produce its output {missing[0]}", self.log)
        if ended.problem is None:
            self._record()
        return ended

    def end(self) -> None:
        """Stop the step; its partial outputs are not reused."""
        with self._lock:
            self.interrupted = True
        if self._process:
            self._process.end()

    def _prepare(self) -> None:
        """Empty the folders, the record first, so that partial outputs are never reused."""
        (self._folder / _RECORD).unlink(missing_ok=True)
        if self._folder.is_dir():
            shutil.rmtree(self._folder)
        for port, path in self._outputs.items():
            is_file = self.step.outputs[port] == _FILE
            (path.parent if is_file else path).mkdir(parents=True, exist_ok=True)
        shutil.copytree(self._code.folder, self._folder / "code")

    def _record(self) -> None:
        record = {"cause": self._cause, "made": _contents(self._outputs)}
        partial = self._folder / f"{_RECORD}.part"
        partial.write_text(json.dumps(record, indent=1), encoding="utf-8")
        partial.replace(self._folder / _RECORD)

    def _build(self, variables: Mapping[str, str], write: Callable[[str], None]) -> StepProcess:
        common = {**clean_environment(), **variables}
        ranks = variables_of_ranks(self.step.distribution, self.step.instances)
        environments = [{**common, **rank, **self.step.variables} for rank in ranks]
        process = StepProcess(
            self._command(), self._folder / "code", environments, self._folder, write
        )
        with self._lock:
            self._process = process
            if self.interrupted:
                process.end()
        return process

    def _command(self) -> str:
        references: dict[str, str | Path] = {}
        for group in (self._inputs.values, self._inputs.data):
            references |= {f"inputs.{name}": value for name, value in group.items()}
        references |= {f"outputs.{name}": path for name, path in self._outputs.items()}
        return fill_in(self.step.command, references)


def _cause_of(step: Step, code: str, inputs: Given, champion: str | None) -> dict[str, str]:
    """Return digests of everything that the result of a step depends on."""
    causes: dict[str, Any] = {
        "code": code,
        "command": step.command,
        "environment": step.environment,
        "environment variables": dict(step.variables),
        "parameters": dict(inputs.values),
        "data": {port: content_digest(path) for port, path in inputs.data.items()},
        "outputs": dict(step.outputs),
        "distribution": [dict(step.distribution), step.instances],
    }
    if champion is not None:
        causes["champion"] = champion
    return {name: _digest(cause) for name, cause in causes.items()}


def _digest(cause: Any) -> str:
    return hashlib.sha256(json.dumps(cause, sort_keys=True, default=str).encode()).hexdigest()


def _contents(outputs: Mapping[str, Path]) -> dict[str, str]:
    return {port: content_digest(path) for port, path in outputs.items() if path.exists()}


def _read_record(folder: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record
