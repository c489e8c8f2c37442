"""When a schedule starts its job: read and checked before anything is sent to Azure."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from operation.errors import OperationError

if TYPE_CHECKING:
    from azure.ai.ml.entities import CronTrigger, RecurrenceTrigger

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
        """Return it as Azure ML takes it."""
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
        """Return it as Azure ML takes it."""
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
        If it is none, or names days of the month or months, which Azure ML ignores.
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
            "would start the job every day: write * for both. For some days of the month take "
            "--every month --on 1,15."
        )
    names = {name: number for number, day in enumerate(_DAYS) for name in (day, day[:3])}
    for field, what, highest, known in (
        (fields[0], "minute", 59, {}),
        (fields[1], "hour", 23, {}),
        (fields[4], "weekday", 6, names),
    ):
        if not all(_is_part(part, highest, known) for part in field.split(",")):
            raise OperationError(
                f'--cron "{expression}": {field} is no {what}, which is 0 to {highest}, *, a list '
                "1,2, a range 1-5 or a step */2."
            )
    return Cron(" ".join(fields), _known_zone(time_zone))


def read_recurrence(
    every: str, at: str | None = None, on: str | None = None, time_zone: str = "UTC"
) -> Recurrence:
    """Read what ``--every``, ``--at`` and ``--on`` say.

    Raises
    ------
    OperationError
        If they do not fit together, or are no time or no days.
    """
    if every == "hour" and (at or on):
        raise OperationError("--every hour takes no --at and no --on: it starts every hour.")
    if (every in {"week", "month"}) != bool(on):
        raise OperationError(
            "--on names days: it is needed with --every week (--on monday,friday) and --every "
            "month (--on 1,15), and of no use with others."
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
    """Write a trigger, also one that was made elsewhere, as people read it."""
    if hasattr(trigger, "expression"):
        return f"{trigger.expression} ({trigger.time_zone})"
    pattern = trigger.schedule
    times = [f"{hour:02}:{minute:02}" for hour in pattern.hours for minute in pattern.minutes]
    days = [str(day).lower() for day in pattern.week_days or pattern.month_days or ()]
    often = trigger.interval > 1
    every = f"{trigger.interval} {trigger.frequency}s" if often else trigger.frequency
    at = f" at {', '.join(times)}" if times else ""
    on = f" on {', '.join(days)}" if days else ""
    return f"every {every}{at}{on} ({trigger.time_zone})"


def _is_part(part: str, highest: int, names: Mapping[str, int]) -> bool:
    match = _PART.fullmatch(part)
    if not match or match["step"] == "0":
        return False
    values = [names.get(text.lower(), text) for text in (match["first"], match["last"]) if text]
    if not all(isinstance(value, int) or value.isdecimal() for value in values):
        return False
    numbers = [int(value) for value in values]
    return all(number <= highest for number in numbers) and numbers == sorted(numbers)


def _time(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text)
    if not match:
        raise OperationError(f"--at {text} is no time of day: write it as 02:00, up to 23:59.")
    return int(match[1]), int(match[2])


def _week_day(text: str) -> str:
    if text not in _DAYS:
        raise OperationError(f"--on {text}: a week has {', '.join(_DAYS)}.")
    return text


def _month_day(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 31):
        raise OperationError(f"--on {text}: a month has the days 1 to 31.")
    return int(text)


def _known_zone(name: str) -> str:
    from azure.ai.ml.constants import TimeZone

    known = [zone.value for zone in TimeZone]
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    raise OperationError(
        f'--time-zone "{name}" is none that Azure ML knows; it takes the names of Windows'
        f"{', near it: ' + ', '.join(near) if near else ''}. All of them are in "
        "https://learn.microsoft.com/windows-hardware/manufacture/desktop/default-time-zones"
    )
