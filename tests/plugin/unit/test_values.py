"""Times and numbers: columns and single values are parsed alike, as by a plain parser."""

import calendar
import json
import math
import os
import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from kedro_azure_mlops.contract import Column, Schema
from kedro_azure_mlops.serve.request import BadRequestError, Reader
from kedro_azure_mlops.values import has_offset, read_number, read_numbers, read_time, read_times

SEEDS = int(os.environ.get("FUZZ", "10"))  # of 60 texts each; FUZZ=200000 takes ten minutes
TIMES = (
    *("2024-01-31", "2024-01-31 13:00", "2024-01-31T13:00:00Z", "2024-01-31T13:00:00.123456+02:00"),
    *("2024-01-31 13:00:00.5-0330", "2024-01-31T13:00+02", "2024-01-31T13:00:00z", "2024-02-29"),
    *("2024-01-31T24:00", "2024-02-30", "1678-01-01T00:00+01:00", "2261-12-31T23:00-05:00"),
    *("0001-01-01T00:00:00+14:00", "2024-10-28T01:00:00", "2024-10-28T00:00:00-05:00", "20240131"),
    *("2024-W01-1", "2023-02-29", "2024-01-31T13:00:00.1234567", "31.01.2024 13:00", "2024", ""),
)
NUMBERS = (
    *(
        "20.5",
        "-3",
        "1e5",
        "inf",
        "-Infinity",
        "0x10",
        "1_000",
        "1e400",
        "007",
        "+4.",
        "  7 ",
        ".5",
    ),
    *("--5", "1e", "1.2.3", "true", "99999999999999999999", "4.35", "0.30000000000000004", "20,5"),
    *("1,234.5", "1.234,5", "1 0", "", "8.41e21", "12345678901234567890.5", "1e-400"),
)
CHARACTERS = "0123456789" * 2 + ":-+T Z.,z\0eE_xinf\u0663\u00a0"


def mutate(text: str, rng: random.Random) -> str:
    letters = list(text)
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        position = rng.randrange(len(letters) + 1)
        letters[position : position + rng.randrange(2)] = rng.choice(CHARACTERS)
    if rng.random() < 0.1:
        letters = [" ", *letters, "\t"]
    return "".join(letters)


def draw_texts(seeds: tuple[str, ...], number: int) -> list[str]:
    rng = random.Random(number)  # noqa: S311
    return [mutate(rng.choice(seeds), rng) for _ in range(60)]


def digits(part: str, length: int) -> int:
    if len(part) != length or not set(part) <= set("0123456789"):
        raise ValueError(part)
    return int(part)


def plain_time(text: str) -> datetime | None:
    """Parse a time piece by piece, using only the documented rule."""
    try:
        time = plain_day(text.strip()[:10]) + plain_clock(text.strip()[10:])
    except (ValueError, IndexError, OverflowError):
        return None
    return time if 1678 <= time.year <= 2261 else None


def plain_day(text: str) -> datetime:
    year, month, day = digits(text[:4], 4), digits(text[5:7], 2), digits(text[8:], 2)
    if text[4] + text[7] != "--" or not 1 <= day <= calendar.monthrange(year, month)[1]:
        raise ValueError(text)
    return datetime(year, month, day)  # noqa: DTZ001


def plain_clock(text: str) -> timedelta:
    """Parse the part after the day and subtract its offset."""
    if not text:
        return timedelta(0)
    if text[0] not in "T " or text[3] != ":":
        raise ValueError(text)
    hour, minute, rest = digits(text[1:3], 2), digits(text[4:6], 2), text[6:]
    shift = timedelta(0)
    if rest.endswith("Z"):
        rest = rest[:-1]
    elif sign := next((mark for mark in "+-" if mark in rest), ""):
        rest, _, offset = rest.partition(sign)
        hours, minutes = digits(offset[:2], 2), offset[2:].removeprefix(":")
        if offset.endswith(":") or hours > 23 or (minutes and digits(minutes, 2) > 59):
            raise ValueError(text)
        shift = timedelta(hours=hours, minutes=int(minutes or 0)) * (1 if sign == "+" else -1)
    second = micro = 0
    if rest:
        second, fraction = digits(rest[1:3], 2), rest[3:]
        if rest[0] != ":" or (fraction and (fraction[0] != "." or not 2 <= len(fraction) <= 7)):
            raise ValueError(text)
        micro = digits(fraction[1:].ljust(6, "0"), 6)
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(text)
    return timedelta(hours=hour, minutes=minute, seconds=second, microseconds=micro) - shift


def plain_number(text: str, decimal: str = ".") -> float:
    """Parse a number piece by piece; return NaN for any other text."""
    text = text.strip()
    if text.lower() in {sign + name for sign in ("", "+", "-") for name in ("inf", "infinity")}:
        return float(text)
    mantissa, mark, exponent = text.replace("E", "e").partition("e")
    if mark and not set(exponent[exponent[:1] in {"+", "-"} :] or "x") <= set("0123456789"):
        return math.nan
    unsigned = mantissa[mantissa[:1] in {"+", "-"} :]
    if unsigned.count(decimal) > 1 or not unsigned.replace(decimal, ""):
        return math.nan
    if not set(unsigned) <= set("0123456789" + decimal):
        return math.nan
    return float(text.replace(decimal, "."))


def same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


@pytest.mark.parametrize("number", range(SEEDS))
def test_times_match_a_plain_parser_in_columns_and_as_single_values(number: int) -> None:
    texts = draw_texts(TIMES, number)
    column = read_times(pd.Series(texts))
    for text, value, offset in zip(texts, column.values, column.has_offset, strict=True):
        expected = plain_time(text)
        assert str(value) == str(np.datetime64(expected or "NaT", "ns")), repr(text)
        if expected is None:
            with pytest.raises(ValueError, match="must be a date and time"):
                read_time(text)
            continue
        assert read_time(text) == expected, repr(text)
        assert offset == has_offset(text) == any(mark in text[10:] for mark in "Z+-")


@pytest.mark.parametrize("number", range(SEEDS))
def test_numbers_match_a_plain_parser_in_columns_and_as_single_values(number: int) -> None:
    texts = draw_texts(NUMBERS, number)
    for decimal in ".,":
        column = read_numbers(pd.Series(texts, dtype=object), decimal)
        for text, value in zip(texts, column.tolist(), strict=True):
            expected = plain_number(text, decimal)
            assert same(value, expected), repr(text)
            if math.isnan(expected):
                with pytest.raises(ValueError, match="must be a number"):
                    read_number(text, decimal)
            else:
                assert read_number(text, decimal) == expected


@pytest.mark.parametrize("number", range(10))
def test_no_value_depends_on_its_neighbours(number: int) -> None:
    texts = draw_texts(TIMES, 1000 + number) * 2
    whole = read_times(pd.Series(texts)).values
    alone = np.concatenate([read_times(pd.Series([text])).values for text in texts])
    np.testing.assert_array_equal(whole, alone)


def test_columns_of_equally_long_texts_are_parsed_like_single_texts() -> None:
    """These columns are parsed as one block, so a line break must not shift later texts."""
    times = ["2024-01-31T13:00:00", "2024-01-31T13:00+02", "2024-01-31 13:00:00.5", "soon"]
    for text in (*times, "2024-01-31T13:00:0\n", "2024-01-31\n13:00:00", "2024-01-31T13:00:0é"):
        column = [times[0]] * 3 + [text] + [times[0]] * 3
        whole = read_times(pd.Series(column))
        alone = [read_times(pd.Series([one])) for one in column]
        np.testing.assert_array_equal(whole.values, np.concatenate([one.values for one in alone]))
        assert whole.has_offset.tolist() == [bool(one.has_offset[0]) for one in alone]
    broken = ["2024-01-31T13:00:002\n", "024-01-31T13:00:00"]  # joined: two times and a break
    assert np.isnat(read_times(pd.Series(broken)).values).all()
    np.testing.assert_array_equal(read_numbers(pd.Series(["1\n2", "3", "\n4\n"])), [np.nan, 3, 4])


def test_requests_and_columns_accept_the_same_times() -> None:
    schema = Schema(
        (Column("time", "datetime"), Column("load", "double")), (Column("x", "double"),)
    )
    reader = Reader(schema)
    for text in draw_texts(TIMES, 7):
        value = read_times([text]).values[0]
        body = json.dumps({"data": [{"time": text, "load": 1}]})
        if np.isnat(value):
            with pytest.raises(BadRequestError):
                reader.read(body)
        else:
            assert reader.read(body).columns["time"][0] == value


def test_a_time_without_offset_is_not_affected_by_an_earlier_offset() -> None:
    """Issue 13: pandas applies the offset of the first time to the second."""
    times = read_times(pd.Series(["2024-10-28T00:00:00-05:00", "2024-10-28T01:00:00"]))
    hours = times.values.astype("datetime64[h]").astype(str).tolist()
    assert hours == ["2024-10-28T05", "2024-10-28T01"]
    assert times.has_offset.tolist() == [True, False]


def test_datetimes_and_other_objects_are_converted_by_type() -> None:
    here = datetime(2024, 1, 31, 13, tzinfo=UTC)
    texts = pd.Series(["2024-01-31", None, here, pd.Timestamp("2024-01-31 14:00"), 20240131, True])
    assert read_times(texts).values.astype("datetime64[h]").astype(str).tolist() == [
        *("2024-01-31T00", "NaT", "2024-01-31T13", "2024-01-31T14", "NaT", "NaT")
    ]
    aware = pd.Series(pd.to_datetime(["2024-01-31 13:00+01:00", None]))
    assert read_times(aware).values[0] == np.datetime64("2024-01-31T12:00")
    assert read_times(aware).has_offset.all()
    far = np.array(["1500-01-01", "2024-01-01"], "datetime64[us]")
    assert np.isnat(read_times(far).values).tolist() == [True, False]
    assert np.isnat(read_times(pd.Series([1706706000, 3])).values).all(), "numbers are not times"
    numbers = pd.Series([1, True, "2.5", None, np.float32(0.5), 10**400], dtype=object)
    np.testing.assert_array_equal(
        read_numbers(numbers), [1, math.nan, 2.5, math.nan, 0.5, math.inf]
    )
    assert np.isnan(read_numbers(pd.Series([True, False]))).all()
