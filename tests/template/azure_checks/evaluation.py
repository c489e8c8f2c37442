"""Evaluate template expressions, as far as possible before a run."""

from collections.abc import Callable, Mapping
from typing import Any

from tests.template.azure_checks.expressions import Call, Literal, Name, Node, Part


class _Unknown:
    """A value that is known only during a run."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()


def evaluate(node: Node, names: Mapping[str, Any]) -> Any:
    """Return the value of an expression, or `UNKNOWN`."""
    if isinstance(node, Literal):
        return node.value
    if isinstance(node, Name):
        return names.get(node.name.lower(), UNKNOWN)
    if isinstance(node, Part):
        return _part(evaluate(node.owner, names), evaluate(node.key, names))
    values = [evaluate(argument, names) for argument in node.arguments]
    return _call(node, values)


def _part(owner: Any, key: Any) -> Any:
    if owner is UNKNOWN or key is UNKNOWN or key == "*":
        return UNKNOWN
    if isinstance(owner, Mapping):
        return next((v for k, v in owner.items() if same(k, key)), "")
    if isinstance(owner, list) and isinstance(key, float) and int(key) < len(owner):
        return owner[int(key)]
    return ""


def _call(node: Call, values: list[Any]) -> Any:
    if node.function == "and" and any(v is not UNKNOWN and not truth(v) for v in values):
        return False
    if node.function == "or" and any(v is not UNKNOWN and truth(v) for v in values):
        return True
    function = _FUNCTIONS.get(node.function)
    if function is None or any(value is UNKNOWN for value in values):
        return UNKNOWN
    return function(*values)


def truth(value: Any) -> bool:
    """Return the truth of a value: an empty string, 0 and null are false."""
    return bool(value)


def as_text(value: Any) -> str:
    """Return the text that replaces an expression."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def same(one: Any, other: Any) -> bool:
    """Compare like Azure: ignoring case, the second value converted to the type of the first."""
    return as_text(one).lower() == as_text(other).lower()


def _contains_value(container: Any, wanted: Any) -> bool:
    values = container.values() if isinstance(container, Mapping) else container
    return any(same(value, wanted) for value in values)


def _format(pattern: Any, *values: Any) -> str:
    text = as_text(pattern)
    for number, value in enumerate(values):
        text = text.replace("{" + str(number) + "}", as_text(value))
    return text


def _order(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], Any]:
    def ordered(one: Any, other: Any) -> Any:
        try:
            return compare(float(one), float(other))
        except (TypeError, ValueError):
            return compare(as_text(one).lower(), as_text(other).lower())

    return ordered


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": lambda *v: all(map(truth, v)),
    "or": lambda *v: any(map(truth, v)),
    "not": lambda v: not truth(v),
    "xor": lambda a, b: truth(a) != truth(b),
    "eq": same,
    "ne": lambda a, b: not same(a, b),
    "gt": _order(lambda a, b: a > b),
    "ge": _order(lambda a, b: a >= b),
    "lt": _order(lambda a, b: a < b),
    "le": _order(lambda a, b: a <= b),
    "in": lambda a, *v: any(same(a, b) for b in v),
    "notin": lambda a, *v: not any(same(a, b) for b in v),
    "coalesce": lambda *v: next((a for a in v if a not in (None, "")), ""),
    "contains": lambda a, b: as_text(b).lower() in as_text(a).lower(),
    "containsvalue": _contains_value,
    "startswith": lambda a, b: as_text(a).lower().startswith(as_text(b).lower()),
    "endswith": lambda a, b: as_text(a).lower().endswith(as_text(b).lower()),
    "format": _format,
    "iif": lambda a, b, c: b if truth(a) else c,
    "join": lambda a, v: as_text(a).join(map(as_text, v)),
    "length": lambda v: float(len(v)),
    "lower": lambda v: as_text(v).lower(),
    "upper": lambda v: as_text(v).upper(),
    "trim": lambda v: as_text(v).strip(),
    "replace": lambda v, a, b: as_text(v).replace(as_text(a), as_text(b)),
    "split": lambda v, a: as_text(v).split(as_text(a)),
}
