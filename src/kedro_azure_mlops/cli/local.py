"""``kedro mlops local``."""

import shlex
from pathlib import Path
from typing import Any

import click

from kedro_azure_mlops.cli import Command, env_option
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.terminal import show_log


@click.command("local", cls=Command)
@env_option("dev")
@click.option("--step", metavar="NAME", help="run only this step, on the outputs of earlier ones")
@click.option(
    "--from-outputs",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="with --step: read them from DIR/<step>/<output>, as submit --download writes them",
)
@click.option("--force", is_flag=True, help="run every step again")
@click.option(
    "--params", default="", metavar="NAME=VALUE,...", help="new values for the job's inputs"
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=PATH",
    help="new data for an input of the job; repeatable",
)
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="run this job file instead of compiling the project",
)
@click.option(
    "--job",
    metavar="NAME",
    help="repeat the failed step of this job on Azure ML, or --step, with the inputs it had",
)
def command(env: str, step: str | None, force: bool, **options: Any) -> int:
    """Run the compiled job here, each step in a copy of the files that would be uploaded.

    Exit status 1: a step failed.
    """
    from kedro_azure_mlops.ci import run_until_interrupted
    from kedro_azure_mlops.job.project import split_parameters
    from kedro_azure_mlops.local.run import run_local

    parameters, inputs = split_parameters(options["params"]), dict(map(_pair, options["inputs"]))

    def work() -> int:
        verdict = run_local(
            env,
            step=step,
            from_outputs=options["from_outputs"],
            force=force,
            parameters=parameters,
            inputs=inputs,
            file=options["file"],
            job=options["job"],
            say=show_log,
            command=_command_line(env, **options),
        )
        return 0 if verdict.succeeded else 1

    return run_until_interrupted(
        work, "local: interrupted; running steps were stopped and will run again next time"
    )


def _pair(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise OperationError(f"--input {text}: write NAME=PATH.")
    return name, path


def _command_line(env: str, **options: Any) -> str:
    """Return the command that was typed, without --step and --force."""
    words = ["kedro", "mlops", "local", "--env", env]
    for option in ("from_outputs", "params"):
        words += [f"--{option.replace('_', '-')}", str(options[option])] if options[option] else []
    for pair in options["inputs"]:
        words += ["--input", pair]
    for option in ("file", "job"):
        words += [f"--{option}", str(options[option])] if options[option] else []
    return shlex.join(words)
