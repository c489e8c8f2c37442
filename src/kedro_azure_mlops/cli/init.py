"""``kedro mlops init``."""

from pathlib import Path

import click

from kedro_azure_mlops.cli import Command
from kedro_azure_mlops.terminal import show


@click.command("init", cls=Command)
def command() -> int:
    """Write mlops.yml, azureml.yml and .amlignore; existing files are left alone."""
    from kedro_azure_mlops.init import initialise

    written = initialise(Path.cwd())
    for name in written.new:
        show(f"wrote  {name}")
    for name in written.kept:
        show(f"kept   {name}, which already exists")
    show("\nnext:")
    if written.lacking:
        files = " or ".join(written.lacking)
        show(f"  add this line to {files}, or jobs lack the plugin:  kedro-azure-mlops[azure]")
    show(
        "  kedro run              a run is now tracked in MLflow: in mlruns.db and mlartifacts/,\n"
        "                         which should be in .gitignore\n"
        "  kedro mlops compile    the pipeline as an Azure ML job, in build/azureml\n"
        "  kedro mlops local      run that job here, step by step\n"
        "  kedro mlops submit     send it, once azureml.yml names a workspace"
    )
    return 0
