"""Tables of the configuration's keys, from the models that read it."""

from typing import Any

from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

from kedro_azure_mlops import config

MEANINGS = ModuleAnalyzer.for_module(config.__name__).find_attr_docs()
FILES = {"azureml": config.AzureML, "mlops": config.Mlops}
TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true, false"}
BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to"}
HEAD = "| key | values | default | meaning |\n|---|---|---|---|\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect ``insert_tables``."""
    app.connect("source-read", insert_tables)
    return {"parallel_read_safe": True}


def insert_tables(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Replace each ``<!-- keys of FILE.yml -->`` of a page by the tables of that file."""
    for name, model in FILES.items():
        marker = f"<!-- keys of {name}.yml -->"
        if marker in source[0]:
            source[0] = source[0].replace(marker, tables(model))


def tables(root: type[BaseModel]) -> str:
    """Write a table of keys for a file, and one for each group in it, as Markdown.

    Raises
    ------
    KeyError
        If a key has no ``#:`` comment.
    """
    schema = root.model_json_schema()
    models = schema["$defs"]
    parts, seen = [table(root.__name__, schema, models)], set()
    queue = groups(schema["properties"])
    while queue:
        path, name = queue.pop(0)
        if name in seen:
            continue
        seen.add(name)
        group = models[name]
        kind = group["properties"].get("type", {}).get("const")
        title = f"{path}, type: {kind}" if kind else path
        parts.append(f"### {title}\n\n{' '.join(group['description'].split())}\n")
        parts.append(table(name, group, models))
        queue = groups(group["properties"], f"{path}.") + queue
    return "\n".join(parts)


def table(name: str, schema: dict[str, Any], models: dict[str, Any]) -> str:
    """Write the keys of one group, as Markdown; ``models`` has the schemas of other groups."""
    rows = []
    for key, field in schema["properties"].items():
        value = field.get("default")
        if key in schema.get("required", []):
            default = "required"
        elif value and isinstance(value, dict) and not has_required(field, models):
            default = ""  # the group's table has the defaults
        else:
            default = as_yaml(value)
        cells = f"`{key}`", values(field), default, " ".join(MEANINGS[name, key]).strip()
        rows.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n")
    return HEAD + "".join(rows)


def has_required(field: dict[str, Any], models: dict[str, Any]) -> bool:
    """Return whether a group that a key holds has required keys."""
    return any("required" in models[name] for name in references(field))


def groups(properties: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    """List the groups that keys hold: pairs of a path, such as ``steps.NAME``, and a model."""
    return [
        (f"{before}{key}{'.NAME' if 'additionalProperties' in field else ''}", name)
        for key, field in properties.items()
        for name in references(field)
    ]


def references(schema: Any) -> list[str]:
    """List the models that a part of the schema refers to."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return [schema["$ref"].rpartition("/")[2]]
        return [name for part in schema.values() for name in references(part)]
    return (
        [name for part in schema for name in references(part)] if isinstance(schema, list) else []
    )


def values(field: Any) -> str:
    """Describe what a key may hold."""
    if field is True:
        return "any"
    if choices := field.get("anyOf", field.get("oneOf")):
        described = [values(one) for one in choices if one.get("type") != "null"]
        return ", ".join(dict.fromkeys(described))
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if "$ref" in field:
        return "keys below"
    if field.get("type") == "array":
        return f"list of {values(field['items'])}"
    if field.get("type") == "object":
        return f"by name: {values(field['additionalProperties'])}"
    bounds = [f"{word} {field[key]:g}" for key, word in BOUNDS.items() if key in field]
    return " ".join([TYPES.get(str(field.get("type")), "any"), *bounds])


def as_yaml(value: Any) -> str:
    """Write a default as in YAML."""
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else str(value)
    return f"`{text.replace(chr(39), '')}`"
