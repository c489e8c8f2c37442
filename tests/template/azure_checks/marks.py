"""Find the expressions in a file and report faults in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.template.azure_checks.document import Fault, Items, Location, Mapping, Text
from tests.template.azure_checks.expressions import (
    FUNCTIONS,
    STATUS,
    Call,
    ExpressionError,
    Literal,
    Node,
    nodes,
    parse,
    path,
    paths,
)

OPEN, CLOSE = "$" + "{" * 2, "}" * 2
_MARK = re.compile(re.escape(OPEN) + r"((?:'(?:[^']|'')*'|(?!" + CLOSE + r").)*)" + CLOSE, re.S)
_DIRECTIVE = re.compile(r"(if|elseif|else|each|insert)\b\s*(.*)", re.S | re.I)
_EACH = re.compile(r"([A-Za-z_]\w*)\s+in\s+(.+)", re.S)

_RESULTS = {
    word.lower(): word
    for word in ("Succeeded", "SucceededWithIssues", "Failed", "Canceled", "Skipped")
}
_Functions = dict[str, tuple[int, int]]
_IN_TEMPLATE = {"parameters", "variables", "resources", "pipeline"}
_IN_RUN = {"variables", "dependencies", "stagedependencies", "pipeline", "resources"}


@dataclass(frozen=True)
class Directive:
    """``if``, ``elseif``, ``else``, ``each`` or ``insert``, which are written as keys."""

    word: str
    expression: str = ""
    variable: str = ""


def marks(text: str) -> list[re.Match[str]]:
    """Return the template expressions of a text; group 1 is the text between the brackets."""
    return list(_MARK.finditer(text)) if OPEN in text else []


def whole(text: str) -> str | None:
    """Return the expression of a text that consists of it alone."""
    match = _MARK.fullmatch(text.strip()) if OPEN in text else None
    return match[1] if match else None


def directive(key: str) -> Directive | None:
    """Return the directive of a key, or None if it is an ordinary key."""
    match = _DIRECTIVE.fullmatch((whole(key) or "").strip())
    if match is None:
        return None
    word, rest = match[1].lower(), match[2].strip()
    each = _EACH.fullmatch(rest) if word == "each" else None
    return Directive(word, each[2], each[1]) if each else Directive(word, rest)


def faults_of(document: Mapping, parameters: set[str]) -> Iterator[Fault]:
    """Yield faults in the expressions of one file."""
    known = {name.lower() for name in parameters}
    yield from _value_faults(document, known, frozenset(), "")


def faults_of_run(value: Any, key: str = "") -> Iterator[Fault]:
    """Yield faults in the conditions and variables of an expanded pipeline."""
    if isinstance(value, Text) and OPEN not in value:
        yield from _text_faults(value, set(), frozenset(), key)
    elif isinstance(value, Items):
        for item in value:
            yield from faults_of_run(item)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from faults_of_run(inner, name)


def _value_faults(value: Any, known: set[str], each: frozenset[str], key: str) -> Iterator[Fault]:
    if isinstance(value, Text):
        yield from _text_faults(value, known, each, key)
    elif isinstance(value, Items):
        for item in value:
            yield from _value_faults(item, known, each, key)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            statement = directive(name)
            if statement is None:
                yield from _text_faults(name, known, each, "")
                yield from _value_faults(inner, known, each, name)
            else:
                yield from _directive_faults(statement, name.location, known, each)
                loop = {statement.variable.lower()} if statement.variable else set()
                yield from _value_faults(inner, known, each | loop, key)


def _directive_faults(
    statement: Directive, location: Location, known: set[str], each: frozenset[str]
) -> Iterator[Fault]:
    if statement.word in ("else", "insert"):
        if statement.expression:
            yield Fault(location, f"{statement.word} takes no expression: {statement.expression}")
    elif statement.word == "each" and not statement.variable:
        yield Fault(location, f"write: each NAME in LIST, not: each {statement.expression}")
    else:
        yield from _template_expression_faults(statement.expression, location, known, each)


def _text_faults(text: Text, known: set[str], each: frozenset[str], key: str) -> Iterator[Fault]:
    expressions = marks(text)
    rest = _MARK.sub("", text)
    if OPEN in rest:
        yield Fault(text.location, f"{OPEN} is not closed by {CLOSE}: {text.strip()}")
        return
    for mark in expressions:
        yield from _template_expression_faults(mark[1], text.location, known, each)
    inside = _MARK.sub("x", text).strip()
    if key == "condition" and whole(text) is None:
        yield from _run_expression_faults(inside, text.location, FUNCTIONS | STATUS)
    elif inside.startswith("$["):
        if inside.endswith("]"):
            yield from _run_expression_faults(inside[2:-1], text.location, FUNCTIONS)
        else:
            yield Fault(text.location, f"$[ is not closed by ]: {inside}")


def _template_expression_faults(
    expression: str, location: Location, known: set[str], each: frozenset[str]
) -> Iterator[Fault]:
    try:
        node = parse(expression)
    except ExpressionError as error:
        yield Fault(location, f"{error} (in {OPEN}{expression}{CLOSE})")
        return
    yield from _call_faults(node, location, FUNCTIONS)
    for first, *rest in paths(node):
        name = first.lower()
        if name == "parameters" and rest and rest[0].lower() not in {*known, "*"}:
            have = ", ".join(sorted(known)) or "none"
            yield Fault(
                location, f"parameter {rest[0]} is not declared in this file (it has: {have})"
            )
        elif name not in _IN_TEMPLATE | each:
            yield Fault(
                location, f"{first} is not known before a run (in {OPEN}{expression}{CLOSE})"
            )


def _run_expression_faults(
    expression: str, location: Location, functions: _Functions
) -> Iterator[Fault]:
    try:
        node = parse(expression)
    except ExpressionError as error:
        yield Fault(location, f"{error} (in {expression})")
        return
    yield from _call_faults(node, location, functions)
    yield from _result_faults(node, location)
    for first, *_ in paths(node):
        if first.lower() == "parameters":
            yield Fault(
                location, f"parameters do not exist in a run: write {OPEN} parameters... {CLOSE}"
            )
        elif first.lower() not in _IN_RUN and first != "x":
            yield Fault(location, f"{first} is not known in a run: strings need single quotes")


def _result_faults(node: Node, location: Location) -> Iterator[Fault]:
    """Yield strings that can never be the result of a job or stage."""
    for call in nodes(node):
        words = list(call.arguments) if isinstance(call, Call) else []
        if any((path(word) or [""])[-1].lower() == "result" for word in words):
            texts = [str(word.value) for word in words if isinstance(word, Literal)]
            for text in (t for t in texts if t.lower() not in _RESULTS):
                have = ", ".join(_RESULTS.values())
                yield Fault(location, f"there is no result {text}: there are {have}")


def _call_faults(node: Node, location: Location, functions: _Functions) -> Iterator[Fault]:
    for call in nodes(node):
        if not isinstance(call, Call):
            continue
        if call.function not in functions:
            where = " here, only in a condition" if call.function in STATUS else ""
            yield Fault(location, f"there is no function {call.function}(){where}")
            continue
        least, most = functions[call.function]
        if not least <= len(call.arguments) <= most:
            expected = str(least) if least == most else f"at least {least}"
            count = len(call.arguments)
            yield Fault(location, f"{call.function}() takes {expected} arguments, not {count}")
