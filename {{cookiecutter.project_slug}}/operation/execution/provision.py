"""Make what an environment needs in Azure: workspace, clusters, environment, datastores.

The plan is printed first: each resource exists, will be created, or differs. What exists is left
alone, so a second run changes nothing. Exit status 1: something differs that cannot be changed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from operation.azureml.site.names import Item, Site
from operation.azureml.site.provisioning import apply, plan
from operation.azureml.utils import configuration, workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("--dry-run", action="store_true", help="print the plan and change nothing")


def execute(arguments: argparse.Namespace) -> int:
    """Print the plan and make it so."""
    root = Path.cwd()
    client = workspace(arguments.env)
    site = Site(client, root, configuration(arguments.env, root))
    print(f"provision: {arguments.env} is {client.workspace_name} in {site.group}")
    items = plan(site)
    _print(items)
    if not arguments.dry_run:
        apply(site, items, lambda line: print(f"provision: {line}", flush=True))
    return _verdict(items, dry_run=arguments.dry_run)


def _print(items: Sequence[Item]) -> None:
    kind = max(len(item.kind) for item in items)
    name = max(len(item.name) for item in items)
    for item in items:
        print(f"  {item.kind:{kind}}  {item.name:{name}}  {item.state}")


def _verdict(items: Sequence[Item], *, dry_run: bool) -> int:
    changes = sum(item.make is not None for item in items)
    stuck = [f"{item.kind} {item.name}" for item in items if item.is_stuck]
    if stuck:
        print(f"provision: cannot be changed: {', '.join(stuck)}", file=sys.stderr)
        return 1
    if changes and dry_run:
        print(f"provision: {changes} to make or change; nothing was changed")
    else:
        print("provision: all is as configured" if not changes else f"provision: {changes} done")
    return 0
