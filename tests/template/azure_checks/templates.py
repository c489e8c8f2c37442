"""Put templates and the values of expressions into a pipeline, as Azure does before a run."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tests.template.azure_checks.document import (
    Fault,
    FaultError,
    Items,
    Mapping,
    Place,
    Text,
    place_of,
    read,
)
from tests.template.azure_checks.evaluation import UNKNOWN, as_text, evaluate, truth
from tests.template.azure_checks.expressions import ExpressionError, parse
from tests.template.azure_checks.marks import Directive, directive, marks, whole
from tests.template.azure_checks.parameters import bind, declared

_LISTS = ("stages", "jobs", "steps", "variables")


@dataclass
class Expansion:
    """One way to read the files: with these parameters, and unknown conditions taken as ``yes``."""

    root: Path
    documents: dict[str, Mapping]  # what was read before
    yes: bool
    guessed: bool = False  # whether the other way may read otherwise
    faults: set[Fault] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    _open: list[str] = field(default_factory=list)

    def of(self, document: Mapping, parameters: dict[str, Any]) -> Mapping:
        """Return a pipeline without templates; what is known only in a run stays as it is."""
        names: dict[str, Any] = {"parameters": parameters}
        kept = {key: value for key, value in document.items() if key != "parameters"}
        self._open.append(document.place.file)
        expanded = self._mapping(Mapping(kept, document.place), names)
        extends = expanded.pop("extends", None)
        if isinstance(extends, Mapping):
            content = self._content(extends, names)
            expanded.update({k: v for k, v in content.items() if k in _LISTS})
        self._open.pop()
        return expanded

    def _value(self, value: Any, names: dict[str, Any], key: str = "") -> Any:
        if isinstance(value, Text):
            return self._text(value, names)
        if isinstance(value, Items):
            return Items(list(self._items(value, names, key)), value.place)
        return self._mapping(value, names) if isinstance(value, Mapping) else value

    def _text(self, text: Text, names: dict[str, Any]) -> Any:
        found = marks(text)
        if not found:
            return text
        alone = whole(text)
        if alone is not None:
            value = self._evaluate(alone, names)
            if value is UNKNOWN:
                return text
            if isinstance(value, list | dict | Text):  # it stands where it was given
                return value
            return Text(as_text(value), text.place)
        parts, end = [], 0
        for mark in found:
            value = self._evaluate(mark[1], names)
            known = value is not UNKNOWN and not isinstance(value, list | dict)
            shown = as_text(value) if known else mark[0]
            parts += [text[end : mark.start()], shown]
            end = mark.end()
        return Text("".join([*parts, text[end:]]), text.place)

    def _evaluate(self, expression: str, names: dict[str, Any]) -> Any:
        try:
            return evaluate(parse(expression), names)
        except (ExpressionError, TypeError):  # told by the check of the file itself
            return UNKNOWN

    def _holds(self, found: Directive, names: dict[str, Any]) -> bool:
        value = self._evaluate(found.expression, names)
        self.guessed |= value is UNKNOWN
        return self.yes if value is UNKNOWN else truth(value)

    def _items(self, items: Items, names: dict[str, Any], key: str) -> Iterator[Any]:
        taken = True
        for item in items:
            only = next(iter(item)) if isinstance(item, Mapping) and len(item) == 1 else None
            found = directive(only) if only else None
            if found and found.word != "insert":
                taken, inner = self._chosen(found, only, taken, names)
                for scope in inner:
                    yield from self._spliced(item[only], scope, key)
            elif isinstance(item, Mapping) and "template" in item and key in _LISTS:
                content = self._content(self._mapping(item, names), names)
                yield from self._part(content, key, item)
            else:
                yield from self._spliced(item, names, key)

    def _spliced(self, value: Any, names: dict[str, Any], key: str) -> Iterator[Any]:
        if isinstance(value, Items):
            yield from self._items(value, names, key)
            return
        whole_list = isinstance(value, Text)
        expanded = self._value(value, names, key)
        yield from expanded if whole_list and isinstance(expanded, list) else [expanded]

    def _chosen(
        self, found: Directive, key: Text, taken: bool, names: dict[str, Any]
    ) -> tuple[bool, list[dict[str, Any]]]:
        """Return whether a branch of this ``if`` was taken, and the scopes where it counts."""
        if found.word == "each":
            return True, list(self._loop(found, names))
        if found.word == "if":
            taken = False
        holds = not taken and (found.word == "else" or self._holds(found, names))
        return taken or holds, [names] if holds else []

    def _loop(self, found: Directive, names: dict[str, Any]) -> Iterator[dict[str, Any]]:
        values = self._evaluate(found.expression, names)
        if isinstance(values, dict):
            values = [{"key": k, "value": v} for k, v in values.items()]
        for value in values if isinstance(values, list) else [UNKNOWN]:
            yield names | {found.variable.lower(): value}

    def _mapping(self, mapping: Mapping, names: dict[str, Any]) -> Mapping:
        pairs: dict[Any, Any] = {}
        taken = True
        for key, value in mapping.items():
            found = directive(key)
            if found is None:
                name = self._text(key, names)
                pairs[name if isinstance(name, Text) else key] = self._value(value, names, key)
            elif found.word == "insert":
                pairs.update(self._merged(value, names))
            else:
                taken, scopes = self._chosen(found, key, taken, names)
                for scope in scopes:
                    pairs.update(self._merged(value, scope))
        return Mapping(pairs, mapping.place)

    def _merged(self, value: Any, names: dict[str, Any]) -> dict[Any, Any]:
        expanded = self._value(value, names)
        return expanded if isinstance(expanded, dict) else {}

    def _content(self, reference: Mapping, names: dict[str, Any]) -> Mapping:
        """Return what a template gives for a reference whose own values are known."""
        name, place = reference["template"], reference.place_of("template")
        nothing = Mapping({}, place)
        if not isinstance(name, Text) or marks(name):
            return nothing
        path, _, repository = name.partition("@")
        if repository not in ("", "self"):  # judged by the check of other repositories
            return nothing
        file = self._file(path, place)
        if file in self._open:
            way = " -> ".join([*self._open[self._open.index(file) :], file])
            return self._failed(nothing, place, f"templates use each other in a circle: {way}")
        if not (self.root / file).is_file():
            return self._failed(nothing, place, f"there is no template {name}: looked for {file}")
        self.used.add(file)
        try:
            document = self.documents.get(file) or read(self.root / file, file)
        except FaultError as error:
            self.faults.add(error.fault)
            return nothing
        self.documents.setdefault(file, document)
        parameters, _ = declared(document)
        values, faults = bind(parameters, reference.get("parameters"), path, place)
        self.faults.update(faults)
        return self.of(document, values)

    def _failed(self, nothing: Mapping, place: Place, text: str) -> Mapping:
        self.faults.add(Fault(place, text))
        return nothing

    def _file(self, path: str, place: Place) -> str:
        if path.startswith("/"):
            return path.lstrip("/")
        parts: list[str] = []
        for part in (PurePosixPath(self._open[-1]).parent / path).parts:
            parts = parts[:-1] if part == ".." else [*parts, part]
        return "/".join(parts)

    def _part(self, content: Mapping, key: str, reference: Mapping) -> Iterator[Any]:
        if not content:
            return
        if key not in content:
            place = place_of(reference, content.place)
            text = f"{content.place.file} has no {key}, which are wanted here"
            self.faults.add(Fault(place, text))
            return
        inner = content[key]
        if isinstance(inner, Mapping) and key == "variables":  # in their short form
            at = inner.place
            yield from (Mapping({"name": k, "value": v}, at) for k, v in inner.items())
        elif isinstance(inner, Items):
            yield from inner
