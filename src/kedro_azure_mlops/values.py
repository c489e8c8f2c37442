"""Parse times and numbers, the same way for files, requests and devices.

``read_time`` and ``read_number`` read a single value in plain Python, for requests; ``read_times``
and ``read_numbers`` read whole columns by the same grammar. The result never depends on other
values in the column. Runs on servers too, so it needs only numpy.
"""

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import compress
from typing import Any, NamedTuple

import numpy as np

# Ends at seconds or earlier, or at a fraction of up to six digits; an offset needs a time of day.
_TIME = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"([T ](?P<hour>[01]\d|2[0-3]):(?P<minute>\d\d)(:(?P<second>\d\d)(\.(?P<fraction>\d{1,6}))?)?"
    r"(?P<offset>Z|(?P<sign>[+-])(?P<hours>\d\d)(:?(?P<minutes>[0-5]\d))?)?)?",
    re.ASCII,
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE | re.ASCII)
_FIRST_YEAR, _LAST_YEAR = 1678, 2261  # the range of 64 bits of nanoseconds
_FIRST, _END = np.datetime64("1678-01-01", "us"), np.datetime64("2262-01-01", "us")
_SECONDS = _FIRST.astype("datetime64[s]").astype(int), _END.astype("datetime64[s]").astype(int)
_MONTHS = np.arange("1677-01", "2263-02", dtype="datetime64[M]").astype("datetime64[D]").astype(int)
_DAYS = np.diff(_MONTHS)  # of each month from January 1677 on
_LONGEST = 32  # characters of a time that is parsed by its form; longer ones are parsed one by one
_ROWS = 20_000  # read at a time, so that they stay in the cache
_MOST_FORMS = 20  # parsed as columns of digits; texts of other forms are parsed one by one
_PLAIN = b"0123456789+-eE \n"  # with only these and a decimal sign, `float` and our grammar agree


class Times(NamedTuple):
    """A column of times: ``datetime64[ns]`` in UTC or NaT, and which of them had an offset."""

    values: np.ndarray
    has_offset: np.ndarray


def read_time(text: Any) -> datetime:
    """Read an ISO 8601 time; ``Z`` or an offset is converted to UTC, other times are unchanged.

    Raises
    ------
    ValueError
        If it is not a time, or its year does not fit into 64 bits of nanoseconds.
    """
    try:
        stripped = text.strip()
        if not _TIME.fullmatch(stripped):
            raise ValueError
        time = datetime.fromisoformat(stripped)
        if time.tzinfo is not None:
            time = time.astimezone(UTC).replace(tzinfo=None)
        if _FIRST_YEAR <= time.year <= _LAST_YEAR:
            return time
    except (AttributeError, TypeError, ValueError, OverflowError):
        pass
    raise ValueError(
        "must be a date and time such as 2024-01-31T13:00:00, with Z or an offset if not in UTC"
    )


def has_offset(text: str) -> bool:
    """Return whether the text of a time has an offset from UTC."""
    match = _TIME.fullmatch(text.strip())
    return match is not None and match["offset"] is not None


def read_number(text: Any, decimal: str = ".") -> float:
    """Read a decimal number: digits, one decimal sign, an exponent, blanks around it.

    Parameters
    ----------
    decimal
        The decimal sign, ``.`` or ``,``. The other one is an error, not a separator to skip.

    Raises
    ------
    ValueError
        If it is not a number.
    """
    try:
        stripped = text.strip()
    except AttributeError:
        raise ValueError("must be a number") from None
    if decimal != ".":
        stripped = stripped.replace(".", "_").replace(decimal, ".")
    if _NUMBER.fullmatch(stripped):
        return float(stripped)
    if _INFINITE.fullmatch(stripped):
        return -math.inf if stripped.startswith("-") else math.inf
    raise ValueError("must be a number")


def read_times(column: Any) -> Times:
    """Read a column of times, each as ``read_time`` does; unreadable values become NaT.

    Parameters
    ----------
    column
        A Series or array of texts or of datetimes, shape ``(n,)``. Numbers are not times.
    """
    kind = getattr(column, "dtype", None)
    if getattr(kind, "tz", None) is not None:
        naive = column.dt.tz_convert("UTC").dt.tz_localize(None)
        return Times(_nanoseconds(naive.to_numpy()), np.ones(len(column), bool))
    if isinstance(kind, np.dtype) and kind.kind == "M":
        return Times(_nanoseconds(np.asarray(column)), np.zeros(len(column), bool))
    values = np.asarray(column, object)
    times = np.full(len(values), "NaT", "datetime64[ns]")
    offset = np.zeros(len(values), bool)
    for start in range(0, len(values), _ROWS):
        part = slice(start, start + _ROWS)
        is_left = _read_texts(values[part].tolist(), times[part], offset[part])
        for row in (start + np.flatnonzero(is_left)).tolist():
            time, offset[row] = _read_any_time(values[row])
            if _FIRST <= time < _END:  # numpy would wrap around, not refuse
                times[row] = time
    return Times(times, offset)


def read_numbers(column: Any, decimal: str = ".") -> np.ndarray:
    """Read a column of numbers, each as ``read_number`` does; unreadable values become NaN.

    Parameters
    ----------
    column
        A Series or array of texts or of numbers, shape ``(n,)``. True and false are not numbers.

    Returns
    -------
    ``float64``, shape ``(n,)``.
    """
    kind = getattr(column, "dtype", None)
    if kind is not None and getattr(kind, "kind", "O") in "iuf":
        if hasattr(column, "to_numpy"):
            return np.asarray(column.to_numpy(float, na_value=np.nan))
        return np.asarray(column, float)
    values = np.asarray(column, object)
    numbers = np.empty(len(values))
    for start in range(0, len(values), _ROWS):
        part = values[start : start + _ROWS].tolist()
        plain = _plain_numbers(part, decimal)
        if plain is None:
            plain = [_read_any_number(value, decimal) for value in part]
        numbers[start : start + _ROWS] = plain
    return numbers


def _plain_numbers(texts: list[Any], decimal: str) -> list[float] | None:
    """Read texts of digits, signs and blanks with ``float``; return None for other texts."""
    try:
        joined = "\n".join(texts)
        if joined.encode("ascii").translate(None, _PLAIN + decimal.encode()):
            return None
        numbers = [*map(float, joined.replace(decimal, ".").split("\n"))]
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == len(texts) else None  # else a text has a line break


def _read_any_number(value: Any, decimal: str) -> float:
    if isinstance(value, str):
        try:
            return read_number(value, decimal)
        except ValueError:
            return math.nan
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return math.nan


def _read_any_time(value: Any) -> tuple[Any, bool]:
    """Read a text in an unusual form, or a datetime among objects."""
    if isinstance(value, str):
        try:
            return np.datetime64(read_time(value), "us"), has_offset(value)
        except ValueError:
            return np.datetime64("NaT"), False
    if isinstance(value, datetime) and value == value:  # noqa: PLR0124, NaT is not a time
        if value.tzinfo is None:
            return np.datetime64(value.replace(tzinfo=None), "us"), False
        return np.datetime64(value.astimezone(UTC).replace(tzinfo=None), "us"), True
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]"), False
    return np.datetime64("NaT"), False


def _read_texts(texts: list[Any], result: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Read the texts of the most frequent forms as columns of digits; return the rows left.

    A form is the text with each digit replaced by 0. Parsing a form locates year, month and so on
    in all of its rows.
    """
    is_left = np.ones(len(texts), bool)
    for rows, columns in _group_by_length(texts):
        digits = columns - np.uint8(ord("0"))
        forms = np.where(digits < 10, np.uint8(ord("0")), columns)
        is_new = np.ones(len(rows), bool)
        for _ in range(_MOST_FORMS):
            first = int(np.argmax(is_new))
            if not is_new[first]:
                break
            same = (forms == forms[:, first, None]).all(axis=0)
            is_new &= ~same
            at = _TIME.fullmatch(forms[:, first].tobytes().decode("ascii"))
            if at is None:
                continue
            is_all = bool(same.all())
            times, is_valid = _parse_digits(digits if is_all else digits[:, same], at)
            parsed = (rows if is_all else rows[same])[is_valid]
            result[parsed], offset[parsed] = times[is_valid], at["offset"] is not None
            is_left[parsed] = False
    return is_left


def _group_by_length(texts: list[Any]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows of texts of equal length, and their bytes: shape ``(length, rows)``."""
    rows = np.arange(len(texts))
    columns = _columns(texts)
    if columns is not None:
        yield rows, columns
        return
    is_text = [type(text) is str for text in texts]
    rows, texts = rows[is_text], [*compress(texts, is_text)]
    cells = np.frombuffer("".join(texts).encode("ascii", "replace"), np.uint8)  # no form has a ?
    lengths = np.fromiter(map(len, texts), int, len(texts))
    starts = np.cumsum(lengths) - lengths
    for length in np.unique(lengths).tolist():
        if 0 < length <= _LONGEST:
            same = np.flatnonzero(lengths == length)
            yield rows[same], cells[starts[same] + np.arange(length)[:, None]]


def _columns(texts: list[Any]) -> np.ndarray | None:
    """Return the bytes of texts of one length, without a loop over them; None for other texts."""
    try:
        cells = np.frombuffer("\n".join([*texts, ""]).encode("ascii", "replace"), np.uint8)
    except TypeError:
        return None
    length, is_end = len(cells) // len(texts) - 1, cells == ord("\n")
    is_table = len(cells) == len(texts) * (length + 1) and 0 < length <= _LONGEST
    if not is_table or not is_end[length :: length + 1].all() or is_end.sum() != len(texts):
        return None
    return np.ascontiguousarray(cells.reshape(-1, length + 1).T)[:-1]


def _parse_digits(digits: np.ndarray, at: re.Match[str]) -> tuple[np.ndarray, np.ndarray]:
    """Compute the times of rows of one form, and which of them exist."""

    def number(name: str) -> Any:
        start, end = at.span(name)
        total: Any = 0
        for position in range(max(start, 0), max(end, 0)):
            total = total * 10 + digits[position].astype(np.int32)
        return total

    year, month, day = number("year"), number("month"), number("day")
    hour, minute, second = number("hour"), number("minute"), number("second")
    is_valid = (year >= _FIRST_YEAR - 1) & (year <= _LAST_YEAR + 1) & (month >= 1) & (month <= 12)
    months = np.where(is_valid, 12 * (year - _FIRST_YEAR + 1) + month - 1, 0)
    is_valid &= (day >= 1) & (day <= _DAYS[months])
    is_valid &= (hour <= 23) & (minute <= 59) & (second <= 59)
    seconds = 86_400 * (_MONTHS[months] + day - 1) + ((hour * 60 + minute) * 60 + second)
    if at["sign"]:
        hours, minutes = number("hours"), number("minutes")
        is_valid &= (hours <= 23) & (minutes <= 59)
        is_minus = digits[at.start("sign")] == np.uint8(ord("-") - ord("0") + 256)
        seconds += np.where(is_minus, 1, -1) * (hours * 60 + minutes) * 60
    is_valid &= (seconds >= _SECONDS[0]) & (seconds < _SECONDS[1])
    times = seconds * 10**9 + number("fraction") * 10 ** (9 - len(at["fraction"] or ""))
    return times.astype("datetime64[ns]"), is_valid


def _nanoseconds(times: np.ndarray) -> np.ndarray:
    if times.dtype == "datetime64[ns]":
        return times
    coarse = times.astype("datetime64[us]")  # numpy would wrap around, not refuse
    kept = (coarse >= _FIRST) & (coarse < _END)
    return np.where(kept, coarse, np.datetime64("NaT")).astype("datetime64[ns]")
