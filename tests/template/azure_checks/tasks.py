"""The tasks that steps may call: those of the schema and some that it lacks."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """The inputs of a task: names in lower case with their schemas."""

    inputs: dict[str, Any]
    required: tuple[str, ...] = ()


def _task(required: Iterable[str], optional: Iterable[str] = ()) -> Task:
    inputs = {name.lower(): {"type": "string"} for name in (*required, *optional)}
    return Task(inputs, tuple(required))


_NOT_IN_SCHEMA = {
    "publishcodecoverageresults@2": _task(
        ["summaryFileLocation"], ["pathToSources", "failIfCoverageEmpty"]
    ),
    # part of the Azure Machine Learning extension
    "azuremljobwaittask@1": _task(
        ["serviceConnection", "resourceGroupName", "azureMLWorkspaceName", "azureMLJobName"]
    ),
}


def task_of(name: str, alternatives: list[dict[str, Any]]) -> Task | None:
    """Return a task from the alternatives of the schema or from the list above."""
    own = _NOT_IN_SCHEMA.get(name.lower())
    if own is not None:
        return own
    for alternative in alternatives:
        properties = alternative["properties"]
        if re.fullmatch(properties["task"].get("pattern", "$^"), name, re.IGNORECASE):
            inputs = properties.get("inputs", {})
            known = {key.lower(): schema for key, schema in inputs.get("properties", {}).items()}
            return Task(known, tuple(inputs.get("required", ())))
    return None
