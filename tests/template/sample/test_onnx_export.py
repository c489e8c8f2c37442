from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import IsolationForest, RandomForestRegressor
from temperature_anomalies.features import FEATURES
from temperature_anomalies.score import (
    ExportedForest,
    ExportError,
    expected_path_length,
    to_onnx,
)


def table(rows: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(random.normal(size=(rows, len(FEATURES))), columns=FEATURES)


def exported(forest: IsolationForest) -> Callable[[np.ndarray], np.ndarray]:
    return ExportedForest(to_onnx(forest), expected_path_length(forest)).score_samples


@pytest.mark.parametrize("rows", [2, 3, 40, 3000])
@pytest.mark.parametrize("max_features", [1.0, 0.5])
def test_the_exported_forest_gives_the_scores_of_scikit_learn(
    rows: int, max_features: float
) -> None:
    forest = IsolationForest(
        n_estimators=100, max_samples=min(256, rows), max_features=max_features, random_state=0
    ).fit(table(rows))
    scores = exported(forest)
    samples = table(5000, seed=1)
    difference = np.abs(scores(samples.to_numpy()) - forest.score_samples(samples)).max()
    assert difference == 0


def test_rows_on_a_split_fall_to_the_same_side() -> None:
    """Whole numbers often equal a threshold, where the wrong side leads to another leaf."""
    train = table(500).mul(3).round()
    forest = IsolationForest(n_estimators=50, random_state=0).fit(train)
    splits = np.concatenate([tree.tree_.threshold for tree in forest.estimators_])
    at_splits = pd.DataFrame(np.tile(splits[:, None], len(FEATURES)), columns=FEATURES)
    scores = exported(forest)
    for rows in (train, at_splits):
        np.testing.assert_array_equal(scores(rows.to_numpy()), forest.score_samples(rows))


def test_one_row_scores_the_same_alone_and_among_others() -> None:
    forest = IsolationForest(n_estimators=100, random_state=0).fit(table(500))
    scores = exported(forest)
    rows = table(50, seed=2).to_numpy()
    together = scores(rows)
    assert [scores(row[None])[0] for row in rows] == together.tolist()


def test_the_same_forest_gives_the_same_file() -> None:
    first, second = (IsolationForest(n_estimators=5, random_state=0).fit(table(100)) for _ in "ab")
    assert to_onnx(first) == to_onnx(second)


@pytest.mark.parametrize(
    ("forest", "reason"),
    [
        (IsolationForest(), "not a fitted isolation forest"),
        (object(), "this object is not a fitted isolation forest"),
        (IsolationForest(n_estimators=3).fit(table(50) * 0), "has no split"),
    ],
    ids=["not fitted", "not a forest", "all readings the same"],
)
def test_a_forest_that_cannot_be_exported_is_rejected(forest: IsolationForest, reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        to_onnx(forest)


def test_another_kind_of_forest_is_rejected() -> None:
    forest = RandomForestRegressor(n_estimators=3).fit(table(50), np.arange(50))
    with pytest.raises(ExportError, match="RandomForestRegressor is not a fitted isolation forest"):
        to_onnx(forest)
