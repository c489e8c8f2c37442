"""Slow and plain parsers: what is accepted must read as they read it."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import yaml

from tests.plugin.unit.test_values import plain_time

Record = tuple[int, list[str]]
NULLS = ("", "~", "null", "Null", "NULL")  # of YAML


def records(text: str) -> list[Record]:
    """Cut delimited text letter by letter: the line that each record begins in, and its cells."""
    found: list[Record] = []
    line = begun = 1
    cells, cell, state = [], "", "start"  # of a cell: start, plain, quoted, closed
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    for letter in text if text.endswith("\n") else text + "\n":
        if state == "quoted":
            state, cell = ("closed", cell) if letter == '"' else (state, cell + letter)
        elif state == "closed" and letter == '"':
            state, cell = "quoted", cell + '"'
        elif letter in ",\n":
            cells, cell, state = [*cells, cell], "", "start"
            if letter == "\n":
                if any(one.strip() for one in cells) or len(cells) > 1:
                    found.append((begun, cells))
                cells, begun = [], line + 1
        elif state == "start" and letter == '"':
            state = "quoted"
        elif state != "start" or letter != " ":
            cell, state = cell + letter, "plain"
        line += letter == "\n"
    return found


def rows(body: bytes) -> list[tuple[datetime, str, float]] | None:
    """Read the rows of a request of time, unit and load from -100 to 400; None if it is none."""
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
    found = [_row(row) for row in document["data"]]
    newest: dict[str, datetime] = {}
    for row in found:
        if row is None or row[0] < newest.get(row[1], row[0]):
            return None
        newest[row[1]] = row[0]
    return found  # type: ignore[return-value]


def _row(row: Any) -> tuple[datetime, str, float] | None:
    if not isinstance(row, dict) or sorted(row) != ["load", "time", "unit"]:
        return None
    time = plain_time(row["time"]) if isinstance(row["time"], str) else None
    unit = row["unit"].strip() if isinstance(row["unit"], str) else ""
    load = row["load"]
    is_number = isinstance(load, int | float) and not isinstance(load, bool)
    if time is None or not unit or "\0" in unit or not is_number or not -100 <= load <= 400:
        return None
    return time, unit, float(load)


def settings(text: bytes) -> Any:
    """Read YAML with every value as it is written."""
    return yaml.load(text, yaml.BaseLoader)  # noqa: S506, it makes texts alone


def is_written(value: Any, text: Any) -> bool:
    """Return whether a value is what a text of YAML says, no other and of no other kind."""
    if isinstance(value, Mapping):
        keys_are_there = isinstance(text, Mapping) and set(map(str, value)) == set(text)
        return keys_are_there and all(is_written(one, text[str(k)]) for k, one in value.items())
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
    other = yaml.safe_load(text)  # of other ways to write a number, 0x10 and 1_000
    is_number = isinstance(other, int | float) and not isinstance(other, bool)
    return bool(value == (other if is_number else float(text)))
