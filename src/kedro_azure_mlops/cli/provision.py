"""``kedro mlops provision``."""

import click

from kedro_azure_mlops.cli import Command, env_option


@click.command("provision", cls=Command)
@env_option("dev")
@click.option("--dry-run", is_flag=True, help="print the plan and change nothing")
def command(env: str, dry_run: bool) -> int:
    """Make what an environment needs in Azure: workspace, clusters, environment, datastores.

    The plan is printed first: each resource exists, will be created, or differs. What exists is
    left alone, so a second run changes nothing. Exit status 1: something differs that cannot be
    changed.
    """
    from kedro_azure_mlops.azure.provisioning import provision

    items = provision(env, dry_run=dry_run, say=_say)
    stuck = [f"{item.kind} {item.name}" for item in items if item.is_stuck]
    if stuck:
        click.echo(f"provision: cannot be changed: {', '.join(stuck)}", err=True)
        return 1
    changes = sum(item.make is not None for item in items)
    if not changes:
        _say("all is as configured")
    elif dry_run:
        _say(f"{changes} to make or change; nothing was changed")
    else:
        _say(f"{changes} done")
    return 0


def _say(line: str) -> None:
    click.echo(line if line.startswith(" ") else f"provision: {line}")
