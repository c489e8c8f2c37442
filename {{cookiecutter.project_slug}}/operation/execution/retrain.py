"""Train again if the data in service drifted from those of the training.

python operation/execution/retrain.py --env dev --watch prod
"""

import click
from kedro_azure_mlops.cli import Command, env_option
from monitor import look_for_drift
from train import train


@click.command("retrain", cls=Command)
@env_option("dev")
@click.option("--watch", default="prod", metavar="ENV", help="whose data are compared")
@click.option("--force", is_flag=True, help="train again, drifted or not")
def main(env: str, watch: str, force: bool) -> int:
    """Look for drift in one environment and train in another if there is some."""
    if force or look_for_drift(watch):
        train(env)
    return 0


if __name__ == "__main__":
    main()
