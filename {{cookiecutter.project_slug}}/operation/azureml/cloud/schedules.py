"""Schedules of a workspace: a job that Azure ML starts by itself."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from operation.azureml.cloud.triggers import Cron, Recurrence, describe
from operation.azureml.utils import azure_errors
from operation.errors import OperationError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import PipelineJob, Schedule

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,253}")


@dataclass(frozen=True)
class Scheduled:
    """A schedule as it is shown."""

    name: str
    is_enabled: bool
    when: str


def check_name(name: str) -> None:
    """Refuse what Azure takes as no name of a schedule.

    Raises
    ------
    OperationError
        If it is none.
    """
    if not _NAME.fullmatch(name):
        raise OperationError(
            f"{name} is no name of a schedule: it has letters, digits, hyphens and underscores."
        )


def set_schedule(
    client: "MLClient", name: str, when: Cron | Recurrence, job: "PipelineJob"
) -> None:
    """Make a schedule, or replace the one of that name; it is enabled.

    Raises
    ------
    OperationError
        If Azure refuses or cannot be reached.
    """
    from azure.ai.ml.entities import JobSchedule

    schedule = JobSchedule(name=name, trigger=when.entity(), create_job=job, is_enabled=True)
    with azure_errors(f"storing the schedule {name}"):
        client.schedules.begin_create_or_update(schedule).result()


def list_schedules(client: "MLClient") -> list[Scheduled]:
    """List all schedules, also disabled ones.

    Raises
    ------
    OperationError
        If Azure refuses or cannot be reached.
    """
    with azure_errors("listing the schedules"):
        found = list(client.schedules.list(list_view_type="All"))
    return [Scheduled(each.name, _is_enabled(each), describe(each.trigger)) for each in found]


def enable(client: "MLClient", name: str) -> None:
    """Let a schedule start its job.

    Raises
    ------
    OperationError
        If there is no such schedule, or Azure refuses or cannot be reached.
    """
    _find(client, name)
    with azure_errors(f"enabling the schedule {name}"):
        client.schedules.begin_enable(name).result()


def disable(client: "MLClient", name: str) -> None:
    """Keep a schedule, but let it start nothing.

    Raises
    ------
    OperationError
        If there is no such schedule, or Azure refuses or cannot be reached.
    """
    _find(client, name)
    with azure_errors(f"disabling the schedule {name}"):
        client.schedules.begin_disable(name).result()


def delete(client: "MLClient", name: str) -> None:
    """Delete a schedule; jobs it has started go on.

    Raises
    ------
    OperationError
        If there is no such schedule, or Azure refuses or cannot be reached.
    """
    if _is_enabled(_find(client, name)):
        disable(client, name)  # Azure ML deletes no other
    with azure_errors(f"deleting the schedule {name}"):
        client.schedules.begin_delete(name).result()


def _find(client: "MLClient", name: str) -> "Schedule":
    from azure.core.exceptions import ResourceNotFoundError

    with azure_errors(f"looking for the schedule {name}"):
        try:
            return client.schedules.get(name)
        except ResourceNotFoundError as error:
            known = ", ".join(each.name for each in list_schedules(client)) or "none"
            raise OperationError(f"There is no schedule {name}; there are: {known}.") from error


def _is_enabled(schedule: "Schedule") -> bool:
    return schedule.is_enabled is not False
