"""Windows are the same for a series alone, among other series, and row by row."""

from itertools import pairwise

import numpy as np
import pytest

from kedro_azure_mlops import windows
from kedro_azure_mlops.windows import (
    DAY,
    Timeline,
    by_series,
    short_series,
    timelines,
    with_history,
)

HOUR, LOOK_BACK = DAY // 24, 17
STEPS = (0.0, 0.3, 1.0, 1.0, 1.0, 1.0, 7.5, 100.0)  # in usual steps
HOLES = (0, 3, 15, 365)  # days


def random_series(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw up to 80 irregular rows: repeated times, gaps up to a year, a day or years of data."""
    rows = int(random.choice([1, 2, 3, 7, 27, 80]))
    usual = random.choice([60, 1800, 10_800, 86_400])
    steps = random.choice(STEPS, rows) * usual * 1e9
    steps[random.integers(rows)] += random.choice(HOLES) * DAY
    begin = random.choice(["1969-12-31T23:59", "2024-03-01T12:00:00.123456789", "2250-06-30"])
    times = np.datetime64(begin, "ns") + np.cumsum(steps).astype("timedelta64[ns]")
    return times, random.normal(20, 3, rows)


def timeline_results(
    times: np.ndarray, values: np.ndarray, starts: np.ndarray | None
) -> list[np.ndarray]:
    """Return all results of a timeline: window starts, history, gaps and deviations."""
    parts = []
    for rows, line in timelines(times, starts, LOOK_BACK):
        is_after_gap = np.zeros(len(line.ns), bool)
        is_after_gap[line.after_gaps(6.0, 25)] = True
        parts.append(
            [
                rows.start + line.windows(6 * HOUR, 6),
                line.has_history(5, DAY, LOOK_BACK * DAY),
                is_after_gap,
                line.seasonal_deviations(values[rows], 3.0, 15),
            ]
        )
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


@pytest.fixture
def short_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "_ROWS", 100)
    monkeypatch.setattr(windows, "_DAYS", 900)


@pytest.mark.parametrize("cut", [False, True], ids=["one timeline", "several"])
def test_many_series_together_get_the_results_of_each_series_alone(
    cut: bool, request: pytest.FixtureRequest
) -> None:
    if cut:
        request.getfixturevalue("short_lines")
    random = np.random.default_rng(0)
    for _ in range(30):
        many = [random_series(random) for _ in range(random.integers(2, 20))]
        starts = np.cumsum([0, *(len(times) for times, _ in many[:-1])])
        times, values = (np.concatenate(part) for part in zip(*many, strict=True))
        alone = [timeline_results(*one, None) for one in many]
        for one, start in zip(alone, starts, strict=True):
            one[0] += start
        expected = [np.concatenate(part) for part in zip(*alone, strict=True)]
        for ours, theirs in zip(timeline_results(times, values, starts), expected, strict=True):
            assert ours.tobytes() == theirs.tobytes()


def one_by_one(ns: list[int], values: list[float], row: int) -> tuple[int, bool, bool, float]:
    """Look back from one row of a series, as the docstrings describe it."""
    window = [n for n in range(row + 1) if ns[n] > ns[row] - 6 * HOUR]
    first = min(window[0], max(row - 5, 0))
    before = [ns[row] - ns[n] for n in range(row)]
    enough = row >= 5 and any(DAY <= age <= LOOK_BACK * DAY for age in before)
    steps = [b - a for a, b in pairwise(ns[: row + 1])]
    known = [step for step in steps[:-1][-25:] if step > 0]
    after_gap = bool(known) and steps[-1] > 6 * np.median(known)
    own = ns[row] % DAY // (DAY // 48)
    cells: dict[int, list[float]] = {}
    for time, value in zip(ns, values, strict=True):
        age = ns[row] // DAY - time // DAY
        if 0 < age <= 15 and time % DAY // (DAY // 48) == own:
            cells.setdefault(age, []).append(value)
    weights = [0.5 ** (age / 3) for age in cells]
    means = [np.mean(cell) for cell in cells.values()]
    usual = np.average(means, weights=weights) if cells else values[row]
    return first, enough, after_gap, values[row] - usual


def test_results_match_looking_back_from_each_row() -> None:
    random = np.random.default_rng(1)
    for _ in range(40):
        times, values = random_series(random)
        ns = times.astype(np.int64).tolist()
        expected = [one_by_one(ns, values.tolist(), row) for row in range(len(ns))]
        first, enough, after_gap, deviations = timeline_results(times, values, None)
        assert first.tolist() == [row[0] for row in expected]
        assert enough.tolist() == [row[1] for row in expected]
        assert after_gap.tolist() == [row[2] for row in expected]
        np.testing.assert_allclose(deviations, [row[3] for row in expected], atol=1e-12)


@pytest.mark.parametrize("share", [None, 0.5], ids=["all rows", "some rows"])
def test_row_by_row_results_equal_those_of_numpy_bit_for_bit(share: float | None) -> None:
    random, seen = np.random.default_rng(2), 0
    history = 5, DAY, LOOK_BACK * DAY
    for _ in range(300):
        many = [random_series(random) for _ in range(3)]
        numbers = np.repeat([7, -1, 2], [len(times) for times, _ in many])
        times, values = (np.concatenate(part) for part in zip(*many, strict=True))
        order = np.argsort(times, kind="stable")  # this mixes the series
        times, values, numbers = times[order], values[order], numbers[order]
        wanted = None if share is None else random.random(len(times)) < share
        rows, starts, asked = with_history(times, numbers, wanted, *history)
        first, enough, after_gap, deviations = timeline_results(times[rows], values[rows], starts)
        expected = {}
        for at in np.flatnonzero(asked).tolist():
            assert enough[at]
            own_first = first[at] - starts[np.searchsorted(starts, at, "right") - 1]
            expected[int(rows[at])] = own_first, after_gap[at], deviations[at].tobytes()
        ours = {}
        for line, within, among in short_series(times, values, numbers, wanted, *history):
            for own, row in zip(within, among, strict=True):
                deviation = np.float64(line.seasonal_deviation(own, 3.0, 15)).tobytes()
                gap = line.is_after_gap(own, 6.0, 25)
                ours[row] = line.window(own, 6 * HOUR, 6), gap, deviation
        assert ours == expected
        seen += len(ours)
    assert seen > 1000


def test_series_without_requested_rows_are_left_out() -> None:
    times = np.datetime64("2024-01-01", "ns") + np.tile(np.arange(10), 2) * np.timedelta64(6, "h")
    numbers = np.repeat([0, 1], 10)
    wanted = np.arange(20) == 19
    rows, starts, asked = with_history(times, numbers, wanted, 5, DAY, LOOK_BACK * DAY)
    assert (rows.tolist(), starts.tolist()) == ([*range(10, 20)], [0])
    assert np.flatnonzero(asked).tolist() == [9]
    rows, starts, asked = with_history(times, numbers, wanted, 5, 9 * DAY, LOOK_BACK * DAY)
    assert len(rows) == len(starts) == len(asked) == 0


def test_an_empty_timeline_has_no_windows() -> None:
    line = Timeline(np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert line.windows(HOUR, 6).shape == line.has_history(5, DAY, 2 * DAY).shape == (0,)
    assert line.after_gaps(6.0, 25).shape == (0,)
    assert line.seasonal_deviations(np.zeros(0), 3.0, 15).shape == (0,)


@pytest.mark.parametrize(
    ("numbers", "order", "starts"),
    [
        ([], [], []),
        ([4], [0], [0]),
        ([0, 0, 1, 3, 3], [0, 1, 2, 3, 4], [0, 2, 3]),
        ([1, 0, 1, 0, 2], [1, 3, 0, 2, 4], [0, 2, 4]),
    ],
)
def test_rows_are_ordered_by_series(
    numbers: list[int], order: list[int], starts: list[int]
) -> None:
    found_order, found_starts = by_series(np.array(numbers, np.int64))
    assert np.arange(len(numbers))[found_order].tolist() == order
    assert found_starts.tolist() == starts
