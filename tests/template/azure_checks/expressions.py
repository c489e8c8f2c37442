"""Parse the expressions of Azure Pipelines: those of templates, conditions and variables."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any


class ExpressionError(ValueError):
    """An expression cannot be parsed; the message says why."""


@dataclass(frozen=True)
class Literal:
    """A string, a number, true, false or null."""

    value: Any


@dataclass(frozen=True)
class Name:
    """The first name of a path, such as ``parameters``."""

    name: str


@dataclass(frozen=True)
class Part:
    """A member: ``a.b`` or ``a['b']``; the key ``*`` means all."""

    owner: "Node"
    key: "Node"


@dataclass(frozen=True)
class Call:
    """A call of a function, its name in lower case."""

    function: str
    arguments: tuple["Node", ...]


Node = Literal | Name | Part | Call

_MANY = 99
FUNCTIONS = {
    "and": (2, _MANY), "coalesce": (2, _MANY), "contains": (2, 2), "containsvalue": (2, 2),
    "converttojson": (1, 1), "counter": (0, 2), "endswith": (2, 2), "eq": (2, 2),
    "format": (1, _MANY), "ge": (2, 2), "gt": (2, 2), "iif": (3, 3), "in": (2, _MANY),
    "join": (2, 2), "le": (2, 2), "length": (1, 1), "lower": (1, 1), "lt": (2, 2), "ne": (2, 2),
    "not": (1, 1), "notin": (2, _MANY), "or": (2, _MANY), "replace": (3, 3), "split": (2, 2),
    "startswith": (2, 2), "trim": (1, 1), "upper": (1, 1), "xor": (2, 2),
}  # fmt: skip
STATUS = {
    "always": (0, 0), "canceled": (0, 0), "failed": (0, _MANY), "succeeded": (0, _MANY),
    "succeededorfailed": (0, _MANY),
}  # fmt: skip

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d[\d.]*)|(?P<name>[A-Za-z_][\w-]*)"
    r"|(?P<sign>[()\[\],.*]))"
)
_WORDS = {"true": True, "false": False, "null": None}


@cache
def parse(expression: str) -> Node:
    """Parse an expression without its surrounding brackets.

    Raises
    ------
    ExpressionError
        If it is not a valid expression.
    """
    parser = _Parser(list(_tokens(expression)))
    node = parser.expression()
    if parser.rest:
        raise ExpressionError(f"unbalanced brackets or a missing comma before {parser.rest[0][1]}")
    return node


def _tokens(expression: str) -> Iterator[tuple[str, str]]:
    position, text = 0, expression.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            wrong = text[position:].strip()
            if wrong.startswith("'"):
                raise ExpressionError(f"the quote is not closed: {wrong}")
            if wrong.startswith('"'):
                raise ExpressionError(f"strings need single quotes, not double: {wrong}")
            hint = " (eq(a, b), and(a, b), not(a))" if wrong[0] in "=!&|<>" else ""
            raise ExpressionError(f"there is no operator {wrong.split()[0]}: use a function{hint}")
        position = match.end()
        yield str(match.lastgroup), match[0].strip()


class _Parser:
    """A recursive-descent parser that consumes tokens from the front of ``rest``."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self.rest = tokens

    def next_token(self) -> tuple[str, str]:
        if not self.rest:
            raise ExpressionError("it ends too early: unbalanced brackets, or a missing value")
        return self.rest.pop(0)

    def accept(self, sign: str) -> bool:
        if self.rest and self.rest[0] == ("sign", sign):
            self.rest.pop(0)
            return True
        return False

    def expect(self, sign: str) -> None:
        if not self.accept(sign):
            following = self.rest[0][1] if self.rest else "the end"
            raise ExpressionError(f"unbalanced brackets: {sign} is missing before {following}")

    def expression(self) -> Node:
        node = self.value()
        while True:
            if self.accept("."):
                kind, word = self.next_token()
                if kind != "name" and word != "*":
                    raise ExpressionError(f"a name is missing after the point, before {word}")
                node = Part(node, Literal(word))
            elif self.accept("["):
                node = Part(node, self.expression())
                self.expect("]")
            else:
                return node

    def value(self) -> Node:
        kind, word = self.next_token()
        if kind == "text":
            return Literal(word[1:-1].replace("''", "'"))
        if kind == "number":
            return Literal(float(word) if re.fullmatch(r"-?\d+(\.\d+)?", word) else word)
        if kind == "sign":
            raise ExpressionError(f"a value is missing before {word}")
        if word.lower() in _WORDS:
            return Literal(_WORDS[word.lower()])
        if self.accept("("):
            return Call(word.lower(), self.arguments())
        return Name(word)

    def arguments(self) -> tuple[Node, ...]:
        arguments: list[Node] = []
        if self.accept(")"):
            return ()
        while True:
            arguments.append(self.expression())
            if not self.accept(","):
                self.expect(")")
                return tuple(arguments)


def nodes(node: Node) -> Iterator[Node]:
    """Yield a node and all its descendants."""
    yield node
    parts = (node.owner, node.key) if isinstance(node, Part) else ()
    for part in node.arguments if isinstance(node, Call) else parts:
        yield from nodes(part)


def path(node: Node) -> list[str] | None:
    """Return the words of ``a.b['c']``, or None if one of them is computed."""
    if isinstance(node, Name):
        return [node.name]
    if isinstance(node, Part) and isinstance(node.key, Literal):
        before = path(node.owner)
        return None if before is None else [*before, str(node.key.value)]
    return None


def paths(node: Node) -> Iterator[list[str]]:
    """Yield the longest paths in an expression."""
    whole = path(node)
    if whole is not None:
        yield whole
    elif isinstance(node, Part):
        yield from paths(node.owner)
        yield from paths(node.key)
    elif isinstance(node, Call):
        for argument in node.arguments:
            yield from paths(argument)
