"""``kedro mlops doctor``."""

from itertools import groupby

import click

from kedro_azure_mlops.cli import Command
from kedro_azure_mlops.terminal import prefixed_printer, show


@click.command("doctor", cls=Command)
@click.option("--env", metavar="ENV", help="an environment of the configuration (default: all)")
def command(env: str | None) -> int:
    """Check this machine, the configuration and access to Azure; print how to fix each fault.

    Exit status 1: there is a fault. Missing Azure packages are a fault only with --env.
    """
    from kedro_azure_mlops.azure.doctor import check

    faults = 0
    for title, checks in groupby(check(None if env == "all" else env), key=lambda found: found[0]):
        show(title)
        for _, found in checks:
            mark = "FAULT" if not found.is_ok else "note" if found.is_note else "ok"
            show(f"  {mark:5}  {found.text}")
            faults += not found.is_ok
    prefixed_printer("doctor")(f"{faults or 'no'} fault{'' if faults == 1 else 's'}")
    return 1 if faults else 0
