"""The syntax of a Bicep file.

After a fault the parser goes on as well as it can, and may name a place further down. What is
wrong most often is looked for in the text first, and then named where it is.
"""

import re
from collections.abc import Iterator

from tools.checks.bicep_source import Fault, Source, text, walk

_STATEMENTS = (
    "assert|extends|extension|func|import|metadata|module|output|param|provider|resource"
    "|targetScope|test|type|using|var"
)
_OTHER_WORD = re.compile(rf"(?m)^(?!(?:{_STATEMENTS})\b)([a-zA-Z]\w*)[ \t]+\w")
_NO_VALUE = re.compile(r"(?m)^(param|var|output|type)\b.*=[ \t]*$")


def syntax(source: Source) -> Iterator[Fault]:
    """Find what cannot be read."""
    if source.root.has_error:
        yield from list(_likely(source)) or _met(source)


def _met(source: Source) -> Iterator[Fault]:
    """Tell what the parser has met."""
    for node in walk(source.root):
        if node.is_missing:
            yield node.start_point, f"syntax: {node.type!r} is missing here"
        elif node.type == "ERROR":
            start = text(node).strip().split("\n")[0][:40]
            yield node.start_point, f"syntax: {start!r} cannot stand here"


def _likely(source: Source) -> Iterator[Fault]:
    """Find the usual faults; asked only if there is one, so that good files are left alone."""
    given = source.given.decode()
    for node in walk(source.root):
        if node.type == "string" and "\n" in text(node) and not text(node).startswith("'''"):
            yield node.start_point, "syntax: the text that begins here has no second quote"
            return  # all that follows is seen inside out
    for match in _OTHER_WORD.finditer(given):
        yield _place(given, match.start()), f"syntax: {match[1]!r} is no statement of Bicep"
    for match in _NO_VALUE.finditer(given):
        yield _place(given, match.end() - 1), "syntax: a value is missing after the ="


def _place(given: str, at: int) -> tuple[int, int]:
    return given.count("\n", 0, at), at - given.rfind("\n", 0, at) - 1
