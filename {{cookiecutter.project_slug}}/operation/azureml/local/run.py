"""Run a compiled job on this machine: step by step, from a copy of exactly what is uploaded."""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from operation.azureml.local import reuse
from operation.azureml.local.inputs import Inputs, output_path
from operation.azureml.local.job_file import Job, read_job
from operation.azureml.local.job_step import Step
from operation.azureml.local.order import run_in_order
from operation.azureml.local.report import Report, StepVerdict, Verdict, shown
from operation.azureml.local.step import LocalStep, Snapshot, take_snapshot
from operation.azureml.local.tracking import NoTracking, Tracking
from operation.azureml.snapshot import content_digest


def run_job(
    job_file: Path,
    work: Path,
    *,
    only: str | None = None,
    from_outputs: Path | None = None,
    force: bool = False,
    parameters: Mapping[str, str] | None = None,
    inputs: Mapping[str, str] | None = None,
    say: Callable[[str], None] = print,
    tracking: Tracking | None = None,
    root: Path | None = None,
    verb: str = "python -m operation.execution local",
) -> Verdict:
    """Run the steps of a job, each as soon as those before it are done.

    Parameters
    ----------
    work
        The folder the steps run in; kept, so that the next run can reuse unchanged steps.
    only
        Run this step alone, with what the others have made before.
    from_outputs
        Where that is instead, in ``<from_outputs>/<step>/<port>``.
    force
        Reuse nothing.
    parameters, inputs
        Values and paths that replace inputs of the job.
    root
        The project whose code takes the place of an image's; the current folder by default.
    verb
        The command that runs this job; names the repetition of a failed step.

    Raises
    ------
    OperationError
        If it cannot be tried; nothing has run then.
    """
    job, work, root = read_job(job_file), work.absolute(), root or Path.cwd()
    steps = [job.step(only)] if only else list(job.steps.values())
    found = Inputs(job, work, from_outputs, parameters or {}, inputs or {})
    for step in steps:
        found.check(step, running={other.name for other in steps} - {step.name})
    work.mkdir(parents=True, exist_ok=True)
    with reuse.alone(work), TemporaryDirectory(dir=work, prefix="code-") as copies:
        codes = dict.fromkeys(step.code or root for step in steps)
        taken = {code: take_snapshot(code, Path(copies) / str(n)) for n, code in enumerate(codes)}
        snapshots = {step.name: taken[step.code or root] for step in steps}
        report = Report(say, len(steps), verb)
        report.say(f"{job.name}: {len(steps)} of {len(job.steps)} steps in {shown(work)}")
        run = _Run(job, work, found, snapshots, tracking or NoTracking(), report)
        return run.run(steps, force=force or job.reuses_nothing or only is not None)


class _Run:
    """The run of a job."""

    def __init__(
        self,
        job: Job,
        work: Path,
        inputs: Inputs,
        snapshots: Mapping[str, Snapshot],
        tracking: Tracking,
        report: Report,
    ) -> None:
        self._job, self._work, self._inputs, self._snapshots = job, work, inputs, snapshots
        self._tracking, self._report = tracking, report
        self._lock = threading.Lock()
        self._running: list[LocalStep] = []
        self._stopped = False
        self._verdicts: dict[str, StepVerdict] = {}

    def run(self, steps: list[Step], *, force: bool) -> Verdict:
        names = {step.name for step in steps}
        self._force, began, status = force, time.monotonic(), "KILLED"
        self._tracking.begin(self._job, self._tags(steps))
        try:
            run_in_order(
                {step.name: step.needs & names for step in steps},
                self._run_step,
                self._may_start,
                self._stop,
            )
            verdict = self._verdict(steps)
            status = "FINISHED" if verdict.succeeded else "FAILED"
        finally:
            self._tracking.close(status)
        self._report.ended(verdict, time.monotonic() - began)
        return verdict

    def _run_step(self, name: str) -> bool:
        step = self._job.steps[name]
        local = LocalStep(step, self._work / name, self._inputs.of(step), self._snapshots[name])
        why = "as you ask" if self._force else local.why_run()
        if why is None:
            self._verdicts[name] = StepVerdict("reused")
            self._report.reused(name)
            return True
        with self._lock:
            if self._stopped:
                return False
            self._running.append(local)
        self._report.started(name, why)
        return self._run_anew(name, local)

    def _run_anew(self, name: str, local: LocalStep) -> bool:
        if local.step.code is None:
            self._report.say(f"{name}: the image itself is not started, its command runs here")
        began, status = time.monotonic(), "KILLED"
        variables = self._tracking.start(name)
        try:
            ended = local.run(variables, lambda line: self._report.say(f"{name} | {line}"))
            if not local.interrupted:
                status = "FAILED" if ended.problem else "FINISHED"
        finally:
            self._tracking.end(name, status)
        seconds = time.monotonic() - began
        if ended.problem is None:
            self._verdicts[name] = StepVerdict("finished", seconds)
            self._report.finished(name, seconds)
            return True
        self._verdicts[name] = StepVerdict("failed", seconds)
        if not local.interrupted:
            self._report.failed(name, ended.problem, ended.log, seconds)
        return False

    def _may_start(self) -> bool:
        failed = any(verdict.status == "failed" for verdict in list(self._verdicts.values()))
        return self._job.goes_on_after_failure or not failed

    def _stop(self) -> None:
        """End all that runs, and let nothing start."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        threads = [threading.Thread(target=local.end) for local in running]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _tags(self, steps: list[Step]) -> dict[str, str]:
        """Say what the job was given: ``reproduce`` and the tracking hook of a step read this."""
        data = self._inputs.job_data(steps)
        tags = {f"data.{name}": content_digest(path) for name, path in data.items()}
        if self._inputs.changed:
            tags["params"] = ",".join(f"{k}={v}" for k, v in self._inputs.changed.items())
        return tags

    def _verdict(self, steps: list[Step]) -> Verdict:
        waiting = dict.fromkeys((step.name for step in steps), StepVerdict("not started"))
        verdicts = waiting | self._verdicts
        outputs = {
            output: output_path(self._work / step.name, port)
            for step in steps
            if verdicts[step.name].status in ("finished", "reused")
            for port, output in step.kept.items()
        }
        return Verdict(verdicts, outputs)
