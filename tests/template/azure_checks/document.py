"""Read a YAML file of Azure Pipelines, keeping the line of each value."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the faster one in C, if available


@dataclass(frozen=True, order=True)
class Location:
    """A line of a file."""

    file: str
    line: int


@dataclass(frozen=True, order=True)
class Fault:
    """A fault with its location and a hint."""

    location: Location
    text: str

    def __str__(self) -> str:
        return f"{self.location.file}:{self.location.line}: {self.text}"


class FaultError(Exception):
    """A fault that stops reading."""

    def __init__(self, location: Location, text: str) -> None:
        super().__init__(text)
        self.fault = Fault(location, text)


class Text(str):
    """A scalar; Azure Pipelines reads each as text."""

    __slots__ = ("is_plain", "location")
    location: Location
    is_plain: bool

    def __new__(cls, text: str, location: Location, *, is_plain: bool = False) -> "Text":
        """Store the location of the text and whether it is unquoted."""
        made = super().__new__(cls, text)
        made.location, made.is_plain = location, is_plain
        return made


class Items(list[Any]):
    """A sequence."""

    def __init__(self, items: list[Any], location: Location) -> None:
        super().__init__(items)
        self.location = location


class Mapping(dict[Any, Any]):
    """A mapping whose keys have lines, too."""

    def __init__(self, pairs: dict[Any, Any], location: Location) -> None:
        super().__init__(pairs)
        self.location = location

    def location_of(self, key: str) -> Location:
        """Return the line of a key, or of the mapping if it has none of that name."""
        return next((k.location for k in self if k == key and isinstance(k, Text)), self.location)


def location_of(value: Any, otherwise: Location) -> Location:
    """Return the location of a value."""
    return getattr(value, "location", otherwise)


def read(path: Path, name: str) -> Mapping:
    """Read a file, which messages refer to as ``name``.

    Raises
    ------
    FaultError
        If it is not valid YAML, not a mapping, or uses an unsupported feature.
    OSError
        If it cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    try:
        for token in yaml.scan(text, Loader=_LOADER):
            if isinstance(token, yaml.AnchorToken | yaml.AliasToken):
                at = Location(name, token.start_mark.line + 1)
                raise FaultError(at, "Azure Pipelines does not support anchors: use a template")
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = Location(name, mark.line + 1 if mark else 1)
        raise FaultError(at, f"this is not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise FaultError(Location(name, 1), f"this is not valid YAML: {error}") from error
    document = _value(node, name) if node else None
    if not isinstance(document, Mapping):
        raise FaultError(
            Location(name, 1), "the file is empty or not a mapping: write keys and values"
        )
    return document


def _value(node: yaml.Node, name: str) -> Any:
    location = Location(name, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        return Text(node.value, location, is_plain=not node.style)
    if isinstance(node, yaml.SequenceNode):
        return Items([_value(item, name) for item in node.value], location)
    pairs: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = _value(key_node, name)
        if not isinstance(key, Text):
            raise FaultError(location, "a key must be a string")
        if key in pairs:
            raise FaultError(key.location, f"the key {key} occurs twice in one mapping: remove one")
        pairs[key] = _value(value_node, name)
    return Mapping(pairs, location)
