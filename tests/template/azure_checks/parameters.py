"""Parameters of pipelines and templates: their declarations and values."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from tests.template.azure_checks.document import Fault, Items, Location, Mapping, Text, location_of
from tests.template.azure_checks.evaluation import UNKNOWN, as_text, same
from tests.template.azure_checks.marks import marks

_KEYS = {"name", "displayName", "type", "default", "values"}
_LISTS = ("containerList", "deploymentList", "jobList", "stageList", "stepList", "stringList")
_MAPPINGS = ("container", "deployment", "job", "stage", "step")
_TYPES = {"boolean", "number", "object", "string", "legacyObject", *_LISTS, *_MAPPINGS}
_MAX_CHOICES = 64


@dataclass(frozen=True)
class Parameter:
    """A declared parameter; without a default it is required."""

    name: str
    kind: str
    location: Location
    default: Any = UNKNOWN
    values: tuple[str, ...] = ()

    def fault_of(self, value: Any) -> str | None:
        """Return why a known value is invalid, or None."""
        if value is UNKNOWN or (isinstance(value, Text) and marks(value)):
            return None
        if self.values and not any(same(value, one) for one in self.values):
            return f"parameter {self.name} is {value}, but must be one of {', '.join(self.values)}"
        if _fits(value, self.kind):
            return None
        return f"parameter {self.name} must be a {self.kind}, not {_short(value)}"

    def convert(self, value: Any) -> Any:
        """Return the value that expressions see, with booleans and numbers instead of text."""
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
    return as_text(value) or "an empty string"


def declared(document: Mapping) -> tuple[dict[str, Parameter], list[Fault]]:
    """Return the parameters of a file and the faults in their declarations."""
    section = document.get("parameters")
    if section is None:
        return {}, []
    if isinstance(section, Mapping):  # the old form: names and defaults
        old = {k: Parameter(k, "legacyObject", k.location, v) for k, v in section.items()}
        return old, []
    parameters: dict[str, Parameter] = {}
    faults: list[Fault] = []
    if not isinstance(section, Items):
        location = document.location_of("parameters")
        return {}, [Fault(location, "parameters must be a list: - name: ...")]
    for item in section:
        if not isinstance(item, Mapping) or not item.get("name"):
            faults.append(Fault(location_of(item, section.location), "a parameter needs a name"))
            continue
        faults += _declaration_faults(item, parameters)
        values = tuple(map(str, item.get("values") or ()))
        kind, default = str(item.get("type", "string")), item.get("default", UNKNOWN)
        parameters[str(item["name"])] = Parameter(
            item["name"], kind, item.location, default, values
        )
    for parameter in parameters.values():
        if parameter.kind in _TYPES and (wrong := parameter.fault_of(parameter.default)):
            faults.append(Fault(parameter.location, f"{wrong}: change its default"))
    return parameters, faults


def _declaration_faults(item: Mapping, before: dict[str, Parameter]) -> Iterator[Fault]:
    name = item["name"]
    if name in before:
        yield Fault(item.location, f"parameter {name} is declared twice")
    for key in item:
        if key not in _KEYS:
            yield Fault(
                key.location, f"a parameter has no {key}: it has {', '.join(sorted(_KEYS))}"
            )
    kind = str(item.get("type", "string"))
    if kind not in _TYPES:
        location = item.location_of("type")
        yield Fault(location, f"there is no type {kind}: there are {', '.join(sorted(_TYPES))}")


def bind(
    parameters: dict[str, Parameter], arguments: Any, template: str, location: Location
) -> tuple[dict[str, Any], list[Fault]]:
    """Match the arguments of a template with its parameters."""
    faults: list[Fault] = []
    known = {name.lower(): parameter for name, parameter in parameters.items()}
    values: dict[str, Any] = {name: parameter.default for name, parameter in known.items()}
    passed = set()
    for key, value in arguments.items() if isinstance(arguments, Mapping) else ():
        at, parameter = location_of(key, location), known.get(key.lower())
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
            faults.append(
                Fault(location, f"{template} needs the parameter {parameter.name}: pass it")
            )
    return {name: known[name].convert(value) for name, value in values.items()}, faults


def choices(parameters: dict[str, Parameter]) -> Iterator[dict[str, Any]]:
    """Yield the parameter values a user can choose for a run, as far as they can be listed."""
    options = {name: _options(parameter) for name, parameter in parameters.items()}
    for number, values in enumerate(product(*options.values())):
        if number < _MAX_CHOICES:
            chosen = dict(zip(options, values, strict=True))
            yield {name.lower(): parameters[name].convert(chosen[name]) for name in chosen}


def _options(parameter: Parameter) -> list[Any]:
    if parameter.kind == "boolean":
        return [True, False]
    if parameter.values:
        return [Text(value, parameter.location) for value in parameter.values]
    return [parameter.default]
