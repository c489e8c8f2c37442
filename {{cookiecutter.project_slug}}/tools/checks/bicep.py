"""Check Bicep files, as ``python -m tools.checks.bicep FILES``.

Syntax, and what can be said for sure without the Bicep compiler: unknown, unused and doubled
names, files that are not there, parameters that are missing or unknown, resources without the
version of their API, secrets in outputs. Exit status: 0 nothing found, 1 faults, 2 could not look.
"""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.checks.bicep_names import doubled_names, unknown_names, unused_names
from tools.checks.bicep_secrets import secrets
from tools.checks.bicep_source import (
    Fault,
    Node,
    Source,
    body_of,
    called,
    read,
    text,
    value_of,
    walk,
)
from tools.checks.bicep_syntax import syntax

Rule = Callable[[Source], Iterator[Fault]]
_LOADS = {"loadYamlContent", "loadJsonContent", "loadTextContent", "loadFileAsBase64"}
_ELSEWHERE = ("br:", "br/", "ts:", "ts/")  # registries of modules
_PINNED = re.compile(r"[\w.]+/[\w./]+@\d{4}-\d{2}-\d{2}(-preview)?")


def main(names: list[str]) -> int:
    """Check the files, print what is wrong with them and return the exit status."""
    if not names:
        print("bicep: name the files: python -m tools.checks.bicep FILES", file=sys.stderr)
        return 2
    try:
        sources = [read(Path(name)) for name in names]
    except OSError as error:
        print(f"bicep: {error.filename} cannot be read: {error.strerror}.", file=sys.stderr)
        return 2
    except UnicodeDecodeError as error:
        print(f"bicep: a file is not UTF-8: {error}.", file=sys.stderr)
        return 2
    found = [line for source in sources for line in faults(source)]
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return int(bool(found))


def faults(source: Source) -> list[str]:
    """List the faults of a file as ``file:line:column: what``, by line."""
    rules = _PARAMETERS if source.is_parameters else _TEMPLATE
    found = list(syntax(source)) or [fault for rule in rules for fault in _meant(rule, source)]
    path = source.path.as_posix()
    return [f"{path}:{row + 1}:{column + 1}: {what}" for (row, column), what in sorted(set(found))]


def _meant(rule: Rule, source: Source) -> Iterator[Fault]:
    """Leave out what ``#disable-next-line`` allows, as the Bicep compiler does."""
    lines = source.given.split(b"\n")
    for (row, column), what in rule(source):
        if not (row and lines[row - 1].lstrip().startswith(b"#disable-next-line")):
            yield (row, column), what


def _missing_files(source: Source) -> Iterator[Fault]:
    for node in _named_files(source):
        is_local = not text(node).startswith(_ELSEWHERE)
        if is_local and not (source.path.parent / text(node)).is_file():
            yield node.start_point, f"there is no file {text(node)}"


def _parameters_of_modules(source: Source) -> Iterator[Fault]:
    for one in source.declared:
        body = body_of(one.node) if one.kind == "module" else None
        target = _other(source, one.node.named_children[1]) if body else None
        if body is None or target is None:
            continue
        given = value_of(body, "params")
        if given is not None and given.type != "object":
            continue
        entries = given.named_children if given else []
        if all(entry.type in {"object_property", "comment"} for entry in entries):
            keys = {text(e.named_children[0]): e for e in entries if e.type == "object_property"}
            yield from _agreement(one.node.named_children[0], keys, target)


def _parameters_of_file(source: Source) -> Iterator[Fault]:
    using = [node for node in source.root.named_children if node.type == "using_statement"]
    if not using:
        yield source.root.start_point, "using 'FILE.bicep' is missing: whose parameters are these?"
    elif target := _other(source, using[0].named_children[0]):
        yield from _agreement(using[0], source.assigned, target)
        for name, node in source.assigned.items():
            allowed = _allowed(target, name)
            if node.type == "string" and allowed and text(node) not in allowed:
                what = f"{name} is {text(node)!r}; allowed are {', '.join(allowed)}"
                yield node.start_point, what


def _unpinned(source: Source) -> Iterator[Fault]:
    for one in source.declared:
        if one.kind == "resource":
            node = one.node.named_children[1]
            if not _PINNED.fullmatch(text(node)):
                what = f"{text(node)!r} names no version of its API: TYPE@YYYY-MM-DD"
                yield node.start_point, what


def _named_files(source: Source) -> Iterator[Node]:
    for node in walk(source.root):
        if node.type == "module_declaration":
            yield node.named_children[1]
        elif node.type == "using_statement":
            yield node.named_children[0]
        elif node.type == "import_functionality" and node.named_children[-1].type == "string":
            yield node.named_children[-1]
        elif node.type == "call_expression" and text(node.named_children[0]) in _LOADS:
            arguments = node.named_children[1].named_children
            if arguments and arguments[0].type == "string":
                yield arguments[0]


def _other(source: Source, name: Node) -> Source | None:
    """Read another file, if it is there and has no faults of syntax of its own."""
    path = source.path.parent / text(name)
    other = read(path) if path.is_file() else None
    return other if other and not other.root.has_error else None


def _agreement(place: Node, given: dict[str, Node], target: Source) -> Iterator[Fault]:
    wanted = target.parameters()
    for name, node in given.items():
        if name not in wanted:
            yield node.start_point, f"{target.path.name} has no parameter {name!r}"
    for name, one in wanted.items():
        if one.is_required and name not in given:
            yield place.start_point, f"{target.path.name} needs the parameter {name!r}"


def _allowed(target: Source, name: str) -> list[str]:
    one = target.parameters().get(name)
    for decorator in one.decorators if one else ():
        if text(called(decorator)) == "allowed":
            return [text(node) for node in walk(decorator) if node.type == "string"]
    return []


_BOTH: list[Rule] = [unknown_names, unused_names, doubled_names, _missing_files]
_TEMPLATE = [*_BOTH, _parameters_of_modules, _unpinned, secrets]
_PARAMETERS = [*_BOTH, _parameters_of_file]

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
