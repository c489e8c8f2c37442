"""Check an expanded pipeline against the schema that check-jsonschema ships."""

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator, ValidationError

from tests.template.azure_checks.document import Fault, Items, Location, Mapping, location_of
from tests.template.azure_checks.marks import OPEN
from tests.template.azure_checks.tasks import Task, task_of


@cache
def _schema() -> dict[str, Any]:
    package = find_spec("check_jsonschema")  # not imported: that takes a second
    folder = Path(str(package and package.origin)).parent
    vendored = folder / "builtin_schemas" / "vendor" / "azure-pipelines.json"
    return _adapted_to_service(json.loads(vendored.read_text(encoding="utf-8")))


def _adapted_to_service(schema: Any) -> Any:
    """Return the schema with scalars as text and its ``ignoreCase`` keyword as patterns."""
    if isinstance(schema, list):
        return [_adapted_to_service(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    read = {key: _adapted_to_service(part) for key, part in schema.items()}
    if read.get("type") in ("boolean", "integer", "number"):
        read["type"] = "string"
        read.pop("minimum", None)
    if read.get("ignoreCase") in ("value", "all") and "enum" in read:
        read["pattern"] = "^(?i:" + "|".join(map(re.escape, read.pop("enum"))) + ")$"
    return read


@cache
def _validators(category: str) -> dict[str, Draft7Validator]:
    """Return a validator for each kind of step or job, by its first key."""
    validators = {}
    definitions = _schema()["definitions"]
    for kind in definitions[category]["anyOf"]:
        definition = definitions["task"] if "task" in str(kind.get("$ref")) else kind
        first = (definition.get("firstProperty") or definition.get("required") or ["?"])[0]
        own = {key: value for key, value in definition.items() if key != "anyOf"}
        if first == "task":  # its name and inputs are checked separately, against the task's schema
            own["properties"] = {**own["properties"], "task": {}}
        validators[first] = Draft7Validator({**own, "definitions": definitions})
    return validators


@cache
def _task(name: str) -> Task | None:
    return task_of(name, _schema()["definitions"]["task"]["anyOf"])


@cache
def _validator() -> Draft7Validator:
    return Draft7Validator(_schema())


def faults_of(pipeline: Mapping) -> Iterator[Fault]:
    """Yield violations of the schema; values known only in a run are accepted anywhere."""
    lists = list(_lists(pipeline))
    for steps in (inner for name, inner in lists if name == "steps"):
        for step in steps:
            yield from _kind_faults(step, "step", steps.location)
    for jobs in (inner for name, inner in lists if name == "jobs"):
        for job in jobs:
            yield from _kind_faults(_without_lists(job), "job", jobs.location)
    yield from _violations(_validator(), _without_lists(pipeline))


def _lists(value: Any) -> Iterator[tuple[str, Items]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in ("steps", "jobs") and isinstance(inner, Items):
                yield key, inner
            yield from _lists(inner)
    for item in value if isinstance(value, Items) else ():
        yield from _lists(item)


def _without_lists(value: Any) -> Any:
    """Return a copy without jobs and steps, which are checked one by one."""
    if isinstance(value, Items):
        return Items([_without_lists(item) for item in value], value.location)
    if not isinstance(value, Mapping):
        return value
    empty = {k: Items([], v.location) for k, v in value.items() if _is_list(k, v)}
    return Mapping({k: empty.get(k, _without_lists(v)) for k, v in value.items()}, value.location)


def _is_list(key: str, value: Any) -> bool:
    return key in ("steps", "jobs") and isinstance(value, Items)


def _kind_faults(value: Any, category: str, otherwise: Location) -> Iterator[Fault]:
    kinds, location = _validators(category), location_of(value, otherwise)
    if isinstance(value, str) and OPEN in value:
        return
    first = next((k for k in value if k in kinds), None) if isinstance(value, Mapping) else None
    if first is None:
        description = f"has {', '.join(value)}" if isinstance(value, Mapping) else f"is {value}"
        begins = ", ".join(k for k in kinds if k != "template")
        yield Fault(location, f"a {category} begins with one of {begins}; this one {description}")
        return
    yield from _violations(kinds[first], value)
    if first == "task":
        yield from _task_faults(_task(str(value["task"])), value)


def _task_faults(task: Task | None, step: Mapping) -> Iterator[Fault]:
    name, inputs = step["task"], step.get("inputs")
    if OPEN in name:
        return
    if task is None:
        text = f"there is no task {name}: if it is part of an extension, add it to tasks.py"
        yield Fault(step.location_of("task"), text)
        return
    passed = inputs if isinstance(inputs, Mapping) else Mapping({}, step.location)
    if any(OPEN in key for key in passed):
        return
    for required in task.required:
        if required.lower() not in map(str.lower, passed):
            yield Fault(step.location_of("inputs"), f"{name} needs the input {required}")
    for key, value in passed.items():
        schema = task.inputs.get(key.lower())
        if schema is None:
            have = ", ".join(task.inputs)
            yield Fault(
                location_of(key, step.location), f"{name} has no input {key}: it has {have}"
            )
        elif isinstance(value, str) and "$(" not in value:
            yield from _violations(
                Draft7Validator(schema), value, key, location_of(key, step.location)
            )


def _violations(
    validator: Draft7Validator, value: Any, name: str = "", location: Location | None = None
) -> Iterator[Fault]:
    for error in map(_deepest, validator.iter_errors(value)):
        if isinstance(error.instance, str) and OPEN in error.instance:
            continue
        where = ".".join(map(str, error.absolute_path)) or name
        at = location or _location(value, error)
        yield Fault(at, f"{where}: {_message(error)}" if where else _message(error))


def _deepest(error: ValidationError) -> ValidationError:
    """Return the most specific error instead of one about all alternatives."""
    while error.context:
        error = max(error.context, key=lambda e: (len(e.absolute_path), -len(e.schema_path)))
    return error


def _location(value: Any, error: ValidationError) -> Location:
    location = location_of(value, Location("?", 0))
    for part in error.absolute_path:
        location = value.location_of(part) if isinstance(value, Mapping) else location
        value = value[part]
        location = location_of(value, location)
    if error.validator == "additionalProperties" and isinstance(value, Mapping):
        known = error.schema.get("properties", {})
        return next((location_of(key, location) for key in value if key not in known), location)
    return location


def _message(error: ValidationError) -> str:
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        wrong = ", ".join(key for key in error.instance if key not in known)
        return f"there is no {wrong} here: there are {', '.join(known)}"
    text = error.message
    return text if len(text) <= 160 else f"{text[:70]} ... {text[-80:]}"
