import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kedro_azure_mlops.contract import Column, History, Schema
from kedro_azure_mlops.serve.batches import parse_times
from kedro_azure_mlops.serve.request import (
    MAX_BYTES,
    MAX_SERIES,
    BadRequestError,
    Reader,
    Rows,
    refuse_too_long,
)

OUTPUTS = (Column("score", "double"),)
SCHEMA = Schema(
    inputs=(
        Column("time", "datetime"),
        Column("unit", "string"),
        Column("load", "double", minimum=-100, maximum=400),
    ),
    outputs=OUTPUTS,
    history=History(order="time", by="unit"),
)
READER = Reader(SCHEMA)
GOOD = {"time": "2024-01-31T13:00:00", "unit": "north", "load": 20.5}
LATER = GOOD | {"time": "2024-01-31T13:30:00"}


def read_rows(*rows: Any) -> Rows:
    return READER.read(json.dumps({"data": rows}))


def rejection(body: bytes | str, reader: Reader = READER) -> BadRequestError:
    with pytest.raises(BadRequestError) as error:
        reader.read(body)
    return error.value


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"load": float("nan")}, "load", "must be a number"),
        ({"load": None}, "load", "must be a number"),
        ({"load": "20.5"}, "load", "must be a number"),
        ({"load": True}, "load", "must be a number"),
        ({"load": [20.5]}, "load", "must be a number"),
        ({"load": float("inf")}, "load", "is outside -100 to 400"),
        ({"load": 400.1}, "load", "is outside -100 to 400"),
        ({"load": -(10**400)}, "load", "is outside -100 to 400"),
        ({"time": "yesterday"}, "time", "must be a date and time"),
        ({"time": 1706706000}, "time", "must be a date and time"),
        ({"time": None}, "time", "must be a date and time"),
        ({"time": "0001-01-01T00:00:00"}, "time", "must be a date and time"),
        ({"time": "0001-01-01T00:00:00+14:00"}, "time", "must be a date and time"),
        ({"time": "2024-01-31T12:59:59"}, "time", "is before data[0].time"),
        ({"unit": 7}, "unit", "must be a non-empty string"),
        ({"unit": " "}, "unit", "must be a non-empty string"),
        ({"unit": "no\0rth"}, "unit", "must be a non-empty string"),
        ({"unit": "\ud83d"}, "unit", "must be valid Unicode"),
        ({"humidity": 3}, "humidity", "is not known"),
        ({"": 3}, '""', "is not known"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_error_names_the_row_and_field_of_a_bad_value(
    change: dict[str, Any], field: str, message: str
) -> None:
    assert len(read_rows(GOOD, LATER).columns["load"]) == 2
    error = rejection(json.dumps({"data": [GOOD, LATER | change]}))
    assert (error.status, error.field) == (400, f"data[1].{field}")
    assert message in error.message


def test_an_escaped_character_beyond_the_basic_plane_is_accepted() -> None:
    body = json.dumps({"data": [GOOD | {"unit": "\N{FIRE}"}]})
    assert "\\ud83d\\udd25" in body
    assert READER.read(body).columns["unit"].tolist() == ["\N{FIRE}"]


@pytest.mark.parametrize("name", ["time", "unit", "load"])
def test_an_error_names_a_missing_column(name: str) -> None:
    row = {key: value for key, value in GOOD.items() if key != name}
    error = rejection(json.dumps({"data": [row]}))
    assert (error.field, error.message) == (f"data[0].{name}", "is missing")
    error = rejection(json.dumps({"data": [row | {f"my_{name}": 1}]}))
    assert error.message == f"is missing, but my_{name} is not known"


def test_an_error_names_the_first_fault_in_any_column() -> None:
    rows = [GOOD, LATER | {"load": "much"}, LATER | {"time": "late"}, LATER | {"more": 1}]
    assert rejection(json.dumps({"data": rows})).field == "data[1].load"


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
def test_a_malformed_body_is_rejected(body: str | bytes, field: str) -> None:
    error = rejection(body)
    assert (error.status, error.field) == (400, field)
    assert error.message


def test_a_body_over_the_limit_is_rejected_before_parsing() -> None:
    error = rejection(b"x" * (MAX_BYTES + 1))
    assert (error.status, error.field) == (413, "body")
    refuse_too_long(MAX_BYTES)
    with pytest.raises(BadRequestError, match="4,000,000 bytes"):
        refuse_too_long(MAX_BYTES + 1)


def test_rows_keep_their_order_and_times_with_an_offset_become_utc() -> None:
    south = {"time": "2024-01-31T14:30:00+02:00", "unit": " south ", "load": -4}
    rows = read_rows(GOOD, south, LATER, LATER)
    assert rows.columns["unit"].tolist() == ["north", "south", "north", "north"]
    assert rows.sent[1] == south
    assert rows.columns["time"][1] == np.datetime64("2024-01-31T12:30:00")
    assert rows.columns["time"].dtype == "datetime64[ns]"
    assert rows.columns["load"].tolist() == [20.5, -4.0, 20.5, 20.5]
    assert rows.columns["load"].dtype == float
    assert rows.has_ties
    assert not read_rows(GOOD, south, LATER).has_ties


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-31",
        "2024-01-31 13:00",
        "2024-01-31T13:00:00Z",
        "2024-01-31T13:00:00.123456+02:00",
        "2024-01-31 13:00:00.5-0330",
        "2024-01-31T13:00+02",
    ],
)
def test_times_are_read_as_in_files(text: str) -> None:
    in_file = parse_times(pd.Series([text]))[0]
    assert read_rows(GOOD | {"time": text}).columns["time"][0] == in_file


@pytest.mark.parametrize(
    "text",
    [
        *("2024-W01-1", "2024-01-01X00:00:00", "2024-01-01T00:00:00\0", "20240131T130000"),
        *("2024-01-01T00:00:00,5", "2024-01-01T00:00:00.123456789", "2024-02-30", "2024"),
        "٢٠٢٤-01-01",
    ],
)
def test_malformed_times_are_rejected(text: str) -> None:
    error = rejection(json.dumps({"data": [GOOD | {"time": text}]}))
    assert error.field == "data[0].time"


def test_a_request_with_too_many_series_is_rejected() -> None:
    """Each series costs a server time, even an unknown one."""
    rows = [GOOD | {"unit": str(number)} for number in range(MAX_SERIES + 1)]
    assert len(read_rows(*rows[:-1]).newest) == MAX_SERIES
    error = rejection(json.dumps({"data": rows}))
    assert (error.status, error.field) == (400, "data")
    assert len(READER.check(rows).newest) == MAX_SERIES + 1


PLAIN = Reader(
    Schema(
        inputs=(
            Column("size", "double", nullable=True),
            Column("count", "long"),
            Column("kind", "string", nullable=True),
            Column("is_new", "boolean"),
            Column("since", "datetime", nullable=True),
            Column("spare", "long", nullable=True),
        ),
        outputs=OUTPUTS,
    )
)
ROW = {
    **{"size": 1.5, "count": 3, "kind": "a b ", "is_new": True},
    **{"since": "2024-01-01", "spare": 1},
}


def test_every_type_becomes_an_array_that_a_scorer_accepts() -> None:
    empty = dict.fromkeys(("size", "kind", "since", "spare")) | {"count": -1, "is_new": False}
    columns = PLAIN.read(json.dumps({"data": [ROW, empty]})).columns
    assert columns["size"][0] == 1.5
    assert np.isnan(columns["size"][1])
    assert columns["count"].dtype == np.int64
    assert columns["count"].tolist() == [3, -1]
    assert columns["kind"].tolist() == ["a b ", None]
    assert columns["is_new"].tolist() == [True, False]
    assert np.isnat(columns["since"]).tolist() == [False, True]
    assert np.isnan(columns["spare"]).tolist() == [False, True]


def test_without_history_rows_have_no_order() -> None:
    rows = [ROW, ROW | {"since": "2020-01-01"}, ROW]
    parsed = PLAIN.read(json.dumps({"data": rows}))
    assert (parsed.newest, parsed.has_ties) == ({}, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 1.0}, "must be a whole number"),
        ({"count": None}, "must be a whole number"),
        ({"count": 2**63}, "is too large"),
        ({"size": float("inf")}, "must be a finite number"),
        ({"size": 10**400}, "is too large"),
        ({"size": float("nan")}, "must be a number"),
        ({"kind": 3}, "must be a string"),
        ({"is_new": 1}, "must be true or false"),
        ({"is_new": None}, "must be true or false"),
        ({"since": ""}, "must be a date and time"),
    ],
    ids=str,
)
def test_a_value_of_another_type_is_rejected(change: dict[str, Any], message: str) -> None:
    error = rejection(json.dumps({"data": [ROW, ROW | change]}), PLAIN)
    assert error.field == f"data[1].{next(iter(change))}"
    assert message in error.message


def test_the_order_of_a_single_series_is_checked() -> None:
    inputs = (Column("time", "datetime"), Column("load", "double"))
    reader = Reader(Schema(inputs, OUTPUTS, history=History(order="time")))
    rows = [{"time": f"2024-01-0{day}", "load": 1} for day in (1, 3, 2)]
    assert "is before data[1].time" in rejection(json.dumps({"data": rows}), reader).message
    assert len(reader.check(rows[:2]).newest) == 1


def test_times_equal_those_of_numpy() -> None:
    schema = Schema(inputs=(Column("since", "datetime", nullable=True),), outputs=())
    texts = [
        "1678-01-01",
        "1969-12-31T23:59:59.999999",
        "2024-02-29 12:30",
        "2261-12-31T23:59:59.5",
    ]
    rows = [{"since": text} for text in [*texts, None]]
    times = Reader(schema).check(rows).columns["since"]
    expected = np.array([*texts, "NaT"], "datetime64[ns]")
    assert times.dtype == expected.dtype
    np.testing.assert_array_equal(times, expected)
