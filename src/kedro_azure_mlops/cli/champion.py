"""Show the model in service of an environment, or all versions."""

import sys
from typing import TYPE_CHECKING

import click

from kedro_azure_mlops.cli import Command, env_option

if TYPE_CHECKING:
    from kedro_azure_mlops.registry import Registry, Version

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


@click.command("champion", cls=Command)
@env_option("local")
@click.option("--history", is_flag=True, help="all versions, the newest first")
def command(env: str, history: bool) -> int:
    """Show the model in service of an environment; exit status 1 if there is none."""
    from kedro_azure_mlops.registry import open_registry

    registry = open_registry(env)
    champion = registry.champion()
    if history:
        _show_history(registry, champion)
    if champion is None:
        how = f"each environment has a model of its own: kedro run --env {env} makes one"
        print(f"champion: {registry.name} has none in {registry.place} ({how})", file=sys.stderr)
        return 1
    if not history:
        _show(registry, champion)
    return 0


def _show(registry: "Registry", champion: "Version") -> None:
    from kedro_azure_mlops.registry.facts import GATE, JUDGED, verdict_of

    print(f"{champion.name} version {champion.number}, champion of {registry.env}")
    print(f"  digest          {champion.digest}")
    print(f"  kept in         {registry.place}")
    if GATE in champion.tags and verdict_of(champion.tags) is None:
        judged = champion.tags[JUDGED][:12]
        print(f"  {'not judged':<15} the verdict below is about another model, {judged}")
    for title, prefix in _GROUPS.items():
        found = {name: text for name, text in champion.tags.items() if name.startswith(prefix)}
        for row, (name, text) in enumerate(sorted(found.items()) or [(prefix, "none recorded")]):
            rest = name.removeprefix(prefix).lstrip(".")
            print(f"  {'' if row else title:<15} {f'{rest}: ' if rest else ''}{text}")


def _show_history(registry: "Registry", champion: "Version | None") -> None:
    from kedro_azure_mlops.registry.facts import verdict_of
    from kedro_azure_mlops.registry.promotion import changes

    versions = registry.versions()
    times = changes(versions)
    for version in versions:
        is_champion = champion is not None and version.number == champion.number
        mark = "champion" if is_champion else ""
        gate = verdict_of(version.tags) or "not judged"
        print(f"{version.number:>5}  {version.digest[:12]:12}  {gate:10}  {mark}".rstrip())
        for change in times:
            if change.number == version.number:
                print(f"       champion since {change.time}: {change.how}")
