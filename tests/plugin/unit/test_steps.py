"""Steps between rows equal those that pandas computes for each series."""

import numpy as np
import pandas as pd
import pytest

from kedro_azure_mlops.tables.steps import find_steps


def table(seed: int, is_in_order: bool) -> pd.DataFrame:
    """Return rows of several series with repeated times and gaps, sorted or shuffled."""
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(1, 80))
    minutes = np.cumsum(rng.choice([0, 5, 5, 5, 6, 90], rows))
    times = np.datetime64("2024-01-01", "ns") + minutes.astype("timedelta64[m]")
    frame = pd.DataFrame({"series": rng.integers(0, 5, rows), "time": times})
    if is_in_order:
        return frame.sort_values(["series", "time"], ignore_index=True)
    return frame.sample(frac=1, random_state=seed).reset_index(drop=True)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("is_in_order", [True, False])
def test_steps_are_computed_in_time_order(seed: int, is_in_order: bool) -> None:
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


def test_late_rows_are_found_in_ascending_and_descending_files() -> None:
    times = np.arange("2024-01-01", "2024-01-02", dtype="datetime64[h]").astype("datetime64[ns]")
    late = times[[0, 1, 3, 2, *range(4, 24)]]
    series = np.zeros(24, int)
    assert np.flatnonzero(find_steps(series, late).is_older).tolist() == [3]
    assert np.flatnonzero(find_steps(series, late[::-1]).is_older).tolist() == [21]
    assert not find_steps(series, times[::-1]).is_older.any()


def test_an_empty_table_has_no_steps() -> None:
    steps = find_steps(np.zeros(0, int), np.zeros(0, "datetime64[ns]"))
    assert {len(column) for column in steps[1:]} == {0}
