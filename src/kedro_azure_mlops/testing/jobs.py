"""Submitted pipeline jobs: their graph, and their step-by-step run from the uploaded files."""

import re
import threading
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from kedro_azure_mlops.config import SERVERLESS
from kedro_azure_mlops.testing.messages import Answer, NotKnownError, Request, ServiceError
from kedro_azure_mlops.testing.resources import Body, Resources
from kedro_azure_mlops.testing.runs import TERMINAL, Run, Runs
from kedro_azure_mlops.testing.steps import Step, StepError, Tracked, Wiring, open_run
from kedro_azure_mlops.testing.storage import Places

_BINDING = re.compile(r"\$\{\{parent\.(?:jobs\.(\w+)\.)?(?:inputs|outputs)\.(\w+)\}\}")


@dataclass
class Source:
    """The source of an input: a literal, a URI, or an output of a step."""

    literal: str | None = None
    uri: str = ""
    step: str = ""
    output: str = ""


@dataclass
class Target:
    """The target of an output: a URI or the default location, an output of the job, an asset."""

    type: str
    uri: str | None
    parent: str | None
    asset: tuple[str, str | None] | None  # its name, and its version if the job sets one


class Graph:
    """The steps of a job, each with its node and its component.

    Raises
    ------
    NotKnownError
        If the job is not a pipeline.
    ServiceError
        400, if the steps form a cycle or refer to something that does not exist.
    """

    def __init__(self, properties: Body, resources: dict[str, Body]) -> None:
        if properties.get("jobType") != "Pipeline":
            raise NotKnownError(f"jobs of type {properties.get('jobType')}")
        self._properties, self._resources = properties, resources
        settings = properties.get("settings") or {}
        self.continues_on_failure = bool(settings.get("continue_on_step_failure"))
        self._default_compute = settings.get("default_compute")
        self.nodes = {name: self._node(node) for name, node in properties["jobs"].items()}
        self.order = self._sorted()

    def needs(self, name: str) -> set[str]:
        """Return the steps whose outputs a step reads."""
        inputs = (self.nodes[name][0].get("inputs") or {}).values()
        matches = (_BINDING.fullmatch(str(value.get("value"))) for value in inputs)
        return {match[1] for match in matches if match and match[1]}

    def source(self, step: str, name: str) -> Source | None:
        """Follow the binding of an input; None if an optional input has none."""
        binding = (self.nodes[step][0].get("inputs") or {}).get(name)
        match = _BINDING.fullmatch(str(binding and binding.get("value")))
        if match and match[1]:
            return Source(step=match[1], output=match[2])
        if match:
            binding = self._properties["inputs"].get(match[2])
        if binding is None:
            return None
        return (
            Source(uri=binding["uri"])
            if "uri" in binding
            else Source(literal=str(binding["value"]))
        )

    def target(self, step: str, name: str) -> Target:
        """Follow the binding of an output."""
        node, component = self.nodes[step]
        binding = (node.get("outputs") or {}).get(name) or {}
        match = _BINDING.fullmatch(str(binding.get("value")))
        if match:
            binding = (self._properties.get("outputs") or {})[match[2]]
        named = binding.get("assetName") or binding.get("name")
        version = binding.get("assetVersion") or binding.get("version")
        asset = (named, version) if named else None
        type = component["outputs"][name]["type"]
        return Target(type, binding.get("uri"), match[2] if match else None, asset)

    def _node(self, node: Body) -> tuple[Body, Body]:
        component = self._existing(node["componentId"])["properties"]["componentSpec"]
        if component["type"] not in {"command", "spark"}:
            raise NotKnownError(f"steps of type {component['type']}")
        environment = component.get("environment")
        if environment and "//registries/" not in environment:  # every name is a valid registry
            self._existing(environment.removeprefix("azureml:"))
        compute = node.get("computeId") or self._default_compute
        is_serverless = str(compute).rsplit("/", 1)[-1] == SERVERLESS
        if component["type"] == "command" and not is_serverless:  # Spark needs no cluster either
            self._existing(compute)
        return node, component

    def _existing(self, id: str | None) -> Body:
        if id not in self._resources:
            raise ServiceError(400, f"The job's resource does not exist: {id or 'no compute'}")
        return self._resources[id]

    def _sorted(self) -> list[str]:
        try:
            return list(TopologicalSorter({n: self.needs(n) for n in self.nodes}).static_order())
        except CycleError as error:
            raise ServiceError(400, f"The steps form a cycle: {error.args[1]}") from error


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
        """Return whether a step may start, given earlier failures or a cancellation."""
        not_completed = set(self.failed + self.skipped)
        continues = self.graph.continues_on_failure and not not_completed & self.graph.needs(step)
        return not self.canceled and (not self.failed or continues)


class Jobs:
    """Runs each job in a thread; while ``held`` is set, no job starts its next step."""

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
        """Start a new job; a job that is already running continues.

        Raises
        ------
        NotKnownError
            If it is not a pipeline of command and Spark steps.
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
        """Continue held jobs."""
        with self._changed:
            self.held = False
            self._changed.notify_all()

    def stop(self) -> None:
        """Cancel running jobs and wait for them to end."""
        for job in self._jobs.values():
            self._end(job)
        for thread in self._threads:
            thread.join()

    def _get(self, request: Request) -> Answer:
        """Answer for a job or a step; the properties of steps are only in run history."""
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
        step.status = self._run_to_status(job, step, run)
        if tracked:
            tracked.end(step.status)
        self._note(job, f"Completing processing run id {run.id}: {step.status}.")
        self._runs.set_status(run, step.status)

    def _run_to_status(self, job: Job, step: Step, run: Run) -> str:
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
