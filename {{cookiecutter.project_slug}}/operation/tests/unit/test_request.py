import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from {{ cookiecutter.package_name }}.schemas import parse_times
from {{ cookiecutter.package_name }}.scoring.request import (
    MAX_BYTES,
    MAX_SENSORS,
    BadRequestError,
    Readings,
    check,
    parse,
    refuse_too_long,
)

LIMITS = (-100.0, 400.0)
GOOD = {"timestamp": "2024-01-31T13:00:00", "sensor_id": "hall", "temperature": 20.5}
LATER = GOOD | {"timestamp": "2024-01-31T13:30:00"}


def ask(*rows: Any) -> Readings:
    return parse(json.dumps({"data": rows}), LIMITS)


def refused(body: bytes | str) -> BadRequestError:
    with pytest.raises(BadRequestError) as refusal:
        parse(body, LIMITS)
    return refusal.value


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"temperature": float("nan")}, "temperature", "must be a number"),
        ({"temperature": None}, "temperature", "must be a number"),
        ({"temperature": "20.5"}, "temperature", "must be a number"),
        ({"temperature": True}, "temperature", "must be a number"),
        ({"temperature": [20.5]}, "temperature", "must be a number"),
        ({"temperature": float("inf")}, "temperature", "is outside -100 to 400"),
        ({"temperature": 400.1}, "temperature", "is outside -100 to 400"),
        ({"temperature": -(10**400)}, "temperature", "is outside -100 to 400"),
        ({"timestamp": "yesterday"}, "timestamp", "must be a date and time"),
        ({"timestamp": 1706706000}, "timestamp", "must be a date and time"),
        ({"timestamp": None}, "timestamp", "must be a date and time"),
        ({"timestamp": "0001-01-01T00:00:00"}, "timestamp", "must be a date and time"),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp", "must be a date and time"),
        ({"timestamp": "2024-01-31T12:59:59"}, "timestamp", "is before data[0].timestamp"),
        ({"sensor_id": 7}, "sensor_id", "must be the name of a sensor"),
        ({"sensor_id": " "}, "sensor_id", "must be the name of a sensor"),
        ({"humidity": 3}, "humidity", "is not known"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_value_is_refused_by_the_name_of_its_field(
    change: dict[str, Any], field: str, message: str
) -> None:
    assert len(ask(GOOD, LATER).values) == 2
    error = refused(json.dumps({"data": [GOOD, LATER | change]}))
    assert (error.status, error.field) == (400, f"data[1].{field}")
    assert message in error.message


@pytest.mark.parametrize("name", ["timestamp", "sensor_id", "temperature"])
def test_a_missing_column_is_named(name: str) -> None:
    row = {key: value for key, value in GOOD.items() if key != name}
    error = refused(json.dumps({"data": [row]}))
    assert (error.field, error.message) == (f"data[0].{name}", "is missing")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("", "body"),
        ("{", "body"),
        (b"\xff\xfe{", "body"),
        ("[" * 100_000, "body"),
        ("9" * 5000, "body"),
        ("null", "data"),
        ("[]", "data"),
        ("{}", "data"),
        ('{"data": []}', "data"),
        ('{"data": {}}', "data"),
        ('{"data": null}', "data"),
        ('{"data": [3]}', "data[0]"),
        ('{"data": [null]}', "data[0]"),
        ('{"data": [{}], "model": 2}', "model"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_body_of_another_form_is_refused(body: str | bytes, field: str) -> None:
    error = refused(body)
    assert (error.status, error.field) == (400, field)
    assert error.message


def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    error = refused(b"x" * (MAX_BYTES + 1))
    assert (error.status, error.field) == (413, "body")
    refuse_too_long(MAX_BYTES)
    with pytest.raises(BadRequestError, match="4,000,000 bytes"):
        refuse_too_long(MAX_BYTES + 1)


def test_readings_keep_their_order_and_times_with_an_offset_become_utc() -> None:
    cold = {"timestamp": "2024-01-31T14:30:00+02:00", "sensor_id": " cold ", "temperature": -4}
    readings = ask(GOOD, cold, LATER, LATER)
    assert readings.sensors == ["hall", "cold", "hall", "hall"]
    assert readings.timestamps[1] == cold["timestamp"]
    assert readings.times[1] == np.datetime64("2024-01-31T12:30:00")
    assert readings.values.tolist() == [20.5, -4.0, 20.5, 20.5]
    assert readings.values.dtype == float


TIMES = [
    "2024-01-31",
    "2024-01-31 13:00",
    "2024-01-31T13:00:00Z",
    "2024-01-31T13:00:00.123456+02:00",
    "2024-01-31 13:00:00.5-0330",
    "2024-01-31T13:00+02",
]


@pytest.mark.parametrize("text", TIMES)
def test_times_are_read_as_files_are(text: str) -> None:
    in_file = parse_times(pd.Series([text])).to_numpy()[0]
    assert ask(GOOD | {"timestamp": text}).times[0] == in_file


@pytest.mark.parametrize(
    "text",
    [
        *("2024-W01-1", "2024-01-01X00:00:00", "2024-01-01T00:00:00\0", "20240131T130000"),
        *("2024-01-01T00:00:00,5", "2024-01-01T00:00:00.123456789", "2024-02-30", "2024"),
        "٢٠٢٤-01-01",
    ],
)
def test_times_of_another_form_are_refused(text: str) -> None:
    error = refused(json.dumps({"data": [GOOD | {"timestamp": text}]}))
    assert error.field == "data[0].timestamp"


def test_a_request_about_too_many_sensors_is_refused() -> None:
    """Each sensor costs a server some time, whatever is known of it."""
    rows = [GOOD | {"sensor_id": str(number)} for number in range(MAX_SENSORS + 1)]
    assert len(ask(*rows[:-1]).sensors) == MAX_SENSORS
    error = refused(json.dumps({"data": rows}))
    assert (error.status, error.field) == (400, "data")
    assert len(check(rows, LIMITS).sensors) == MAX_SENSORS + 1
