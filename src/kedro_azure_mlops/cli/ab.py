"""``kedro mlops ab``."""

import click

from kedro_azure_mlops.cli import Command, env_option
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.terminal import prefixed_printer, show

_say = prefixed_printer("ab")


@click.command("ab", cls=Command, talks_to="workspace")
@env_option("dev")
@click.option("--share", type=int, metavar="PERCENT", help="the challenger's traffic, 1 to 99")
@click.option("--compare", is_flag=True, help="print both side by side")
@click.option(
    "--end",
    type=click.Choice(["champion", "challenger"]),
    help="the one that gets all traffic",
)
@click.option("--challenger", metavar="NAME", help="the deployment to test (default: the newest)")
def command(
    env: str, share: int | None, compare: bool, end: str | None, challenger: str | None
) -> int:
    """Split traffic between the two newest deployments, compare them, and end the test.

    --share N gives the challenger N % of the traffic; deploy it first, with deploy online
    --no-traffic. --compare prints the metrics that Azure has for both; --end names the one that
    gets all traffic.
    """
    from kedro_azure_mlops.deploy.comparison import (
        compare_deployments,
        end_sharing,
        share_traffic,
    )

    if sum((share is not None, compare, end is not None)) != 1:
        raise click.UsageError("give one of --share, --compare and --end")
    if challenger and share is None:
        raise OperationError("--challenger requires --share.")
    if end:
        end_sharing(env, "champion" if end == "champion" else "challenger", say=_say)
    elif compare:
        for line in compare_deployments(env, say=_say):
            show(line)
    elif share is not None:
        pair = share_traffic(env, share, challenger=challenger, say=_say)
        _say(
            f"champion {pair.champion}, challenger {pair.challenger}; later: kedro mlops ab "
            f"--env {env} --compare"
        )
    return 0
