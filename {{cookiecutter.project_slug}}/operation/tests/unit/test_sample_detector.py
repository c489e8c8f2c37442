from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro_azure_mlops.contract import load_proven_scorer
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.models import save_model
from kedro_azure_mlops.serve.batches import columns_of_table

from {{ cookiecutter.package_name }}.detector import Detector
from {{ cookiecutter.package_name }}.evaluation import Events, baseline_scores
from {{ cookiecutter.package_name }}.features import build_features
from {{ cookiecutter.package_name }}.parameters import (
    DetectorParameters,
    FeatureParameters,
)
from {{ cookiecutter.package_name }}.training import fit_detector, score_forward

FEATURES = FeatureParameters(gap_steps=6, std_floor=0.02, seasonal_halflife_days=3)
PARAMETERS = DetectorParameters(
    estimator="sklearn.ensemble.IsolationForest",
    arguments={"n_estimators": 25, "max_samples": 128},
    contamination=0.01,
    refit_every="7D",
    seed=0,
)
SPLIT = pd.Timestamp("2024-01-15")


def features(readings: pd.DataFrame) -> pd.DataFrame:
    return build_features(readings, FEATURES)


def fit(train: pd.DataFrame, **changes: object) -> Detector:
    return fit_detector(train, PARAMETERS.model_copy(update=changes), FEATURES)


def forward(rows: pd.DataFrame) -> pd.Series:
    detector = fit(rows[rows["timestamp"] < SPLIT])
    return score_forward(rows, SPLIT, detector, PARAMETERS)


def test_the_share_flagged_in_training_is_the_contamination(series: Callable) -> None:
    train = features(series(2000))
    scores = fit(train).score_samples(train)
    judged = scores[train["has_history"]]
    assert np.mean(judged > 1) == pytest.approx(PARAMETERS.contamination, abs=0.002)
    assert np.median(judged) == pytest.approx(0)


def test_a_fault_scores_above_the_threshold_and_a_usual_day_does_not(series: Callable) -> None:
    readings = series(1500)
    detector = fit(features(readings.head(1000)))
    assert np.mean(detector.score_samples(features(readings))[1000:] > 1) < 0.05
    readings.loc[1200, "temperature"] += 15
    assert detector.score_samples(features(readings))[1200] > 1


def test_the_same_seed_gives_the_same_scores_and_another_seed_does_not(series: Callable) -> None:
    train = features(series(500))
    first, again, other = (fit(train, seed=seed).score_samples(train) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_an_unknown_sensor_has_no_score(series: Callable) -> None:
    detector, attic = fit(features(series(500))), series(50, sensor="attic")
    assert detector.unknown_sensors(features(attic)) == ["attic"]
    assert np.isnan(detector.score_samples(features(attic))).all()
    assert detector.predict(attic)[["score", "is_anomaly"]].isna().all(axis=None)


@pytest.mark.parametrize("rows", [0, 1, 49])
def test_too_few_rows_to_learn_from_are_refused(series: Callable, rows: int) -> None:
    with pytest.raises(OperationError, match="No sensor has the 50 training readings"):
        fit(features(series(60)).head(rows))
    assert fit(features(series(60)).head(50)).sensors == ["one"]


@pytest.mark.parametrize("changed_from", [500, 800, 1100], ids=["training", "first week", "refit"])
def test_no_score_depends_on_a_later_row(series: Callable, changed_from: int) -> None:
    readings = series(1300)
    changed = readings.copy()
    changed.loc[changed_from:, "temperature"] = 99.0
    before, after = forward(features(readings)), forward(features(changed))
    np.testing.assert_array_equal(before[:changed_from], after[:changed_from])
    assert (before[changed_from:] != after[changed_from:]).any()


def test_a_lasting_change_is_learned_after_it_was_flagged(series: Callable) -> None:
    readings = series(48 * 42)
    readings.loc[48 * 15 :, "temperature"] += 8
    scores = forward(features(readings))
    assert (scores[48 * 16 : 48 * 20] > 1).mean() > 0.5
    assert (scores[48 * 36 :] > 1).mean() < 0.1


def test_a_refit_does_not_take_a_fault_for_usual(series: Callable) -> None:
    readings = series(48 * 42)
    first, second = slice(48 * 15, 48 * 16), slice(48 * 36, 48 * 37)
    for fault in (first, second):  # one before the first refit, one after the last
        readings.loc[fault.start : fault.stop - 1, "temperature"] += 30
    scores = forward(features(readings))
    assert (scores[first] > 1).mean() > 0.5
    assert (scores[second] > 1).mean() > 0.5


@pytest.mark.parametrize(
    ("estimator", "arguments", "engine"),
    [
        ("sklearn.ensemble.IsolationForest", {}, "ONNX"),
        ("sklearn.svm.OneClassSVM", {}, "scikit-learn"),
        ("sklearn.neighbors.LocalOutlierFactor", {"novelty": True}, "scikit-learn"),
    ],
)
def test_a_stored_model_gives_the_same_scores_where_it_is_served(
    series: Callable, tmp_path: Path, estimator: str, arguments: dict[str, object], engine: str
) -> None:
    readings = series(600)
    detector = fit(features(readings), estimator=estimator, arguments=arguments)
    ours = f"{Detector.__module__}.{Detector.__name__}"
    save_model(detector, tmp_path / "model", [ours])
    load = f"{Detector.__module__.removesuffix('.detector')}.score:load"
    scorer, _ = load_proven_scorer(tmp_path / "model", load)
    assert engine in scorer.engine
    columns = columns_of_table(readings, scorer.schema)
    expected = detector.score_samples(features(readings))
    np.testing.assert_allclose(scorer.score(columns)["score"], expected, rtol=1e-12, atol=1e-12)


def test_the_baselines_rank_a_jump_and_chance_does_not(series: Callable) -> None:
    train, test = series(48 * 14), series(48 * 28).tail(48 * 14)
    test.loc[1000, "temperature"] = 60.0
    found = baseline_scores(train, test, contamination=0.01, seed=0)
    assert found["distance_from_median"]["score"].idxmax() == 1000
    assert found["ewma_level"]["score"][1000] > found["ewma_level"]["score"][999]
    days = pd.to_datetime(["2024-01-20", "2024-01-22"])
    faults = Events(pd.DataFrame({"sensor_id": ["one"], "start": days[:1], "end": days[1:]}))
    chance = faults.metrics(found["random"], pd.Timedelta("1D"))
    assert chance["roc_auc"] == pytest.approx(0.5, abs=0.1)
