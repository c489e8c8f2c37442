"""``kedro mlops provision``."""

import click

from kedro_azure_mlops.cli import Command, env_option
from kedro_azure_mlops.errors import RefusedError
from kedro_azure_mlops.terminal import prefixed_printer, show_next

_say = prefixed_printer("provision")


@click.command("provision", cls=Command, talks_to="workspace")
@env_option("dev")
@click.option("--dry-run", is_flag=True, help="print the plan and change nothing")
def command(env: str, dry_run: bool) -> int:
    """Create the Azure resources of an environment: workspace, clusters, environment, datastores.

    The plan is printed first: each resource exists, will be created, or differs. Existing resources
    are left alone, so a second run changes nothing. Exit status 1: a resource differs and cannot be
    changed.
    """
    from kedro_azure_mlops.azure.provisioning import provision

    items = provision(env, dry_run=dry_run, say=_say)
    stuck = [f"{item.kind} {item.name}" for item in items if item.is_stuck]
    if stuck:
        raise RefusedError(f"cannot be changed: {', '.join(stuck)}")
    changes = sum(item.make is not None for item in items)
    if dry_run and changes:
        _say(f"{changes} to create or change; nothing was changed")
        show_next(f"kedro mlops provision --env {env}")
    else:
        _say(f"{changes} done" if changes else "everything is as configured")
        show_next(f"kedro mlops submit --env {env}")
    return 0
