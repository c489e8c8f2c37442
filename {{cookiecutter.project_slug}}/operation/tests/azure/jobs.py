"""Runs submitted pipeline jobs, one step after the other, from the uploaded snapshot."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

from operation.tests.azure.graph import Graph
from operation.tests.azure.kinds import Body
from operation.tests.azure.messages import Answer, Request, ServiceError
from operation.tests.azure.places import Places
from operation.tests.azure.resources import Resources
from operation.tests.azure.runs import TERMINAL, Run, Runs
from operation.tests.azure.steps import Step, StepError
from operation.tests.azure.tracking import Tracked, open_run
from operation.tests.azure.wiring import Wiring

_STEP_LOG = "user_logs/std_log.txt"
_JOB_LOG = "logs/azureml/executionlogs.txt"


@dataclass
class Job:
    """A pipeline job while it runs."""

    properties: Body
    graph: Graph
    run: Run
    wiring: Wiring
    tracked: Tracked | None = None
    current: Step | None = None
    canceled: bool = False
    ended: bool = False
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def can_start(self, step: str) -> bool:
        """Say whether a failure before it, or its cancellation, keeps a step from starting."""
        lost = set(self.failed + self.skipped)
        goes_on = self.graph.continues_on_failure and not lost & self.graph.needs(step)
        return not self.canceled and (not self.failed or goes_on)


class Jobs:
    """Starts a thread for each new job; while ``held``, none goes on to its next step."""

    def __init__(
        self,
        resources: Resources,
        places: Places,
        runs: Runs,
        changed: threading.Condition,
        folder: Path,
        tracking_uri: str | None,
        variables: dict[str, str],
    ) -> None:
        self.steps: dict[str, Step] = {}
        self.held = False
        self._resources, self._places, self._runs = resources, places, runs
        self._changed, self._folder = changed, folder
        self._tracking_uri, self._variables = tracking_uri, variables
        self._jobs: dict[str, Job] = {}
        self._threads: list[threading.Thread] = []
        resources.routes += [
            ("POST", r"/jobs/[^/]+/cancel$", self._cancel),
            ("GET", r"/jobs/[^/]+$", self._get),
        ]

    def submit(self, id: str, properties: Body) -> None:
        """Start a job that is new; a known one goes on as it is.

        Raises
        ------
        NotKnownError
            If it is no pipeline of commands and Spark.
        ServiceError
            400, if it cannot be run.
        """
        if id in self._jobs:
            properties["status"] = self._jobs[id].run.status
            self._jobs[id].properties = properties
            return
        name = id.rsplit("/", 1)[1]
        graph = Graph(properties, self._resources.all)
        run = Run(name, properties.get("displayName") or name, properties["experimentName"])
        run.tags, run.properties = properties["tags"], properties["properties"]
        parts = self._resources, self._places, self._runs
        job = Job(properties, graph, run, Wiring(id, graph, run, self._folder / name, parts))
        self._jobs[id], self._runs.all[name] = job, run
        self._set_status(job, "Queued")
        self._threads.append(threading.Thread(target=self._execute, args=[job], name=name))
        self._threads[-1].start()

    def release(self) -> None:
        """Let held jobs go on."""
        with self._changed:
            self.held = False
            self._changed.notify_all()

    def stop(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        for job in self._jobs.values():
            self._end(job)
        for thread in self._threads:
            thread.join()

    def _get(self, request: Request) -> Answer:
        """Answer for jobs; their steps have no properties here, run history tells of them."""
        name = request.path.rsplit("/", 1)[1]
        if name in self._runs.all and request.path not in self._resources.all:
            return Answer(body={"id": request.path, "name": name, "properties": None})
        return Answer(body=self._resources.get(request.path))

    def _cancel(self, request: Request) -> Answer:
        job = self._jobs.get(request.path.removesuffix("/cancel"))
        if job is None:
            raise ServiceError(404, f"There is no job {request.path}.")
        self._end(job)
        with self._changed:
            self._changed.wait_for(lambda: job.run.status in TERMINAL)
        return Answer()

    def _end(self, job: Job) -> None:
        with self._changed:
            job.canceled = job.run.status not in TERMINAL
            self._changed.notify_all()
        if job.canceled and job.current:
            job.current.kill()

    def _execute(self, job: Job) -> None:
        try:
            self._set_status(job, "Running")
            job.tracked = self._track(job)
            for name in job.graph.order:
                with self._changed:
                    self._changed.wait_for(lambda: not self.held or job.canceled)
                if job.can_start(name):
                    self._step(job, name)
                else:
                    job.skipped.append(name)
            job.ended = True
        finally:
            self._finish(job)

    def _track(self, job: Job) -> Tracked | None:
        if self._tracking_uri is None:
            return None
        artifacts = self._folder.parent / "mlartifacts"
        run = job.run
        return open_run(self._tracking_uri, artifacts, run.experiment, run.display_name, run.tags)

    def _step(self, job: Job, name: str) -> None:
        step = Step.of(name, f"{job.run.id}_{name}", *job.graph.nodes[name])
        run = Run(step.run_id, name, job.run.experiment, job.run, "Running", compute=step.compute)
        job.current = self.steps[name] = step
        self._runs.all[run.id] = run
        job.wiring.write(run, _STEP_LOG, "")
        self._note(job, f"Submitting 1 runs, first five are: {run.id}")
        tracked = job.tracked.nested(name) if job.tracked else None
        step.variables = self._variables | (tracked.variables if tracked else {})
        step.status = self._verdict(job, step, run)
        if tracked:
            tracked.end(step.status)
        self._note(job, f"Completing processing run id {run.id}: {step.status}.")
        self._runs.set_status(run, step.status)

    def _verdict(self, job: Job, step: Step, run: Run) -> str:
        try:
            job.wiring.prepare(step)
            step.run(lambda line: job.wiring.write(run, _STEP_LOG, line))
            job.wiring.keep(step, run)
        except StepError as reason:
            if job.canceled:
                return "Canceled"
            run.error = {"code": "UserError", "message": str(reason)}
            job.failed.append(step.name)
            return "Failed"
        return "Completed"

    def _finish(self, job: Job) -> None:
        status = "Completed" if job.ended and not job.failed else "Failed"
        status = "Canceled" if job.canceled else status
        if status == "Failed":
            nodes = ", ".join(f"/{name}" for name in job.failed)
            message = f"Pipeline has failed child jobs. Failed nodes: {nodes}. For more details "
            message += "and logs, please go to the job detail page and check the child jobs."
            job.run.error = {"code": "UserError", "message": message}
        if job.tracked:
            job.tracked.end(status)
        self._set_status(job, status)

    def _note(self, job: Job, text: str) -> None:
        job.wiring.write(job.run, _JOB_LOG, f"[2026-11-21 00:00:00Z] {text}\n")

    def _set_status(self, job: Job, status: str) -> None:
        job.properties["status"] = status
        self._runs.set_status(job.run, status)
