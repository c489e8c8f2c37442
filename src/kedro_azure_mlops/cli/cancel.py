"""``kedro mlops cancel``."""

import click

from kedro_azure_mlops.cli import Command, env_option
from kedro_azure_mlops.terminal import prefixed_printer


@click.command("cancel", cls=Command, talks_to="workspace")
@env_option("dev")
@click.option("--job", metavar="NAME", required=True, help="the name that submit printed")
def command(env: str, job: str) -> int:
    """Cancel a job on Azure ML. A job that has ended is left unchanged (exit status 0)."""
    from kedro_azure_mlops.azure.submission import cancel_job

    prefixed_printer("cancel")(cancel_job(env, job))
    return 0
