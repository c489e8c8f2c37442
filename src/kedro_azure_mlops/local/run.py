"""Run a compiled job on this machine, step by step, from a copy of the files to upload."""

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Set
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from graphlib import TopologicalSorter
from pathlib import Path
from tempfile import TemporaryDirectory

from kedro_azure_mlops.azure.snapshot import content_digest
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks.binding import entry_of
from kedro_azure_mlops.job.compilation import Compiled, compile_job
from kedro_azure_mlops.local.inputs import Inputs
from kedro_azure_mlops.local.job_file import Job, Step, read_job
from kedro_azure_mlops.local.report import Report, StepVerdict, Verdict, shown
from kedro_azure_mlops.local.step import LocalStep, Snapshot, output_path, take_snapshot
from kedro_azure_mlops.local.tracking import NoTracking, Tracking, tracking_of
from kedro_azure_mlops.running import claim

WORK = "build/local"
_COMMAND = "kedro mlops local"


def run_local(
    env: str,
    *,
    step: str | None = None,
    from_outputs: Path | None = None,
    force: bool = False,
    parameters: Mapping[str, str] | None = None,
    inputs: Mapping[str, str] | None = None,
    file: Path | None = None,
    job: str | None = None,
    say: Callable[[str], None] = print,
    root: Path | None = None,
    command: str | None = None,
) -> Verdict:
    """Compile the job of an environment and run it, or one of its steps, on this machine.

    Parameters
    ----------
    step
        Run only this step, with the existing outputs of earlier steps.
    from_outputs
        Read those outputs from ``<from_outputs>/<step>/<output>`` instead; requires ``step``.
    force
        Reuse nothing.
    parameters, inputs
        Values, as text, and files or folders that replace inputs of the job.
    file
        Run this job file instead of compiling the project.
    job
        Repeat the failed step of this Azure ML job, or ``step``, with its original inputs.
    say
        Called with each line of the report and of the steps.
    root
        The folder of the project; the current one by default.
    command
        The command that runs this job again, for the advice after a failed step.

    Raises
    ------
    OperationError
        If the job cannot be started; in that case, no step has run.
    """
    if from_outputs and not step:
        raise OperationError("--from-outputs DIR requires --step NAME.")
    if job and (file or from_outputs):
        raise OperationError("--job cannot be combined with --file or --from-outputs.")
    root = root or Path.cwd()
    run = partial(
        run_job,
        force=force,
        say=say,
        root=root,
        tracking=tracking_of(root, env),
        command=command or f"{_COMMAND} --env {env}",
    )
    if job:
        from kedro_azure_mlops.azure.cloud_job import repetition_of

        repeated = repetition_of(env, job, step, root, say, inputs or {})
        return run(
            repeated.file,
            repeated.work,
            only=repeated.step,
            from_outputs=repeated.outputs,
            parameters={**repeated.parameters, **(parameters or {})},
            inputs={**repeated.inputs, **(inputs or {})},
        )
    if file:
        return run(
            file,
            root / WORK / file.stem,
            only=step,
            from_outputs=from_outputs,
            parameters=parameters,
            inputs=inputs,
        )
    compiled = compile_job(env, parameters, for_once=True, root=root)
    for note in (*compiled.notes, *(f"warning: {text}" for text in compiled.warnings)):
        say(note)
    return run(
        compiled.file,
        root / WORK / env,
        only=step,
        from_outputs=from_outputs,
        inputs=inputs,
        champion=_champion_of(compiled),
    )


@dataclass(frozen=True)
class ReadChampion:
    """A registered model, and the steps that read only its champion from outside the job."""

    name: str
    readers: Collection[str]


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
    command: str = _COMMAND,
    champion: ReadChampion | None = None,
) -> Verdict:
    """Run the steps of a job file, each as soon as the steps it needs have finished.

    Parameters
    ----------
    work
        The folder the steps run in; kept, so that the next run can reuse unchanged steps.
    only
        Run only this step, with the existing outputs of the other steps.
    from_outputs
        Read those outputs from ``<from_outputs>/<step>/<port>`` instead.
    force
        Reuse nothing.
    parameters, inputs
        Values and paths that replace inputs of the job.
    root
        The project whose code replaces an image's; the current folder by default.
    command
        The command that runs this job, for the advice after a failed step.
    champion
        The steps to reuse until the champion of this model changes.

    Raises
    ------
    OperationError
        If the job cannot be started; in that case, no step has run.
    """
    job, work, root = read_job(job_file), work.absolute(), root or Path.cwd()
    steps = [job.step(only)] if only else list(job.steps.values())
    resolver = Inputs(job, work, from_outputs, parameters or {}, inputs or {})
    for step in steps:
        resolver.check(step, running={other.name for other in steps} - {step.name})
    if any(step.is_spark for step in steps):
        from kedro_azure_mlops.engine.session import refuse_missing_spark

        refuse_missing_spark()
    work.mkdir(parents=True, exist_ok=True)
    # recorded in the work folder, since all files of the project might be uploaded
    busy = claim(root, writes=[str(work)], records=work / ".runs", say=say)
    with busy, TemporaryDirectory(dir=work, prefix="code-") as copies:
        codes = dict.fromkeys(step.code or root for step in steps)
        taken = {code: take_snapshot(code, Path(copies) / str(n)) for n, code in enumerate(codes)}
        snapshots = {step.name: taken[step.code or root] for step in steps}
        report = Report(say, len(steps), command)
        report.say(f"{job.name}: {len(steps)} of {len(job.steps)} steps in {shown(work)}")
        run = _Run(job, work, resolver, snapshots, tracking or NoTracking(), report, champion)
        return run.run(steps, force=force or job.reuses_nothing or only is not None)


def run_in_order(
    needs: Mapping[str, Set[str]],
    run: Callable[[str], bool],
    may_start: Callable[[], bool],
    stop: Callable[[], None],
) -> None:
    """Run steps in threads, at most one per processor.

    Parameters
    ----------
    needs
        The names of the steps, each with those it needs.
    run
        Runs a step and returns whether it succeeded.
    may_start
        Returns whether steps may still be started after others have failed; steps that need a
        failed one never are.
    stop
        Stops running steps; called before an exception, such as Ctrl-C, propagates.
    """
    order = TopologicalSorter(needs)
    order.prepare()
    ready: list[str] = []
    running: dict[Future[bool], str] = {}
    limit = os.cpu_count() or 1
    with ThreadPoolExecutor(limit) as pool:
        try:
            while order.is_active():
                ready += order.get_ready()
                while ready and may_start() and len(running) < limit:
                    name = ready.pop(0)
                    running[pool.submit(run, name)] = name
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    name = running.pop(future)
                    if future.result():
                        order.done(name)
        except BaseException:
            stop()
            raise


def _champion_of(compiled: Compiled) -> ReadChampion | None:
    mlops = compiled.project.mlops
    entry = entry_of(compiled.project.catalog, str(mlops.champion)) if mlops else None
    if not (entry and entry.get("name") and compiled.champion_readers):
        return None
    return ReadChampion(str(entry["name"]), compiled.champion_readers)


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
        champion: ReadChampion | None,
    ) -> None:
        self._job, self._work, self._inputs, self._snapshots = job, work, inputs, snapshots
        self._tracking, self._report, self._champion = tracking, report, champion
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
        local = LocalStep(
            step,
            self._work / name,
            self._inputs.of(step),
            self._snapshots[name],
            self._champion_for(name),
        )
        why = "as requested" if self._force else local.why_run()
        if why is None:
            self._verdicts[name] = StepVerdict("reused")
            self._report.reused(name)
            return True
        with self._lock:
            if self._stopped:
                return False
            self._running.append(local)
        self._report.started(name, why)
        return self._run_process(name, local)

    def _champion_for(self, step: str) -> str | None:
        """Look up the champion when its reader starts: an earlier step may have replaced it."""
        if self._champion is None or step not in self._champion.readers:
            return None
        return self._tracking.champion(self._champion.name)

    def _run_process(self, name: str, local: LocalStep) -> bool:
        if local.step.code is None:
            self._report.say(f"{name}: the image itself is not started; the command runs here")
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
        """Stop all running steps and prevent new ones."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        threads = [threading.Thread(target=local.end) for local in running]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _tags(self, steps: list[Step]) -> dict[str, str]:
        """Return the job's inputs as tags, which ``reproduce`` and the tracking of a step read."""
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
