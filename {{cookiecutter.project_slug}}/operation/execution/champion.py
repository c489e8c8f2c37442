"""Show the model in service of an environment, or all versions; exit status 1 if there is none."""

import argparse
import sys

from operation.registry import Registry, Version, open_registry
from operation.registry.history import changes

DEFAULT_ENV = "local"
_GROUPS = {
    "metrics": "metrics.",
    "gate": "gate",
    "data": "data.",
    "code": "git.",
    "approval": "approval.",
    "came here": "promoted.",
    "champion since": "champion.since.",
    "parameters": "parameters",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("--history", action="store_true", help="all versions, the newest first")


def execute(arguments: argparse.Namespace) -> int:
    """Print the champion with all that it carries."""
    registry = open_registry(arguments.env)
    champion = registry.champion()
    if arguments.history:
        _show_history(registry, champion)
    if champion is None:
        how = f"make run, make champion and others take ENV=; {registry.env} has a model of its own"
        print(f"champion: {registry.name} has none in {registry.place} ({how})", file=sys.stderr)
        return 1
    if not arguments.history:
        _show(registry, champion)
    return 0


def _show(registry: Registry, champion: Version) -> None:
    print(f"{champion.name} version {champion.number}, champion of {registry.env}")
    print(f"  digest          {champion.digest}")
    print(f"  kept in         {registry.place}")
    for title, prefix in _GROUPS.items():
        found = {name: text for name, text in champion.tags.items() if name.startswith(prefix)}
        for row, (name, text) in enumerate(sorted(found.items()) or [(prefix, "none recorded")]):
            rest = name.removeprefix(prefix).lstrip(".")
            print(f"  {'' if row else title:<15} {f'{rest}: ' if rest else ''}{text}")


def _show_history(registry: Registry, champion: Version | None) -> None:
    versions = registry.versions()
    times = changes(versions)
    for version in versions:
        is_champion = champion is not None and version.number == champion.number
        mark = "champion" if is_champion else ""
        gate = version.tags.get("gate", "not judged")
        print(f"{version.number:>5}  {version.digest[:12]:12}  {gate:10}  {mark}".rstrip())
        for change in times:
            if change.number == version.number:
                print(f"       champion since {change.time}: {change.how}")
