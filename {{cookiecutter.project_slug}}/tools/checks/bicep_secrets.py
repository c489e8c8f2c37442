"""Secrets in a Bicep file: outputs and defaults are kept in the history of deployments."""

import re
from collections.abc import Iterator

from tools.checks.bicep_source import Fault, Node, Source, text, walk

_LISTS = re.compile("list[A-Z].*")
_SECRET = re.compile(
    r"(primary|secondary|account|shared|access|admin|instrumentation)key"
    r"|\w*(connectionstring|password|sastoken|clientsecret)",
    re.IGNORECASE,
)


def secrets(source: Source) -> Iterator[Fault]:
    """Find secrets in outputs, and secure parameters that have a default."""
    secure = {one.name for one in source.declared if one.is_secure}
    for one in source.declared:
        default = one.default if one.kind == "parameter" and one.is_secure else None
        if default and default.type == "string" and text(default):
            what = f"parameter {one.name!r} is @secure() and its default can be read here"
            yield default.start_point, what
        if one.kind == "variable" and any(_tells(node, secure) for node in walk(one.node)):
            secure.add(one.name)
    for output in source.root.named_children:
        if output.type == "output_declaration":
            for node in walk(output.named_children[-1]):
                if told := _tells(node, secure):
                    what = f"{told!r} in an output, which all can read who see deployments"
                    yield node.start_point, what


def _tells(node: Node, secure: set[str]) -> str:
    """Name the secret that a node is, or nothing."""
    name = text(node)
    if node.type == "property_identifier" and (_SECRET.fullmatch(name) or _LISTS.fullmatch(name)):
        return name
    if node.type == "identifier" and (name in secure or _is_listing(node)):
        return name
    return ""


def _is_listing(node: Node) -> bool:
    parent = node.parent
    is_call = parent is not None and parent.child_by_field_name("function") == node
    return is_call and bool(_LISTS.fullmatch(text(node)))
