"""Error codes within the limits are reported, kept out of training and flagged."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from temperature_anomalies.features import build_features
from temperature_anomalies.parameters import (
    DetectorParameters,
    FeatureParameters,
)
from temperature_anomalies.pipelines.pre_processing.nodes import clean
from temperature_anomalies.training import fit_detector, score_forward

from kedro_azure_mlops.serve.batches import score_pieces
from kedro_azure_mlops.tables.cleaning import CleaningParameters
from kedro_azure_mlops.validation import BadDataError
from tests.template.sample.helpers import FOREST, Project, series

FEATURES = FeatureParameters(gap_steps=6, std_floor=0.02, seasonal_halflife_days=3)
DETECTOR = DetectorParameters(
    estimator=FOREST, arguments={"n_estimators": 25}, contamination=0.005, refit_every="7D", seed=0
)
CLEANING = CleaningParameters(
    max_repeated=0.2, max_unordered=0.2, max_in_gaps=0.5, max_jittered=0.5, gap_steps=6
)
TRAINED = 1500
CODES = (85.0, -99.9, 999.9)
FAULT = slice(1700, 1712)


def readings(code: float | None = None, count: int = 12) -> pd.DataFrame:
    """Generate readings with a fault of +9 degrees and error codes in the training rows."""
    table = series(2000)
    table.loc[FAULT.start : FAULT.stop - 1, "temperature"] += 9
    if code is not None:
        rows = np.random.default_rng(5).choice(np.arange(400, TRAINED), count, replace=False)
        table.loc[rows, "temperature"] = code
    return table


def scores(table: pd.DataFrame) -> pd.Series:
    features = build_features(table, FEATURES)
    split = table["timestamp"][TRAINED]
    train = features[features["timestamp"] < split]
    detector = fit_detector(train, DETECTOR, FEATURES)
    return score_forward(features, split, detector, DETECTOR)


@pytest.mark.parametrize("code", CODES)
def test_a_dozen_codes_in_training_do_not_hide_a_later_fault(code: float) -> None:
    result = scores(readings(code))
    assert (result[FAULT] > 1).all()
    assert (result[TRAINED + 48 : FAULT.start] > 1).mean() < 0.1, "a day after the last code"


@pytest.mark.parametrize("code", CODES)
def test_codes_do_not_affect_the_trained_detector(code: float) -> None:
    """They are excluded from training and from the values that rows are compared with."""
    split = readings()["timestamp"][TRAINED]
    features = build_features(readings(code), FEATURES)
    with_codes = fit_detector(features[features["timestamp"] < split], DETECTOR, FEATURES)
    without = readings(code).query("temperature != @code")
    features = build_features(without, FEATURES)
    expected = fit_detector(features[features["timestamp"] < split], DETECTOR, FEATURES)
    np.testing.assert_array_equal(with_codes.profile_values, expected.profile_values)
    np.testing.assert_array_equal(with_codes.range_values, expected.range_values)
    assert with_codes.threshold == expected.threshold
    rows = build_features(series(2000, seed=7), FEATURES)
    np.testing.assert_array_equal(with_codes.score_samples(rows), expected.score_samples(rows))


@pytest.mark.parametrize("code", CODES)
def test_codes_in_a_new_file_are_flagged(code: float) -> None:
    features = build_features(readings(code).head(TRAINED), FEATURES)
    detector = fit_detector(features, DETECTOR, FEATURES)
    new = series(300, seed=3)
    new.loc[[0, 1, 30, 100, 250], "temperature"] = code
    (scored,) = score_pieces([new], detector, "1")
    assert scored.loc[new["temperature"] == code, "is_anomaly"].eq(1).all()


def test_scores_with_codes_do_not_depend_on_later_rows() -> None:
    table = readings(85.0)
    changed = table.copy()
    changed.loc[1800::7, "temperature"] = -99.9
    before, after = scores(table), scores(changed)
    np.testing.assert_array_equal(before[:1800], after[:1800])


def test_codes_are_counted_and_listed_with_line_numbers() -> None:
    table = readings(85.0).astype({"timestamp": str})
    lines = (table.index[table["temperature"] == 85.0] + 2).tolist()
    table.index += 2
    cleaned, report = clean(table, CLEANING)
    assert len(cleaned) == len(table)
    assert report["error_codes"] == 12
    first = ", ".join(map(str, lines[:10]))
    assert report["found_codes"] == [f"hall: 85 12 times, lines {first} and 2 more"]


def test_a_file_without_codes_reports_none() -> None:
    _, report = clean(readings().astype({"timestamp": str}), CLEANING)
    assert (report["error_codes"], report["found_codes"]) == (0, [])


def test_too_many_codes_stop_the_run() -> None:
    table = readings(85.0, count=150).astype({"timestamp": str})
    with pytest.raises(BadDataError, match=r"7\.5% of the readings are error codes") as refusal:
        clean(table, CLEANING)
    assert "cleaning.max_error_codes = 5.0%" in str(refusal.value)
    lenient = CLEANING.model_copy(update={"max_error_codes": 0.1})
    assert clean(table, lenient)[1]["error_codes"] == 150


def test_a_run_reports_flags_and_stores_codes(project: Project) -> None:
    table = readings(85.0)
    table.loc[[20, 50], "temperature"] = 85.0  # in the first week, which has no scores otherwise
    path = project.write("codes.csv", table.to_csv(index=False))
    split = {"holdout": f"{(len(table) - TRAINED) // 2}h"}
    project.run(raw_file=path, training=split, labels_file=None, detector={"arguments": {}})
    scored = project.scores()
    is_code = scored["temperature"] == 85.0
    assert is_code.sum() == 14
    assert scored.loc[is_code, "is_anomaly"].eq(1).all()
    assert scored.loc[FAULT.start : FAULT.stop - 1, "is_anomaly"].eq(1).all()
    report = project.processed("report.txt").read_text(encoding="utf-8")
    assert "14 error codes" in report
    assert "hall: 85 14 times, lines 22, 52, " in report
    assert Path(project.path / "data/interim/cleaning_report.json").is_file()
