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
@click.option("--force", is_flag=True, help="reuse nothing")
@click.option(
    "--params", default="", metavar="NAME=VALUE,...", help="other values of the job's inputs"
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=PATH",
    help="other data for an input of the job; repeatable",
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
def command(env: str, step: str | None, force: bool, **given: Any) -> int:
    """Run the compiled job here, each step in a copy of the uploaded files; 1 if a step fails."""
    from kedro_azure_mlops.ci import run_until_interrupted
    from kedro_azure_mlops.job.project import split_parameters
    from kedro_azure_mlops.local.run import run_local

    parameters, inputs = split_parameters(given["params"]), dict(map(_pair, given["inputs"]))

    def work() -> int:
        verdict = run_local(
            env,
            step=step,
            from_outputs=given["from_outputs"],
            force=force,
            parameters=parameters,
            inputs=inputs,
            file=given["file"],
            job=given["job"],
            say=show_log,
            command=_command_line(env, **given),
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


def _command_line(env: str, **given: Any) -> str:
    """Return the command that was typed, without --step and --force."""
    words = ["kedro", "mlops", "local", "--env", env]
    for option in ("from_outputs", "params"):
        words += [f"--{option.replace('_', '-')}", str(given[option])] if given[option] else []
    for pair in given["inputs"]:
        words += ["--input", pair]
    for option in ("file", "job"):
        words += [f"--{option}", str(given[option])] if given[option] else []
    return shlex.join(words)
