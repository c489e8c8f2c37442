"""Schedules of a workspace, by which Azure ML starts jobs."""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_azure_mlops.azure.submission import prepare_job
from kedro_azure_mlops.azure.workspace import azure_errors, workspace
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.job.compilation import Compiled, compile_job, compile_monitor

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import CronTrigger, PipelineJob, RecurrenceTrigger, Schedule

EVERY = ("hour", "day", "week", "month")
_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
# a value or a range of values, each with a step
_PART = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?")


@dataclass(frozen=True)
class Cron:
    """Minute, hour, day, month and day of the week, as in a crontab."""

    expression: str
    time_zone: str

    def entity(self) -> "CronTrigger":
        """Return the trigger as an Azure ML entity."""
        from azure.ai.ml.entities import CronTrigger

        return CronTrigger(expression=self.expression, time_zone=self.time_zone)


@dataclass(frozen=True)
class Recurrence:
    """Every hour, day, week or month, at a time, on days of the week or of the month."""

    every: str
    hour: int
    minute: int
    time_zone: str
    week_days: tuple[str, ...] = ()
    month_days: tuple[int, ...] = ()

    def entity(self) -> "RecurrenceTrigger":
        """Return the trigger as an Azure ML entity."""
        from azure.ai.ml.entities import RecurrencePattern, RecurrenceTrigger

        pattern = RecurrencePattern(
            hours=[self.hour],
            minutes=[self.minute],
            week_days=list(self.week_days) or None,
            month_days=list(self.month_days) or None,
        )
        return RecurrenceTrigger(
            frequency=self.every,
            interval=1,
            schedule=None if self.every == "hour" else pattern,
            time_zone=self.time_zone,
        )


def read_cron(expression: str, time_zone: str = "UTC") -> Cron:
    """Read a crontab expression of five fields.

    Raises
    ------
    OperationError
        If it is invalid, or names days of the month or months, which Azure ML ignores.
    """
    fields = expression.split()
    if len(fields) != 5:
        raise OperationError(
            f'--cron "{expression}" has {len(fields)} fields instead of five: minute hour day '
            'month weekday, as in "0 2 * * *" for two in the morning.'
        )
    if fields[2:4] != ["*", "*"]:
        raise OperationError(
            f'--cron "{expression}": Azure ML ignores the day of the month and the month, and '
            "would start the job every day: write * for both. For some days of the month use "
            "--every month --on 1,15."
        )
    names = {name: number for number, day in enumerate(_DAYS) for name in (day, day[:3])}
    for text, unit, highest, day_names in (
        (fields[0], "minute", 59, {}),
        (fields[1], "hour", 23, {}),
        (fields[4], "weekday", 6, names),
    ):
        if not all(_is_part(part, highest, day_names) for part in text.split(",")):
            raise OperationError(
                f'--cron "{expression}": {text} is not a valid {unit}, which is 0 to '
                f"{highest}, *, a list 1,2, a range 1-5 or a step */2."
            )
    return Cron(" ".join(fields), _known_zone(time_zone))


def read_recurrence(
    every: str, at: str | None = None, on: str | None = None, time_zone: str = "UTC"
) -> Recurrence:
    """Read ``--every``, ``--at`` and ``--on``.

    Raises
    ------
    OperationError
        If they cannot be combined, or are not a valid time or days.
    """
    if every == "hour" and (at or on):
        raise OperationError("--every hour allows neither --at nor --on: it starts every hour.")
    if (every in {"week", "month"}) != bool(on):
        raise OperationError(
            "--on names days: it is required with --every week (--on monday,friday) and --every "
            "month (--on 1,15), and not allowed otherwise."
        )
    hour, minute = _time(at or "00:00")
    days = [day.strip().lower() for day in on.split(",")] if on else []
    return Recurrence(
        every,
        hour,
        minute,
        _known_zone(time_zone),
        week_days=tuple(map(_week_day, days)) if every == "week" else (),
        month_days=tuple(map(_month_day, days)) if every == "month" else (),
    )


def describe(trigger: "CronTrigger | RecurrenceTrigger") -> str:
    """Describe a trigger, including one that was created outside this plugin."""
    if hasattr(trigger, "expression"):
        return f"{trigger.expression} ({trigger.time_zone})"
    pattern = trigger.schedule
    hours, minutes = _as_list(pattern.hours), _as_list(pattern.minutes)
    times = [f"{hour:02}:{minute:02}" for hour in hours for minute in minutes]
    days = [str(day).lower() for day in _as_list(pattern.week_days or pattern.month_days)]
    often = trigger.interval > 1
    every = f"{trigger.interval} {trigger.frequency}s" if often else trigger.frequency
    at = f" at {', '.join(times)}" if times else ""
    on = f" on {', '.join(days)}" if days else ""
    return f"every {every}{at}{on} ({trigger.time_zone})"


def _as_list(value: Any) -> list[Any]:
    """Return a list, even for None and for the single value that Azure ML accepts."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _is_part(part: str, highest: int, names: Mapping[str, int]) -> bool:
    match = _PART.fullmatch(part)
    if not match or not 1 <= int(match["step"] or 1) <= highest:
        return False
    values = [names.get(text.lower(), text) for text in (match["first"], match["last"]) if text]
    if not all(isinstance(value, int) or value.isdecimal() for value in values):
        return False
    numbers = [int(value) for value in values]
    return all(number <= highest for number in numbers) and numbers == sorted(numbers)


def _time(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text)
    if not match:
        raise OperationError(f"--at {text} is not a time of day: write it as 02:00, up to 23:59.")
    return int(match[1]), int(match[2])


def _week_day(text: str) -> str:
    if text not in _DAYS:
        raise OperationError(f"--on {text}: the days are {', '.join(_DAYS)}.")
    return text


def _month_day(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 31):
        raise OperationError(f"--on {text}: the days of a month are 1 to 31.")
    return int(text)


def _known_zone(name: str) -> str:
    from azure.ai.ml.constants import TimeZone

    known = [zone.value for zone in TimeZone]
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    raise OperationError(
        f'--time-zone "{name}" is not known to Azure ML, which uses Windows names'
        f"{', such as ' + ', '.join(near) if near else ''}. All of them are listed in "
        "https://learn.microsoft.com/windows-hardware/manufacture/desktop/default-time-zones"
    )


_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,253}")


@dataclass(frozen=True)
class Scheduled:
    """A schedule: its name, whether it starts jobs, and when.

    ``fixed_data`` has the data asset, ``NAME:VERSION``, of each input for which ``schedule_job``
    has uploaded or found one: each job reads that version.
    """

    name: str
    is_enabled: bool
    when: str
    fixed_data: Mapping[str, str] = field(default_factory=dict)


def schedule_job(
    env: str,
    name: str,
    when: Cron | Recurrence,
    parameters: Mapping[str, str] | None = None,
    *,
    root: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Scheduled:
    """Schedule the pipeline on Azure ML; replaces and enables a schedule of that name.

    Parameters
    ----------
    when
        From ``read_cron`` or ``read_recurrence``.
    parameters, root, say
        As for ``submit_job``.

    Raises
    ------
    OperationError
        If the name is invalid, the job cannot be prepared, or Azure refuses.
    """
    check_name(name)
    root = root or Path.cwd()
    compiled = compile_job(env, parameters, for_once=True, write=False, root=root)
    return _schedule(name, when, compiled, parameters, say)


def schedule_monitor(
    env: str,
    name: str,
    when: Cron | Recurrence,
    *,
    root: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Scheduled:
    """Schedule ``kedro mlops monitor`` on Azure ML; replaces and enables a schedule of that name.

    Each of its jobs runs the current code and configuration, and fails if the monitor
    raises an alarm or cannot judge.

    Parameters
    ----------
    when, root, say
        As for ``schedule_job``.

    Raises
    ------
    OperationError
        If the name is invalid, the job cannot be prepared, or Azure refuses.
    """
    check_name(name)
    root = root or Path.cwd()
    return _schedule(name, when, compile_monitor(env, root=root), None, say)


def _schedule(
    name: str,
    when: Cron | Recurrence,
    compiled: Compiled,
    parameters: Mapping[str, str] | None,
    say: Callable[[str], None],
) -> Scheduled:
    client = workspace(compiled.project.env, compiled.project.root)
    job = prepare_job(client, compiled, parameters, say=say)
    set_schedule(client, name, when, job)
    fixed = {
        tag.removeprefix("data."): text
        for tag, text in (job.tags or {}).items()
        if re.fullmatch(r"data\.\w+", tag) and ":/" not in text  # an address is not fixed
    }
    return Scheduled(name, True, describe(when.entity()), fixed)


def check_name(name: str) -> None:
    """Refuse an invalid schedule name.

    Raises
    ------
    OperationError
        If the name is invalid.
    """
    if not _NAME.fullmatch(name):
        raise OperationError(
            f"{name} is not a valid schedule name: use letters, digits, hyphens and underscores."
        )


def set_schedule(
    client: "MLClient", name: str, when: Cron | Recurrence, job: "PipelineJob"
) -> None:
    """Create and enable a schedule, or replace the one of that name.

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
    """List all schedules, including disabled ones.

    Raises
    ------
    OperationError
        If Azure refuses or cannot be reached.
    """
    with azure_errors("listing the schedules"):
        found = list(client.schedules.list(list_view_type="All"))
    return [Scheduled(each.name, _is_enabled(each), describe(each.trigger)) for each in found]


def change_schedule(client: "MLClient", action: str, name: str) -> None:
    """Enable, disable or delete a schedule; jobs that it has started keep running.

    Parameters
    ----------
    action
        ``enable``, ``disable`` or ``delete``.

    Raises
    ------
    OperationError
        If there is no such schedule, or Azure refuses or cannot be reached.
    """
    if _is_enabled(_find(client, name)) and action == "delete":
        change_schedule(client, "disable", name)  # Azure ML deletes only disabled ones
    with azure_errors(f"{action.removesuffix('e')}ing the schedule {name}"):
        getattr(client.schedules, f"begin_{action}")(name).result()


def _find(client: "MLClient", name: str) -> "Schedule":
    from azure.core.exceptions import ResourceNotFoundError

    with azure_errors(f"looking for the schedule {name}"):
        try:
            return client.schedules.get(name)
        except ResourceNotFoundError as error:
            known = ", ".join(each.name for each in list_schedules(client)) or "none"
            raise OperationError(
                f"There is no schedule {name}; existing schedules: {known}."
            ) from error


def _is_enabled(schedule: "Schedule") -> bool:
    return schedule.is_enabled is not False
