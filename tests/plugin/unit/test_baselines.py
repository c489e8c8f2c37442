"""The one-line methods are what they say."""

import numpy as np
import pandas as pd
import pytest

from kedro_azure_mlops.baselines import BASELINES, score_baselines

COLUMNS = ["time", "machine", "load"]


def rows(days: int, machine: str = "a", level: float = 20.0, seed: int = 0) -> pd.DataFrame:
    """A row each half hour, noise around a level."""
    times = pd.date_range("2024-01-01", periods=48 * days, freq="30min")
    load = level + np.random.default_rng(seed).normal(0, 0.3, len(times))
    return pd.DataFrame({"time": times, "machine": machine, "load": load})


def scored(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    found = score_baselines(train, test, COLUMNS, contamination=0.01, seed=0)
    assert tuple(found) == BASELINES
    return pd.DataFrame(found, test.index)


def test_a_jump_is_far_from_the_median_and_lasts_in_the_average() -> None:
    test = rows(28)[48 * 14 :]
    test.loc[1000, "load"] = 60.0
    found = scored(rows(14), test)
    assert found["distance_from_median"].idxmax() == 1000
    assert found.loc[1000, "distance_from_median"] > 1
    smooth = found["ewma_level"]
    assert smooth[1000] > smooth[999]
    assert 1 < smooth[1012] < smooth[1000]


def test_each_has_its_threshold_at_the_quantile_of_its_training_scores() -> None:
    train = rows(14)
    assert scored(train, train)["distance_from_median"].gt(1).mean() == pytest.approx(
        0.01, abs=2e-3
    )
    assert scored(train, rows(28)[48 * 14 :])["random"].gt(1).mean() == pytest.approx(
        0.01, abs=0.01
    )


def test_chance_knows_nothing_of_the_values_and_is_the_same_again() -> None:
    train, test = rows(14), rows(28)[48 * 14 :]
    found = scored(train, test)
    assert abs(found["random"].corr(found["distance_from_median"])) < 0.15
    pd.testing.assert_frame_equal(found, scored(train, test))


def test_each_series_has_its_own_level_and_an_unknown_one_scores_nothing() -> None:
    train = pd.concat([rows(14), rows(14, "b", 80.0, seed=1)], ignore_index=True)
    test = pd.concat([rows(2, "b", 80.0, seed=2), rows(2, "c")], ignore_index=True)
    found = scored(train, test)[["distance_from_median", "ewma_level"]]
    assert found[:96].lt(2).all(axis=None)
    assert found[96:].eq(0).all(axis=None)
