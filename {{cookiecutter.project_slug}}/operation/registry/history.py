"""Which version was champion when, by the tags that say so."""

from collections.abc import Sequence
from dataclasses import dataclass

from {{ cookiecutter.package_name }}.tracking.registry import SINCE

from operation.registry.interface import Version

ROLLBACK = "rollback"


@dataclass(frozen=True, order=True)
class Change:
    """A version became champion."""

    time: str
    number: str
    how: str


def changes(versions: Sequence[Version]) -> list[Change]:
    """List how the champion changed, the oldest change first."""
    return sorted(
        Change(name.removeprefix(SINCE), version.number, text)
        for version in versions
        for name, text in version.tags.items()
        if name.startswith(SINCE)
    )


def previous_champion(versions: Sequence[Version], champion: str) -> str | None:
    """Return the number of the version that a rollback leads to; None without one.

    A rollback undoes what made the champion: after two of them the one before the last but one is
    champion again, not the one that was rolled back.
    """
    stack: list[str] = []
    for change in changes(versions):
        if change.how.startswith(ROLLBACK) and change.number in stack:
            while stack[-1] != change.number:
                stack.pop()
        elif stack[-1:] != [change.number]:
            stack.append(change.number)
    if stack[-1:] == [champion]:
        stack.pop()
    return stack[-1] if stack else None
