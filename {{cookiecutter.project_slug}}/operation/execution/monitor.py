"""Look for drift: compare the newest data of an environment with those of the training.

python operation/execution/monitor.py --env prod

In CI later steps get the output drifted.
"""

from pathlib import Path

import click
import kedro_azure_mlops as mlops
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro_azure_mlops.cli import Command, env_option

PIPELINES = ["pre_processing", "data_engineering"]  # which make the data that are compared
PICTURE = Path("data/processed/drift.png")


def look_for_drift(env: str) -> list[str]:
    """Read the newest data and name what drifted; print a table and draw a picture."""
    bootstrap_project(Path.cwd())
    with KedroSession.create(env=env) as session:
        session.run(pipeline_names=PIPELINES)
    found = mlops.drift(env)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    mlops.plot_drift(found).savefig(PICTURE)
    click.echo(found.table.to_string(float_format="{:.3f}".format, na_rep="new"))
    click.echo(f"drifted: {', '.join(found.drifted) or 'nothing'}; see {PICTURE.as_posix()}")
    mlops.report_outputs(drifted=bool(found.drifted))
    return found.drifted


@click.command("monitor", cls=Command)
@env_option("prod")
@click.option("--answer", is_flag=True, help="exit status 0 also if there is drift, for CI")
def main(env: str, answer: bool) -> int:
    """Look for drift; exit status 1 if there is some."""
    drifted = look_for_drift(env)
    return 1 if drifted and not answer else 0


if __name__ == "__main__":
    main()
