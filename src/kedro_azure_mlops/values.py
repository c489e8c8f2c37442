"""Times and numbers as text: the one parser of files, requests and devices.

``read_time`` and ``read_number`` read a value in plain Python, as a request needs it;
``read_times`` and ``read_numbers`` read whole columns by the same grammar. What a value is never
depends on the values beside it. Runs on servers too, so it needs numpy alone.
"""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
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
_FIRST_YEAR, _LAST_YEAR = 1678, 2261  # what 64 bits of nanoseconds hold
_FIRST, _END = np.datetime64("1678-01-01", "us"), np.datetime64("2262-01-01", "us")
_LONGEST = 32  # characters of a time that are compared; a longer one is read by itself
_ROWS = 20_000  # that are read at a time: they stay in the cache
_MOST_FORMS = 20  # of one column that are read as columns; more are read one by one


class Times(NamedTuple):
    """A column of times: ``datetime64[ns]`` in UTC or NaT, and which of them had an offset."""

    values: np.ndarray
    has_offset: np.ndarray


def read_time(text: Any) -> datetime:
    """Read an ISO 8601 time; with ``Z`` or an offset it becomes UTC, without it is taken as it is.

    Raises
    ------
    ValueError
        If it is none, or of a year that 64 bits of nanoseconds do not hold.
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
    """Return whether the text of a time says how far it is from UTC."""
    found = _TIME.fullmatch(text.strip())
    return found is not None and found["offset"] is not None


def read_number(text: Any, decimal: str = ".") -> float:
    """Read a decimal number: digits, one decimal sign, an exponent, blanks around it.

    Parameters
    ----------
    decimal
        The decimal sign. The other sign of ``.`` and ``,`` is refused, not skipped.

    Raises
    ------
    ValueError
        If it is none.
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
    """Read a column of times, each as ``read_time`` does; what cannot be read becomes NaT.

    Parameters
    ----------
    column
        A Series or array of texts or of datetimes, shape ``(n,)``. Numbers are no times.
    """
    kind = getattr(column, "dtype", None)
    if getattr(kind, "tz", None) is not None:
        naive = column.dt.tz_convert("UTC").dt.tz_localize(None)
        return Times(_nanoseconds(naive.to_numpy()), np.ones(len(column), bool))
    if isinstance(kind, np.dtype) and kind.kind == "M":
        return Times(_nanoseconds(np.asarray(column)), np.zeros(len(column), bool))
    values = np.asarray(column, object)
    found = np.full(len(values), "NaT", "datetime64[us]")
    offset = np.zeros(len(values), bool)
    for start in range(0, len(values), _ROWS):
        part = slice(start, start + _ROWS)
        is_left = _read_texts(values[part].tolist(), found[part], offset[part])
        for row in (start + np.flatnonzero(is_left)).tolist():
            found[row], offset[row] = _read_any_time(values[row])
    return Times(_nanoseconds(found), offset)


def read_numbers(column: Any, decimal: str = ".") -> np.ndarray:
    """Read a column of numbers, each as ``read_number`` does; what cannot be read becomes NaN.

    Parameters
    ----------
    column
        A Series or array of texts or of numbers, shape ``(n,)``. True and false are no numbers.

    Returns
    -------
    ``float64``, shape ``(n,)``.
    """
    kind = getattr(column, "dtype", None)
    if kind is not None and getattr(kind, "kind", "O") in "iuf":
        if hasattr(column, "to_numpy"):
            return np.asarray(column.to_numpy(float, na_value=np.nan))
        return np.asarray(column, float)
    return np.fromiter(
        (_read_any_number(value, decimal) for value in np.asarray(column, object).tolist()),
        float,
        len(column),
    )


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
    """Read a text that is not of one of the usual forms, or a datetime among objects."""
    if isinstance(value, str):
        try:
            return np.datetime64(read_time(value), "us"), has_offset(value)
        except ValueError:
            return np.datetime64("NaT"), False
    if isinstance(value, datetime) and value == value:  # noqa: PLR0124, NaT is none
        if value.tzinfo is None:
            return np.datetime64(value.replace(tzinfo=None), "us"), False
        return np.datetime64(value.astimezone(UTC).replace(tzinfo=None), "us"), True
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]"), False
    return np.datetime64("NaT"), False


def _read_texts(texts: Sequence[Any], found: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Read the texts of the most frequent forms as columns of digits; return which rows are left.

    A form is the text with each digit as 0. What the grammar makes of a form says where year,
    month and so on stand in all rows that have it.
    """
    cells, lengths = _bytes_of(texts)
    table = cells.view(np.uint8).reshape(len(texts), _LONGEST)
    is_digit = (table - np.uint8(ord("0"))) < 10
    forms = np.where(is_digit, np.uint8(ord("0")), table)
    words = forms.view(np.uint64)  # compared eight characters at a time
    is_left = is_new = np.ones(len(texts), bool)
    for _ in range(_MOST_FORMS):
        first = int(np.argmax(is_new))
        if not is_new[first]:
            break
        form = forms[first].tobytes().rstrip(b"\0").decode("ascii")
        # numpy leaves out a NUL at the end of a text, and what is longer than its cells
        same = (words == words[first]).all(axis=1)
        is_new = is_new & ~same
        same &= lengths == len(form)
        at = _TIME.fullmatch(form)
        if at is not None and same.any():
            times, is_valid = _of_digits(table if same.all() else table[same], at)
            done = np.flatnonzero(same)[is_valid]
            found[done], offset[done] = times[is_valid], at["offset"] is not None
            is_left = is_left.copy()
            is_left[done] = False
    return is_left


def _bytes_of(texts: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return texts as fixed rows of bytes with their lengths; what is no text is empty."""
    try:
        if set(map(type, texts)) != {str}:
            raise ValueError
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        return np.array(texts, f"S{_LONGEST}"), lengths
    except ValueError:  # not texts alone, or not of ASCII: a ? is in no form
        plain = [text.encode("ascii", "replace") if type(text) is str else b"" for text in texts]
        lengths = np.fromiter(map(len, plain), np.int64, len(plain))
        return np.array(plain, f"S{_LONGEST}"), lengths


def _of_digits(table: np.ndarray, at: re.Match[str]) -> tuple[np.ndarray, np.ndarray]:
    """Make times of rows of one form; also which of them are times that exist."""

    def number(name: str) -> Any:
        start, end = at.span(name)
        total: Any = 0
        for place in range(max(start, 0), max(end, 0)):
            total = total * 10 + (table[:, place].astype(np.int64) - ord("0"))
        return total

    year, month, day = number("year"), number("month"), number("day")
    hour, minute, second = number("hour"), number("minute"), number("second")
    is_month = (month >= 1) & (month <= 12)
    months = (12 * (year - 1970) + np.where(is_month, month, 1) - 1).astype("datetime64[M]")
    first = months.astype("datetime64[D]")
    days = ((months + 1).astype("datetime64[D]") - first).astype(np.int64)
    is_valid = is_month & (day >= 1) & (day <= days)
    is_valid &= (hour <= 23) & (minute <= 59) & (second <= 59) & (year >= 1)
    digits = at["fraction"] or ""
    micros = ((hour * 60 + minute) * 60 + second) * 10**6
    micros += number("fraction") * 10 ** (6 - len(digits))
    if at["sign"]:
        hours, minutes = number("hours"), number("minutes")
        is_valid &= (hours <= 23) & (minutes <= 59)
        sign = np.where(table[:, at.start("sign")] == ord("-"), -1, 1)
        micros -= sign * (hours * 60 + minutes) * 60 * 10**6
    times = (first + (day - 1)).astype("datetime64[us]") + np.asarray(micros).astype(
        "timedelta64[us]"
    )
    return times, is_valid & (times >= _FIRST) & (times < _END)


def _nanoseconds(times: np.ndarray) -> np.ndarray:
    if times.dtype == "datetime64[ns]":
        return times
    coarse = times.astype("datetime64[us]")  # numpy would wrap around, not refuse
    kept = (coarse >= _FIRST) & (coarse < _END)
    return np.where(kept, coarse, np.datetime64("NaT")).astype("datetime64[ns]")
