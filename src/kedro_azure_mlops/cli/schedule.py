"""``kedro mlops schedule set|list|disable|enable|delete``."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from kedro_azure_mlops.cli import Command, Group, env_option
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.terminal import prefixed_printer, show_next, show_table

if TYPE_CHECKING:
    from kedro_azure_mlops.azure.schedules import Cron, Recurrence

_say = prefixed_printer("schedule")


@click.group("schedule", cls=Group)
@env_option("dev")
@click.pass_context
def command(ctx: click.Context, env: str) -> None:
    """Schedule the pipeline on Azure ML, or the monitor.

    For example: schedule --env prod set nightly --every day --at 02:00, or --cron "0 2 * * mon-fri"

    The monitor: schedule --env prod set watch --monitor --every hour
    """
    ctx.obj = env


def _action(name: str, **about: str) -> Callable[[Callable[..., int]], click.Command]:
    """Return a decorator that adds an action whose errors begin with the name of the group."""
    return command.command(name, cls=Command, prefix="schedule", talks_to="workspace", **about)


@_action("set")
@click.argument("name")
@click.option("--cron", metavar='"0 2 * * *"', help="minute hour * * weekday")
@click.option("--every", type=click.Choice(["hour", "day", "week", "month"]))
@click.option("--at", metavar="02:00", help="time of day, with --every (default: midnight)")
@click.option("--on", metavar="DAYS", help="monday,friday for a week; 1,15 for a month")
@click.option("--time-zone", default="UTC", metavar="NAME", help="a Windows time zone")
@click.option("--params", default="", metavar="NAME=VALUE,...", help="parameters of the job")
@click.option("--monitor", is_flag=True, help="run `kedro mlops monitor` instead of the pipeline")
@click.pass_obj
def _set(env: str, /, name: str, params: str, monitor: bool, **when: str | None) -> int:
    """Create a schedule, or replace one."""
    from kedro_azure_mlops.azure.schedules import schedule_job, schedule_monitor
    from kedro_azure_mlops.job.project import split_parameters

    if monitor and params:
        raise OperationError("--monitor cannot be combined with --params: it runs no pipeline.")
    if monitor:
        made = schedule_monitor(env, name, _when(**when), say=_say)
        _say(f"{name} starts the monitor of {env}: {made.when}; its job fails on an alarm")
        show_next(f"kedro mlops schedule --env {env} list")
        return 0
    made = schedule_job(env, name, _when(**when), split_parameters(params), say=_say)
    _say(f"{name} starts the pipeline of {env}: {made.when}")
    if made.fixed_data:
        fixed = ", ".join(f"{name}: {version}" for name, version in made.fixed_data.items())
        _say(
            f"every job reads the same version ({fixed}), even if there is a newer one. To read "
            "new data, set a path under inputs in azureml.yml: path: azureml://datastores/..."
        )
    show_next(f"kedro mlops schedule --env {env} list")
    return 0


def _when(
    cron: str | None, every: str | None, at: str | None, on: str | None, time_zone: str | None
) -> "Cron | Recurrence":
    from kedro_azure_mlops.azure.schedules import read_cron, read_recurrence

    if bool(cron) == bool(every):
        raise click.UsageError("give one of --cron and --every")
    if cron:
        if at or on:
            raise OperationError("--cron includes the time: leave out --at and --on.")
        return read_cron(cron, time_zone or "UTC")
    return read_recurrence(str(every), at, on, time_zone or "UTC")


@_action("list")
@click.pass_obj
def _list(env: str) -> int:
    """Show all schedules of the workspace."""
    from kedro_azure_mlops.azure.schedules import list_schedules
    from kedro_azure_mlops.azure.workspace import workspace

    found = list_schedules(workspace(env))
    if not found:
        _say("there are no schedules; create one with: set NAME --every day --at 02:00")
        return 0
    states = {True: "enabled", False: "disabled"}
    show_table([(each.name, states[each.is_enabled], each.when) for each in found])
    return 0


for _name, _text in (
    ("disable", "Keep a schedule, but start no jobs."),
    ("enable", "Resume a disabled schedule."),
    ("delete", "Delete a schedule; jobs it has started keep running."),
):

    @_action(_name, help=_text)
    @click.argument("name")
    @click.pass_obj
    def _change(env: str, /, name: str, *, action: str = _name) -> int:
        from kedro_azure_mlops.azure.schedules import change_schedule
        from kedro_azure_mlops.azure.workspace import workspace

        change_schedule(workspace(env), action, name)
        _say(f"{name} is {action}d")
        return 0
