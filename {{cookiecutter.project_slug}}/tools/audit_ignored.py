"""Known weaknesses that somebody has judged not to matter here, each until a date."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

_KEYS = {"id": str, "package": str, "reason": str, "until": date}


class IgnoreListError(Exception):
    """The list cannot be used as it is (exit status 2)."""


@dataclass(frozen=True)
class Ignored:
    """A weakness that does not count up to and including a day."""

    id: str
    package: str
    reason: str
    until: date

    def is_about(self, package: str, names: Sequence[str]) -> bool:
        """Say whether it is about this weakness, under whichever of its names."""
        return canonicalize_name(self.package) == package and self.id in names


def read_ignored(file: Path) -> list[Ignored]:
    """Read the list; without a file nothing is ignored.

    Raises
    ------
    IgnoreListError
        If it is no TOML, or an entry lacks a key, has another one, or a value of another kind.
    """
    if not file.is_file():
        return []
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise IgnoreListError(f"{file} is no TOML: {error}") from error
    entries = found.pop("ignore", [])
    if found or not isinstance(entries, list):
        other = ", ".join(found) or f"ignore = {entries!r}"
        raise IgnoreListError(f"{file} holds [[ignore]] and nothing else, not {other}")
    return [_entry(file, number, given) for number, given in enumerate(entries, start=1)]


def _entry(file: Path, number: int, given: Any) -> Ignored:
    where = f"{file}, entry {number}"
    if not isinstance(given, dict):
        raise IgnoreListError(f"{where}: it must be a table with {', '.join(_KEYS)}, not {given!r}")
    if set(given) != set(_KEYS):
        raise IgnoreListError(f"{where}: give {', '.join(_KEYS)}, not {', '.join(given)}")
    for key, kind in _KEYS.items():
        value = given[key]
        if not isinstance(value, kind) or isinstance(value, datetime) or value == "":
            raise IgnoreListError(f"{where}: {key} must be a {kind.__name__}, not {value!r}")
    return Ignored(**given)
