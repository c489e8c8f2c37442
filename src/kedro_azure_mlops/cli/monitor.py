"""``kedro mlops monitor``: compare the model in service with its profile."""

from pathlib import Path

import click

from kedro_azure_mlops.cli import Command, env_option
from kedro_azure_mlops.terminal import prefixed_printer, show


@click.command("monitor", cls=Command, talks_to="registry")
@env_option("local")
@click.option(
    "--since", metavar="SPAN", help="how far back to look, such as 24h or 7D (default: 14 windows)"
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="judge this CSV or Parquet file; repeatable",
)
@click.option(
    "--model",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="compare with this model folder instead of the champion",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="labels of the rows (default: monitoring.labels)",
)
@click.option(
    "--answer",
    is_flag=True,
    help="for CI: exit status 0 even if there is an alarm, or no champion yet",
)
def command(
    env: str,
    since: str | None,
    inputs: tuple[Path, ...],
    model: Path | None,
    labels: Path | None,
    answer: bool,
) -> int:
    """Compare recent requests to the champion, and its answers, with its training data.

    The rows are the recorded answers, the catalog entry monitoring.data, or files. Prints a table
    and the reasons for an alarm, writes build/monitor/ENV/report.html and records the result in
    MLflow. Exit status 1: an alarm. In CI each reason is an annotation, and later steps get the
    outputs "drifted", "quality", "retrain" and "report", the folder of the report.
    """
    from kedro_azure_mlops.monitor.look import monitor_model, nothing_to_monitor

    say = prefixed_printer("monitor")
    if answer and model is None and nothing_to_monitor(env, say=say):
        return 0
    result = monitor_model(env, since=since, inputs=inputs, model=model, labels=labels)
    page = result.write()
    show(result.summary())
    say(f"see {page}")
    result.announce()
    result.record()
    return 1 if result.alarm and not answer else 0
