import numpy as np
import pandas as pd
import pytest
from temperature_anomalies import training
from temperature_anomalies.detector import Detector
from temperature_anomalies.features import build_features
from temperature_anomalies.parameters import DetectorParameters, FeatureParameters
from temperature_anomalies.training import fit_detector, score_forward

from kedro_azure_mlops.errors import OperationError
from tests.template.sample.helpers import FOREST, series

FEATURES = FeatureParameters(gap_steps=6, std_floor=0.02, seasonal_halflife_days=3)
DETECTOR = DetectorParameters(
    estimator=FOREST,
    arguments={"n_estimators": 25, "max_samples": 128},
    contamination=0.01,
    refit_every="7D",
    seed=0,
)
SPLIT = pd.Timestamp("2024-01-15")


def features(readings: pd.DataFrame) -> pd.DataFrame:
    return build_features(readings, FEATURES)


def fit(train: pd.DataFrame, parameters: DetectorParameters = DETECTOR) -> Detector:
    return fit_detector(train, parameters, FEATURES)


def forward(rows: pd.DataFrame, parameters: DetectorParameters = DETECTOR) -> pd.Series:
    detector = fit(rows[rows["timestamp"] < SPLIT], parameters)
    return score_forward(rows, SPLIT, detector, parameters)


@pytest.mark.parametrize("estimator", [FOREST, "sklearn.linear_model.SGDOneClassSVM"])
def test_the_share_flagged_in_training_is_the_contamination(estimator: str) -> None:
    """The second estimator's raw scores differ by less than a thousandth."""
    arguments = DETECTOR.arguments if estimator == FOREST else {}
    parameters = DETECTOR.model_copy(update={"estimator": estimator, "arguments": arguments})
    train = features(series(2000))
    scores = fit(train, parameters).score_samples(train)
    judged = scores[train["has_history"]]
    assert np.mean(judged > 1) == pytest.approx(DETECTOR.contamination, abs=0.002)
    assert np.median(judged) == pytest.approx(0)


def test_a_fault_scores_above_the_threshold_and_normal_readings_below() -> None:
    readings = series(1500)
    detector = fit(features(readings.head(1000)))
    faulty = readings.copy()
    faulty.loc[1200, "temperature"] += 15
    assert detector.score_samples(features(faulty))[1200] > 1
    assert np.mean(detector.score_samples(features(readings))[1000:] > 1) < 0.05
    assert np.isfinite(detector.score_samples(features(readings))[1000:]).all()


def test_sensors_at_different_levels_share_one_forest() -> None:
    hall, cold = series(700), series(700, sensor="cold", seed=1)
    cold["temperature"] -= 40
    train = features(pd.concat([cold, hall], ignore_index=True))
    scores = pd.Series(fit(train).score_samples(train)).groupby(train["sensor_id"]).median()
    assert scores.abs().max() < 0.15


def test_a_sensor_missing_from_training_has_no_score() -> None:
    detector = fit(features(series(500)))
    unknown = features(series(50, sensor="attic"))
    assert detector.unknown_sensors(unknown) == ["attic"]
    assert np.isnan(detector.score_samples(unknown)).all()
    assert detector.unknown_sensors(features(series(50))) == []


@pytest.mark.parametrize("rows", [0, 1, 49])
def test_too_few_training_rows_are_rejected(rows: int) -> None:
    with pytest.raises(OperationError, match="No sensor has 50 training readings"):
        fit(features(series(60)).head(rows))


def test_fifty_training_rows_are_enough() -> None:
    assert fit(features(series(50))).sensors == ["hall"]


def test_the_example_is_within_the_limits_of_tiny_readings() -> None:
    readings, limits = series(500), (0.0051, 0.0095)
    readings["temperature"] = readings["temperature"] / 8000 + 0.0045  # 0.006 to 0.008
    detector = fit_detector(features(readings), DETECTOR, FEATURES, limits=limits)
    assert detector.input_example["temperature"].between(*limits).all()


def test_the_example_ends_with_a_reading_that_is_far_off() -> None:
    detector = fit(features(series(500)))
    centres, scales = detector.profile_values[0]
    *usual, last = detector.input_example["temperature"]
    assert set(usual) == {round(centres[0], 2)}
    assert last == round(centres[0] + 10 * scales[0], 2)


def test_a_new_sensor_is_scored_only_once_it_has_enough_history() -> None:
    hall, late = series(48 * 35), series(48 * 35, sensor="late", seed=1)
    late = late[late["timestamp"] >= SPLIT + pd.Timedelta("6D23h")]  # an hour before a refit
    scores = forward(features(pd.concat([hall, late], ignore_index=True)))
    late_scores = scores.tail(len(late)).to_numpy()
    next_refit = 2 + 48 * 7
    assert np.isnan(late_scores[:next_refit]).all()
    assert np.mean(late_scores[next_refit:] > 1) < 0.1
    assert np.std(late_scores[next_refit:]) > 0


def test_a_lasting_change_is_flagged_first_and_learned_later() -> None:
    readings = series(48 * 42)
    readings.loc[48 * 15 :, "temperature"] += 8
    scores = forward(features(readings))
    assert (scores[48 * 16 : 48 * 20] > 1).mean() > 0.5
    assert (scores[48 * 36 :] > 1).mean() < 0.1


def test_a_sensor_constant_in_training_recovers() -> None:
    readings = series(48 * 42)
    readings.loc[: 48 * 15, "temperature"] = 20.0
    scores = forward(features(readings))
    assert scores.abs().max() < 100
    assert (scores[48 * 36 :] > 1).mean() < 0.1


def test_the_same_seed_gives_the_same_scores_and_another_seed_does_not() -> None:
    train = features(series(500))
    again = fit(train).score_samples(train)
    other = fit(train, DETECTOR.model_copy(update={"seed": 1})).score_samples(train)
    np.testing.assert_array_equal(fit(train).score_samples(train), again)
    assert (other != again).any()


@pytest.mark.parametrize("changed_from", [500, 800, 1100], ids=["training", "first week", "refit"])
def test_no_score_depends_on_a_later_row(changed_from: int) -> None:
    readings = series(1300)
    changed = readings.copy()
    changed.loc[changed_from:, "temperature"] = 99.0
    before = forward(features(readings))
    after = forward(features(changed))
    np.testing.assert_array_equal(before[:changed_from], after[:changed_from])
    assert (before[changed_from:] != after[changed_from:]).any()


def test_training_rows_are_scored_with_earlier_data_only() -> None:
    scores = forward(features(series(1300)))
    first_week = 48 * 7
    assert scores[:first_week].isna().all()
    assert np.isfinite(scores[first_week:]).all()


def test_without_refits_the_held_out_rows_are_scored_by_one_detector() -> None:
    rows = features(series(1300))
    once = DETECTOR.model_copy(update={"refit_every": None})
    held_out = rows["timestamp"] >= SPLIT
    detector = fit(rows[~held_out], once)
    expected = detector.score_samples(rows[held_out])
    np.testing.assert_array_equal(score_forward(rows, SPLIT, detector, once)[held_out], expected)
    assert (forward(rows)[held_out] != expected).any()


def test_a_refit_does_not_learn_a_fault() -> None:
    readings = series(48 * 42)
    first, second = slice(48 * 15, 48 * 16), slice(48 * 36, 48 * 37)
    readings.loc[first.start : first.stop - 1, "temperature"] += 30  # before the first refit
    readings.loc[second.start : second.stop - 1, "temperature"] += 30
    rows = features(readings)
    scores = forward(rows)
    assert (scores[first] > 1).mean() > 0.5
    assert (scores[second] > 1).mean() > 0.5
    learned = fit(rows.iloc[: second.start]).score_samples(rows.iloc[second])
    assert (learned > 1).mean() < 0.5, "a detector that learned the fault would miss it"


def test_refits_do_not_lower_the_threshold_step_by_step() -> None:
    scores = forward(features(series(48 * 70)))
    held_out = scores[48 * 14 :]
    assert np.mean(held_out[-48 * 21 :] > 1) < 3 * DETECTOR.contamination


@pytest.mark.parametrize("rows", [1, 5, 12])
def test_a_fault_in_training_does_not_widen_the_range(rows: int) -> None:
    readings = series(1500)
    low, high, spread = fit(features(readings)).ranges["hall"]
    readings.loc[700 : 700 + rows - 1, "temperature"] = 90 + np.arange(rows) / 10
    faulty_range = fit(features(readings)).ranges["hall"]
    assert faulty_range[0] == pytest.approx(low, abs=0.2 * spread)
    assert high - 0.2 * spread < faulty_range[1] < high + 3 * spread


def test_frequent_extremes_are_within_the_range() -> None:
    readings = series(1500)
    is_hot = readings.index % 100 < 5  # with values in between, as of a heater
    readings.loc[is_hot, "temperature"] += 20 * (readings.index[is_hot] % 100)
    assert fit(features(readings)).ranges["hall"][1] > 80


def test_a_refit_uses_a_bounded_sample_and_each_row_is_scored_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fitted, thresholds, scored = [], [], []
    fit_estimator, raw_scores, judge = training.fit, training.raw_scores, training._Past.score

    def counted_fit(estimator: object, standard: np.ndarray, name: str) -> object:
        fitted.append(len(standard))
        return fit_estimator(estimator, standard, name)

    def counted_scores(estimator: object, standard: np.ndarray) -> np.ndarray:
        thresholds.append(len(standard))
        return raw_scores(estimator, standard)

    def counted_score(past: object, rows: np.ndarray, *others: object) -> object:
        scored.append(rows)
        return judge(past, rows, *others)

    rows = features(pd.concat([series(48 * 70), series(48 * 70, sensor="cold", seed=1)]))
    detector = fit(rows[rows["timestamp"] < SPLIT])
    monkeypatch.setattr(training, "_MOST_ROWS", 500)
    monkeypatch.setattr(training, "fit", counted_fit)
    monkeypatch.setattr(training, "raw_scores", counted_scores)
    monkeypatch.setattr(training._Past, "score", counted_score)
    scores = score_forward(rows, SPLIT, detector, DETECTOR)
    assert len(fitted) == 8
    assert max(fitted) <= 500
    assert max(thresholds) <= 500
    every = np.concatenate(scored)
    assert len(every) == len(set(every.tolist())) == scores.notna().sum()
    usual = (scores[rows["timestamp"] >= SPLIT] > 1).mean()
    assert usual < 3 * DETECTOR.contamination


def test_sensors_with_sparse_readings_are_scored_from_the_split_on() -> None:
    readings = series(48 * 40).iloc[::16]  # three a day: no fifty in the first fortnight
    rows = features(readings)
    split = pd.Timestamp("2024-01-25")
    held_out = rows["timestamp"] >= split
    scores = score_forward(rows, split, fit(rows[~held_out]), DETECTOR)
    assert scores[rows["timestamp"] < split].isna().all()
    assert scores[held_out].notna().all()


def test_a_sensor_with_too_little_history_has_a_range() -> None:
    hall = series(1000)
    late = pd.DataFrame({"timestamp": hall["timestamp"].iloc[-1], "sensor_id": "late"}, range(60))
    late["timestamp"] += pd.to_timedelta(np.arange(60), "min")
    late["temperature"] = 5 + np.sin(np.arange(60))
    detector = fit(features(pd.concat([hall, late], ignore_index=True)))
    least, most, spread = detector.ranges["late"]
    assert 4 <= least < most <= 6
    assert spread > 0
    far = late.assign(temperature=50.0)
    assert (detector.score_samples(features(far)) > 1).all()
