"""Register the model of the last run, or of a job."""

from pathlib import Path

import click

from kedro_azure_mlops.ci import run_until_interrupted
from kedro_azure_mlops.cli import Command, env_option
from kedro_azure_mlops.terminal import prefixed_printer

_say = prefixed_printer("register")


@click.command("register", cls=Command, talks_to="registry")
@env_option("local")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="the model folder (default: the last run's)",
)
@click.option("--job", metavar="NAME", help="the model of this Azure ML job, not of the last run")
def command(env: str, folder: Path | None, job: str | None) -> int:
    """Register the model of the last run; exit status 1 if the gate refuses it.

    Runs register their models themselves. Use this after a run without tracking, for a registry
    other than the tracking server, with --folder for a model stored elsewhere, or with --job for
    the model of an Azure ML job. It checks that the gate has judged this exact model, that its
    files are unchanged since it was saved, and that it can be served. In CI it reports version,
    digest and is_champion to later steps.
    """
    from kedro_azure_mlops.registry import register

    if folder and job:
        raise click.UsageError("--folder and --job cannot be combined.")

    def work() -> int:
        register(env, folder=folder, job=job, say=_say)
        return 0

    interrupted = f"register: interrupted; see: kedro mlops champion --env {env}"
    return run_until_interrupted(work, interrupted)
