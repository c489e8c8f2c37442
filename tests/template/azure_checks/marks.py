"""Find expressions in the texts of a file, and say what is wrong with them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.template.azure_checks.document import Fault, Items, Mapping, Place, Text
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
    """``if``, ``elseif``, ``else``, ``each`` or ``insert``, which stand where a key stands."""

    word: str
    expression: str = ""
    variable: str = ""


def marks(text: str) -> list[re.Match[str]]:
    """Return the template expressions of a text; group 1 is what is between the brackets."""
    return list(_MARK.finditer(text)) if OPEN in text else []


def whole(text: str) -> str | None:
    """Return the expression of a text that is nothing else."""
    match = _MARK.fullmatch(text.strip()) if OPEN in text else None
    return match[1] if match else None


def directive(key: str) -> Directive | None:
    """Return the directive that a key is."""
    match = _DIRECTIVE.fullmatch((whole(key) or "").strip())
    if match is None:
        return None
    word, rest = match[1].lower(), match[2].strip()
    each = _EACH.fullmatch(rest) if word == "each" else None
    return Directive(word, each[2], each[1]) if each else Directive(word, rest)


def faults_of(document: Mapping, parameters: set[str]) -> Iterator[Fault]:
    """Report what is wrong with the expressions of one file, whatever uses it."""
    known = {name.lower() for name in parameters}
    yield from _in_value(document, known, frozenset(), "")


def faults_of_run(value: Any, key: str = "") -> Iterator[Fault]:
    """Report what is wrong with the conditions and variables of an expanded pipeline."""
    if isinstance(value, Text) and OPEN not in value:
        yield from _in_text(value, set(), frozenset(), key)
    elif isinstance(value, Items):
        for item in value:
            yield from faults_of_run(item)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from faults_of_run(inner, name)


def _in_value(value: Any, known: set[str], each: frozenset[str], key: str) -> Iterator[Fault]:
    if isinstance(value, Text):
        yield from _in_text(value, known, each, key)
    elif isinstance(value, Items):
        for item in value:
            yield from _in_value(item, known, each, key)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            found = directive(name)
            if found is None:
                yield from _in_text(name, known, each, "")
                yield from _in_value(inner, known, each, name)
            else:
                yield from _of_directive(found, name.place, known, each)
                loop = {found.variable.lower()} if found.variable else set()
                yield from _in_value(inner, known, each | loop, key)


def _of_directive(
    found: Directive, place: Place, known: set[str], each: frozenset[str]
) -> Iterator[Fault]:
    if found.word in ("else", "insert"):
        if found.expression:
            yield Fault(place, f"{found.word} takes no expression: {found.expression}")
    elif found.word == "each" and not found.variable:
        yield Fault(place, f"write: each NAME in LIST, not: each {found.expression}")
    else:
        yield from _of_template(found.expression, place, known, each)


def _in_text(text: Text, known: set[str], each: frozenset[str], key: str) -> Iterator[Fault]:
    found = marks(text)
    rest = _MARK.sub("", text)
    if OPEN in rest:
        yield Fault(text.place, f"{OPEN} is not closed by {CLOSE}: {text.strip()}")
        return
    for mark in found:
        yield from _of_template(mark[1], text.place, known, each)
    inside = _MARK.sub("x", text).strip()
    if key == "condition" and whole(text) is None:
        yield from _of_run(inside, text.place, FUNCTIONS | STATUS)
    elif inside.startswith("$["):
        if inside.endswith("]"):
            yield from _of_run(inside[2:-1], text.place, FUNCTIONS)
        else:
            yield Fault(text.place, f"$[ is not closed by ]: {inside}")


def _of_template(
    expression: str, place: Place, known: set[str], each: frozenset[str]
) -> Iterator[Fault]:
    try:
        node = parse(expression)
    except ExpressionError as error:
        yield Fault(place, f"{error} (in {OPEN}{expression}{CLOSE})")
        return
    yield from _of_calls(node, place, FUNCTIONS)
    for first, *rest in paths(node):
        name = first.lower()
        if name == "parameters" and rest and rest[0].lower() not in {*known, "*"}:
            have = ", ".join(sorted(known)) or "none"
            yield Fault(place, f"parameter {rest[0]} is not declared in this file (it has: {have})")
        elif name not in _IN_TEMPLATE | each:
            yield Fault(place, f"{first} is not known before a run (in {OPEN}{expression}{CLOSE})")


def _of_run(expression: str, place: Place, functions: _Functions) -> Iterator[Fault]:
    try:
        node = parse(expression)
    except ExpressionError as error:
        yield Fault(place, f"{error} (in {expression})")
        return
    yield from _of_calls(node, place, functions)
    yield from _of_results(node, place)
    for first, *_ in paths(node):
        if first.lower() == "parameters":
            yield Fault(place, f"a run knows no parameters: write {OPEN} parameters... {CLOSE}")
        elif first.lower() not in _IN_RUN and first != "x":
            yield Fault(place, f"{first} is not known in a run: texts stand between single quotes")


def _of_results(node: Node, place: Place) -> Iterator[Fault]:
    """Look for texts that no result of a job or stage is ever equal to."""
    for call in nodes(node):
        words = list(call.arguments) if isinstance(call, Call) else []
        if any((path(word) or [""])[-1].lower() == "result" for word in words):
            texts = [str(word.value) for word in words if isinstance(word, Literal)]
            for text in (t for t in texts if t.lower() not in _RESULTS):
                have = ", ".join(_RESULTS.values())
                yield Fault(place, f"there is no result {text}: there are {have}")


def _of_calls(node: Node, place: Place, functions: _Functions) -> Iterator[Fault]:
    for call in nodes(node):
        if not isinstance(call, Call):
            continue
        if call.function not in functions:
            where = " here, only in a condition" if call.function in STATUS else ""
            yield Fault(place, f"there is no function {call.function}(){where}")
            continue
        least, most = functions[call.function]
        if not least <= len(call.arguments) <= most:
            wanted = str(least) if least == most else f"at least {least}"
            given = len(call.arguments)
            yield Fault(place, f"{call.function}() takes {wanted} arguments, not {given}")
