"""Show the model in service in an environment, or all versions."""

import json
import re
import sys
from typing import TYPE_CHECKING

import click

from kedro_azure_mlops.cli import Command, env_option
from kedro_azure_mlops.errors import RefusedError
from kedro_azure_mlops.terminal import shorten, show, show_note, width_of

if TYPE_CHECKING:
    from kedro_azure_mlops.registry import Registry, Version

_LARGE = 1e3  # four significant digits of numbers from here on have no decimals
_GROUPS = {
    "metrics": "metrics.",
    "gate": "gate",
    "data": "data.",
    "code": "git.",
    "approval": "approval.",
    "promotion": "promoted.",
    "champion since": "champion.since.",
    "parameters": "parameters",
}


@click.command("champion", cls=Command, talks_to="registry")
@env_option("local")
@click.option("--history", is_flag=True, help="all versions, newest first")
@click.option("--json", "as_json", is_flag=True, help="the complete record as JSON")
def command(env: str, history: bool, as_json: bool) -> int:
    """Show the model in service in an environment; exit status 1 if there is none.

    Metrics are rounded to four significant digits, and in a terminal long values are truncated.
    --json prints everything as recorded.
    """
    from kedro_azure_mlops.registry import first_champion_command, open_registry, refuse_no_model

    if history and as_json:
        raise click.UsageError("--history and --json cannot be combined.")
    registry = open_registry(env)
    champion = registry.champion()
    if history:
        _show_history(registry, champion)
    if champion is None:
        refuse_no_model(env)
        raise RefusedError(
            f"{registry.name} has no champion in {registry.place} "
            "(each environment has its own model)",
            next=first_champion_command(env),
        )
    if as_json:
        identity = {"name": champion.name, "version": champion.number, "digest": champion.digest}
        location = {"environment": registry.env, "kept_in": registry.place}
        click.echo(
            json.dumps(identity | location | {"tags": dict(champion.tags)}, ensure_ascii=False)
        )
    elif not history:
        _show(registry, champion)
    return 0


def _show(registry: "Registry", champion: "Version") -> None:
    from kedro_azure_mlops.registry.facts import GATE, JUDGED, METRICS, verdict_of

    lines = [f"  digest          {champion.digest}", f"  stored in       {registry.place}"]
    if GATE in champion.tags and verdict_of(champion.tags) is None:
        judged = champion.tags[JUDGED][:12]
        lines.append(f"  {'not judged':<15} the verdict below is about another model, {judged}")
    for title, prefix in _GROUPS.items():
        tags = {name: text for name, text in champion.tags.items() if name.startswith(prefix)}
        for row, (name, text) in enumerate(sorted(tags.items()) or [(prefix, "none recorded")]):
            label = name.removeprefix(prefix).lstrip(".")
            value = _rounded(text) if prefix == METRICS else text
            lines.append(f"  {'' if row else title:<15} {f'{label}: ' if label else ''}{value}")
    show(f"{champion.name} version {champion.number}, champion of {registry.env}")
    if width_of(sys.stdout) is None:
        for line in lines:
            show(line)
        return
    shortened = [shorten(part) for line in lines for part in _clauses(line)]
    show("\n".join(shortened))
    if shortened != lines:
        full = f"kedro mlops champion --env {registry.env} --json"
        show_note("champion", f"long values are truncated; in full: {full}")


def _rounded(text: str) -> str:
    """Round a number to four significant digits, but keep all digits of its integer part."""
    try:
        number = float(text)
    except ValueError:
        return text
    return f"{number:.0f}" if abs(number) >= _LARGE else f"{number:.4g}"


def _clauses(line: str) -> list[str]:
    """Split the gate's reasons, which are on one line."""
    first, *others = re.split(r"; (?=(?:ok|NO)  )", line)
    return [first, *(f"{'':27}{clause}" for clause in others)]


def _show_history(registry: "Registry", champion: "Version | None") -> None:
    from kedro_azure_mlops.registry.facts import verdict_of
    from kedro_azure_mlops.registry.promotion import changes

    versions = registry.versions()
    history = changes(versions)
    for version in versions:
        is_champion = champion is not None and version.number == champion.number
        mark = "champion" if is_champion else ""
        gate = verdict_of(version.tags) or "not judged"
        show(f"{version.number:>5}  {version.digest[:12]:12}  {gate:10}  {mark}".rstrip())
        for change in history:
            if change.number == version.number:
                show(f"       champion since {change.time}: {change.how}")
