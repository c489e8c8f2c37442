"""A Bicep file as a syntax tree, with its declarations.

The grammar covers only ``.bicep``. In a ``.bicepparam`` file ``param x = value`` has no type, so it
is parsed as a variable of the same length, which keeps lines and columns unchanged.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import tree_sitter
import tree_sitter_bicep

_PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))
_ASSIGNED = re.compile(rb"(?m)^param([ \t]+\w+[ \t]*=)")
_KINDS = {
    "parameter_declaration": "parameter",
    "variable_declaration": "variable",
    "resource_declaration": "resource",
    "module_declaration": "module",
    "user_defined_function": "function",
    "type_declaration": "type",
}
Node = tree_sitter.Node
Fault = tuple[tuple[int, int], str]  # row and column, counted from 0, and a message


@dataclass(frozen=True)
class Declaration:
    """A top-level declaration of a file, or a resource nested in another."""

    kind: str
    name: str
    node: Node
    decorators: tuple[Node, ...] = ()

    @property
    def is_secure(self) -> bool:
        """Return whether it has the decorator ``@secure()``."""
        return self.has("secure")

    def has(self, decorator: str) -> bool:
        """Return whether it has a decorator, with or without the namespace ``sys``."""
        return any(text(called(one)).removeprefix("sys.") == decorator for one in self.decorators)

    @property
    def default(self) -> Node | None:
        """The default of a parameter."""
        _, kind, *default = self.node.named_children
        return default[0] if default and kind.type == "type" else None

    @property
    def is_required(self) -> bool:
        """Return whether a parameter must be set: it has no default and may not be null."""
        nullable = any(
            node.type == "nullable_type" for node in self.node.named_children[1].children
        )
        return self.default is None and not nullable


@dataclass(frozen=True)
class Source:
    """A Bicep file."""

    path: Path
    content: bytes = field(repr=False)

    @property
    def is_parameters(self) -> bool:
        """Return whether it is a ``.bicepparam`` file."""
        return self.path.suffix == ".bicepparam"

    @cached_property
    def root(self) -> Node:
        """The root of the syntax tree."""
        changed = _ASSIGNED.sub(rb"var  \1", self.content) if self.is_parameters else self.content
        return _PARSER.parse(changed).root_node

    @cached_property
    def assigned(self) -> dict[str, Node]:
        """Names of the parameters that a ``.bicepparam`` file sets, and their values."""
        starts = {match.start() for match in _ASSIGNED.finditer(self.content)}
        return {
            text(node.named_children[0]): node.named_children[1]
            for node in self.root.named_children
            if node.type == "variable_declaration" and node.start_byte in starts
        }

    @cached_property
    def declared(self) -> list[Declaration]:
        """All declarations in order, without the parameters that a ``.bicepparam`` file sets."""
        return [one for one in _declarations(self.root) if one.name not in self.assigned]

    def parameters(self) -> dict[str, Declaration]:
        """Return the parameters of a ``.bicep`` file."""
        return {one.name: one for one in self.declared if one.kind == "parameter"}


def read(path: Path) -> Source:
    """Read a file; raises ``OSError`` or ``UnicodeDecodeError`` if that fails."""
    return Source(path, path.read_text(encoding="utf-8-sig").encode())


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all its descendants in source order."""
    yield node
    for child in node.children:
        yield from walk(child)


def text(node: Node | None) -> str:
    """Return the text of a node, without the quotes of a string."""
    if node is None or node.text is None:
        return ""
    decoded = node.text.decode()
    return decoded[1:-1] if node.type == "string" and not decoded.startswith("'''") else decoded


def called(decorator: Node) -> Node | None:
    """Return the name of the function that a decorator calls."""
    call = decorator.named_children[0]
    return call.child_by_field_name("function") if call.type == "call_expression" else None


def value_of(object: Node, name: str) -> Node | None:
    """Return the value of a property of an object."""
    for entry in object.named_children:
        if entry.type == "object_property" and len(entry.named_children) > 1:
            key, value = entry.named_children[:2]
            if text(key) == name:
                return value
    return None


def body_of(declaration: Node) -> Node | None:
    """Return the object of a resource or module, inside its ``for`` and ``if``."""
    body = declaration.named_children[-1]
    while body.type in {"for_statement", "if_statement"}:
        body = body.named_children[-1]
    return body if body.type == "object" else None


def _declarations(root: Node) -> Iterator[Declaration]:
    decorators: tuple[Node, ...] = ()
    for node in root.named_children:
        if node.type == "decorators":
            decorators = tuple(node.named_children)
            continue
        if node.type in _KINDS:
            name = text(node.named_children[0])
            yield Declaration(_KINDS[node.type], name, node, decorators)
            yield from _nested(node)
        if node.type == "import_functionality":
            for name in node.named_children:
                if name.type == "identifier":
                    yield Declaration("import", text(name), name)
        if node.type != "comment":
            decorators = ()


def _nested(node: Node) -> Iterator[Declaration]:
    for descendant in walk(node):
        if descendant.type == "resource_declaration" and descendant != node:
            yield Declaration("nested resource", text(descendant.named_children[0]), descendant)
