"""Window sums are exact: independent of earlier rows and of the number of rows."""

import numpy as np
import pytest

from kedro_azure_mlops.window_sums import ShortSums, WindowSums
from kedro_azure_mlops.windows import DAY, ShortSeries, Timeline

HOUR = DAY // 24


def half_hourly(rows: int, starts: tuple[int, ...] = (0,)) -> Timeline:
    """Return half-hourly rows of series that are 100 days apart."""
    series = np.searchsorted(starts, np.arange(rows), "right") - 1
    return Timeline(np.arange(rows) * HOUR // 2 + series * 100 * DAY, np.array(starts))


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).normal(20, 3, 500)


def test_means_and_deviations_match_those_of_each_window(values: np.ndarray) -> None:
    line = half_hourly(len(values))
    firsts = line.windows(6 * HOUR, 6)
    sums = WindowSums(line, values)
    windows = [values[first : row + 1] for row, first in enumerate(firsts)]
    np.testing.assert_allclose(sums.means(firsts), [w.mean() for w in windows], atol=1e-6)
    spread = [w.std(ddof=1) if len(w) > 1 else 1.0 for w in windows]
    np.testing.assert_allclose(sums.deviations(firsts), spread, atol=1e-3)


def test_a_window_does_not_depend_on_earlier_rows(values: np.ndarray) -> None:
    line, after = half_hourly(len(values)), half_hourly(100)
    sums = WindowSums(line, values + 1e4), WindowSums(after, values[400:] + 1e4)
    whole, cut = line.windows(6 * HOUR, 6)[450:], after.windows(6 * HOUR, 6)[50:]
    np.testing.assert_array_equal(whole - 400, cut)
    for one, other in zip(
        (sums[0].means, sums[0].deviations), (sums[1].means, sums[1].deviations), strict=True
    ):
        all_rows = one(line.windows(6 * HOUR, 6))[450:]
        assert all_rows.tobytes() == other(after.windows(6 * HOUR, 6))[50:].tobytes()


def test_plain_python_and_numpy_sums_are_identical_bit_for_bit(values: np.ndarray) -> None:
    line = half_hourly(len(values))
    firsts = line.windows(HOUR * 3, 4)
    means, deviations = WindowSums(line, values).means(firsts), WindowSums(line, values)
    spread, short = deviations.deviations(firsts), ShortSums(values.tolist())
    for row, first in enumerate(firsts.tolist()):
        assert short.mean(first, row) == means[row]
        assert short.deviation(first, row) == spread[row]


@pytest.mark.parametrize("rows", [1, 3])
def test_values_too_large_for_exact_sums_are_rejected(rows: int) -> None:
    line, firsts = half_hourly(rows), np.zeros(rows, int)
    with pytest.raises(ValueError, match=r"a value of 1e\+13 is too large for exact sums"):
        WindowSums(line, np.full(rows, -1e13))
    squared = WindowSums(line, np.full(rows, 1e7))
    with pytest.raises(ValueError, match=r"a value of 1e\+07 is too large for exact sums"):
        squared.deviations(firsts)
    assert squared.means(firsts).tolist() == [1e7] * rows
    assert (WindowSums(line, np.full(rows, 1e5)).deviations(firsts) >= 0).all()


def test_large_values_are_rejected_and_sums_do_not_cross_series() -> None:
    line = half_hourly(6, (0, 3))
    with pytest.raises(ValueError, match="a value of 5e"):
        WindowSums(line, np.array([1, 2, 3, 5e14, 1, 2]))
    sums = WindowSums(line, np.array([1.0, 2, 3, 10, 20, 30]))
    assert sums.means(line.windows(HOUR, 3)).tolist() == [1, 1.5, 2, 10, 15, 20]


def test_an_empty_table_has_no_windows() -> None:
    line, none = Timeline(np.zeros(0, int), np.zeros(0, int)), np.zeros(0, int)
    sums = WindowSums(line, np.zeros(0))
    assert (len(sums.means(none)), len(sums.deviations(none))) == (0, 0)


def test_the_difference_is_zero_at_the_start_and_after_a_gap() -> None:
    times = np.array([0, 1, 2, 3, 4, 100, 101, 102, 103], np.int64) * HOUR
    values = np.array([1.0, 2, 4, 7, 11, 50, 51, 90, 92])
    line = Timeline(times, np.array([0, 7]))
    expected = [0, 1, 2, 3, 4, 0, 1, 0, 2]
    assert line.differences(values, 6, 25).tolist() == expected
    short = ShortSeries(times[:7].tolist(), values[:7].tolist())
    assert [short.difference(row, 6, 25) for row in range(7)] == expected[:7]
