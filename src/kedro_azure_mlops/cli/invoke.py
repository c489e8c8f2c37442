"""``kedro mlops invoke``."""

import sys
from pathlib import Path
from typing import Any

import click

from kedro_azure_mlops.cli import Command, env_option
from kedro_azure_mlops.errors import OperationError, RefusedError
from kedro_azure_mlops.terminal import prefixed_printer, show, show_log

_say = prefixed_printer("invoke")


@click.command("invoke", cls=Command, talks_to="workspace")
@env_option("dev")
@click.option("--file", type=Path, metavar="BODY.json", help="send this request unchanged")
@click.option("--deployment", metavar="NAME", help="send it to this one, regardless of traffic")
@click.option("--batch", is_flag=True, help="use the batch endpoint")
@click.option(
    "--input",
    "source",
    metavar="PATH",
    help="rows to send, a .csv file or a request in .json; "
    "batch: a file or folder, or azureml:ASSET:VERSION",
)
@click.option("--download", type=Path, metavar="DIR", help="batch: download the scores")
def command(
    env: str,
    file: Path | None,
    deployment: str | None,
    batch: bool,
    source: str | None,
    download: Path | None,
) -> int:
    """Send a request to an endpoint and print the answer: the model's own example, or a file.

    With --batch --input PATH the batch endpoint scores files, and the command waits for its job.
    Exit status 1: the endpoint rejected the request, or the job failed.
    """
    if batch:
        if not source or file or deployment:
            raise OperationError("--batch requires --input PATH, without --file or --deployment.")
        return _batch(env, source, download)
    if download:
        raise OperationError("--download requires --batch.")
    if file and source:
        raise OperationError("Give one of --file and --input.")
    return _online(env, file or (Path(source) if source else None), deployment)


def _online(env: str, request: Path | None, deployment: str | None) -> int:
    from kedro_azure_mlops.deploy.invocation import format_answer, invoke

    answer = invoke(env, request=request, deployment=deployment, say=_say)
    if answer.status == 200:
        for line in format_answer(answer.body, answer.contract):
            show(line)
        _say(f"{answer.endpoint}, deployment {answer.deployment}")
        return 0
    error: Any = answer.body.get("error", {}) if isinstance(answer.body, dict) else {}
    message = " ".join(str(error[key]) for key in ("field", "message") if key in error)
    why = message or answer.body
    raise RefusedError(f"{answer.endpoint} returned {answer.status}: {why}")


def _batch(env: str, source: str, folder: Path | None) -> int:
    from kedro_azure_mlops.azure.cloud_job import COMPLETED
    from kedro_azure_mlops.azure.follow import download, follow, why_failed
    from kedro_azure_mlops.azure.workspace import workspace
    from kedro_azure_mlops.ci import INTERRUPTED
    from kedro_azure_mlops.deploy.invocation import invoke_batch

    name = invoke_batch(env, source, say=_say)
    _say("Ctrl-C leaves it running")
    client = workspace(env)
    try:
        job = follow(client, name, show_log)
    except KeyboardInterrupt:
        _say(f"the job {name} keeps running")
        return INTERRUPTED
    if job.status != COMPLETED:
        for step in job.failed:
            print(f"\n{why_failed(client, job.steps[step])}\n", file=sys.stderr)
        raise RefusedError(f"the job {name} is {job.status}, see {job.studio}")
    _say(f"the job {name} is done, see {job.studio}")
    if folder:
        for place in download(client, job, folder):
            show(f"  {place}")
    return 0
