"""``kedro mlops reproduce``."""

from pathlib import Path

import click

from kedro_azure_mlops.cli import Command, env_option
from kedro_azure_mlops.terminal import prefixed_printer, show_note


@click.command("reproduce", cls=Command, is_shown=False)
@env_option("local")
@click.option("--run", metavar="ID", help="a run on the tracking server, or a local job")
@click.option("--job", metavar="NAME", help="a job on Azure ML, in the workspace of --env")
@click.option("--go", is_flag=True, help="run the commands too")
@click.option(
    "--data",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="a file that the run read, if it has moved since; repeatable",
)
@click.option("--anyway", is_flag=True, help="try it even if the run had uncommitted changes")
def command(
    env: str, run: str | None, job: str | None, go: bool, data: tuple[Path, ...], anyway: bool
) -> int:
    """Print the commands that reproduce a model; --go runs them and compares the scores.

    After --go the exit status is 0 if the scores are the same, else 1.
    """
    from kedro_azure_mlops.reproduce.plan import plan_reproduction

    plan = plan_reproduction(env, run=run, job=job, data=data, anyway=anyway)
    recorded = plan.recorded
    for warning in plan.warnings:
        show_note("reproduce", str(warning))
    if not go:
        click.echo("\n".join(map(str, plan.commands)))
        click.echo(f"# The scores of run {recorded.id} have the SHA-256 {recorded.scores}")
        return 0
    say = prefixed_printer("reproduce")
    scores = plan.run(click.echo)
    if scores == recorded.scores:
        say(f"the same scores as run {recorded.id}: {scores}")
        return 0
    say(f"different scores from run {recorded.id}:\n  then {recorded.scores}\n  now  {scores}")
    return 1
