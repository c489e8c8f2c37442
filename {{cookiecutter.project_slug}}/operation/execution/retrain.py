"""Train again if update_policy of mlops.yml says so, on the data of the watched environment.

python operation/execution/retrain.py --env dev

CI passes the findings of monitor.py, run as another identity, and trains in a separate job: with
--answer, later steps get the output data_of, the environment to train on; empty if none is due.
"""

import click
import kedro_azure_mlops as mlops
from kedro_azure_mlops.cli import Command, env_option
from monitor import monitor
from train import train

ANSWER = click.Choice(["true", "false"])


def decide(env: str, drifted: bool, quality: bool) -> bool:
    """Return whether a training is due; refuse it while the data cannot be trusted."""
    policy = mlops.read_update_policy(env)
    if quality:
        why = f"the data of {policy.watch} cannot be trusted: nothing is trained"
        mlops.annotate([why], kind="error")
        raise mlops.RefusedError(why)
    since = mlops.champion_since(env)
    decision = mlops.decide_refresh(policy, drifted=drifted, quality=quality, champion_since=since)
    click.echo(decision.reason)
    return decision.is_due


@click.command("retrain", cls=Command)
@env_option("dev")
@click.option("--drifted", type=ANSWER, help="finding of monitor.py, instead of monitoring here")
@click.option("--quality", type=ANSWER, help="the same, for data that cannot be trusted")
@click.option("--answer", is_flag=True, help="only decide, for CI")
def main(env: str, drifted: str | None, quality: str | None, answer: bool) -> int:
    """Monitor the model in service and train if that is due; exit status 1 for bad data."""
    if quality is not None and drifted is None:
        raise click.UsageError("--quality requires --drifted.")
    watched = mlops.read_update_policy(env).watch
    if drifted is None:
        report = monitor(watched)
        is_due = decide(env, report.drifted, report.quality)
    else:
        is_due = decide(env, drifted == "true", quality == "true")
    mlops.report_outputs(data_of=watched if is_due else "")
    if is_due and not answer:
        train(env, data_of=watched)
    return 0


if __name__ == "__main__":
    main()
