"""``kedro mlops drift``: the newest data against those of the training."""

from pathlib import Path

import click

from kedro_azure_mlops.ci import report_outputs
from kedro_azure_mlops.cli import Command, env_option

_DATA, _BUILD = Path("data/processed"), Path("build")
_NAME = "drift.png"


@click.command("drift", cls=Command)
@env_option("local")
@click.option(
    "--most",
    type=float,
    help="index above which it is drift (default: monitoring.limit of mlops.yml)",
)
@click.option("--answer", is_flag=True, help="exit status 0 also if there is drift, for CI")
def command(env: str, most: float | None, answer: bool) -> int:
    """Compare the newest data with those of the training.

    Prints a table and draws a picture. Exit status 1 means drift: a stability index is above the
    limit, or a series was not in the training. In CI later steps get the output "drifted".
    """
    from kedro_azure_mlops.monitor.drift import drift
    from kedro_azure_mlops.monitor.plots import plot_drift

    found = drift(env, limit=most)
    picture = (_DATA if _DATA.is_dir() else _BUILD) / _NAME
    picture.parent.mkdir(parents=True, exist_ok=True)
    plot_drift(found).savefig(picture)
    click.echo(found.table.to_string(float_format=lambda value: f"{value:.3f}", na_rep="new"))
    names = found.drifted
    verdict = f"Drift: {', '.join(names)}" if names else "No drift"
    click.echo(
        f"\n{verdict} (stability index above {found.limit:g}, or a series not in the training)"
    )
    click.echo(f"drift: see {picture.as_posix()}")
    report_outputs(drifted=bool(names))
    return 1 if names and not answer else 0
