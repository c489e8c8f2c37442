"""The names in a Bicep file: each is declared once, and used.

The names of functions are left out: Bicep has hundreds, and gets new ones.
"""

from collections.abc import Iterator

from tools.checks.bicep_source import Fault, Node, Source, text, walk

_OF_BICEP = {"az", "sys", "any", "array", "bool", "int", "object", "string"}
_NAMED_FIRST = {"object_property", "parameter", "test_block"}


def unknown_names(source: Source) -> Iterator[Fault]:
    """Find names that are used and declared nowhere."""
    known = {one.name for one in source.declared} | set(source.assigned) | _OF_BICEP
    for statement in source.root.named_children:
        inner = known | set(_bound(statement))
        for node in walk(statement):
            if node.type == "identifier" and _is_use(node) and text(node) not in inner:
                yield node.start_point, f"{text(node)!r} is declared nowhere"


def unused_names(source: Source) -> Iterator[Fault]:
    """Find parameters and variables that nothing uses."""
    used = {text(node) for node in walk(source.root) if node.type == "identifier" and _is_use(node)}
    for one in source.declared:
        is_local = one.kind in {"parameter", "variable"} and not one.has("export")
        if is_local and one.name not in used:
            yield one.node.start_point, f"{one.kind} {one.name!r} is used nowhere"


def doubled_names(source: Source) -> Iterator[Fault]:
    """Find names that are declared twice."""
    seen: set[str] = set()
    for one in source.declared:
        if one.name in seen and one.kind not in {"import", "nested resource"}:
            yield one.node.start_point, f"{one.name!r} is declared twice"
        seen.add(one.name)


def _is_use(node: Node) -> bool:
    """Say whether an identifier stands for something that is declared elsewhere."""
    parent = node.parent
    if parent is None or _is_function(node, parent):
        return False
    if any(parent.child_by_field_name(field) == node for field in ("name", "resource")):
        return False
    if parent.type.endswith("_declaration") or parent.type in _NAMED_FIRST:
        return parent.named_children[0] != node
    return parent.type not in {"type", "import_functionality"} and text(node) != "*"


def _is_function(node: Node, parent: Node) -> bool:
    """Say whether it is called; the grammar does not see that everywhere, as in ``[f(x)]``."""
    after = (parent.text or b"")[node.end_byte - parent.start_byte :]
    return parent.child_by_field_name("function") == node or after.startswith(b"(")


def _bound(statement: Node) -> Iterator[str]:
    """Name the variables of loops, lambdas and functions in a statement."""
    for node in walk(statement):
        if node.type == "lambda_expression":
            names = node.named_children[0]
            yield from (text(name) for name in walk(names) if name.type == "identifier")
        elif node.type in {"loop_variable", "loop_enumerator"}:
            yield text(node)
        elif node.type == "parameter":
            yield text(node.named_children[0])
        elif node.type == "for_statement" and (name := node.child_by_field_name("initializer")):
            yield text(name)
