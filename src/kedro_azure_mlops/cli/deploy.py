"""``kedro mlops deploy``."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kedro_azure_mlops.ci import run_until_interrupted
from kedro_azure_mlops.cli import Command, env_option
from kedro_azure_mlops.errors import OperationError, RefusedError
from kedro_azure_mlops.terminal import prefixed_printer, show_next

if TYPE_CHECKING:
    from kedro_azure_mlops.config import Target


_say = prefixed_printer("deploy")


@click.command("deploy", cls=Command, talks_to="workspace")
@click.argument("kind", type=click.Choice(["online", "batch"]))
@env_option("dev")
@click.option("--version", metavar="N", help="this version instead of the champion")
@click.option(
    "--target",
    type=click.Choice(["managed", "kubernetes"]),
    help="online: Azure's own, or an attached cluster (default: deployment.target in mlops.yml)",
)
@click.option("--dry-run", is_flag=True, help="print the plan and change nothing")
@click.option("--no-traffic", is_flag=True, help="online: create and test it at 0 %, ready for ab")
@click.option("--back", is_flag=True, help="online: return the traffic to the kept deployment")
@click.option(
    "--if-deployment",
    metavar="NAME",
    help="with --back: only from this deployment; refused if another has the traffic now",
)
@click.option(
    "--clean",
    is_flag=True,
    help="online: delete deployments that have no traffic and are no longer kept",
)
def command(
    kind: str,
    env: str,
    version: str | None,
    target: "Target | None",
    dry_run: bool,
    no_traffic: bool,
    back: bool,
    if_deployment: str | None,
    clean: bool,
) -> int:
    """Deploy the champion to an Azure ML endpoint: online, step by step, or batch.

    The new deployment is tested at 0 % of the traffic, then receives it in the steps of
    deployment.traffic in mlops.yml; if anything fails, the traffic returns and the new deployment
    is deleted. The same model, code and settings are deployed once. Exit status 1: the smoke test
    failed, and everything is as before, except that a new endpoint remains and a
    failed deployment of the same name stays deleted. In CI `deploy online` reports the deployment's
    name to later steps, and whether this call moved traffic to it.
    """
    only_online = {"--no-traffic": no_traffic, "--back": back, "--clean": clean}
    chosen = [option for option, is_given in only_online.items() if is_given]
    if kind == "batch" and (chosen or target):
        raise OperationError(f"{[*chosen, '--target'][0]} applies only to: deploy online")
    if if_deployment and not back:
        raise OperationError("--if-deployment requires --back.")
    if len(chosen) > 1:
        raise OperationError("Give one of --no-traffic, --back and --clean.")
    if (back or clean) and (version or target or dry_run):
        option = "--version" if version else "--target" if target else "--dry-run"
        raise OperationError(f"{option} cannot be combined with --back or --clean.")
    if kind == "batch":
        work = partial(_batch, env, version, dry_run)
    elif back:
        work = partial(_back, env, if_deployment)
    elif clean:
        work = partial(_clean, env)
    else:
        work = partial(_online, env, version, target, dry_run, not no_traffic)
    return run_until_interrupted(work, "deploy: interrupted; unfinished changes are undone")


def _online(
    env: str, version: str | None, target: "Target | None", dry_run: bool, traffic: bool
) -> int:
    from kedro_azure_mlops.deploy.rollout import deploy_online

    deploy_online(env, version=version, target=target, traffic=traffic, dry_run=dry_run, say=_say)
    following = "deploy online" if dry_run else "invoke" if traffic else "ab --share 20"
    show_next(f"kedro mlops {following} --env {env}")
    return 0


def _batch(env: str, version: str | None, dry_run: bool) -> int:
    from kedro_azure_mlops.deploy.batch import deploy_batch

    deploy_batch(env, version=version, dry_run=dry_run, say=_say)
    following = "deploy batch" if dry_run else "invoke --batch --input PATH"
    show_next(f"kedro mlops {following} --env {env}")
    return 0


def _back(env: str, only_from: str | None) -> int:
    from kedro_azure_mlops.config import deployment_of
    from kedro_azure_mlops.deploy.endpoint import format_shares
    from kedro_azure_mlops.deploy.rollout import go_back

    traffic = go_back(env, only_from=only_from, say=_say)
    endpoint = deployment_of(Path.cwd(), env).endpoint
    if traffic is None:
        raise RefusedError(f"{endpoint} keeps no deployment to go back to")
    _say(f"traffic of {endpoint} is {format_shares(traffic)}")
    return 0


def _clean(env: str) -> int:
    from kedro_azure_mlops.config import deployment_of
    from kedro_azure_mlops.deploy.rollout import clean_up

    names = clean_up(env, say=_say)
    _say(f"{len(names) or 'nothing'} deleted at {deployment_of(Path.cwd(), env).endpoint}")
    return 0
