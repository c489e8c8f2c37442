"""Slow and simple reference parsers: readers must parse accepted inputs like them."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import yaml

from tests.plugin.unit.test_values import plain_time

Record = tuple[int, list[str]]
NULLS = ("", "~", "null", "Null", "NULL")  # of YAML


def records(text: str) -> list[Record]:
    """Split delimited text character by character into records: the first line and the cells."""
    rows: list[Record] = []
    line = first_line = 1
    cells, cell, state = [], "", "start"  # of a cell: start, plain, quoted, closed
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    for character in text if text.endswith("\n") else text + "\n":
        if state == "quoted":
            state, cell = ("closed", cell) if character == '"' else (state, cell + character)
        elif state == "closed" and character == '"':
            state, cell = "quoted", cell + '"'
        elif character in ",\n":
            cells, cell, state = [*cells, cell], "", "start"
            if character == "\n":
                if any(one.strip() for one in cells) or len(cells) > 1:
                    rows.append((first_line, cells))
                cells, first_line = [], line + 1
        elif state == "start" and character == '"':
            state = "quoted"
        elif state != "start" or character != " ":
            cell, state = cell + character, "plain"
        line += character == "\n"
    return rows


def rows(body: bytes) -> list[tuple[datetime, str, float]] | None:
    """Read the rows of a request: time, unit and load from -100 to 400; None if it is invalid."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not {"data"} <= set(document) <= {"data", "explain"}:
        return None
    if not isinstance(document.get("explain", False), bool):
        return None
    if not isinstance(document["data"], list) or not document["data"]:
        return None
    parsed = [_row(row) for row in document["data"]]
    newest: dict[str, datetime] = {}
    for row in parsed:
        if row is None or row[0] < newest.get(row[1], row[0]):
            return None
        newest[row[1]] = row[0]
    return parsed  # type: ignore[return-value]


def _row(row: Any) -> tuple[datetime, str, float] | None:
    if not isinstance(row, dict) or sorted(row) != ["load", "time", "unit"]:
        return None
    time = plain_time(row["time"]) if isinstance(row["time"], str) else None
    unit = row["unit"].strip() if isinstance(row["unit"], str) else ""
    load = row["load"]
    is_number = isinstance(load, int | float) and not isinstance(load, bool)
    if time is None or not unit or "\0" in unit or not is_number or not -100 <= load <= 400:
        return None
    if any("\ud800" <= character <= "\udfff" for character in unit):  # half of a pair
        return None
    return time, unit, float(load)


def settings(text: bytes) -> Any:
    """Read YAML with all values as text."""
    return yaml.load(text, yaml.BaseLoader)  # noqa: S506, it only returns text


def is_written(value: Any, text: Any) -> bool:
    """Return whether a value has exactly the value and type of a YAML text."""
    if isinstance(value, Mapping):
        has_keys = isinstance(text, Mapping) and set(map(str, value)) == set(text)
        return has_keys and all(is_written(one, text[str(k)]) for k, one in value.items())
    if isinstance(value, list):
        is_list = isinstance(text, list) and len(text) == len(value)
        return is_list and all(map(is_written, value, text))
    if isinstance(value, str) or not isinstance(text, str):
        return value == text
    if value is None:
        return text in NULLS
    if isinstance(value, bool):
        yes = {"true", "yes", "on"}
        return text.lower() in (yes if value else {"false", "no", "off"})
    other = yaml.safe_load(text)  # for other notations of numbers, 0x10 and 1_000
    is_number = isinstance(other, int | float) and not isinstance(other, bool)
    return bool(value == (other if is_number else float(text)))
