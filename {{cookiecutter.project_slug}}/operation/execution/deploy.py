"""Deploy the champion to an endpoint of Azure ML: online, step by step, or batch.

The new deployment is tried at 0 % of the traffic, then gets it in the steps of deployment.yml; if
anything fails, the traffic returns and the new one is deleted. The same model, code and settings
are deployed once. Exit status 1: the smoke test refused the deployment, all is as it was; only an
endpoint made for it stays, and one of its name that had failed before stays deleted. In CI `deploy
online` tells later steps the deployment's name, and whether this call moved traffic to it.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from operation.azureml.utils import workspace
from operation.ci import tell
from operation.deployment import batch, online
from operation.deployment.artifact import fetch
from operation.deployment.back import body_at_hand, clean, go_back
from operation.deployment.config import read_deployment
from operation.deployment.endpoint import OnlineEndpoint
from operation.deployment.plan import lines
from operation.deployment.rollout import Rollout, plan_of
from operation.deployment.smoke import expected_of
from operation.errors import OperationError
from operation.interruption import until_interrupted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    parser.add_argument("target", choices=("online", "batch"))
    parser.add_argument("--version", metavar="N", help="this version instead of the champion")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and change nothing")
    parser.add_argument(
        "--no-traffic", action="store_true", help="online: make and try it, at 0 %%, as for `ab`"
    )
    parser.add_argument(
        "--back", action="store_true", help="online: give the traffic to the one that is kept"
    )
    parser.add_argument(
        "--if-deployment",
        metavar="NAME",
        help="with --back: only from this one; refused if the traffic is another's by now",
    )
    parser.add_argument(
        "--clean",
        action="store_true",
        help="online: delete deployments without traffic whose hold has passed or that have none",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Deploy, go back or clean."""
    return until_interrupted(
        partial(_execute, arguments), "deploy: interrupted; what was begun is taken back"
    )


def _execute(arguments: argparse.Namespace) -> int:
    only_online = [n for n in ("no_traffic", "back", "clean") if getattr(arguments, n)]
    if arguments.target == "batch" and only_online:
        raise OperationError(f"--{only_online[0].replace('_', '-')} goes with: deploy online")
    if arguments.if_deployment and not arguments.back:
        raise OperationError("--if-deployment NAME goes with --back.")
    if len(only_online) > 1:
        raise OperationError("Give one of --no-traffic, --back and --clean.")
    if arguments.target == "batch":
        return batch.deploy(arguments.env, Path.cwd(), arguments.version, arguments.dry_run, _say)
    if arguments.back or arguments.clean:
        return _change(arguments)
    return _deploy(arguments)


def _deploy(arguments: argparse.Namespace) -> int:
    root, env = Path.cwd(), arguments.env
    config = read_deployment(root, env)
    client = workspace(env)
    artifact = fetch(env, root, arguments.version)
    _say(f"{env}: {artifact.version}")
    expected = expected_of(artifact.folder)
    code = online.write_code(root)
    name = artifact.deployment(online.settings(root, config), code)
    tell(deployment=name, moved=False)
    endpoint = OnlineEndpoint(client, config, env)
    plan = plan_of(endpoint, name, config, traffic=not arguments.no_traffic)
    for forgotten in plan.forgotten:
        _say(f"{forgotten} has no traffic and no hold; to delete it: deploy online --clean")
    if plan.is_nothing:
        _say(f"{name} is deployed at {config.endpoint}, nothing to change")
        return 0
    for line in lines(plan, config):
        print(f"  {line}", flush=True)
    if arguments.dry_run:
        _say("nothing was changed")
        return 0
    build = partial(online.build, client, root, config, artifact, (name, code), _say)
    Rollout(endpoint, config, expected, build, _say, tell).run(plan)
    clean(endpoint, _say, also_forgotten=False, keep={name})
    _say(f"{name} is deployed at {config.endpoint}")
    return 0


def _change(arguments: argparse.Namespace) -> int:
    if arguments.version:
        raise OperationError("--version goes with neither --back nor --clean.")
    root = Path.cwd()
    config = read_deployment(root, arguments.env)
    endpoint = OnlineEndpoint(workspace(arguments.env), config, arguments.env)
    if arguments.dry_run:
        raise OperationError("--dry-run goes with neither --back nor --clean.")
    if arguments.clean:
        names = clean(endpoint, _say, also_forgotten=True)
        _say(f"{len(names) or 'nothing'} deleted at {config.endpoint}")
        return 0
    body = partial(body_at_hand, arguments.env, root, _say)
    traffic = go_back(endpoint, config, body, _say, arguments.if_deployment)
    if traffic is None:
        print(f"deploy: {config.endpoint} keeps no deployment to go back to", file=sys.stderr)
        return 1
    _say(f"traffic of {config.endpoint} is {traffic}")
    return 0


def _say(text: str) -> None:
    print(f"deploy: {text}", flush=True)
