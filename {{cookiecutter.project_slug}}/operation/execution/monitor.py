"""Compare the current requests and answers of the champion with its training data.

python operation/execution/monitor.py --env prod

In CI, each reason for an alarm is an annotation, and later steps get the outputs drifted, quality,
retrain and report, the folder of the report.
"""

import click
import kedro_azure_mlops as mlops
from kedro_azure_mlops.cli import Command, env_option


def monitor(env: str, since: str | None = None) -> mlops.MonitorReport:
    """Judge the newest rows, print the reasons for an alarm, write a report and record it."""
    report = mlops.monitor_model(env, since=since)
    click.echo(f"{report.summary()}\nsee {report.write()}")
    report.announce()
    report.record()
    return report


@click.command("monitor", cls=Command)
@env_option("prod")
@click.option("--since", metavar="SPAN", help="judge the newest 24h, 7D ...")
@click.option("--answer", is_flag=True, help="for CI: exit status 0, also for an alarm or no model")
def main(env: str, since: str | None, answer: bool) -> int:
    """Monitor the model in service; exit status 1 if there is an alarm."""
    if answer and mlops.nothing_to_monitor(env, say=click.echo):
        return 0
    return 1 if monitor(env, since).alarm and not answer else 0


if __name__ == "__main__":
    main()
