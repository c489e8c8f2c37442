"""Stages, jobs and steps of an expanded pipeline, with their names and dependencies."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.template.azure_checks.document import Fault, Items, Location, Mapping, Text, location_of
from tests.template.azure_checks.marks import OPEN

_HOOKS = ("preDeploy", "deploy", "routeTraffic", "postRouteTraffic")
_STRATEGIES = ("runOnce", "rolling", "canary")


@dataclass
class Job:
    """A job and its steps in order."""

    name: str
    body: Mapping
    is_deployment: bool
    depends_on: list[Text]
    steps: list[Mapping] = field(default_factory=list)
    reported: dict[str, frozenset[str]] = field(default_factory=dict)  # outputs by step, if known

    @property
    def strategy(self) -> str:
        """The strategy of a deployment."""
        strategy = self.body.get("strategy")
        return next(iter(strategy), "") if isinstance(strategy, Mapping) else ""

    @property
    def step_names(self) -> list[str]:
        """The names of its named steps."""
        return [str(step["name"]) for step in self.steps if "name" in step]


@dataclass
class Stage:
    """A stage and its jobs."""

    name: str
    body: Mapping
    depends_on: list[Text]
    jobs: list[Job] = field(default_factory=list)


def stages_of(pipeline: Mapping) -> list[Stage]:
    """Return the stages; a pipeline of jobs or steps is one stage without a name."""
    if not isinstance(pipeline.get("stages"), Items):
        return [Stage("", Mapping({}, pipeline.location), [], _jobs(pipeline))]
    stages: list[Stage] = []
    for body in _mappings(pipeline["stages"]):
        before = [stages[-1].body["stage"]] if stages and "stage" in stages[-1].body else []
        depends_on = _depends_on(body) if "dependsOn" in body else before
        stages.append(Stage(str(body.get("stage", "")), body, depends_on, _jobs(body)))
    return stages


def _jobs(body: Mapping) -> list[Job]:
    if isinstance(body.get("steps"), Items):
        alone = Mapping({"steps": body["steps"]}, body.location)
        return [Job("", alone, False, [], _steps(alone))]
    jobs = []
    for job in _mappings(body.get("jobs")):
        kind = "deployment" if "deployment" in job else "job"
        name, depends_on = str(job.get(kind, "")), _depends_on(job)
        jobs.append(Job(name, job, kind == "deployment", depends_on, _steps(job)))
    return jobs


def _steps(job: Mapping) -> list[Mapping]:
    steps = list(_mappings(job.get("steps")))
    strategy = job.get("strategy")
    for name in _STRATEGIES if isinstance(strategy, Mapping) else ():
        hooks = strategy.get(name)
        if isinstance(hooks, Mapping):
            on = hooks.get("on")
            ends = list(on.values()) if isinstance(on, Mapping) else []
            for hook in [*(hooks.get(hook) for hook in _HOOKS), *ends]:
                if isinstance(hook, Mapping):
                    steps += _mappings(hook.get("steps"))
    return steps


def _mappings(value: Any) -> Iterator[Mapping]:
    return (item for item in value if isinstance(item, Mapping)) if value else iter(())


def _depends_on(body: Mapping) -> list[Text]:
    value = body.get("dependsOn")
    listed = value if isinstance(value, list) else [value]
    return [name for name in listed if isinstance(name, Text) and name and OPEN not in name]


def faults_of(stages: list[Stage]) -> Iterator[Fault]:
    """Yield duplicate names, unknown dependencies and circular dependencies."""
    yield from _duplicate_names(
        "stage", [(s.name, _location_of_key(s.body, "stage")) for s in stages if s.name]
    )
    yield from _dependency_faults("stage", stages)
    for stage in stages:
        kinds = [("deployment" if j.is_deployment else "job", j) for j in stage.jobs if j.name]
        locations = [(job.name, _location_of_key(job.body, kind)) for kind, job in kinds]
        yield from _duplicate_names("job", locations)
        yield from _dependency_faults("job", stage.jobs)
        for job in stage.jobs:
            needed = "strategy" if job.is_deployment else "steps"
            if needed not in job.body:
                yield Fault(
                    job.body.location, f"job {job.name} has no {needed}: it would do nothing"
                )
            if job.is_deployment and job.name.lower() == "deploy":
                location = _location_of_key(job.body, "deployment")
                yield Fault(location, "a deployment cannot be named deploy: choose another name")
            named = [s for s in job.steps if "name" in s]
            yield from _duplicate_names(
                "step", [(str(s["name"]), _location_of_key(s, "name")) for s in named]
            )


def _location_of_key(body: Mapping, key: str) -> Location:
    return location_of(body.get(key), body.location)


def _duplicate_names(kind: str, named: list[tuple[str, Location]]) -> Iterator[Fault]:
    seen: dict[str, Location] = {}
    for name, location in named:
        first = seen.get(name.lower())
        if first is not None:
            where = f"{first.file}:{first.line}"
            yield Fault(location, f"{kind} {name} is used twice, first at {where}: rename one")
        elif OPEN not in name:
            seen[name.lower()] = location


def _dependency_faults(kind: str, members: Sequence[Stage] | Sequence[Job]) -> Iterator[Fault]:
    known = {m.name.lower(): m for m in members if m.name}
    for member in members:
        for name in member.depends_on:
            if name.lower() not in known:
                have = ", ".join(m.name for m in members if m.name) or "none"
                text = f"{member.name} depends on {kind} {name}, but there is only {have}"
                yield Fault(name.location, text)
    left = dict(known)
    while True:
        free = [n for n, m in left.items() if not any(d.lower() in left for d in m.depends_on)]
        if not free:
            break
        for name in free:
            del left[name]
    if left:
        first = next(iter(left.values()))
        names = ", ".join(m.name for m in left.values())
        location = first.depends_on[0].location
        yield Fault(location, f"these {kind}s wait for each other forever: {names}")
