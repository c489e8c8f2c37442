"""Evaluate our Bicep files to the resources of a deployment, without the Bicep compiler.

The interpreter supports only the expressions they use and raises UnsupportedError for all others,
so that no test passes by chance. Values set by Azure are placeholders: ``principal of NAME``.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from tests.template.bicep_source import Declaration, Node, Source, body_of, read, text

GROUP = "/subscriptions/S/resourceGroups/RG"
Local = dict[str, Any]


class UnsupportedError(Exception):
    """An expression that this interpreter does not support."""


@dataclass(frozen=True)
class Resource:
    """One resource of a deployment."""

    type: str
    version: str
    id: str
    body: dict[str, Any]


def deploy(main: Path, parameters: Path) -> list[Resource]:
    """Return the resources that a template deploys with a parameter file."""
    resources: list[Resource] = []
    _File(main, assigned(parameters), resources).run()
    return resources


def assigned(parameters: Path) -> dict[str, Any]:
    """Return the values of a ``.bicepparam`` file."""
    file = _File(parameters, {}, [])
    return {name: file.value(node, {}) for name, node in file.source.assigned.items()}


class _File:
    """One file, whose names are evaluated on first use."""

    def __init__(self, path: Path, parameters: dict[str, Any], resources: list[Resource]) -> None:
        self.source: Source = read(path)
        self._parameters, self._resources = parameters, resources
        self._declared = {one.name: one for one in self.source.declared}
        self._values: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Deploy all resources and modules; return the outputs."""
        for name in self._declared:
            self._value_of(name)
        outputs = [n for n in self.source.root.named_children if n.type == "output_declaration"]
        return {text(n.named_children[0]): self.value(n.named_children[-1], {}) for n in outputs}

    def value(self, node: Node, local: Local) -> Any:
        """Evaluate an expression."""
        evaluators: dict[str, Callable[[Node, Local], Any]] = {
            "array": lambda n, at: [self.value(c, at) for c in _parts(n)],
            "binary_expression": self._binary,
            "boolean": lambda n, at: text(n) == "true",
            "call_expression": self._call,
            "for_statement": self._for,
            "identifier": lambda n, at: at[text(n)] if text(n) in at else self._value_of(text(n)),
            "lambda_expression": lambda n, at: self.value(n.named_children[-1], at),
            "member_expression": self._member,
            "null": lambda n, at: None,
            "number": lambda n, at: int(text(n)),
            "object": self._object,
            "parenthesized_expression": lambda n, at: self.value(n.named_children[0], at),
            "string": self._string,
            "subscript_expression": self._subscript,
            "ternary_expression": self._ternary,
            "unary_expression": lambda n, at: not self.value(n.named_children[0], at),
        }
        if node.type not in evaluators:
            raise UnsupportedError(f"{node.type}: {text(node)}")
        return evaluators[node.type](node, local)

    def _value_of(self, name: str) -> Any:
        if name not in self._values:
            self._values[name] = self._evaluate(name)
        return self._values[name]

    def _evaluate(self, name: str) -> Any:
        one = self._declared.get(name)
        if one is None:
            raise UnsupportedError(name)
        if one.kind == "parameter":
            return (
                self._parameters[name] if name in self._parameters else self.value(one.default, {})
            )
        if one.kind == "variable":
            return self.value(one.node.named_children[1], {})
        make = {"resource": self._resource, "module": self._module}[one.kind]
        return self._repeat(one.node.named_children[-1], {}, lambda local: make(one, local))

    def _repeat(self, node: Node, local: Local, make: Callable[[Local], Any]) -> Any:
        """Call ``make`` for each iteration of ``for`` whose ``if`` holds."""
        if node.type == "for_statement":
            return [
                self._repeat(node.named_children[-1], at, make)
                for at in self._iterations(node, local)
            ]
        if node.type == "if_statement":
            return make(local) if self.value(node.named_children[0], local) else None
        return make(local)

    def _iterations(self, node: Node, local: Local) -> list[Local]:
        first, values = node.named_children[:2]
        names = [text(name) for name in _parts(first)] or [text(first)]
        numbered = enumerate(self.value(values, local))
        return [local | dict(zip(names, (each, number), strict=False)) for number, each in numbered]

    def _resource(self, one: Declaration, local: Local) -> Any:
        type, _, version = text(one.node.named_children[1]).partition("@")
        body = self.value(body_of(one.node), local)
        parent, name = body.pop("parent", None), body["name"]
        id = f"{parent['id']}/{type.rsplit('/', 1)[1]}/{name}" if parent else _id(type, name)
        if scope := body.pop("scope", None):
            id = f"{scope['id']}/providers/{type}/{name}"
        if not any(child.type == "existing" for child in one.node.children):
            self._resources.append(Resource(type, version, id, body))
        principal = {"principalId": f"principal of {name}"}
        properties, identity = body.get("properties", {}), body.get("identity", {})
        reported = {"properties": properties | principal, "identity": identity | principal}
        return body | reported | {"id": id}

    def _module(self, one: Declaration, local: Local) -> Any:
        body = self.value(body_of(one.node), local)
        path = self.source.path.parent / text(one.node.named_children[1])
        return {"outputs": _File(path, body["params"], self._resources).run()}

    def _string(self, node: Node, local: Local) -> str:
        if node.text and node.text.startswith(b"'''"):
            raise UnsupportedError(text(node))
        parts = (
            str(self.value(part.named_children[0], local))
            if part.type == "interpolation"
            else text(part)
            for part in _parts(node)
        )
        return "".join(parts)

    def _object(self, node: Node, local: Local) -> dict[str, Any]:
        entries = [entry.named_children[:2] for entry in _parts(node)]
        return {self._key(key, local): self.value(value, local) for key, value in entries}

    def _key(self, node: Node, local: Local) -> str:
        return self._string(node, local) if node.type == "string" else text(node)

    def _member(self, node: Node, local: Local) -> Any:
        object, key = (self.value(node.named_children[0], local), text(node.named_children[1]))
        return object.get(key) if any(c.type == ".?" for c in node.children) else object[key]

    def _subscript(self, node: Node, local: Local) -> Any:
        object, index = node.named_children
        return self.value(object, local)[self.value(index, local)]

    def _ternary(self, node: Node, local: Local) -> Any:
        condition, yes, no = node.named_children
        return self.value(yes if self.value(condition, local) else no, local)

    def _binary(self, node: Node, local: Local) -> Any:
        left, right = node.named_children
        sign, first = node.children[1].type, self.value(left, local)
        if sign == "??":
            return self.value(right, local) if first is None else first
        if sign in {"&&", "||"}:
            return self.value(right, local) if first == (sign == "&&") else first
        signs = {"==": operator.eq, "!=": operator.ne}
        if sign not in signs:
            raise UnsupportedError(text(node))
        return signs[sign](first, self.value(right, local))

    def _for(self, node: Node, local: Local) -> list[Any]:
        return [self.value(node.named_children[-1], at) for at in self._iterations(node, local)]

    def _call(self, node: Node, local: Local) -> Any:
        name, arguments = text(node.named_children[0]), _parts(node.named_children[1])
        if name == "loadYamlContent":
            file = self.source.path.parent / text(arguments[0])
            return yaml.safe_load(file.read_text(encoding="utf-8"))
        if name not in _FUNCTIONS:
            raise UnsupportedError(text(node))
        return _FUNCTIONS[name](*(self._argument(each, local) for each in arguments))

    def _argument(self, node: Node, local: Local) -> Any:
        """Return a value or a function: the grammar ends a lambda too early, at its parameter."""
        first = node
        while first.named_children and first.type != "lambda_expression":
            first = first.named_children[0]
        if first.type != "lambda_expression":
            return self.value(node, local)
        name = text(first.named_children[0])
        return lambda each: self.value(node, local | {name: each})


def _parts(node: Node) -> list[Node]:
    return [child for child in node.named_children if child.type != "comment"]


def _id(type: str, name: str) -> str:
    return f"{GROUP}/providers/{type}/{name}"


def _union(first: Any, second: Any) -> Any:
    if isinstance(first, list):
        return list(dict.fromkeys([*first, *second]))
    both = {key: _union(first[key], second[key]) for key in _shared(first, second)}
    return first | second | both


def _shared(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    return [k for k in first if isinstance(first[k], dict) and isinstance(second.get(k), dict)]


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "concat": lambda *values: [each for value in values for each in value],
    "empty": lambda value: not value,
    "filter": lambda values, test: [each for each in values if test(each)],
    "guid": lambda *parts: f"guid of {' '.join(parts)}",
    "items": lambda value: [{"key": key, "value": value[key]} for key in sorted(value)],
    "map": lambda values, change: [change(each) for each in values],
    "resourceId": _id,
    "subscription": lambda: {"tenantId": "TENANT"},
    "subscriptionResourceId": lambda type, name: f"/subscriptions/S/providers/{type}/{name}",
    "union": lambda *values: reduce(_union, values),
}
