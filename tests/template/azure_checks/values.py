"""Check values that the schema accepts as any text: images, cron lines, minutes, versions."""

import re
from collections.abc import Iterator
from typing import Any

from tests.template.azure_checks.document import Fault, Items, Mapping, Text
from tests.template.azure_checks.marks import OPEN
from tests.template.azure_checks.policies import reports_image

_IMAGE = re.compile(
    r"(?i)ubuntu-2[24]\.04|ubuntu-26\.04(-arm)?|windows-2022|windows-2025(-vs2026)?"
    r"|macos-(14|15|26)(-arm64)?"
)
_HOSTED = "Azure Pipelines"
_IN_RUN = ("$(", "$[", OPEN)  # marks a value known only in a run
_MINUTES = ("timeoutInMinutes", "cancelTimeoutInMinutes")
_FREE = ("inputs", "env", "variables", "parameters", "matrix")  # their keys are user-defined
_SHORTENED = re.compile(r"\d+\.\d*[1-9]0+")

_PART = re.compile(r"(?:\*|([0-9]+|[A-Za-z]+)(?:-([0-9]+|[A-Za-z]+))?)(?:/0*([1-9][0-9]*))?")
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),
)


def faults_of(value: Any, inside: str = "") -> Iterator[Fault]:
    """Yield invalid values of an expanded pipeline or template."""
    if isinstance(value, Items):
        for item in value:
            yield from faults_of(item, inside)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(inner, Text) and not any(mark in inner for mark in _IN_RUN):
                yield from _pair_faults(key, inner, value, inside)
            yield from faults_of(inner, inside if inside in _FREE else key)


def _pair_faults(key: str, text: Text, siblings: Mapping, inside: str) -> Iterator[Fault]:
    if key == "versionSpec" and inside == "inputs":
        if text.is_plain and _SHORTENED.fullmatch(text):
            yield Fault(text.location, f'YAML reads {text} as {float(text)}: write "{text}"')
    elif inside in _FREE:
        return
    elif key == "vmImage" and siblings.get("name", _HOSTED) == _HOSTED:
        if not reports_image(text) and not _IMAGE.fullmatch(text):
            yield Fault(text.location, f"there is no image {text}: use ubuntu-24.04")
    elif key == "cron":
        yield from _cron_faults(text)
    elif key in _MINUTES and not text.isdecimal():
        yield Fault(text.location, f"{key} must be a number of minutes, not {text}")


def _cron_faults(cron: Text) -> Iterator[Fault]:
    fields = cron.split()
    if len(fields) != len(_FIELDS):
        text = f"a cron line has five fields, minute to day of the week, but this is {cron}"
        yield Fault(cron.location, text)
        return
    for field, (name, least, most, words) in zip(fields, _FIELDS, strict=True):
        if not all(_fits(part, least, most, words) for part in field.split(",")):
            allowed = f"{least} to {most}" + (f" or {words[0][:3].title()} ..." if words else "")
            yield Fault(cron.location, f"the {name} of a cron line must be {allowed}, not {field}")


def _fits(part: str, least: int, most: int, words: tuple[str, ...]) -> bool:
    match = _PART.fullmatch(part)
    if match is None or ("/" in part and int(match[3]) > most):
        return False
    ends = [end for end in (match[1], match[2]) if end is not None]
    return all(
        least <= int(end) <= most
        if end.isdigit()
        else end.lower() in {form for word in words for form in (word, word[:3])}
        for end in ends
    )
