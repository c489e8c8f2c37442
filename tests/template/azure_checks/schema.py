"""Check an expanded pipeline against the schema that check-jsonschema brings along."""

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator, ValidationError

from tests.template.azure_checks.document import Fault, Items, Mapping, Place, place_of
from tests.template.azure_checks.marks import OPEN
from tests.template.azure_checks.tasks import Task, task_of


@cache
def _schema() -> dict[str, Any]:
    package = find_spec("check_jsonschema")  # not imported: that takes a second
    folder = Path(str(package and package.origin)).parent
    vendored = folder / "builtin_schemas" / "vendor" / "azure-pipelines.json"
    return _as_the_service_reads(json.loads(vendored.read_text(encoding="utf-8")))


def _as_the_service_reads(schema: Any) -> Any:
    """Return the schema with scalars as text and its own ``ignoreCase`` turned into patterns."""
    if isinstance(schema, list):
        return [_as_the_service_reads(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    read = {key: _as_the_service_reads(part) for key, part in schema.items()}
    if read.get("type") in ("boolean", "integer", "number"):
        read["type"] = "string"
        read.pop("minimum", None)
    if read.get("ignoreCase") in ("value", "all") and "enum" in read:
        read["pattern"] = "^(?i:" + "|".join(map(re.escape, read.pop("enum"))) + ")$"
    return read


@cache
def _kinds(of: str) -> dict[str, Draft7Validator]:
    """Return a validator for each kind of step or job, by the key it begins with."""
    found = {}
    definitions = _schema()["definitions"]
    for kind in definitions[of]["anyOf"]:
        definition = definitions["task"] if "task" in str(kind.get("$ref")) else kind
        first = (definition.get("firstProperty") or definition.get("required") or ["?"])[0]
        own = {key: value for key, value in definition.items() if key != "anyOf"}
        if first == "task":  # its name and inputs are checked apart, against its own alternative
            own["properties"] = {**own["properties"], "task": {}}
        found[first] = Draft7Validator({**own, "definitions": definitions})
    return found


@cache
def _task(name: str) -> Task | None:
    return task_of(name, _schema()["definitions"]["task"]["anyOf"])


@cache
def _validator() -> Draft7Validator:
    return Draft7Validator(_schema())


def faults_of(pipeline: Mapping) -> Iterator[Fault]:
    """Report what the schema has against a pipeline; what only a run knows fits anywhere."""
    lists = list(_lists(pipeline))
    for steps in (inner for name, inner in lists if name == "steps"):
        for step in steps:
            yield from _of_kind(step, "step", steps.place)
    for jobs in (inner for name, inner in lists if name == "jobs"):
        for job in jobs:
            yield from _of_kind(_without_lists(job), "job", jobs.place)
    yield from _faults(_validator(), _without_lists(pipeline))


def _lists(value: Any) -> Iterator[tuple[str, Items]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key in ("steps", "jobs") and isinstance(inner, Items):
                yield key, inner
            yield from _lists(inner)
    for item in value if isinstance(value, Items) else ():
        yield from _lists(item)


def _without_lists(value: Any) -> Any:
    """Return a copy whose jobs and steps, which are checked one by one, are left out."""
    if isinstance(value, Items):
        return Items([_without_lists(item) for item in value], value.place)
    if not isinstance(value, Mapping):
        return value
    empty = {k: Items([], v.place) for k, v in value.items() if _is_list(k, v)}
    return Mapping({k: empty.get(k, _without_lists(v)) for k, v in value.items()}, value.place)


def _is_list(key: str, value: Any) -> bool:
    return key in ("steps", "jobs") and isinstance(value, Items)


def _of_kind(value: Any, of: str, otherwise: Place) -> Iterator[Fault]:
    kinds, place = _kinds(of), place_of(value, otherwise)
    if isinstance(value, str) and OPEN in value:
        return
    first = next((k for k in value if k in kinds), None) if isinstance(value, Mapping) else None
    if first is None:
        found = f"has {', '.join(value)}" if isinstance(value, Mapping) else f"is {value}"
        begins = ", ".join(k for k in kinds if k != "template")
        yield Fault(place, f"a {of} begins with one of {begins}; this one {found}")
        return
    yield from _faults(kinds[first], value)
    if first == "task":
        yield from _of_task(_task(str(value["task"])), value)


def _of_task(task: Task | None, step: Mapping) -> Iterator[Fault]:
    name, inputs = step["task"], step.get("inputs")
    if OPEN in name:
        return
    if task is None:
        text = f"there is no task {name}: if an extension brings it, add it to tasks.py"
        yield Fault(step.place_of("task"), text)
        return
    given = inputs if isinstance(inputs, Mapping) else Mapping({}, step.place)
    if any(OPEN in key for key in given):
        return
    for wanted in task.required:
        if wanted.lower() not in map(str.lower, given):
            yield Fault(step.place_of("inputs"), f"{name} needs the input {wanted}")
    for key, value in given.items():
        schema = task.inputs.get(key.lower())
        if schema is None:
            have = ", ".join(task.inputs)
            yield Fault(place_of(key, step.place), f"{name} has no input {key}: it has {have}")
        elif isinstance(value, str) and "$(" not in value:
            yield from _faults(Draft7Validator(schema), value, key, place_of(key, step.place))


def _faults(
    validator: Draft7Validator, value: Any, name: str = "", place: Place | None = None
) -> Iterator[Fault]:
    for error in map(_deepest, validator.iter_errors(value)):
        if isinstance(error.instance, str) and OPEN in error.instance:
            continue
        where = ".".join(map(str, error.absolute_path)) or name
        at = place or _place(value, error)
        yield Fault(at, f"{where}: {_said(error)}" if where else _said(error))


def _deepest(error: ValidationError) -> ValidationError:
    """Return what is wrong, instead of that none of many alternatives fits."""
    while error.context:
        error = max(error.context, key=lambda e: (len(e.absolute_path), -len(e.schema_path)))
    return error


def _place(value: Any, error: ValidationError) -> Place:
    place = place_of(value, Place("?", 0))
    for part in error.absolute_path:
        place = value.place_of(part) if isinstance(value, Mapping) else place
        value = value[part]
        place = place_of(value, place)
    if error.validator == "additionalProperties" and isinstance(value, Mapping):
        known = error.schema.get("properties", {})
        return next((place_of(key, place) for key in value if key not in known), place)
    return place


def _said(error: ValidationError) -> str:
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        wrong = ", ".join(key for key in error.instance if key not in known)
        return f"there is no {wrong} here: there are {', '.join(known)}"
    text = error.message
    return text if len(text) <= 160 else f"{text[:70]} ... {text[-80:]}"
