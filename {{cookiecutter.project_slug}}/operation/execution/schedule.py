"""Let Azure ML start the pipeline by itself: set, list, disable, enable or delete a schedule.

For example: schedule --env prod set nightly --every day --at 02:00, or --cron "0 2 * * mon-fri"
"""

import argparse
from collections.abc import Mapping

from operation.azureml.cloud import schedules
from operation.azureml.cloud.triggers import (
    EVERY,
    Cron,
    Recurrence,
    describe,
    read_cron,
    read_recurrence,
)
from operation.azureml.project import read_project, split_parameters
from operation.azureml.utils import workspace
from operation.errors import OperationError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _declare_set(actions.add_parser("set", help="make a schedule, or replace one"))
    actions.add_parser("list", help="show all schedules of the workspace")
    for action, does in (
        ("disable", "keep a schedule, but let it start nothing"),
        ("enable", "let a disabled schedule start jobs again"),
        ("delete", "delete a schedule; jobs it has started go on"),
    ):
        actions.add_parser(action, help=does).add_argument("name")


def _declare_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    when = parser.add_mutually_exclusive_group(required=True)
    when.add_argument("--cron", metavar='"0 2 * * *"', help="minute hour * * weekday")
    when.add_argument("--every", choices=EVERY)
    parser.add_argument("--at", metavar="02:00", help="time of day, with --every; else midnight")
    parser.add_argument("--on", metavar="DAYS", help="monday,friday for a week; 1,15 for a month")
    parser.add_argument("--time-zone", default="UTC", metavar="NAME", help="as Windows names it")
    parser.add_argument(
        "--params", default="", metavar="NAME=VALUE,...", help="parameters as inputs of the job"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Do what the action says."""
    if arguments.action == "set":
        return _set(arguments)
    client = workspace(arguments.env)
    if arguments.action == "list":
        return _list(schedules.list_schedules(client))
    getattr(schedules, arguments.action)(client, arguments.name)
    print(f"schedule: {arguments.name} is {arguments.action}d")
    return 0


def _set(arguments: argparse.Namespace) -> int:
    from operation.azureml.cloud.submission import prepare_job

    when = _when(arguments)
    schedules.check_name(arguments.name)
    parameters = split_parameters(arguments.params)
    project = read_project(arguments.env, parameters)
    client = workspace(arguments.env)
    job = prepare_job(client, project, parameters, say=lambda line: print(f"schedule: {line}"))
    schedules.set_schedule(client, arguments.name, when, job)
    starts = f"{arguments.name} starts {project.name} ({arguments.env})"
    print(f"schedule: {starts}: {describe(when.entity())}")
    _tell_of_data(job.tags)
    return 0


def _tell_of_data(tags: Mapping[str, str]) -> None:
    """Say that local data was uploaded once: to see new data a schedule must name a place."""
    fixed = [name for name in tags if name.startswith("data.digest.")]
    if fixed:
        names = ", ".join(name.removeprefix("data.digest.") for name in fixed)
        print(
            f"schedule: each of its jobs reads {names} as of now. To have it read new data, name a "
            "place under inputs in azureml.yml: path: azureml://datastores/..."
        )


def _when(arguments: argparse.Namespace) -> Cron | Recurrence:
    if arguments.cron:
        if arguments.at or arguments.on:
            raise OperationError("--cron says the time itself: leave out --at and --on.")
        return read_cron(arguments.cron, arguments.time_zone)
    return read_recurrence(arguments.every, arguments.at, arguments.on, arguments.time_zone)


def _list(found: list[schedules.Scheduled]) -> int:
    if not found:
        print("schedule: there is none; make one with: set NAME --every day --at 02:00")
        return 0
    width = max(len(each.name) for each in found)
    for each in found:
        state = "enabled" if each.is_enabled else "disabled"
        print(f"  {each.name:{width}}  {state:8}  {each.when}")
    return 0
