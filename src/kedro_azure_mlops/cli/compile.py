"""``kedro mlops compile``."""

import click

from kedro_azure_mlops.cli import Command, env_option


@click.command("compile", cls=Command)
@env_option("dev")
@click.option(
    "--params", default="", metavar="NAME=VALUE,...", help="parameters as inputs of the job"
)
@click.option("--check", is_flag=True, help="compare with the file, if there is one; write nothing")
def command(env: str, params: str, check: bool) -> int:
    """Compile the pipeline to an Azure ML job in build/azureml, or --check that it compiles.

    --check writes nothing; where there is such a file, it has to be what the project compiles to
    (else exit status 1).
    """
    from kedro_azure_mlops.job.compilation import compile_job
    from kedro_azure_mlops.job.project import split_parameters

    compiled = compile_job(env, split_parameters(params), write=not check)
    name = compiled.file.relative_to(compiled.project.root).as_posix()
    for note in compiled.notes:
        click.echo(f"compile: {note}")
    for warning in compiled.warnings:
        click.echo(f"compile: warning: {warning}", err=True)
    if not check:
        click.echo(f"compile: wrote {name}")
        return 0
    if not compiled.file.is_file():
        click.echo(f"compile: {env} compiles; there is no {name} to compare with")
        return 0
    if differences := compiled.differences():
        click.echo("\n".join(differences))
        click.echo(
            f"compile: {name} is not what the project compiles to, type: "
            f"kedro mlops compile --env {env}",
            err=True,
        )
        return 1
    click.echo(f"compile: {name} is current")
    return 0
