"""The console output of a local job: its progress and outcome."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_TAIL = 20  # lines of the log of a failed step


@dataclass(frozen=True)
class StepVerdict:
    """The outcome of a step and its duration in seconds."""

    status: Literal["finished", "reused", "failed", "not started"]
    seconds: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """The outcome of a job and the paths of the outputs it produced."""

    steps: Mapping[str, StepVerdict]
    outputs: Mapping[str, Path]

    @property
    def succeeded(self) -> bool:
        """Return whether all steps have finished or were reused."""
        return all(step.status in ("finished", "reused") for step in self.steps.values())


class Report:
    """Report on the steps in whole lines, from any thread.

    Parameters
    ----------
    say
        Called with each line.
    total
        The number of steps.
    command
        The command that runs this job.
    """

    def __init__(self, say: Callable[[str], None], total: int, command: str) -> None:
        self._print, self._total, self._command = say, total, command
        self._lock = threading.RLock()
        self._done = 0

    def say(self, line: str) -> None:
        """Print a line."""
        with self._lock:
            self._print(line)

    def started(self, step: str, why: str) -> None:
        """Report that a step has started, and why it was not reused."""
        self.say(f"{step}: started, {why}")

    def reused(self, step: str) -> None:
        """Report that a step does not need to run."""
        self._end(step, "reused, nothing it depends on has changed")

    def finished(self, step: str, seconds: float) -> None:
        """Report that a step has succeeded."""
        self._end(step, f"finished in {seconds:.1f} s")

    def failed(self, step: str, problem: str, log: Path, seconds: float) -> None:
        """Report that a step has failed: the reason, the end of its log, and how to repeat it."""
        with self._lock:
            self._end(step, f"failed after {seconds:.1f} s: {problem}")
            for line in _tail(log):
                self.say(f"{step} ! {line}")
            self.say(f"{step}: its full log is in {shown(log)}")
            self.say(f"{step}: to repeat only this step, run: {self._command} --step {step}")

    def ended(self, verdict: Verdict, seconds: float) -> None:
        """Report the outcome of the job and the paths of its outputs."""
        for name, path in verdict.outputs.items():
            self.say(f"output {name}: {shown(path)}")
        by_status: dict[str, list[str]] = {}
        for name, step in verdict.steps.items():
            by_status.setdefault(step.status, []).append(name)
        steps = "; ".join(f"{status} {', '.join(names)}" for status, names in by_status.items())
        self.say(f"{'done' if verdict.succeeded else 'failed'} in {seconds:.1f} s: {steps}")

    def _end(self, step: str, how: str) -> None:
        with self._lock:
            self._done += 1
            self.say(f"{step}: {how} ({self._done} of {self._total})")


def shown(path: Path) -> str:
    """Return a path relative to the current folder if it is inside, otherwise unchanged."""
    current = Path.cwd()
    return str(path.relative_to(current) if path.is_relative_to(current) else path)


def _tail(log: Path) -> list[str]:
    if not log.is_file():
        return []
    with log.open(encoding="utf-8") as lines:
        return [line.rstrip("\n") for line in deque(lines, _TAIL)]
