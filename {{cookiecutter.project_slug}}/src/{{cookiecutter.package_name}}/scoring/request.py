"""Bodies of scoring requests: what is accepted, and what is refused with the name of the field."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

MAX_BYTES = 4_000_000  # some 45,000 readings: a month of a sensor that is read every minute
MAX_SENSORS = 1_000  # each costs as much as some hundred rows
_COLUMNS = ("timestamp", "sensor_id", "temperature")
_NEEDED = set(_COLUMNS)
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?([Zz]|[+-]\d\d:?(\d\d)?)?)?", re.ASCII
)
_FIRST_YEAR, _LAST_YEAR = 1678, 2261  # what 64 bits of nanoseconds hold


class BadRequestError(ValueError):
    """A request that cannot be answered: the field, what is wrong with it, and the HTTP status."""

    def __init__(self, field: str, message: str, status: int = 400) -> None:
        super().__init__(f"{field} {message}")
        self.field, self.message, self.status = field, message, status


@dataclass(frozen=True)
class Readings:
    """What a request asks to score: ``n`` readings in the order they were sent."""

    timestamps: list[str]
    sensors: list[str]
    times: np.ndarray
    values: np.ndarray


def parse(body: bytes | str, limits: tuple[float, float]) -> Readings:
    """Read ``{"data": [{"timestamp": ..., "sensor_id": ..., "temperature": ...}, ...]}``.

    Parameters
    ----------
    limits
        The smallest and the largest temperature that a sensor can measure.

    Raises
    ------
    BadRequestError
        Naming the first field that is wrong.
    """
    refuse_too_long(len(body))
    readings = check(_rows(body), limits)
    if len(set(readings.sensors)) > MAX_SENSORS:
        raise BadRequestError(
            "data", f"names more than {MAX_SENSORS:,} sensors: send fewer at once"
        )
    return readings


def check(rows: Sequence[Any], limits: tuple[float, float]) -> Readings:
    """Check the rows of a request, as ``parse`` does; any number of them.

    Raises
    ------
    BadRequestError
        Naming the first field that is wrong.
    """
    last: dict[str, tuple[datetime, int]] = {}
    timestamps, sensors, times, values = [], [], [], []
    for number, row in enumerate(rows):
        _refuse_other_columns(number, row)
        time, sensor = _time(number, row["timestamp"]), _sensor(number, row["sensor_id"])
        before = last.get(sensor)
        if before is not None and time < before[0]:
            raise BadRequestError(
                f"data[{number}].timestamp",
                f"is before data[{before[1]}].timestamp: send the readings of a sensor in order",
            )
        last[sensor] = time, number
        timestamps.append(row["timestamp"])
        sensors.append(sensor)
        times.append(time)
        values.append(_temperature(number, row["temperature"], limits))
    return Readings(timestamps, sensors, np.array(times, "datetime64[us]"), np.array(values))


def refuse_too_long(length: int) -> None:
    """Refuse a body of more than ``MAX_BYTES``, which a server can tell before it reads it.

    Raises
    ------
    BadRequestError
        With status 413.
    """
    if length > MAX_BYTES:
        raise BadRequestError("body", f"has more than {MAX_BYTES:,} bytes: send fewer rows", 413)


def _rows(body: bytes | str) -> list[Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError("body", f"is not JSON: {error}") from error
    if not isinstance(document, dict) or "data" not in document:
        raise BadRequestError("data", 'is missing: send {"data": [{...}, ...]}')
    if other := sorted(set(document) - {"data"}):
        raise BadRequestError(other[0][:50], 'is not known: send {"data": [{...}, ...]}')
    rows = document["data"]
    if not isinstance(rows, list) or not rows:
        raise BadRequestError("data", "must be a list of at least one reading")
    return rows


def _refuse_other_columns(number: int, row: Any) -> None:
    if not isinstance(row, dict):
        raise BadRequestError(f"data[{number}]", f"must have the fields {', '.join(_COLUMNS)}")
    if row.keys() == _NEEDED:
        return
    for name in _COLUMNS:
        if name not in row:
            raise BadRequestError(f"data[{number}].{name}", "is missing")
    other = sorted(set(row) - _NEEDED)[0]
    raise BadRequestError(f"data[{number}].{other[:50]}", "is not known")


def _time(number: int, text: Any) -> datetime:
    try:
        if not _TIME.fullmatch(text.strip()):
            raise ValueError
        time = datetime.fromisoformat(text.strip())
        if time.tzinfo is not None:
            time = time.astimezone(UTC).replace(tzinfo=None)
        if _FIRST_YEAR <= time.year <= _LAST_YEAR:
            return time
    except (AttributeError, ValueError, OverflowError):
        pass
    raise BadRequestError(
        f"data[{number}].timestamp",
        "must be a date and time such as 2024-01-31T13:00:00, with Z or an offset if not in UTC",
    )


def _sensor(number: int, name: Any) -> str:
    if not isinstance(name, str) or not (sensor := name.strip()):
        raise BadRequestError(f"data[{number}].sensor_id", "must be the name of a sensor")
    return sensor


def _temperature(number: int, value: Any, limits: tuple[float, float]) -> float:
    field = f"data[{number}].temperature"
    if type(value) not in (int, float) or (type(value) is float and math.isnan(value)):
        raise BadRequestError(field, "must be a number")
    low, high = limits
    if not low <= value <= high:
        raise BadRequestError(field, f"is outside {low:g} to {high:g}")
    return float(value)
