"""Parameters of pipelines and templates: how they are declared, and what they are given."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from tests.template.azure_checks.document import Fault, Items, Mapping, Place, Text, place_of
from tests.template.azure_checks.evaluation import UNKNOWN, as_text, same
from tests.template.azure_checks.marks import marks

_KEYS = {"name", "displayName", "type", "default", "values"}
_LISTS = ("containerList", "deploymentList", "jobList", "stageList", "stepList", "stringList")
_MAPPINGS = ("container", "deployment", "job", "stage", "step")
_TYPES = {"boolean", "number", "object", "string", "legacyObject", *_LISTS, *_MAPPINGS}
_MOST_CHOICES = 64


@dataclass(frozen=True)
class Parameter:
    """A parameter as a file declares it; without a default it has to be given."""

    name: str
    kind: str
    place: Place
    default: Any = UNKNOWN
    values: tuple[str, ...] = ()

    def fault_of(self, value: Any) -> str | None:
        """Report why the parameter cannot have a value that is known."""
        if value is UNKNOWN or (isinstance(value, Text) and marks(value)):
            return None
        if self.values and not any(same(value, one) for one in self.values):
            return f"parameter {self.name} is {value}, but may be {', '.join(self.values)}"
        if _fits(value, self.kind):
            return None
        return f"parameter {self.name} is a {self.kind}, and this is none: {_short(value)}"

    def convert(self, value: Any) -> Any:
        """Return what expressions see: true and numbers instead of their texts."""
        if isinstance(value, Text) and not marks(value):
            if self.kind == "boolean":
                return value.lower() == "true"
            if self.kind == "number" and _fits(value, "number"):
                return float(value)
        return value


def _fits(value: Any, kind: str) -> bool:
    if kind == "boolean":
        return isinstance(value, bool) or as_text(value).lower() in ("true", "false")
    if kind == "number":
        return as_text(value).lstrip("-").replace(".", "", 1).isdigit()
    if kind == "string":
        return not isinstance(value, list | dict)
    if kind in _LISTS:
        return isinstance(value, list)
    return kind not in _MAPPINGS or isinstance(value, dict)


def _short(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    return as_text(value) or "an empty text"


def declared(document: Mapping) -> tuple[dict[str, Parameter], list[Fault]]:
    """Return the parameters of a file, and what is wrong with their declarations."""
    section = document.get("parameters")
    if section is None:
        return {}, []
    if isinstance(section, Mapping):  # the old form: names and defaults
        old = {k: Parameter(k, "legacyObject", k.place, v) for k, v in section.items()}
        return old, []
    found: dict[str, Parameter] = {}
    faults: list[Fault] = []
    if not isinstance(section, Items):
        place = document.place_of("parameters")
        return {}, [Fault(place, "parameters is a list: - name: ...")]
    for item in section:
        if not isinstance(item, Mapping) or not item.get("name"):
            faults.append(Fault(place_of(item, section.place), "a parameter needs a name"))
            continue
        faults += _of_declaration(item, found)
        values = tuple(map(str, item.get("values") or ()))
        kind, default = str(item.get("type", "string")), item.get("default", UNKNOWN)
        found[str(item["name"])] = Parameter(item["name"], kind, item.place, default, values)
    for parameter in found.values():
        if parameter.kind in _TYPES and (wrong := parameter.fault_of(parameter.default)):
            faults.append(Fault(parameter.place, f"{wrong}: change its default"))
    return found, faults


def _of_declaration(item: Mapping, before: dict[str, Parameter]) -> Iterator[Fault]:
    name = item["name"]
    if name in before:
        yield Fault(item.place, f"parameter {name} is declared twice")
    for key in item:
        if key not in _KEYS:
            yield Fault(key.place, f"a parameter has no {key}: it has {', '.join(sorted(_KEYS))}")
    kind = str(item.get("type", "string"))
    if kind not in _TYPES:
        place = item.place_of("type")
        yield Fault(place, f"there is no type {kind}: there are {', '.join(sorted(_TYPES))}")


def bind(
    parameters: dict[str, Parameter], given: Any, template: str, place: Place
) -> tuple[dict[str, Any], list[Fault]]:
    """Match what a template is given with what it declares."""
    faults: list[Fault] = []
    known = {name.lower(): parameter for name, parameter in parameters.items()}
    values: dict[str, Any] = {name: parameter.default for name, parameter in known.items()}
    passed = set()
    for key, value in given.items() if isinstance(given, Mapping) else ():
        at, parameter = place_of(key, place), known.get(key.lower())
        if parameter is None:
            have = ", ".join(parameters) or "none"
            faults.append(Fault(at, f"{template} has no parameter {key}: it has {have}"))
            continue
        passed.add(key.lower())
        values[key.lower()] = value
        if wrong := parameter.fault_of(value):
            faults.append(Fault(at, f"{template}: {wrong}"))
    for name, parameter in known.items():
        if parameter.default is UNKNOWN and name not in passed:
            faults.append(Fault(place, f"{template} needs the parameter {parameter.name}: give it"))
    return {name: known[name].convert(value) for name, value in values.items()}, faults


def choices(parameters: dict[str, Parameter]) -> Iterator[dict[str, Any]]:
    """Return what people may choose at the start of a run, as far as it can be listed."""
    options = {name: _options(parameter) for name, parameter in parameters.items()}
    for number, values in enumerate(product(*options.values())):
        if number < _MOST_CHOICES:
            chosen = dict(zip(options, values, strict=True))
            yield {name.lower(): parameters[name].convert(chosen[name]) for name in chosen}


def _options(parameter: Parameter) -> list[Any]:
    if parameter.kind == "boolean":
        return [True, False]
    if parameter.values:
        return [Text(value, parameter.place) for value in parameter.values]
    return [parameter.default]
