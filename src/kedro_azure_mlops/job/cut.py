"""Cut a pipeline into the steps of ``azureml.yml``, or report why that is impossible."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from kedro.pipeline import Pipeline

from kedro_azure_mlops.config import AzureML, Step
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks.binding import base_of, is_parameter

ONLY_STEP = "pipeline"


@dataclass(frozen=True)
class Cut:
    """A step's name, its configuration and its nodes."""

    name: str
    step: Step
    nodes: Pipeline

    @property
    def inputs(self) -> set[str]:
        """The datasets that the step reads but does not produce, without parameters."""
        return {name for name in self.nodes.inputs() if not is_parameter(name)}

    @property
    def outputs(self) -> set[str]:
        """The datasets that the step produces."""
        return set(self.nodes.all_outputs())


def cut(pipelines: Mapping[str, Pipeline], config: AzureML) -> list[Cut]:
    """Return the steps in execution order.

    Raises
    ------
    OperationError
        If a filter matches no node, a node is in no step or in several, or steps form a cycle.
    """
    if config.pipeline not in pipelines:
        raise OperationError(_unknown("pipeline", config.pipeline, pipelines))
    whole = pipelines[config.pipeline]
    steps = {name: step for name, step in config.steps.items() if step is not None}
    cuts = [
        Cut(name, step, _nodes(name, step, pipelines, whole))
        for name, step in (steps or {ONLY_STEP: Step()}).items()
    ]
    _refuse_uncovered(cuts, whole)
    return _ordered(cuts)


def _nodes(name: str, step: Step, pipelines: Mapping[str, Pipeline], whole: Pipeline) -> Pipeline:
    for pipeline in step.pipelines:
        if pipeline not in pipelines:
            raise OperationError(f"steps.{name}: {_unknown('pipeline', pipeline, pipelines)}")
    chosen = sum((pipelines[p] for p in step.pipelines), Pipeline([])) if step.pipelines else whole
    for kind, names, known in (
        ("tag", step.tags, {tag for node in chosen.nodes for tag in node.tags}),
        ("node", step.nodes, {node.name for node in chosen.nodes}),
        ("namespace", step.namespaces, _namespaces(chosen)),
    ):
        for requested in names:
            if requested not in known:
                raise OperationError(f"steps.{name}: {_unknown(kind, requested, known)}")
    try:
        return chosen.filter(
            tags=step.tags or None,
            node_names=step.nodes or None,
            node_namespaces=step.namespaces or None,
        )
    except ValueError as error:
        raise OperationError(f"steps.{name}: no node matches all of its filters.") from error


def _namespaces(pipeline: Pipeline) -> set[str]:
    """Return all namespaces, ``a`` and ``a.b`` for a node in ``a.b``."""
    parts = [node.namespace.split(".") for node in pipeline.nodes if node.namespace]
    return {".".join(part[: n + 1]) for part in parts for n in range(len(part))}


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    return f"there is no {kind} {name}; there are: {', '.join(sorted(known)) or 'none'}."


def _refuse_uncovered(cuts: list[Cut], whole: Pipeline) -> None:
    steps_of_node: dict[str, list[str]] = {node.name: [] for node in whole.nodes}
    for part in cuts:
        for node in part.nodes.nodes:
            steps_of_node.setdefault(node.name, []).append(part.name)
    faults = [
        f"node {node} is in {'no step' if not names else 'the steps ' + ' and '.join(names)}"
        for node, names in steps_of_node.items()
        if len(names) != 1
    ]
    if faults:
        raise OperationError(
            "steps in azureml.yml: each node belongs to one step, but " + "; ".join(faults) + "."
        )


def _ordered(cuts: list[Cut]) -> list[Cut]:
    by_name = {part.name: part for part in cuts}
    graph = {
        part.name: {
            other.name
            for other in cuts
            if other is not part
            and set(map(base_of, part.inputs)).intersection(map(base_of, other.outputs))
        }
        for part in cuts
    }
    try:
        return [by_name[name] for name in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        raise OperationError(
            f"steps in azureml.yml depend on each other: {' -> '.join(reversed(error.args[1]))}. "
            "Move nodes until data flows one way."
        ) from error
