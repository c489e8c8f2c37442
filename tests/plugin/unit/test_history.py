"""The data of refits: rows before a time, bounded samples, usual ranges and error codes."""

import numpy as np
import pandas as pd
import pytest

from kedro_azure_mlops.history import (
    ScoredPast,
    SeriesRows,
    quantiles_of_rows,
    refit_cuts,
    robust_profiles,
    scores_of_twins,
    without_strong_alarms,
)

DAY = np.timedelta64(1, "D")
NO_ROWS, STARTS_FRESH = np.zeros(0, int), np.array([True])
START = np.datetime64("2024-01-01", "ns")


def random() -> np.random.Generator:
    return np.random.default_rng(0)


def rows_of(counts: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return one row a day of each series, in random order."""
    names = np.repeat(np.array([*counts], object), [*counts.values()])
    times = np.concatenate([START + np.arange(count) * DAY for count in counts.values()])
    order = random().permutation(len(names))
    return names[order], times[order]


def past_of(values: np.ndarray, name: str = "a") -> ScoredPast:
    times = START + np.arange(len(values)) * DAY
    return ScoredPast(np.full(len(values), name, object), times, values)


def test_rows_are_sorted_by_series_and_time() -> None:
    names, times = rows_of({"b": 5, "a": 3, "c": 1})
    rows = SeriesRows(names, times)
    assert rows.names == ["a", "b", "c"]
    assert rows.in_order(names).tolist() == ["a"] * 3 + ["b"] * 5 + ["c"]
    assert (rows.in_order(times) == rows.times).all()
    assert (rows.as_given(rows.times) == times).all()
    assert rows.starts.tolist() == [0, 3, 8]
    assert rows.ends.tolist() == [3, 8, 9]


def test_sorted_rows_are_not_copied() -> None:
    names = np.array(["a", "a", "b"], object)
    times = np.array([START, START, START - DAY])
    rows = SeriesRows(names, times)
    assert rows.in_order(times) is times
    assert rows.as_given(times) is times
    later_first = SeriesRows(names, times + np.array([1, 0, 0]) * DAY)
    assert later_first.in_order(np.arange(3)).tolist() == [1, 0, 2]


def test_bounds_are_the_first_rows_at_or_after_a_time() -> None:
    names, times = rows_of({"a": 3, "b": 5})
    rows = SeriesRows(names, times)
    cuts = START + np.array([0, 2, 4, 9]) * DAY
    assert rows.bounds(cuts).tolist() == [[0, 2, 3, 3], [3, 5, 7, 8]]
    chosen = rows.between(*rows.bounds(cuts).T[1:3])
    assert chosen.tolist() == [2, 5, 6]


@pytest.mark.parametrize("most", [8, 100])
def test_a_sample_of_few_rows_contains_all_of_them(most: int) -> None:
    rows = SeriesRows(*rows_of({"a": 3, "b": 5}))
    assert rows.sample(rows.ends, most, random()).tolist() == [*range(8)]
    at, is_row = rows.sample_each(rows.ends, most, random())
    assert at[is_row].tolist() == [*range(8)]
    assert is_row.sum(axis=1).tolist() == [3, 5]


def test_a_sample_of_many_rows_is_bounded_evenly_spread_and_seeded() -> None:
    rows = SeriesRows(*rows_of({"a": 700, "b": 7_000}))
    chosen = rows.sample(rows.ends, 100, random())
    assert len(set(chosen.tolist())) == 100
    assert (np.diff(chosen) < 2 * 77 + 2).all()
    assert (chosen < 700).sum() in {9, 10}
    assert (chosen == rows.sample(rows.ends, 100, random())).all()
    assert (chosen != rows.sample(rows.ends, 100, np.random.default_rng(1))).any()
    assert len(set((chosen % 7).tolist())) == 7, "no day of the week is preferred"


@pytest.mark.parametrize("count", [1_001, 1_100, 1_500, 2_500])
def test_one_row_is_chosen_from_each_equal_part(count: int) -> None:
    rows = SeriesRows(*rows_of({"a": count, "b": 30}))
    at, is_row = rows.sample_each(rows.ends, 1_000, random())
    edges = np.arange(1_001) * count // 1_000
    for chosen in (at[0], rows.sample(rows.ends[:1], 1_000, random())):
        assert ((chosen >= edges[:-1]) & (chosen < edges[1:])).all()
    assert at[1][is_row[1]].tolist() == [*range(count, count + 30)]


def test_a_sample_has_no_rows_at_or_after_the_bound() -> None:
    rows = SeriesRows(*rows_of({"a": 700, "b": 7_000}))
    stops = rows.bounds(np.array([START + 500 * DAY]))[:, 0]
    for chosen in (rows.sample(stops, 100, random()), rows.sample_each(stops, 100, random())[0]):
        assert (rows.times[chosen] < START + 500 * DAY).all()


def test_each_series_is_sampled_up_to_the_same_number() -> None:
    rows = SeriesRows(*rows_of({"a": 3, "b": 7_000, "c": 40}))
    at, is_row = rows.sample_each(rows.ends, 40, random())
    assert is_row.sum(axis=1).tolist() == [3, 40, 40]
    assert (rows.series[at[is_row]] == np.repeat([0, 1, 2], [3, 40, 40])).all()
    assert len(set(at[1].tolist())) == 40


def test_a_sample_of_no_rows_is_empty() -> None:
    rows = SeriesRows(np.array([], object), np.array([], "datetime64[ns]"))
    assert len(rows.sample(rows.ends, 10, random())) == 0
    assert rows.sample_each(rows.ends, 10, random())[0].shape == (0, 0)


def test_quantiles_equal_those_of_numpy_for_the_selected_values() -> None:
    table = random().normal(size=(4, 3, 50))
    selected = random().random((4, 1, 50)) < 0.6
    shares = (0.0, 0.01, 0.25, 0.5, 1.0)
    quantiles = quantiles_of_rows(table, selected, shares)
    for group in range(4):
        expected = np.quantile(table[group][:, selected[group, 0]], shares, axis=1).T
        np.testing.assert_allclose(quantiles[group], expected, rtol=1e-12)
    assert np.isnan(quantiles_of_rows(table, np.zeros(50, bool), shares)).all()


def test_profiles_are_median_and_quartile_range_of_series_with_enough_rows() -> None:
    rows = SeriesRows(*rows_of({"a": 200, "b": 49, "c": 60}))
    table = random().normal(size=(309, 2))
    table[rows.starts[2] :, 1] = 5.0
    at, is_row = rows.sample_each(rows.ends, 1_000, random())
    profiles = robust_profiles(table, at, is_row, fewest=50, smallest_scale=0.5)
    low, middle, high = np.quantile(table[:200, 0], [0.25, 0.5, 0.75])
    np.testing.assert_allclose(profiles[0, :, 0], [middle, high - low])
    assert np.isnan(profiles[1]).all()
    assert profiles[2, :, 1].tolist() == [5.0, 0.5]


def test_only_the_expected_number_of_weakest_alarms_is_kept() -> None:
    scores = np.array([0.0, 0.5, 1.5, 3.0, 2.0, 0.9])
    assert without_strong_alarms(scores, 0.2).tolist() == [True, True, True, False, False, True]
    assert without_strong_alarms(scores, 0.01).sum() == 4
    assert without_strong_alarms(np.zeros(3), 0.2).all()


def test_refits_follow_each_doubling_of_history_and_then_a_fixed_interval() -> None:
    times = START + np.arange(100) * DAY
    assert refit_cuts(times, 60, "10D", "7D", 5) == [7, 17, 34, 60, 70, 80, 90]
    assert refit_cuts(times, 60, None, "7D", 5) == [7, 60]
    assert refit_cuts(times, 4, "50D", "7D", 5) == [4, 54]


def test_flagged_rows_are_not_trusted_unless_the_change_lasts() -> None:
    past = past_of(np.zeros(30))
    rows, inside_range = np.arange(10, 20), np.zeros(10)
    scores = np.zeros(10)
    scores[:3] = 2.0
    past.remember(rows, scores, inside_range)
    assert past.is_trusted(np.arange(30)).sum() == 27
    past.remember(rows + 10, np.full(10, 2.0), inside_range)  # all rows are flagged
    assert past.is_trusted(rows + 10).all()


def test_a_row_far_outside_its_range_is_not_trusted_even_if_not_flagged() -> None:
    past = past_of(np.zeros(10))
    past.remember(np.arange(10), np.zeros(10), np.array([1.6, 1.8, *[0.0] * 8]))
    assert past.is_trusted(np.arange(10)).tolist() == [True, False, *[True] * 8]
    past.remember(np.arange(10), np.full(10, np.nan), np.full(10, np.nan))
    assert past.is_trusted(np.arange(10)).all()


def insert_codes(values: np.ndarray, positions: list[int]) -> np.ndarray:
    values[positions] = 85.0
    return values


def test_a_known_code_is_marked_in_all_rows_of_its_series() -> None:
    values = insert_codes(20 + random().random(300), [30, 60, 90, 250])
    past = past_of(values)
    assert past.look_for_codes(np.array([50])) == []
    assert past.look_for_codes(np.array([100])) == [0]
    assert np.flatnonzero(past.is_code).tolist() == [30, 60, 90, 250]
    assert past.look_for_codes(np.array([300])) == []


def test_new_codes_are_searched_after_three_values_outside_the_range() -> None:
    values = insert_codes(20 + random().random(300), [130, 160, 190])
    past = past_of(values)
    outside = np.where(values == 85.0, 9.0, 0.0)
    past.remember(np.arange(100, 180), np.zeros(80), outside[100:180])
    assert past.look_for_new_codes(np.array([180])) == []
    past.remember(np.arange(180, 200), np.zeros(20), outside[180:200])
    assert past.look_for_new_codes(np.array([200])) == [0]
    assert np.flatnonzero(past.is_code).tolist() == [130, 160, 190]
    assert past.look_for_new_codes(np.array([200])) == []


def usual_below(limit: float, past: ScoredPast, judged: list[int]):
    def would_be_usual(rows: np.ndarray) -> np.ndarray:
        judged.extend(rows.tolist())
        return past.values[rows] < limit

    return would_be_usual


def test_a_range_includes_usual_extremes_that_the_sample_lacks() -> None:
    values = 20 + random().random(10_000)
    values[[50, 60, 70]] = [19.5, 21.5, 30.0]
    past, judged = past_of(values), []
    at, is_row = past.sample_each(past.ends, 200, random())
    at[:, :] = np.where(np.isin(at, [50, 60, 70]), 51, at)
    usual = usual_below(25.0, past, judged)
    ((least, most, _),) = past.ranges(at, is_row, NO_ROWS, past.ends, STARTS_FRESH, usual, 0.02)
    assert (least, most) == (19.5, 21.5)
    assert len(judged) < 300, "only rows beyond the sample are judged"


def test_a_refit_selects_the_extremes_of_new_rows_by_their_recorded_scores() -> None:
    values = 20 + random().random(3_000)
    values[[2_100, 2_200]] = [21.3, 40.0]
    past, judged = past_of(values), []
    past.go_on_from(np.array([[20.0], [21.0], [0.5]]))
    rows = np.arange(2_000, 3_000)
    past.remember(rows, np.where(values[rows] > 30, 5.0, 0.1), np.zeros(1_000))
    at, is_row = past.sample_each(past.ends, 100, random())
    at[:, :] = np.where(at == 2_100, 2_101, at)
    usual = usual_below(100.0, past, judged)
    flagged = np.array([2_200])
    ((least, most, _),) = past.ranges(at, is_row, flagged, past.ends, ~STARTS_FRESH, usual, 0.02)
    assert most == pytest.approx(21.3)
    assert least == pytest.approx(20.0, abs=0.01)
    assert judged == []


def test_a_repeated_row_has_the_score_of_the_first_one() -> None:
    rows = pd.DataFrame(
        {"unit": ["a"] * 5 + ["b"], "time": [1, 2, 2, 2, 3, 2], "value": [1.0, 5, 6, 5, 5, 5]},
        index=[10, 11, 12, 13, 14, 15],
    )
    is_repeated = rows.index == 13  # repeats row 11; 12 differs in value, 14 in time, 15 in unit
    scores = pd.Series([0.1, 0.2, 0.3, 0.4, np.nan], index=[10, 11, 12, 14, 15])
    columns = ["unit", "time", "value"]
    completed = scores_of_twins(scores, rows, columns, pd.Series(is_repeated, rows.index))
    np.testing.assert_array_equal(completed, [0.1, 0.2, 0.3, 0.2, 0.4, np.nan])
    unrepeated = scores_of_twins(
        scores, rows.drop(index=13), columns, pd.Series(False, scores.index)
    )
    np.testing.assert_array_equal(unrepeated, scores)


def test_a_series_with_all_rows_flagged_has_the_range_of_these_rows() -> None:
    past, judged = past_of(np.linspace(20, 21, 60)), []
    at, is_row = past.sample_each(past.ends, 100, random())
    usual = usual_below(0.0, past, judged)
    ((least, most, _),) = past.ranges(
        at, is_row, np.arange(60), past.ends, STARTS_FRESH, usual, 0.02
    )
    assert (least, most) == (20.0, 21.0)
