"""Send readings to an endpoint and print the scores: the newest ones there are, or a file.

With --batch --input PATH the batch endpoint scores files: its job is followed until it has ended.
Exit status 1: the endpoint refused the readings, or the job failed.
"""

import argparse
import sys
from pathlib import Path

from operation.azureml.cloud.follow import download, follow, why_failed
from operation.azureml.cloud.job import COMPLETED
from operation.azureml.utils import workspace
from operation.deployment.config import read_deployment
from operation.deployment.endpoint import OnlineEndpoint
from operation.deployment.invocation import newest_readings, read_body, start_batch, table
from operation.errors import OperationError
from operation.interruption import INTERRUPTED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("--file", type=Path, metavar="BODY.json", help="send this request")
    parser.add_argument("--deployment", metavar="NAME", help="ask this one, whatever its traffic")
    parser.add_argument("--batch", action="store_true", help="ask the batch endpoint")
    parser.add_argument(
        "--input", metavar="PATH", help="batch: a file or folder, or azureml:ASSET:VERSION"
    )
    parser.add_argument("--download", type=Path, metavar="DIR", help="batch: bring the scores here")


def execute(arguments: argparse.Namespace) -> int:
    """Ask the endpoint."""
    if arguments.batch:
        return _batch(arguments)
    if arguments.input or arguments.download:
        raise OperationError("--input and --download go with --batch.")
    root, env = Path.cwd(), arguments.env
    endpoint = OnlineEndpoint(workspace(env), read_deployment(root, env), env)
    body = read_body(arguments.file) if arguments.file else newest_readings(root, env, _say)
    reply = endpoint.score(body, arguments.deployment)
    if reply.status == 200:
        for line in table(reply.body):
            print(line)
        print(f"invoke: {endpoint.name}, deployment {reply.deployment}")
        return 0
    error = reply.body.get("error", {}) if isinstance(reply.body, dict) else {}
    said = " ".join(str(error[key]) for key in ("field", "message") if key in error)
    print(f"invoke: {endpoint.name} answers {reply.status}: {said or reply.body}", file=sys.stderr)
    return 1


def _batch(arguments: argparse.Namespace) -> int:
    if not arguments.input or arguments.file or arguments.deployment:
        raise OperationError("Write: invoke --batch --input PATH")
    root, client = Path.cwd(), workspace(arguments.env)
    endpoint = read_deployment(root, arguments.env).batch_endpoint
    name = start_batch(client, endpoint, root, arguments.input, _say)
    _say(f"{endpoint} has started the job {name}; Ctrl-C leaves it alone")
    try:
        job = follow(client, name, print)
    except KeyboardInterrupt:
        _say(f"the job {name} goes on")
        return INTERRUPTED
    if job.status != COMPLETED:
        for step in job.failed:
            print(f"\n{why_failed(client, job.steps[step])}\n", file=sys.stderr)
        print(f"invoke: the job {name} is {job.status}, see {job.studio}", file=sys.stderr)
        return 1
    _say(f"the job {name} is done, see {job.studio}")
    if arguments.download:
        for place in download(client, job, arguments.download):
            print(f"  {place}")
    return 0


def _say(text: str) -> None:
    print(f"invoke: {text}", flush=True)
