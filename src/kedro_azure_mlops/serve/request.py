"""Read and check the bodies of scoring requests; refusals name the field.

``Reader`` is built once from a model's schema. Its work per request is plain Python: many requests
hold a single row, and one call of numpy or pandas takes as long as the rest of the work.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np

from kedro_azure_mlops.contract import Column, Columns, Schema
from kedro_azure_mlops.values import read_time

MAX_BYTES = 4_000_000  # some 45,000 rows of three columns
MAX_SERIES = 1_000  # each costs as much as some hundred rows
_LARGEST = 2**63  # bound of whole numbers
_EPOCH, _NAT = datetime(1970, 1, 1), -(2**63)  # noqa: DTZ001, and numpy's NaT


class BadRequestError(ValueError):
    """A request that cannot be answered: the field, what is wrong with it, and the HTTP status."""

    def __init__(self, field: str, message: str, status: int = 400) -> None:
        super().__init__(f"{field} {message}")
        self.field, self.message, self.status = field, message, status


class Rows(NamedTuple):
    """Checked rows: as sent, and as columns for a scorer.

    ``newest`` is the time of the last row of each series, ``has_ties`` whether a series has two
    rows with the same time, ``explain`` whether to explain the answers.
    """

    sent: Sequence[dict[str, Any]]
    columns: Columns
    newest: dict[Any, datetime]
    has_ties: bool
    explain: bool = False


class Reader:
    """Reads and checks requests to a model with the given schema."""

    def __init__(self, schema: Schema) -> None:
        history = schema.history
        self._order = history.order if history else None
        self._by = history.by if history else None
        needed = {self._order, self._by}
        self._fields = [
            (one.name, _converter(one, one.name in needed, one.name == self._by), _array(one))
            for one in schema.inputs
        ]
        self._names = [one.name for one in schema.inputs]
        self._needed = set(self._names)

    def read(self, body: bytes | str) -> Rows:
        """Read ``{"data": [{column: value, ...}, ...]}``, optionally with ``"explain": true``.

        Raises
        ------
        BadRequestError
            If a field is invalid; the error names the first one.
        """
        refuse_too_long(len(body))
        sent, explain = _document(body)
        rows = self.check(sent)
        if len(rows.newest) > MAX_SERIES:
            raise BadRequestError(
                "data",
                f"holds more than {MAX_SERIES:,} values of {self._by}: send fewer per request",
            )
        return rows._replace(explain=True) if explain else rows

    def check(self, rows: Sequence[Any]) -> Rows:
        """Check rows as ``read`` does, but any number of them.

        Raises
        ------
        BadRequestError
            If a field is invalid; the error names the first one.
        """
        try:
            if any(row.keys() != self._needed for row in rows):
                raise ValueError
            values = {
                name: [convert(row[name]) for row in rows] for name, convert, _ in self._fields
            }
        except (ValueError, AttributeError):
            self._refuse_first_fault(rows)
            raise  # never reached: the conversion fails again
        newest: dict[Any, datetime] = {}
        has_ties = False
        if self._order is not None:
            series = values[self._by] if self._by is not None else [None] * len(rows)
            times = values[self._order]
            if len(rows) == 1:
                newest = {series[0]: times[0]}
            else:
                newest, has_ties = self._ordered(series, times)
        columns = {name: array(values[name]) for name, _, array in self._fields}
        return Rows(rows, columns, newest, has_ties)

    def _ordered(
        self, series: list[Any], times: list[datetime]
    ) -> tuple[dict[Any, datetime], bool]:
        """Return the newest times and whether there are ties; refuse rows out of order."""
        newest: dict[Any, datetime] = {}
        has_ties = False
        for number, (name, time) in enumerate(zip(series, times, strict=True)):
            before = newest.get(name)
            if before is not None and time <= before:
                if time < before:
                    last = max(n for n in range(number) if series[n] == name)
                    raise BadRequestError(
                        f"data[{number}].{self._order}",
                        f"is before data[{last}].{self._order}: send the rows of a series in order",
                    )
                has_ties = True
            newest[name] = time
        return newest, has_ties

    def _refuse_first_fault(self, rows: Sequence[Any]) -> None:
        for number, row in enumerate(rows):
            self._refuse_other_columns(number, row)
            for name, convert, _ in self._fields:
                try:
                    convert(row[name])
                except ValueError as error:
                    raise BadRequestError(f"data[{number}].{name}", str(error)) from None

    def _refuse_other_columns(self, number: int, row: Any) -> None:
        if not isinstance(row, dict):
            fields = ", ".join(self._names)
            raise BadRequestError(f"data[{number}]", f"must have the fields {fields}")
        unknown = _unknown_key(row, self._needed)
        for name in self._names:
            if name not in row:
                instead = f", but {unknown} is not known" if unknown else ""
                raise BadRequestError(f"data[{number}].{name}", f"is missing{instead}")
        if unknown:
            raise BadRequestError(f"data[{number}].{unknown}", "is not known")


def refuse_too_long(length: int) -> None:
    """Refuse a body of more than ``MAX_BYTES``; a server can do so before it reads the body.

    Raises
    ------
    BadRequestError
        With status 413.
    """
    if length > MAX_BYTES:
        raise BadRequestError("body", f"has more than {MAX_BYTES:,} bytes: send fewer rows", 413)


def _unknown_key(keys: Iterable[str], known: set[str]) -> str | None:
    """Return the first key that is not known, as errors name it; None if all are."""
    unknown = sorted(set(keys) - known)
    return unknown[0][:50] or '""' if unknown else None


def _document(body: bytes | str) -> tuple[list[Any], bool]:
    """Return the unchecked rows of a body, and whether to explain the answers."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError("body", f"is not JSON: {error}") from error
    if not isinstance(document, dict) or "data" not in document:
        raise BadRequestError("data", 'is missing: send {"data": [{...}, ...]}')
    if unknown := _unknown_key(document, {"data", "explain"}):
        raise BadRequestError(unknown, 'is not known: send {"data": [{...}, ...]}')
    rows = document["data"]
    if not isinstance(rows, list) or not rows:
        raise BadRequestError("data", "must be a list of at least one row")
    explain = document.get("explain", False)
    if type(explain) is not bool:
        raise BadRequestError("explain", "must be true or false")
    return rows, explain


def _converter(column: Column, is_needed: bool, is_name: bool) -> Callable[[Any], Any]:
    """Return a function that converts a value of a column, or raises ValueError."""
    if column.type in {"double", "long"}:
        convert = _number(column)
    elif is_name and column.type == "string":
        convert = _name
    else:
        convert = _CONVERTERS[column.type]
    if not column.nullable or is_needed:
        return convert
    return lambda value: None if value is None else convert(value)


def _number(column: Column) -> Callable[[Any], Any]:
    is_whole = column.type == "long"
    low = -math.inf if column.minimum is None else column.minimum
    high = math.inf if column.maximum is None else column.maximum
    outside = f"is outside {low:g} to {high:g}"
    is_bounded = (column.minimum, column.maximum) != (None, None)

    def convert(value: Any) -> Any:
        kind = type(value)
        if kind is float:
            if value != value:  # noqa: PLR0124, NaN
                raise ValueError("must be a number")
            if is_whole:
                raise ValueError("must be a whole number")
        elif kind is not int:
            raise ValueError("must be a whole number" if is_whole else "must be a number")
        if not low <= value <= high:
            raise ValueError(outside)
        if kind is float:
            if value in (math.inf, -math.inf):
                raise ValueError(outside if is_bounded else "must be a finite number")
        elif is_whole:
            if not -_LARGEST <= value < _LARGEST:
                raise ValueError("is too large")
        else:
            try:
                return float(value)
            except OverflowError:
                raise ValueError("is too large") from None
        return value

    return convert


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("must be a string")
    if not value.isascii():
        _refuse_half_characters(value)
    return value


def _name(value: Any) -> str:
    if type(value) is not str or not (name := value.strip()) or "\0" in name:
        raise ValueError("must be a non-empty string")
    return _text(name)


def _refuse_half_characters(text: str) -> None:
    """Refuse half of a surrogate pair, which JSON can escape but no file or database can store."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode: it holds half of a surrogate pair") from None


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("must be true or false")
    return value


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "string": _text,
    "boolean": _boolean,
    "datetime": read_time,
}


def _array(column: Column) -> Callable[[list[Any]], np.ndarray]:
    """Return a function from checked values to an array for the scorer."""
    if column.type == "datetime":
        return _times
    if column.type == "double" or (column.nullable and column.type == "long"):
        return lambda values: np.array(values, np.float64)  # None becomes NaN
    if column.type == "long":
        return lambda values: np.array(values, np.int64)
    return _objects


def _times(values: list[datetime | None]) -> np.ndarray:
    """Return times as a numpy array, four times as fast as numpy's own conversion."""
    nanoseconds = []
    for time in values:
        if time is None:
            nanoseconds.append(_NAT)
        else:
            age = time - _EPOCH
            seconds = age.days * 86_400 + age.seconds
            nanoseconds.append((seconds * 1_000_000 + age.microseconds) * 1_000)
    return np.array(nanoseconds, np.int64).view("datetime64[ns]")


def _objects(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array
