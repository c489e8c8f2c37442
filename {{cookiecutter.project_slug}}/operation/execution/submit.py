"""Send the pipeline to Azure ML as a job; with --wait follow it and exit with its verdict.

In CI it tells later steps the job, its page, and the resource group, name and location of its
workspace; a run of CI that is cancelled while it waits cancels the job.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from operation.azureml.cloud.cancellation import cancel
from operation.azureml.cloud.follow import download, follow, why_failed
from operation.azureml.cloud.job import COMPLETED, CloudJob
from operation.azureml.cloud.submission import submit
from operation.azureml.project import read_project, split_parameters
from operation.azureml.utils import azure_errors, workspace
from operation.ci import in_ci, tell
from operation.errors import OperationError
from operation.interruption import INTERRUPTED, undisturbed, until_interrupted

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument(
        "--params", default="", metavar="NAME=VALUE,...", help="parameters as inputs of the job"
    )
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=azureml:ASSET:VERSION",
        help="a data asset instead of local data; may be given several times",
    )
    parser.add_argument(
        "--wait", action="store_true", help="show the log and exit with 1 if the job fails"
    )
    parser.add_argument(
        "--download",
        type=Path,
        metavar="DIR",
        help="wait, then bring what each step made to DIR/<step>/<output>",
    )
    parser.add_argument("--job", metavar="NAME", help="wait for a job that was sent before")


def execute(arguments: argparse.Namespace) -> int:
    """Send the job, or take one that was sent, and wait for it if that is asked for."""
    return until_interrupted(
        partial(_execute, arguments), "\nsubmit: interrupted; a job that was not named was not sent"
    )


def _execute(arguments: argparse.Namespace) -> int:
    if arguments.job and (arguments.params or arguments.input):
        raise OperationError("--job NAME was sent already: it takes no --params and no --input.")
    client = workspace(arguments.env)
    location = _location(client) if in_ci() else ""
    name = arguments.job or _send(client, arguments, location)
    if not (arguments.job or arguments.wait or arguments.download):
        return 0
    asks = "stops that, and asks whether to cancel the job too"
    _say(f"following {name}; Ctrl-C {'cancels the job too' if in_ci() else asks}")
    try:
        job = follow(client, name, print)
    except KeyboardInterrupt:
        _on_interruption(client, name, arguments.env)
        return INTERRUPTED
    _tell(client, job.name, job.studio, location)
    return _verdict(client, job, arguments)


def _location(client: "MLClient") -> str:
    """Ask before anything is sent: who waits for the job by other means needs to know."""
    with azure_errors(f"looking for the workspace {client.workspace_name}"):
        return str(client.workspaces.get(client.workspace_name).location)


def _tell(client: "MLClient", job: str, studio: str, location: str) -> None:
    tell(
        job=job,
        studio=studio,
        resource_group=str(client.resource_group_name),
        workspace=str(client.workspace_name),
        location=location,
    )


def _send(client: "MLClient", arguments: argparse.Namespace, location: str) -> str:
    parameters = split_parameters(arguments.params)
    project = read_project(arguments.env, parameters)
    job = submit(client, project, parameters, _assets(arguments.input), _say)
    _tell(client, str(job.name), str(job.studio_url), location)
    verbs, env = "python -m operation.execution", f"--env {arguments.env}"
    _say(f"sent the job {job.name}")
    print(f"  see it     {job.studio_url}")
    print(f"  follow     {verbs} submit {env} --job {job.name}")
    print(f"  download   {verbs} submit {env} --job {job.name} --download DIR")
    print(f"  reproduce  {verbs} reproduce {env} --job {job.name}", flush=True)
    return str(job.name)


def _assets(given: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for name, _, asset in pairs:
        if not name or not asset.startswith("azureml:"):
            raise OperationError(
                f"--input {name}: write NAME=azureml:ASSET:VERSION, or NAME=azureml:ASSET@latest."
            )
    return {name: asset for name, _, asset in pairs}


def _verdict(client: "MLClient", job: CloudJob, arguments: argparse.Namespace) -> int:
    if arguments.download:
        for place in download(client, job, arguments.download):
            print(f"  {place}")
    if job.status == COMPLETED:
        _say(f"the job {job.name} is done")
        return 0
    for name in job.failed:
        print(f"\nStep {name} failed: {why_failed(client, job.steps[name])}\n", file=sys.stderr)
    print(f"submit: the job {job.name} is {job.status}, see {job.studio}", file=sys.stderr)
    if job.failed:
        print(
            f"submit: to repeat step {job.failed[0]} here, with what it was given, type:\n"
            f"  python -m operation.execution local --env {arguments.env} --job {job.name}",
            file=sys.stderr,
        )
    return 1


def _on_interruption(client: "MLClient", name: str, env: str) -> None:
    """Cancel the job where nobody can be asked, which is CI, or where the answer is yes."""
    if in_ci() or _is_yes("\nCancel the cloud job too? [y/N] "):
        with undisturbed():
            _say(cancel(client, name))
        return
    _say(f"the job {name} goes on; to follow it again, or to cancel it with Ctrl-C, type:")
    print(f"  python -m operation.execution submit --env {env} --job {name}")


def _is_yes(question: str) -> bool:
    """Ask, if somebody is there to answer; no answer is a no."""
    if not sys.stdin.isatty():
        return False
    try:
        return input(question).strip().lower() in {"y", "yes"}
    except (EOFError, KeyboardInterrupt):
        print()
        return False


def _say(text: str) -> None:
    print(f"submit: {text}", flush=True)
