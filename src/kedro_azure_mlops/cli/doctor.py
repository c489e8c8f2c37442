"""``kedro mlops doctor``."""

from itertools import groupby

import click

from kedro_azure_mlops.cli import Command
from kedro_azure_mlops.terminal import prefixed_printer, show


@click.command("doctor", cls=Command)
@click.option("--env", metavar="ENV", help="an environment of the configuration (default: all)")
def command(env: str | None) -> int:
    """Check this machine, the configuration and access to Azure; print how to fix each problem.

    Exit status 1: there is a problem. Missing Azure packages are a problem only with --env.
    """
    from kedro_azure_mlops.azure.doctor import check

    problems = 0
    for title, checks in groupby(check(None if env == "all" else env), key=lambda found: found[0]):
        show(title)
        for _, found in checks:
            mark = "PROBLEM" if not found.is_ok else "note" if found.is_note else "ok"
            show(f"  {mark:7}  {found.text}")
            problems += not found.is_ok
    prefixed_printer("doctor")(f"{problems or 'no'} problem{'' if problems == 1 else 's'}")
    return 1 if problems else 0
