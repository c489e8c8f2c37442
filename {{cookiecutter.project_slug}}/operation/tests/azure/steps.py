"""One step of a job: what was asked for, and the run of its command in a fresh copy of the code."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from operation.tests.azure.kinds import Body

_REFERENCE = re.compile(r"\$\{\{\s*([\w.]+)\s*\}\}")
# Of the tests' own process: how it reaches the stand-in, who it is, what it runs and tracks.
_NOT_INHERITED = re.compile(r"(AZURE|KEDRO|MLFLOW|MSI|PYTEST)|.*_PROXY$|.*_CA_BUNDLE$|SSL_", re.I)


class StepError(Exception):
    """The step failed; the message is what its run says."""


@dataclass
class Step:
    """What a step asked for, where it ran and how it ended."""

    name: str
    run_id: str
    type: str
    command: str
    code: str | None
    environment: str | None
    compute: str | None
    is_deterministic: bool
    resources: Body
    distribution: Body
    limits: Body
    identity: Body
    conf: Body
    environment_variables: dict[str, str]
    inputs: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    folder: Path = Path()
    status: str = "Queued"
    log: str = ""
    _process: "subprocess.Popen[str] | None" = None
    _killed: bool = False

    @classmethod
    def of(cls, name: str, run_id: str, node: Body, component: Body) -> "Step":
        """Put the node of a pipeline and its component together; the node has the last word."""
        both = component | {key: value for key, value in node.items() if value is not None}
        asked = ("resources", "distribution", "limits", "identity", "conf", "environment_variables")
        return cls(
            name=name,
            run_id=run_id,
            type=both["type"],
            command=_command(both),
            code=both.get("code"),
            environment=both.get("environment"),
            compute=both.get("computeId"),
            is_deterministic=component.get("is_deterministic", True),
            **{key: both.get(key) or {} for key in asked},
        )

    def line(self) -> str:
        """Put inputs and outputs into the command.

        Raises
        ------
        StepError
            If the command names one that the step does not have.
        """
        known = {f"inputs.{name}": value for name, value in self.inputs.items()}
        known |= {f"outputs.{name}": value for name, value in self.outputs.items()}
        unknown = set(_REFERENCE.findall(self.command)) - set(known)
        if unknown:
            raise StepError(f"The command names {', '.join(sorted(unknown))}: there is none.")
        return _REFERENCE.sub(lambda match: known[match[1]], self.command)

    def run(self, write: Callable[[str], None]) -> None:
        """Run the command and write its output as it comes.

        Raises
        ------
        StepError
            If it ends with another status than 0 or takes longer than its limit.
        """
        expired = threading.Event()
        with subprocess.Popen(
            ["bash", "-c", self.line()],
            cwd=self.folder,
            env=self._environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as self._process:
            if self._killed:  # while it was being started
                self.kill()
            limit = threading.Timer(_seconds(self.limits.get("timeout")), self._expire, [expired])
            limit.start()
            for line in self._process.stdout or ():
                self.log += line
                write(line)
            limit.cancel()
            limit.join()
        self._judge(self._process.returncode, expired.is_set())

    def kill(self) -> None:
        """End the command with everything it has started."""
        self._killed = True
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _expire(self, expired: threading.Event) -> None:
        expired.set()
        self.kill()

    def _judge(self, status: int, expired: bool) -> None:
        if expired:
            raise StepError(f"The step exceeded its limit of {self.limits['timeout']}.")
        if status:
            raise StepError(
                f"Execution failed. User process '/bin/bash' exited with status code {status}. "
                "Please check log file 'user_logs/std_log.txt' for error details. "
                f"Error: {self.log[-2000:]}"
            )

    def _environ(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not _NOT_INHERITED.match(k)}
        own = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
        return inherited | own | self.variables | self.environment_variables


def _command(both: Body) -> str:
    if both["type"] == "spark":
        return f"python {both['entry']['file']} {both.get('args') or ''}".rstrip()
    return str(both["command"])


def _seconds(timeout: str | None) -> float:
    from isodate import parse_duration

    return parse_duration(timeout).total_seconds() if timeout else threading.TIMEOUT_MAX
