"""``kedro mlops compile``."""

import click

from kedro_azure_mlops.cli import Command, env_option
from kedro_azure_mlops.errors import RefusedError
from kedro_azure_mlops.terminal import prefixed_printer, show, show_next, show_note

_say = prefixed_printer("compile")


@click.command("compile", cls=Command)
@env_option("dev")
@click.option(
    "--params", default="", metavar="NAME=VALUE,...", help="parameters as inputs of the job"
)
@click.option("--check", is_flag=True, help="compare with the existing file, if any; write nothing")
def command(env: str, params: str, check: bool) -> int:
    """Compile the pipeline to an Azure ML job in build/azureml.

    With --check, only check that it compiles, and write nothing; an existing file must equal the
    output of the compiler (otherwise exit status 1).
    """
    from kedro_azure_mlops.job.compilation import compile_job
    from kedro_azure_mlops.job.project import split_parameters

    compiled = compile_job(env, split_parameters(params), write=not check)
    name = compiled.file.relative_to(compiled.project.root).as_posix()
    for note in compiled.notes:
        _say(note)
    for warning in compiled.warnings:
        show_note("compile", f"warning: {warning}")
    if not check:
        _say(f"wrote {name}")
        show_next(f"kedro mlops local --env {env}")
        return 0
    if not compiled.file.is_file():
        _say(f"{env} compiles; there is no {name} to compare with")
        return 0
    if differences := compiled.differences():
        show("\n".join(differences))
        raise RefusedError(
            f"{name} is out of date: the project compiles to a different job",
            next=f"kedro mlops compile --env {env}",
        )
    _say(f"{name} is up to date")
    return 0
