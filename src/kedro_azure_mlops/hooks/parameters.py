"""Write a run's parameters and command as flat names, YAML and tags."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel

# Kedro's names for the filters of a run, and its command-line options for them
_FILTERS = {
    "tags": "--tags",
    "namespaces": "--namespaces",
    "node_names": "--nodes",
    "from_nodes": "--from-nodes",
    "to_nodes": "--to-nodes",
    "from_inputs": "--from-inputs",
    "to_outputs": "--to-outputs",
}


def flat(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value with its dotted name, such as ``detector.seed``."""
    for name, item in nested.items():
        value = item.model_dump() if isinstance(item, BaseModel) else item
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def as_yaml(parameters: Mapping[str, Any]) -> str:
    """Write parameters as a ``parameters.yml`` that reads back with the same values and types."""
    plain = {
        name: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        for name, value in parameters.items()
    }
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def pipelines_of(run_params: Mapping[str, Any]) -> list[str]:
    """Return the names of the requested pipelines; Kedro before 1.2 accepts only one."""
    several, one = run_params.get("pipeline_names"), run_params.get("pipeline_name")
    return list(several or [one or "__default__"])


def command_tags(run_params: Mapping[str, Any]) -> dict[str, str]:
    """Return the options of ``kedro run`` as tags."""
    filters = [
        f"{option}={','.join(asked)}"
        for name, option in _FILTERS.items()
        if (asked := run_params.get(name))
    ]
    parameters = [
        f"{name}={_as_typed(value)}" for name, value in flat(run_params["runtime_params"] or {})
    ]
    return {
        "kedro.run_id": run_params.get("run_id") or run_params["session_id"],  # before Kedro 1.1
        "kedro.pipelines": ",".join(pipelines_of(run_params)),
        **({"kedro.filters": shlex.join(filters)} if filters else {}),
        **({"kedro.params": ",".join(parameters)} if parameters else {}),
    }


def _as_typed(value: Any) -> str:
    """Write a value as a user types it after ``--params``."""
    if isinstance(value, str):
        return value
    return yaml.safe_dump(value, default_flow_style=True).splitlines()[0]
