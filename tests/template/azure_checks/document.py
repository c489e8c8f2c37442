"""Read a YAML file of Azure Pipelines so that each value knows its line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C where there is one


@dataclass(frozen=True, order=True)
class Place:
    """A line of a file."""

    file: str
    line: int


@dataclass(frozen=True, order=True)
class Fault:
    """A fault at a place, and what to do."""

    place: Place
    text: str

    def __str__(self) -> str:
        return f"{self.place.file}:{self.place.line}: {self.text}"


class FaultError(Exception):
    """Reading cannot go on because of a fault."""

    def __init__(self, place: Place, text: str) -> None:
        super().__init__(text)
        self.fault = Fault(place, text)


class Text(str):
    """A scalar; Azure Pipelines reads each as text."""

    __slots__ = ("is_plain", "place")
    place: Place
    is_plain: bool

    def __new__(cls, text: str, place: Place, *, is_plain: bool = False) -> "Text":
        """Keep the place beside the text, and whether it stands there without quotes."""
        made = super().__new__(cls, text)
        made.place, made.is_plain = place, is_plain
        return made


class Items(list[Any]):
    """A sequence."""

    def __init__(self, items: list[Any], place: Place) -> None:
        super().__init__(items)
        self.place = place


class Mapping(dict[Any, Any]):
    """A mapping, whose keys know their lines too."""

    def __init__(self, pairs: dict[Any, Any], place: Place) -> None:
        super().__init__(pairs)
        self.place = place

    def place_of(self, key: str) -> Place:
        """Return the line of a key, or of the mapping if it has none of that name."""
        return next((k.place for k in self if k == key and isinstance(k, Text)), self.place)


def place_of(value: Any, otherwise: Place) -> Place:
    """Return where a value stands."""
    return getattr(value, "place", otherwise)


def read(path: Path, name: str) -> Mapping:
    """Read a file, which messages call ``name``.

    Raises
    ------
    FaultError
        If it is no YAML, no mapping, or uses what Azure Pipelines does not know.
    OSError
        If it cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    try:
        for token in yaml.scan(text, Loader=_LOADER):
            if isinstance(token, yaml.AnchorToken | yaml.AliasToken):
                at = Place(name, token.start_mark.line + 1)
                raise FaultError(at, "Azure Pipelines knows no anchors: use a template")
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = Place(name, mark.line + 1 if mark else 1)
        raise FaultError(at, f"this is no YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise FaultError(Place(name, 1), f"this is no YAML: {error}") from error
    document = _value(node, name) if node else None
    if not isinstance(document, Mapping):
        raise FaultError(Place(name, 1), "the file is empty or no mapping: write keys and values")
    return document


def _value(node: yaml.Node, name: str) -> Any:
    place = Place(name, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        return Text(node.value, place, is_plain=not node.style)
    if isinstance(node, yaml.SequenceNode):
        return Items([_value(item, name) for item in node.value], place)
    pairs: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = _value(key_node, name)
        if not isinstance(key, Text):
            raise FaultError(place, "a key has to be text")
        if key in pairs:
            raise FaultError(key.place, f"the key {key} stands twice in one mapping: remove one")
        pairs[key] = _value(value_node, name)
    return Mapping(pairs, place)
