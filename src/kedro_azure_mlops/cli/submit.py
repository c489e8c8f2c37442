"""``kedro mlops submit``."""

import sys
from pathlib import Path

import click

from kedro_azure_mlops.cli import Command, env_option
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.terminal import prefixed_printer, show, show_log, show_next

_say = prefixed_printer("submit")


@click.command("submit", cls=Command, talks_to="workspace")
@env_option("dev")
@click.option("--params", default="", metavar="NAME=VALUE,...", help="parameters of the job")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=azureml:ASSET:VERSION",
    help="a data asset instead of local data; repeatable",
)
@click.option("--wait", is_flag=True, help="follow the log; exit with 1 if the job fails")
@click.option(
    "--download",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="wait, then download the outputs of each step to DIR/<step>/<output>",
)
@click.option("--job", metavar="NAME", help="wait for a job that was submitted earlier")
def command(
    env: str, params: str, inputs: tuple[str, ...], wait: bool, download: Path | None, job: str
) -> int:
    """Submit the pipeline to Azure ML as a job.

    With --wait it follows the job and exits with its result. In CI it reports the job, its page
    and its workspace to later steps; cancelling a CI run that is waiting also cancels the job.
    """
    from kedro_azure_mlops.ci import run_until_interrupted

    if job and (params or inputs):
        raise OperationError("--params and --input cannot change a job that was already submitted.")
    name = job

    def send() -> int:
        nonlocal name
        name = _send(env, params, inputs)
        return 0

    if not job:
        message = "\nsubmit: interrupted; no job was submitted unless it is named above"
        status = run_until_interrupted(send, message)
        if status or not (wait or download):
            return status
    return _wait(env, name, download)


def _send(env: str, params: str, inputs: tuple[str, ...]) -> str:
    from kedro_azure_mlops.azure.submission import submit_job
    from kedro_azure_mlops.job.project import split_parameters

    sent = submit_job(env, split_parameters(params), _assets(inputs), say=_say)
    follow = f"kedro mlops submit --env {env} --job {sent.name}"
    _say(f"submitted the job {sent.name}")
    show(f"  see it     {sent.studio}")
    show(f"  follow     {follow}")
    show(f"  download   {follow} --download DIR")
    show(f"  reproduce  kedro mlops reproduce --env {env} --job {sent.name}")
    return sent.name


def _assets(inputs: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in inputs]
    for name, _, asset in pairs:
        if not name or not asset.startswith("azureml:"):
            raise OperationError(
                f"--input {name}: write NAME=azureml:ASSET:VERSION or NAME=azureml:ASSET@latest."
            )
    return {name: asset for name, _, asset in pairs}


def _wait(env: str, name: str, download: Path | None) -> int:
    from kedro_azure_mlops.azure.follow import wait_for_job
    from kedro_azure_mlops.ci import INTERRUPTED, in_ci

    on_interrupt = (
        "cancels the job too" if in_ci() else "stops following, then asks whether to cancel the job"
    )
    _say(f"following {name}; Ctrl-C {on_interrupt}")
    try:
        wait_for_job(env, name, download_to=download, show=show_log)
    except KeyboardInterrupt:
        _offer_to_cancel(env, name)
        return INTERRUPTED
    _say(f"the job {name} is done")
    show_next(f"kedro mlops champion --env {env}")
    return 0


def _offer_to_cancel(env: str, name: str) -> None:
    """Cancel the job if the user confirms; in CI it is already cancelled."""
    from kedro_azure_mlops.azure.submission import cancel_job
    from kedro_azure_mlops.ci import in_ci, shielded_from_interrupts

    if in_ci():
        return
    if _confirm("\nCancel the cloud job too? [y/N] "):
        with shielded_from_interrupts():
            _say(cancel_job(env, name))
        return
    _say(f"the job {name} keeps running; to follow it again, or cancel it with Ctrl-C, type:")
    show(f"  kedro mlops submit --env {env} --job {name}")


def _confirm(question: str) -> bool:
    """Ask the user if stdin is a terminal; no answer means no."""
    if not sys.stdin.isatty():
        return False
    try:
        click.echo(question, nl=False)  # input() would bypass the stream that the spinner watches
        return input("").strip().lower() in {"y", "yes"}
    except (EOFError, KeyboardInterrupt):
        click.echo()
        return False
