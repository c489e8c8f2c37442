"""Check values that the schema takes for any text: images, cron lines, minutes, versions."""

import re
from collections.abc import Iterator
from typing import Any

from tests.template.azure_checks.document import Fault, Items, Mapping, Text
from tests.template.azure_checks.marks import OPEN
from tests.template.azure_checks.policies import judges_image

_IMAGE = re.compile(
    r"(?i)ubuntu-2[24]\.04|ubuntu-26\.04(-arm)?|windows-2022|windows-2025(-vs2026)?"
    r"|macos-(14|15|26)(-arm64)?"
)
_HOSTED = "Azure Pipelines"
_IN_RUN = ("$(", "$[", OPEN)  # a value that only a run knows
_MINUTES = ("timeoutInMinutes", "cancelTimeoutInMinutes")
_FREE = ("inputs", "env", "variables", "parameters", "matrix")  # their keys mean what others say
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
    """Report which values of an expanded pipeline or template are invalid."""
    if isinstance(value, Items):
        for item in value:
            yield from faults_of(item, inside)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(inner, Text) and not any(mark in inner for mark in _IN_RUN):
                yield from _of_pair(key, inner, value, inside)
            yield from faults_of(inner, inside if inside in _FREE else key)


def _of_pair(key: str, text: Text, beside: Mapping, inside: str) -> Iterator[Fault]:
    if key == "versionSpec" and inside == "inputs":
        if text.is_plain and _SHORTENED.fullmatch(text):
            yield Fault(text.place, f'YAML reads {text} as {float(text)}: write "{text}"')
    elif inside in _FREE:
        return
    elif key == "vmImage" and beside.get("name", _HOSTED) == _HOSTED:
        if not judges_image(text) and not _IMAGE.fullmatch(text):
            yield Fault(text.place, f"there is no image {text}: use ubuntu-24.04")
    elif key == "cron":
        yield from _of_cron(text)
    elif key in _MINUTES and not text.isdecimal():
        yield Fault(text.place, f"{key} is a number of minutes, and this is none: {text}")


def _of_cron(cron: Text) -> Iterator[Fault]:
    given = cron.split()
    if len(given) != len(_FIELDS):
        text = f"a cron has five fields, minute to day of the week; this one: {cron}"
        yield Fault(cron.place, text)
        return
    for field, (name, least, most, words) in zip(given, _FIELDS, strict=True):
        if not all(_fits(part, least, most, words) for part in field.split(",")):
            may_be = f"{least} to {most}" + (f" or {words[0][:3].title()} ..." if words else "")
            yield Fault(cron.place, f"the {name} of a cron is {may_be}, and this is not: {field}")


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
