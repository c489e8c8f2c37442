"""Scores and thresholds of the one-line baselines."""

import numpy as np
import pandas as pd
import pytest

from kedro_azure_mlops.baselines import BASELINES, score_baselines

COLUMNS = ["time", "machine", "load"]


def rows(days: int, machine: str = "a", level: float = 20.0, seed: int = 0) -> pd.DataFrame:
    """Return half-hourly rows with noise around a level."""
    times = pd.date_range("2024-01-01", periods=48 * days, freq="30min")
    load = level + np.random.default_rng(seed).normal(0, 0.3, len(times))
    return pd.DataFrame({"time": times, "machine": machine, "load": load})


def scored(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    scores = score_baselines(train, test, COLUMNS, contamination=0.01, seed=0)
    assert tuple(scores) == BASELINES
    return pd.DataFrame(scores, test.index)


def test_a_jump_exceeds_the_median_distance_and_decays_in_the_ewma() -> None:
    test = rows(28)[48 * 14 :]
    test.loc[1000, "load"] = 60.0
    scores = scored(rows(14), test)
    assert scores["distance_from_median"].idxmax() == 1000
    assert scores.loc[1000, "distance_from_median"] > 1
    smooth = scores["ewma_level"]
    assert smooth[1000] > smooth[999]
    assert 1 < smooth[1012] < smooth[1000]


def test_thresholds_are_quantiles_of_the_training_scores() -> None:
    train = rows(14)
    assert scored(train, train)["distance_from_median"].gt(1).mean() == pytest.approx(
        0.01, abs=2e-3
    )
    assert scored(train, rows(28)[48 * 14 :])["random"].gt(1).mean() == pytest.approx(
        0.01, abs=0.01
    )


def test_random_scores_are_reproducible_and_independent_of_the_values() -> None:
    train, test = rows(14), rows(28)[48 * 14 :]
    scores = scored(train, test)
    assert abs(scores["random"].corr(scores["distance_from_median"])) < 0.15
    pd.testing.assert_frame_equal(scores, scored(train, test))


def test_each_series_has_its_own_level_and_an_unknown_series_scores_zero() -> None:
    train = pd.concat([rows(14), rows(14, "b", 80.0, seed=1)], ignore_index=True)
    test = pd.concat([rows(2, "b", 80.0, seed=2), rows(2, "c")], ignore_index=True)
    scores = scored(train, test)[["distance_from_median", "ewma_level"]]
    assert scores[:96].lt(2).all(axis=None)
    assert scores[96:].eq(0).all(axis=None)
