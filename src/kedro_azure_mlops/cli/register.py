"""Register the model of the last run, or of a job."""

from pathlib import Path

import click

from kedro_azure_mlops.ci import run_until_interrupted
from kedro_azure_mlops.cli import Command, env_option
from kedro_azure_mlops.terminal import narrator

_say = narrator("register")


@click.command("register", cls=Command, talks_to="registry")
@env_option("local")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="the model folder (default: the last run's)",
)
@click.option("--job", metavar="NAME", help="of this job on Azure ML, not of the last run")
def command(env: str, folder: Path | None, job: str | None) -> int:
    """Register the model of the last run; exit status 1 if the gate refuses it.

    Runs register their models themselves. This is for a run without tracking, for a registry that
    is not the tracking server, with --folder for a model that lies elsewhere, and with --job for
    the model of a job on Azure ML. It checks that the gate has judged this very model, that its
    files are those it was saved with, and that it can be served. In CI it reports version, digest
    and is_champion to later steps.
    """
    from kedro_azure_mlops.registry import register

    if folder and job:
        raise click.UsageError("--folder and --job exclude each other.")

    def work() -> int:
        register(env, folder=folder, job=job, say=_say)
        return 0

    interrupted = f"register: interrupted; see: kedro mlops champion --env {env}"
    return run_until_interrupted(work, interrupted)
