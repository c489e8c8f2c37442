"""Steps are those that pandas finds series by series."""

import numpy as np
import pandas as pd
import pytest

from kedro_azure_mlops.tables.steps import find_steps


def table(seed: int, is_in_order: bool) -> pd.DataFrame:
    """Rows of some series: times sent twice, gaps, maybe all mixed."""
    chance = np.random.default_rng(seed)
    rows = int(chance.integers(1, 80))
    minutes = np.cumsum(chance.choice([0, 5, 5, 5, 6, 90], rows))
    times = np.datetime64("2024-01-01", "ns") + minutes.astype("timedelta64[m]")
    found = pd.DataFrame({"series": chance.integers(0, 5, rows), "time": times})
    if is_in_order:
        return found.sort_values(["series", "time"], ignore_index=True)
    return found.sample(frac=1, random_state=seed).reset_index(drop=True)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("is_in_order", [True, False])
def test_steps_are_measured_in_the_order_of_time(seed: int, is_in_order: bool) -> None:
    rows = table(seed, is_in_order)
    steps = find_steps(rows["series"].to_numpy(), rows["time"].to_numpy())
    ordered = rows.sort_values(["series", "time"], kind="stable")
    pd.testing.assert_frame_equal(rows.iloc[steps.order], ordered)
    seconds = ordered.groupby("series")["time"].diff().dt.total_seconds()
    usual = seconds.where(seconds > 0).groupby(ordered["series"]).transform("median")
    np.testing.assert_array_equal(steps.seconds, seconds.sort_index())
    np.testing.assert_array_equal(steps.usual, usual.sort_index())
    np.testing.assert_array_equal(steps.seconds == 0, rows.duplicated())
    np.testing.assert_array_equal(steps.is_twin, rows.duplicated(keep=False))


def test_rows_that_come_late_are_found_whichever_end_a_file_begins_with() -> None:
    times = np.arange("2024-01-01", "2024-01-02", dtype="datetime64[h]").astype("datetime64[ns]")
    late = times[[0, 1, 3, 2, *range(4, 24)]]
    series = np.zeros(24, int)
    assert np.flatnonzero(find_steps(series, late).is_older).tolist() == [3]
    assert np.flatnonzero(find_steps(series, late[::-1]).is_older).tolist() == [21]
    assert not find_steps(series, times[::-1]).is_older.any()


def test_no_row_has_no_step() -> None:
    steps = find_steps(np.zeros(0, int), np.zeros(0, "datetime64[ns]"))
    assert {len(column) for column in steps[1:]} == {0}
