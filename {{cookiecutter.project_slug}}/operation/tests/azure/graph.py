"""What a submitted pipeline job says: its steps, their order, and how they are wired."""

import re
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from operation.tests.azure.kinds import Body
from operation.tests.azure.messages import NotKnownError, ServiceError

_BINDING = re.compile(r"\$\{\{parent\.(?:jobs\.(\w+)\.)?(?:inputs|outputs)\.(\w+)\}\}")


@dataclass
class Source:
    """Where an input comes from: a literal, a URI, or an output of a step."""

    literal: str | None = None
    uri: str = ""
    step: str = ""
    output: str = ""


@dataclass
class Target:
    """Where an output goes: to a URI or the usual place, to an output of the job, to an asset."""

    type: str
    uri: str | None
    parent: str | None
    asset: tuple[str, str] | None


class Graph:
    """The steps of a job, each a node of the job and a component.

    Raises
    ------
    NotKnownError
        If the job is no pipeline.
    ServiceError
        400, if steps form a cycle or something that they name does not exist.
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
        """Name the steps whose outputs a step reads."""
        given = (self.nodes[name][0].get("inputs") or {}).values()
        matches = (_BINDING.fullmatch(str(value.get("value"))) for value in given)
        return {match[1] for match in matches if match and match[1]}

    def source(self, step: str, name: str) -> Source | None:
        """Follow the binding of an input; there is none for an optional one."""
        given = (self.nodes[step][0].get("inputs") or {}).get(name)
        match = _BINDING.fullmatch(str(given and given.get("value")))
        if match and match[1]:
            return Source(step=match[1], output=match[2])
        if match:
            given = self._properties["inputs"].get(match[2])
        if given is None:
            return None
        return Source(uri=given["uri"]) if "uri" in given else Source(literal=str(given["value"]))

    def target(self, step: str, name: str) -> Target:
        """Follow the binding of an output."""
        node, component = self.nodes[step]
        given = (node.get("outputs") or {}).get(name) or {}
        match = _BINDING.fullmatch(str(given.get("value")))
        if match:
            given = (self._properties.get("outputs") or {})[match[2]]
        named = given.get("assetName") or given.get("name")
        asset = (named, given.get("assetVersion") or given.get("version") or "1") if named else None
        type = component["outputs"][name]["type"]
        return Target(type, given.get("uri"), match[2] if match else None, asset)

    def _node(self, node: Body) -> tuple[Body, Body]:
        component = self._existing(node["componentId"])["properties"]["componentSpec"]
        if component["type"] not in {"command", "spark"}:
            raise NotKnownError(f"steps of type {component['type']}")
        if component.get("environment"):
            self._existing(component["environment"].removeprefix("azureml:"))
        if component["type"] == "command":  # Spark runs without a cluster of its own
            self._existing(node.get("computeId") or self._default_compute)
        return node, component

    def _existing(self, id: str | None) -> Body:
        if id not in self._resources:
            raise ServiceError(400, f"The job names what does not exist: {id or 'no compute'}")
        return self._resources[id]

    def _sorted(self) -> list[str]:
        try:
            return list(TopologicalSorter({n: self.needs(n) for n in self.nodes}).static_order())
        except CycleError as error:
            raise ServiceError(400, f"The steps form a cycle: {error.args[1]}") from error
