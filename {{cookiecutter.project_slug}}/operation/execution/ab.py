"""Share traffic between the two newest deployments, compare them, and end that.

--share N gives the challenger N % of the traffic; deploy it first, with deploy online --no-traffic.
--compare prints what Azure has measured of both; --end names who gets all traffic.
"""

import argparse
from pathlib import Path

from operation.azureml.utils import workspace
from operation.deployment.comparison import compare, end, start
from operation.deployment.config import read_deployment
from operation.deployment.endpoint import OnlineEndpoint
from operation.deployment.invocation import newest_readings
from operation.errors import OperationError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--share", type=int, metavar="PERCENT", help="of the challenger, 1 to 99")
    what.add_argument("--compare", action="store_true", help="print both side by side")
    what.add_argument("--end", choices=("champion", "challenger"), help="who gets all traffic")
    parser.add_argument("--challenger", metavar="NAME", help="instead of the newest deployment")


def execute(arguments: argparse.Namespace) -> int:
    """Start, compare or end."""
    if arguments.challenger and arguments.share is None:
        raise OperationError("--challenger goes with --share.")
    if arguments.share is not None and not 1 <= arguments.share <= 99:
        raise OperationError(f"--share {arguments.share}: write 1 to 99.")
    root, env = Path.cwd(), arguments.env
    config = read_deployment(root, env)
    client = workspace(env)
    endpoint = OnlineEndpoint(client, config, env)
    if arguments.end:
        end(endpoint, config, arguments.end, _say)
        return 0
    body = newest_readings(root, env, _say)
    if arguments.compare:
        for line in compare(endpoint, client, body, config):
            print(line)
        return 0
    pair = start(endpoint, arguments.share, arguments.challenger, body, _say)
    _say(f"champion {pair.champion}, challenger {pair.challenger}; later: ab --env {env} --compare")
    return 0


def _say(text: str) -> None:
    print(f"ab: {text}", flush=True)
