"""Roll out: promote the champion of the previous environment, deploy it, and send it a request.

python operation/execution/deploy.py --env stage
python operation/execution/deploy.py --env prod --approved-by "Ada" --reason "stage is fine"

In CI, later steps get the outputs digest and deployment, moved (whether traffic moved to it) and
champion (the version that became champion here, if one did): --back undoes these.
"""

import click
import kedro_azure_mlops as mlops
from kedro_azure_mlops.cli import Command, env_option


def roll_out(env: str, digest: str | None, approved_by: str | None, reason: str | None) -> int:
    """Promote, deploy step by step, and send the model's own example to the endpoint."""
    # promote reports the output champion itself, before it moves anything
    now = mlops.promote(env, version=digest, approved_by=approved_by, reason=reason, say=click.echo)
    mlops.report_outputs(digest=now.digest, moved=False)
    mlops.deploy_online(env, say=click.echo)
    answer = mlops.invoke(env, say=click.echo)
    click.echo(f"{answer.endpoint}, deployment {answer.deployment} answers {answer.status}")
    return 0 if answer.status == 200 else 1


def undo(env: str, deployment: str | None, champion: str | None, reason: str) -> int:
    """Restore the traffic first, then the champion, each only if nothing has changed since."""
    status = 0
    if deployment:
        try:
            mlops.go_back(env, only_from=deployment, say=click.echo)
        except (mlops.OperationError, mlops.RefusedError) as error:
            click.echo(f"the traffic is unchanged: {error}", err=True)
            status = 1
    if champion:
        mlops.rollback(env, reason=reason, if_champion=champion, say=click.echo)
    return status


@click.command("deploy", cls=Command)
@env_option("stage")
@click.option("--digest", metavar="D", help="promote the model with this digest")
@click.option("--approved-by", metavar="NAME", help="who approves it, if approval is needed")
@click.option("--reason", metavar="TEXT", help="why; with --back, why it is undone")
@click.option("--back", is_flag=True, help="undo a rollout instead")
@click.option("--if-deployment", metavar="NAME", help="with --back: only if it has the traffic")
@click.option("--if-champion", metavar="N", help="with --back: the version that became champion")
def main(
    env: str,
    digest: str | None,
    approved_by: str | None,
    reason: str | None,
    back: bool,
    if_deployment: str | None,
    if_champion: str | None,
) -> int:
    """Put the champion of the previous environment into service here; exit status 1 if refused."""
    if back != any(one is not None for one in (if_deployment, if_champion)):  # CI may give ""
        raise click.UsageError("--back and --if-deployment or --if-champion require each other.")
    message = "deploy: interrupted; undoing the changes of the deployment"

    def work() -> int:
        if back:
            return undo(env, if_deployment, if_champion, reason or "the rollout failed")
        return roll_out(env, digest or None, approved_by, reason)

    return mlops.run_until_interrupted(work, message)


if __name__ == "__main__":
    main()
