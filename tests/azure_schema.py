"""Check Azure Pipelines files against the schema that check-jsonschema brings along."""

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from check_jsonschema.transforms.azure_pipelines import traverse_dict
from jsonschema import Draft7Validator, ValidationError

SCHEMA = files("check_jsonschema") / "builtin_schemas" / "vendor" / "azure-pipelines.json"


def as_the_service_reads(schema: Any) -> Any:  # noqa: ANN401
    """Return the schema with scalars as text and its own `ignoreCase` turned into patterns."""
    if isinstance(schema, list):
        return [as_the_service_reads(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    read = {key: as_the_service_reads(part) for key, part in schema.items()}
    if read.get("type") in ("boolean", "integer", "number"):
        read["type"] = "string"
        read.pop("minimum", None)
    if read.get("ignoreCase") in ("value", "all") and "enum" in read:
        read["pattern"] = "^(?i:" + "|".join(map(re.escape, read.pop("enum"))) + ")$"
    return read


@cache
def validator() -> Draft7Validator:
    """Return the validator; making it takes a moment."""
    return Draft7Validator(as_the_service_reads(json.loads(SCHEMA.read_text(encoding="utf-8"))))


def deepest(error: ValidationError) -> ValidationError:
    """Return what is wrong, instead of that none of many alternatives fits."""
    while error.context:
        error = max(error.context, key=lambda e: (len(e.absolute_path), -len(e.schema_path)))
    return error


def faults_of_azure_pipeline(pipeline: dict[str, Any]) -> list[str]:
    """Say what the schema has against a pipeline whose scalars were read as text."""
    errors = map(deepest, validator().iter_errors(traverse_dict(pipeline)))
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in errors]
