"""The parameters of a run, and how they are written down."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel

# what Kedro calls the filters of a run, and their options on its command line
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
    """Name each value by its path, ``detector.seed``."""
    for name, given in nested.items():
        value = given.model_dump() if isinstance(given, BaseModel) else given
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def as_yaml(parameters: Mapping[str, Any]) -> str:
    """Write parameters as a ``parameters.yml`` that gives the same ones again, types and all."""
    plain = {
        name: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        for name, value in parameters.items()
    }
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def pipelines_of(run_params: Mapping[str, Any]) -> list[str]:
    """Return the names of the pipelines that were asked for; Kedro before 1.2 knows one."""
    several, one = run_params.get("pipeline_names"), run_params.get("pipeline_name")
    return list(several or [one or "__default__"])


def command_tags(run_params: Mapping[str, Any]) -> dict[str, str]:
    """Write down what was asked of ``kedro run``, as tags."""
    filters = [
        f"{option}={','.join(asked)}"
        for name, option in _FILTERS.items()
        if (asked := run_params.get(name))
    ]
    given = [f"{name}={_typed(value)}" for name, value in flat(run_params["runtime_params"] or {})]
    return {
        "kedro.run_id": run_params.get("run_id") or run_params["session_id"],  # before Kedro 1.1
        "kedro.pipelines": ",".join(pipelines_of(run_params)),
        **({"kedro.filters": shlex.join(filters)} if filters else {}),
        **({"kedro.params": ",".join(given)} if given else {}),
    }


def _typed(value: Any) -> str:
    """Write a value as it is typed after ``--params``."""
    if isinstance(value, str):
        return value
    return yaml.safe_dump(value, default_flow_style=True).splitlines()[0]
