"""The inputs of a local job's steps: values, files, and outputs of other steps."""

import re
from collections.abc import Mapping
from pathlib import Path

from kedro_azure_mlops.azure.workspace import without_secrets
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks.binding import port_of
from kedro_azure_mlops.local.job_file import Data, FromJob, FromStep, Job, Step, Value
from kedro_azure_mlops.local.step import Given, has_succeeded, output_path

# A single letter before a colon is a drive.
_ADDRESS = re.compile(r"[a-zA-Z][\w+.-]+:")


class Inputs:
    """Resolve the inputs of each step.

    Parameters
    ----------
    work
        The folder that steps run in: outputs of a step are in ``<work>/<step>/outputs/<port>``.
    outputs
        A folder of downloaded outputs, ``<outputs>/<step>/<port>``, to read instead.
    parameters, paths
        Values, and files or folders, that replace inputs of the job.

    Raises
    ------
    OperationError
        If the job has no such inputs.
    """

    def __init__(
        self,
        job: Job,
        work: Path,
        outputs: Path | None,
        parameters: Mapping[str, str],
        paths: Mapping[str, str],
    ) -> None:
        self._job, self._work, self._outputs = job, work, outputs
        values = [name for name, source in job.inputs.items() if isinstance(source, Value)]
        data = [name for name, source in job.inputs.items() if isinstance(source, Data)]
        self._values = {
            _checked_name("--params", port_of(name), values, data): text
            for name, text in parameters.items()
        }
        self._paths = {_checked_name("--input", n, data, values): path for n, path in paths.items()}

    def of(self, step: Step) -> Given:
        """Return the inputs of a step; the steps that produce some of them must have run.

        Raises
        ------
        OperationError
            If an input is missing; the message names it and the command to run.
        """
        resolved = {name: self._resolve(name, source) for name, source in step.inputs.items()}
        return Given(
            {name: value for name, value in resolved.items() if isinstance(value, str)},
            {name: value for name, value in resolved.items() if isinstance(value, Path)},
        )

    def check(self, step: Step, running: set[str]) -> None:
        """Refuse a step with missing inputs, before anything runs.

        Parameters
        ----------
        running
            The other steps that will run.

        Raises
        ------
        OperationError
            As ``of``.
        """
        for name, source in step.inputs.items():
            if not (isinstance(source, FromStep) and source.step in running):
                self._resolve(name, source)

    def job_data(self, steps: list[Step]) -> dict[str, Path]:
        """Return the job's data inputs that these steps read."""
        sources = [source for step in steps for source in step.inputs.values()]
        names = {source.name for source in sources if isinstance(source, FromJob)}
        resolved = {name: self._job_input(name) for name in sorted(names)}
        return {name: value for name, value in resolved.items() if isinstance(value, Path)}

    @property
    def changed(self) -> Mapping[str, str]:
        """The values that replace the job's own parameters."""
        return self._values

    def _resolve(self, name: str, source: object) -> str | Path:
        match source:
            case Value(text):
                return text
            case Data(path):
                return self._file(name, path, self._job.file.parent)
            case FromJob(job_input):
                return self._job_input(job_input)
            case FromStep(step, port):
                return self._step_output(step, port)
        raise TypeError(source)

    def _job_input(self, name: str) -> str | Path:
        if name in self._values:
            return self._values[name]
        if name in self._paths:
            return self._file(name, self._paths[name], Path.cwd())
        return self._resolve(name, self._job.inputs[name])

    def _file(self, name: str, path: str, folder: Path) -> Path:
        if _ADDRESS.match(path):
            raise OperationError(
                f"The input {name} is {without_secrets(path)}, which cannot be read on this "
                f"machine: use a local copy with --input {name}=PATH"
            )
        resolved = (folder / path).resolve()
        if not resolved.exists():
            raise OperationError(
                f"The input {name} is read from {resolved}, which does not exist: create it, or "
                f"use another path with --input {name}=PATH"
            )
        return resolved

    def _step_output(self, step: str, port: str) -> Path:
        if self._outputs:
            path = self._outputs.absolute() / step / port
            return self._downloaded_output(path, step, port)
        path = output_path(self._work / step, port)
        if not (has_succeeded(self._work / step) and path.exists()):
            raise OperationError(
                f"The output {port} of step {step} is needed, but {step} has not run here (or has "
                f"failed): run it first with --step {step}, or the whole job without --step."
            )
        return path

    def _downloaded_output(self, path: Path, step: str, port: str) -> Path:
        if not path.exists():
            raise OperationError(
                f"The output {port} of step {step} is needed, but is not in {path}. Fetch outputs "
                "of a job on Azure ML with: kedro mlops submit --job NAME --download DIR"
            )
        files = list(path.iterdir()) if path.is_dir() else []
        is_file = self._job.steps[step].outputs[port] == "uri_file"
        return files[0] if is_file and len(files) == 1 else path


def _checked_name(option: str, name: str, names: list[str], others: list[str]) -> str:
    if name in names:
        return name
    hint = {"--params": "--input", "--input": "--params"}[option]
    raise OperationError(
        f"{option} {name}: "
        + (
            f"that is set with {hint}."
            if name in others
            else f"the job has no such input; it has: {', '.join(names) or 'none'}."
        )
    )
