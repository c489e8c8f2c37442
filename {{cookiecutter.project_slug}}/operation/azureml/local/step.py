"""One step of a job that runs here: in a fresh copy of the code, its ports bound to folders."""

import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from operation.azureml.local import reuse
from operation.azureml.local.inputs import Given, output_path
from operation.azureml.local.job_step import Step
from operation.azureml.local.process import Ended, StepProcess, clean_environment
from operation.azureml.local.ranks import variables_of_ranks
from operation.azureml.local.references import fill_in
from operation.azureml.snapshot import content_digest, copy_snapshot
from operation.errors import OperationError

# outputs of other types are folders, which are given empty
_FILE = "uri_file"


@dataclass(frozen=True)
class Snapshot:
    """A copy of code that does not change while the job runs."""

    folder: Path
    digest: str


def take_snapshot(code: Path, target: Path) -> Snapshot:
    """Copy what would be uploaded of a folder.

    Raises
    ------
    OperationError
        If nothing would be, or a link leads out of it.
    """
    if not code.is_dir():
        raise OperationError(f"The job takes its code from {code}, which is no folder.")
    copy_snapshot(code, target)
    return Snapshot(target, content_digest(target))


class LocalStep:
    """A step, the folder it runs in and what it is given."""

    def __init__(self, step: Step, folder: Path, given: Given, code: Snapshot) -> None:
        self.step = step
        self._folder = folder
        self._given = given
        self._code = code
        self._cause = reuse.cause_of(step, code.digest, given.values, given.data)
        self._outputs = {port: output_path(folder, port) for port in step.outputs}
        self._lock = threading.Lock()
        self._process: StepProcess | None = None
        self.interrupted = False

    @property
    def log(self) -> Path:
        """The log of the first process."""
        return self._folder / "log.txt"

    def why_run(self) -> str | None:
        """Say why it has to run; None if its earlier result can be reused."""
        if not self.step.is_deterministic:
            return "it is never reused"
        return reuse.why_run(self._folder, self._cause, self._outputs)

    def run(self, variables: Mapping[str, str], write: Callable[[str], None]) -> Ended:
        """Run its command and record its success.

        Parameters
        ----------
        variables
            Variables for it, besides its own.
        """
        self._prepare()
        ended = self._started(variables, write).run(self.step.timeout)
        if self.interrupted:
            return Ended("it was interrupted", self.log)
        missing = [port for port, path in self._outputs.items() if not path.exists()]
        if ended.problem is None and missing:
            return Ended(f"it has not made its output {missing[0]}", self.log)
        if ended.problem is None:
            reuse.remember(self._folder, self._cause, self._outputs)
        return ended

    def end(self) -> None:
        """End it; what it has made by then is not trusted."""
        with self._lock:
            self.interrupted = True
        if self._process:
            self._process.end()

    def _prepare(self) -> None:
        """Make the folders anew: nothing of an earlier try is left."""
        reuse.forget(self._folder)
        for port, path in self._outputs.items():
            is_file = self.step.outputs[port] == _FILE
            (path.parent if is_file else path).mkdir(parents=True, exist_ok=True)
        shutil.copytree(self._code.folder, self._folder / "code")

    def _started(self, variables: Mapping[str, str], write: Callable[[str], None]) -> StepProcess:
        own = clean_environment() | variables
        ranks = variables_of_ranks(self.step.distribution, self.step.instances)
        environments = [own | rank | self.step.variables for rank in ranks]
        process = StepProcess(
            self._command(), self._folder / "code", environments, self._folder, write
        )
        with self._lock:
            self._process = process
            if self.interrupted:
                process.end()
        return process

    def _command(self) -> str:
        places: dict[str, str | Path] = {}
        for side, found in (
            ("inputs", {**self._given.values, **self._given.data}),
            ("outputs", self._outputs),
        ):
            places |= {f"{side}.{name}": value for name, value in found.items()}
        return fill_in(self.step.command, places)
