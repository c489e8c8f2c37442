"""Stages, jobs and steps of an expanded pipeline: their names, and who waits for whom."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.template.azure_checks.document import Fault, Items, Mapping, Place, Text, place_of
from tests.template.azure_checks.marks import OPEN

_HOOKS = ("preDeploy", "deploy", "routeTraffic", "postRouteTraffic")
_STRATEGIES = ("runOnce", "rolling", "canary")


@dataclass
class Job:
    """A job and the names of its steps, in their order."""

    name: str
    body: Mapping
    is_deployment: bool
    depends_on: list[Text]
    steps: list[Mapping] = field(default_factory=list)
    reported: dict[str, frozenset[str]] = field(
        default_factory=dict
    )  # what steps tell, where known

    @property
    def strategy(self) -> str:
        """The strategy of a deployment."""
        found = self.body.get("strategy")
        return next(iter(found), "") if isinstance(found, Mapping) else ""

    @property
    def step_names(self) -> list[str]:
        """The names of its steps that have one."""
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
        return [Stage("", Mapping({}, pipeline.place), [], _jobs(pipeline))]
    found: list[Stage] = []
    for body in _mappings(pipeline["stages"]):
        before = [found[-1].body["stage"]] if found and "stage" in found[-1].body else []
        depends_on = _depends_on(body) if "dependsOn" in body else before
        found.append(Stage(str(body.get("stage", "")), body, depends_on, _jobs(body)))
    return found


def _jobs(body: Mapping) -> list[Job]:
    if isinstance(body.get("steps"), Items):
        alone = Mapping({"steps": body["steps"]}, body.place)
        return [Job("", alone, False, [], _steps(alone))]
    found = []
    for job in _mappings(body.get("jobs")):
        kind = "deployment" if "deployment" in job else "job"
        name, depends_on = str(job.get(kind, "")), _depends_on(job)
        found.append(Job(name, job, kind == "deployment", depends_on, _steps(job)))
    return found


def _steps(job: Mapping) -> list[Mapping]:
    found = list(_mappings(job.get("steps")))
    strategy = job.get("strategy")
    for name in _STRATEGIES if isinstance(strategy, Mapping) else ():
        hooks = strategy.get(name)
        if isinstance(hooks, Mapping):
            on = hooks.get("on")
            ends = list(on.values()) if isinstance(on, Mapping) else []
            for hook in [*(hooks.get(hook) for hook in _HOOKS), *ends]:
                if isinstance(hook, Mapping):
                    found += _mappings(hook.get("steps"))
    return found


def _mappings(value: Any) -> Iterator[Mapping]:
    return (item for item in value if isinstance(item, Mapping)) if value else iter(())


def _depends_on(body: Mapping) -> list[Text]:
    value = body.get("dependsOn")
    listed = value if isinstance(value, list) else [value]
    return [name for name in listed if isinstance(name, Text) and name and OPEN not in name]


def faults_of(stages: list[Stage]) -> Iterator[Fault]:
    """Report which names stand twice or nowhere, and where the waiting goes in a circle."""
    yield from _names("stage", [(s.name, _at(s.body, "stage")) for s in stages if s.name])
    yield from _waiting("stage", stages)
    for stage in stages:
        kinds = [("deployment" if j.is_deployment else "job", j) for j in stage.jobs if j.name]
        places = [(job.name, _at(job.body, kind)) for kind, job in kinds]
        yield from _names("job", places)
        yield from _waiting("job", stage.jobs)
        for job in stage.jobs:
            needed = "strategy" if job.is_deployment else "steps"
            if needed not in job.body:
                yield Fault(job.body.place, f"job {job.name} has no {needed}: it would do nothing")
            if job.is_deployment and job.name.lower() == "deploy":
                place = _at(job.body, "deployment")
                yield Fault(place, "a deployment cannot be named deploy: choose another name")
            named = [s for s in job.steps if "name" in s]
            yield from _names("step", [(str(s["name"]), _at(s, "name")) for s in named])


def _at(body: Mapping, key: str) -> Place:
    return place_of(body.get(key), body.place)


def _names(kind: str, named: list[tuple[str, Place]]) -> Iterator[Fault]:
    seen: dict[str, Place] = {}
    for name, place in named:
        first = seen.get(name.lower())
        if first is not None:
            where = f"{first.file}:{first.line}"
            yield Fault(place, f"{kind} {name} stands there twice, first at {where}: rename one")
        elif OPEN not in name:
            seen[name.lower()] = place


def _waiting(kind: str, members: Sequence[Stage] | Sequence[Job]) -> Iterator[Fault]:
    known = {m.name.lower(): m for m in members if m.name}
    for member in members:
        for name in member.depends_on:
            if name.lower() not in known:
                have = ", ".join(m.name for m in members if m.name) or "none"
                text = f"{member.name} depends on {kind} {name}, but there is only {have}"
                yield Fault(name.place, text)
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
        place = first.depends_on[0].place
        yield Fault(place, f"these {kind}s wait for each other for ever: {names}")
