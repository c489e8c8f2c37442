"""The tasks that steps may call: those of the schema, and some whose inputs it does not know."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """The inputs of a task, their names in lower case, with a schema each."""

    inputs: dict[str, Any]
    required: tuple[str, ...] = ()


def _own(required: Iterable[str], optional: Iterable[str] = ()) -> Task:
    inputs = {name.lower(): {"type": "string"} for name in (*required, *optional)}
    return Task(inputs, tuple(required))


_BESIDE_THE_SCHEMA = {
    "publishcodecoverageresults@2": _own(
        ["summaryFileLocation"], ["pathToSources", "failIfCoverageEmpty"]
    ),
    # of the extension Azure Machine Learning
    "azuremljobwaittask@1": _own(
        ["serviceConnection", "resourceGroupName", "azureMLWorkspaceName", "azureMLJobName"]
    ),
}


def task_of(name: str, alternatives: list[dict[str, Any]]) -> Task | None:
    """Return a task, from the alternatives of the schema or from the list here."""
    own = _BESIDE_THE_SCHEMA.get(name.lower())
    if own is not None:
        return own
    for alternative in alternatives:
        properties = alternative["properties"]
        if re.fullmatch(properties["task"].get("pattern", "$^"), name, re.IGNORECASE):
            inputs = properties.get("inputs", {})
            known = {key.lower(): schema for key, schema in inputs.get("properties", {}).items()}
            return Task(known, tuple(inputs.get("required", ())))
    return None
