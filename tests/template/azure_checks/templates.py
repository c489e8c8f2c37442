"""Expand the templates and expressions of a pipeline, as Azure does before a run."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tests.template.azure_checks.document import (
    Fault,
    FaultError,
    Items,
    Location,
    Mapping,
    Text,
    location_of,
    read,
)
from tests.template.azure_checks.evaluation import UNKNOWN, as_text, evaluate, truth
from tests.template.azure_checks.expressions import ExpressionError, parse
from tests.template.azure_checks.marks import Directive, directive, marks, whole
from tests.template.azure_checks.parameters import bind, declared

_LISTS = ("stages", "jobs", "steps", "variables")


@dataclass
class Expansion:
    """One expansion of the files, in which unknown conditions count as ``assumed``."""

    root: Path
    documents: dict[str, Mapping]  # files read so far
    assumed: bool
    guessed: bool = False  # whether the opposite assumption may differ
    faults: set[Fault] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    _stack: list[str] = field(default_factory=list)

    def expand(self, document: Mapping, parameters: dict[str, Any]) -> Mapping:
        """Return a pipeline without templates; expressions of a run stay unchanged."""
        names: dict[str, Any] = {"parameters": parameters}
        sections = {key: value for key, value in document.items() if key != "parameters"}
        self._stack.append(document.location.file)
        expanded = self._mapping(Mapping(sections, document.location), names)
        extends = expanded.pop("extends", None)
        if isinstance(extends, Mapping):
            content = self._expand_template(extends, names)
            expanded.update({k: v for k, v in content.items() if k in _LISTS})
        self._stack.pop()
        return expanded

    def _value(self, value: Any, names: dict[str, Any], key: str = "") -> Any:
        if isinstance(value, Text):
            return self._text(value, names)
        if isinstance(value, Items):
            return Items(list(self._items(value, names, key)), value.location)
        return self._mapping(value, names) if isinstance(value, Mapping) else value

    def _text(self, text: Text, names: dict[str, Any]) -> Any:
        expressions = marks(text)
        if not expressions:
            return text
        alone = whole(text)
        if alone is not None:
            value = self._evaluate(alone, names)
            if value is UNKNOWN:
                return text
            if isinstance(value, list | dict | Text):  # keeps its own location
                return value
            return Text(as_text(value), text.location)
        parts, end = [], 0
        for mark in expressions:
            value = self._evaluate(mark[1], names)
            known = value is not UNKNOWN and not isinstance(value, list | dict)
            replacement = as_text(value) if known else mark[0]
            parts += [text[end : mark.start()], replacement]
            end = mark.end()
        return Text("".join([*parts, text[end:]]), text.location)

    def _evaluate(self, expression: str, names: dict[str, Any]) -> Any:
        try:
            return evaluate(parse(expression), names)
        except (ExpressionError, TypeError):  # reported by the check of the file
            return UNKNOWN

    def _holds(self, statement: Directive, names: dict[str, Any]) -> bool:
        value = self._evaluate(statement.expression, names)
        self.guessed |= value is UNKNOWN
        return self.assumed if value is UNKNOWN else truth(value)

    def _items(self, items: Items, names: dict[str, Any], key: str) -> Iterator[Any]:
        taken = True
        for item in items:
            single_key = next(iter(item)) if isinstance(item, Mapping) and len(item) == 1 else None
            statement = directive(single_key) if single_key else None
            if statement and statement.word != "insert":
                taken, inner = self._choose_branch(statement, single_key, taken, names)
                for scope in inner:
                    yield from self._expand_item(item[single_key], scope, key)
            elif isinstance(item, Mapping) and "template" in item and key in _LISTS:
                content = self._expand_template(self._mapping(item, names), names)
                yield from self._section(content, key, item)
            else:
                yield from self._expand_item(item, names, key)

    def _expand_item(self, value: Any, names: dict[str, Any], key: str) -> Iterator[Any]:
        if isinstance(value, Items):
            yield from self._items(value, names, key)
            return
        whole_list = isinstance(value, Text)
        expanded = self._value(value, names, key)
        yield from expanded if whole_list and isinstance(expanded, list) else [expanded]

    def _choose_branch(
        self, statement: Directive, key: Text, taken: bool, names: dict[str, Any]
    ) -> tuple[bool, list[dict[str, Any]]]:
        """Return whether a branch of this ``if`` was taken, and the scopes to expand it in."""
        if statement.word == "each":
            return True, list(self._loop(statement, names))
        if statement.word == "if":
            taken = False
        holds = not taken and (statement.word == "else" or self._holds(statement, names))
        return taken or holds, [names] if holds else []

    def _loop(self, statement: Directive, names: dict[str, Any]) -> Iterator[dict[str, Any]]:
        values = self._evaluate(statement.expression, names)
        if isinstance(values, dict):
            values = [{"key": k, "value": v} for k, v in values.items()]
        for value in values if isinstance(values, list) else [UNKNOWN]:
            yield names | {statement.variable.lower(): value}

    def _mapping(self, mapping: Mapping, names: dict[str, Any]) -> Mapping:
        pairs: dict[Any, Any] = {}
        taken = True
        for key, value in mapping.items():
            statement = directive(key)
            if statement is None:
                name = self._text(key, names)
                pairs[name if isinstance(name, Text) else key] = self._value(value, names, key)
            elif statement.word == "insert":
                pairs.update(self._expand_to_dict(value, names))
            else:
                taken, scopes = self._choose_branch(statement, key, taken, names)
                for scope in scopes:
                    pairs.update(self._expand_to_dict(value, scope))
        return Mapping(pairs, mapping.location)

    def _expand_to_dict(self, value: Any, names: dict[str, Any]) -> dict[Any, Any]:
        expanded = self._value(value, names)
        return expanded if isinstance(expanded, dict) else {}

    def _expand_template(self, reference: Mapping, names: dict[str, Any]) -> Mapping:
        """Return the expanded template of a reference whose own values are known."""
        name, location = reference["template"], reference.location_of("template")
        empty = Mapping({}, location)
        if not isinstance(name, Text) or marks(name):
            return empty
        path, _, repository = name.partition("@")
        if repository not in ("", "self"):  # checked in policies.py
            return empty
        file = self._resolve_path(path, location)
        if file in self._stack:
            chain = " -> ".join([*self._stack[self._stack.index(file) :], file])
            return self._record_fault(
                empty, location, f"templates include each other in a cycle: {chain}"
            )
        if not (self.root / file).is_file():
            return self._record_fault(
                empty, location, f"there is no template {name}: looked for {file}"
            )
        self.used.add(file)
        try:
            document = self.documents.get(file) or read(self.root / file, file)
        except FaultError as error:
            self.faults.add(error.fault)
            return empty
        self.documents.setdefault(file, document)
        parameters, _ = declared(document)
        values, faults = bind(parameters, reference.get("parameters"), path, location)
        self.faults.update(faults)
        return self.expand(document, values)

    def _record_fault(self, empty: Mapping, location: Location, text: str) -> Mapping:
        self.faults.add(Fault(location, text))
        return empty

    def _resolve_path(self, path: str, location: Location) -> str:
        if path.startswith("/"):
            return path.lstrip("/")
        parts: list[str] = []
        for part in (PurePosixPath(self._stack[-1]).parent / path).parts:
            parts = parts[:-1] if part == ".." else [*parts, part]
        return "/".join(parts)

    def _section(self, content: Mapping, key: str, reference: Mapping) -> Iterator[Any]:
        if not content:
            return
        if key not in content:
            location = location_of(reference, content.location)
            text = f"{content.location.file} has no {key}, which are required here"
            self.faults.add(Fault(location, text))
            return
        inner = content[key]
        if isinstance(inner, Mapping) and key == "variables":  # in the short form
            at = inner.location
            yield from (Mapping({"name": k, "value": v}, at) for k, v in inner.items())
        elif isinstance(inner, Items):
            yield from inner
