"""Error codes are found by their pattern; held values and the end of a scale are not codes."""

import numpy as np
import pandas as pd
import pytest

from kedro_azure_mlops import error_codes
from kedro_azure_mlops.error_codes import describe_code, find_error_codes, list_error_codes

ROWS = 2000
CODES = (85.0, -99.9, -127.0, 999.9, 6553.5, 0.0)


def swing(seed: int = 0, decimals: int = 2) -> np.ndarray:
    """Return quarter-hourly values of a daily swing between 16 and 24."""
    noise = np.random.default_rng(seed).normal(0, 0.3, ROWS)
    return (20 + 3 * np.sin(2 * np.pi * np.arange(ROWS) / 96) + noise).round(decimals)


def insert_at_random(values: np.ndarray, code: float, count: int, seed: int = 1) -> np.ndarray:
    changed = values.copy()
    changed[np.random.default_rng(seed).choice(ROWS, count, replace=False)] = code
    return changed


def insert_shape(values: np.ndarray, shape: list[float], times: int = 9) -> np.ndarray:
    changed = values.copy()
    for start in range(100, 100 + 200 * times, 200):
        changed[start : start + len(shape)] = shape
    return changed


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("count", [3, 12, 400, 1200])
@pytest.mark.parametrize("decimals", [1, 2])
def test_a_code_is_found_whatever_its_frequency(code: float, count: int, decimals: int) -> None:
    values = insert_at_random(swing(decimals=decimals), code, count)
    np.testing.assert_array_equal(find_error_codes(values), values == code)


def test_two_codes_do_not_hide_each_other() -> None:
    values = insert_at_random(insert_at_random(swing(), 85.0, 12), -99.9, 200, seed=2)
    np.testing.assert_array_equal(find_error_codes(values), np.isin(values, [85.0, -99.9]))


def test_a_code_that_lasts_several_rows_is_found() -> None:
    values = insert_shape(swing(), [-127.0] * 6)
    assert find_error_codes(values).sum() == 54


NO_CODES = {
    "clean": swing(),
    "twice only": insert_at_random(swing(), 85.0, 2),
    "different each time": np.where(
        insert_at_random(swing(), 1e3, 12) == 1e3, 85 + np.arange(ROWS) / 100, swing()
    ),
    "one long stretch": insert_shape(swing(), [85.0] * 12, times=1),
    "near the other values": insert_at_random(swing(), 26.5, 12),
    "a thermostat": np.where(np.arange(ROWS) % 96 < 30, 16.0, 21.0),
    "a thermostat that hardly moves": np.where(np.arange(ROWS) % 7 < 6, 21.0, 20.5),
    "held for days": insert_shape(swing(), [8.0] * 96),
    "the end of a scale": insert_shape(swing(), [30, 45, 60, 75, 85, 85, 85, 85, 70, 55, 40, 30]),
    "a sudden rise to the end of a scale": insert_shape(swing(), [85, 85, 85, 60, 35]),
    "a sudden fall from the end of a scale": insert_shape(swing(), [40, 65, 85, 85, 85]),
    "on and off": np.arange(ROWS) % 2 * 100.0,
    "constant": np.full(ROWS, 20.0),
    "no values": np.zeros(0),
}


def steps_between(*usual: float, rows: int = 300) -> np.ndarray:
    """Return a value with a coarse resolution, which changes between a few steps."""
    return np.random.default_rng(0).choice(usual, rows)


FEW_VALUES = {
    "three steps": (steps_between(20.0, 20.5, 21.0), 85.0, 4, True),
    "three steps, below": (steps_between(20.0, 20.5, 21.0), -127.0, 15, True),
    "three steps, in a long series": (steps_between(20.0, 20.5, 21.0, rows=2000), 85.0, 40, True),
    "four steps": (steps_between(20.0, 20.5, 21.0, 21.5), 85.0, 4, True),
    "a third state": (steps_between(0.0, 1.0), 100.0, 4, False),
    "off, which is frequent": (steps_between(20.0, 20.5, 21.0), 0.0, 40, False),
    "states far from each other": (steps_between(0.0, 5.0, 50.0), 255.0, 4, False),
    "twice only": (steps_between(20.0, 20.5, 21.0), 85.0, 2, False),
}


@pytest.mark.parametrize(
    ("values", "code", "count", "is_found"), FEW_VALUES.values(), ids=FEW_VALUES
)
def test_a_code_among_few_values_is_told_from_a_state(
    values: np.ndarray, code: float, count: int, is_found: bool
) -> None:
    values[np.linspace(5, len(values) - 5, count).astype(int)] = code
    assert find_error_codes(values).tolist() == ((values == code) & is_found).tolist()


@pytest.mark.parametrize("values", NO_CODES.values(), ids=NO_CODES)
def test_other_values_are_not_taken_for_codes(values: np.ndarray) -> None:
    assert not find_error_codes(values).any()


def test_each_series_is_judged_by_its_own_values() -> None:
    """85 is usual for a boiler whose rows alternate with those of the other series."""
    cold = insert_at_random(swing(), 85.0, 12)
    hot = (85 + swing(seed=3) - 20).round(1)
    values, series = np.stack([cold, hot], axis=1).ravel(), np.array(["cold", "hot"] * ROWS, object)
    np.testing.assert_array_equal(
        find_error_codes(values, series), (values == 85.0) & (series == "cold")
    )


@pytest.mark.parametrize("seed", range(10))
def test_many_short_series_give_the_same_codes_as_each_one_alone(seed: int) -> None:
    """Most series are skipped together, as none of them has a code."""
    random = np.random.default_rng(seed)
    tables, expected = [], []
    for number in range(60):
        values = swing(seed=100 * seed + number, decimals=number % 3)[: random.integers(1, 60)]
        if number % 2:
            positions = random.integers(0, len(values), random.integers(1, 8))
            values[positions] = random.choice([85.0, -127.0, 30.0])
        tables.append(pd.DataFrame({"values": values, "series": f"s{number}"}))
        expected.append(np.isin(values, error_codes._codes(values)))
    table = (
        pd.concat(tables).assign(expected=np.concatenate(expected)).sample(frac=1, random_state=1)
    )
    table = table.sort_index(kind="stable")  # each series in order, but interleaved
    assert 0 < table["expected"].sum() < len(table)
    np.testing.assert_array_equal(
        find_error_codes(table["values"], table["series"]), table["expected"]
    )


def test_codes_are_listed_with_their_count_and_lines() -> None:
    lines = pd.RangeIndex(2, 16)
    rows = pd.DataFrame({"unit": "a", "load": [85.0] * 12 + [-99.9] * 2}, index=lines)
    assert list_error_codes(rows, "load", "unit") == [
        "a: -99.9 2 times, lines 14, 15",
        "a: 85 12 times, lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more",
    ]
    assert list_error_codes(rows[:0], "load", "unit") == []


@pytest.mark.parametrize(
    ("code", "text"),
    [(85.0, "85"), (2147483647.0, "2147483647"), (65535.25, "65535.25"), (-0.1, "-0.1")],
)
@pytest.mark.parametrize("kind", [float, np.float64])
def test_a_code_is_shown_exactly(code: float, text: str, kind: type) -> None:
    assert describe_code("a", kind(code), 1, [2]) == f"a: {text} 1 times, lines 2"


def test_a_code_in_single_precision_is_shown_with_its_own_digits() -> None:
    assert describe_code("a", np.float32(999.9), 1, [2]) == "a: 999.9 1 times, lines 2"
