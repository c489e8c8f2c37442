import numpy as np
import pandas as pd
import pytest
from temperature_anomalies import features
from temperature_anomalies.features import FEATURES, build_features, describe_judged
from temperature_anomalies.parameters import FeatureParameters

from kedro_azure_mlops.errors import OperationError
from tests.template.sample.helpers import series

PARAMETERS = FeatureParameters(gap_steps=6, std_floor=0.02, seasonal_halflife_days=3)


@pytest.mark.parametrize("step", ["5min", "30min", "1h"])
def test_a_row_does_not_depend_on_later_rows(step: str) -> None:
    whole = series(400, step=step)
    changed = whole.copy()
    changed.loc[200:, "temperature"] += 50
    cut = build_features(whole.head(200), PARAMETERS)
    pd.testing.assert_frame_equal(build_features(whole, PARAMETERS).head(200), cut)
    pd.testing.assert_frame_equal(build_features(changed, PARAMETERS).head(200), cut)


@pytest.mark.parametrize("value", [21.37, -4.0000005, -0.0, 2.5e-6, 1234.5678915, 1e5 / 3])
def test_a_single_reading_has_the_features_of_the_first_of_many(value: float) -> None:
    many = series(10)
    many.loc[0, "temperature"] = value
    alone = build_features(many.head(1), PARAMETERS)[FEATURES].to_numpy()
    first = build_features(many, PARAMETERS)[FEATURES].to_numpy()[:1]
    assert alone.tobytes() == first.tobytes()


@pytest.mark.parametrize("rows", [1, 2])
def test_a_reading_too_large_for_exact_sums_is_rejected(rows: int) -> None:
    huge = series(rows).assign(temperature=1e13)
    with pytest.raises(OperationError, match=r"a value of 1e\+13 is too large.*a larger unit"):
        build_features(huge, PARAMETERS)
    assert len(build_features(huge.assign(temperature=1e5), PARAMETERS)) == rows


def test_a_row_depends_on_earlier_rows() -> None:
    whole = series(100)
    changed = whole.copy()
    changed.loc[50, "temperature"] += 50
    before, after = build_features(whole, PARAMETERS), build_features(changed, PARAMETERS)
    assert after.loc[51, "mean_6h"] > before.loc[51, "mean_6h"] + 1


def test_sensors_do_not_depend_on_each_other() -> None:
    hall, cold = series(100), series(100, sensor="cold", seed=1)
    both = build_features(pd.concat([cold, hall], ignore_index=True), PARAMETERS)
    alone = build_features(hall, PARAMETERS)
    np.testing.assert_array_equal(both.tail(100)[FEATURES], alone[FEATURES])


def irregular(random: np.random.Generator, sensor: str) -> pd.DataFrame:
    """Generate irregular readings with repeated times and gaps of up to a year."""
    rows = int(random.choice([1, 2, 6, 30, 120]))
    steps = random.choice([0, 0.4, 1, 1, 1, 1, 1, 8, 100], rows) * random.choice([60, 1800, 86_400])
    steps[random.integers(rows)] += 86_400 * random.choice([0, 3, 15, 365])
    times = pd.Timestamp("2023-12-31 23:30") + pd.to_timedelta(np.cumsum(steps), unit="s")
    values = random.normal(20, 3, rows).round(2)
    return pd.DataFrame({"timestamp": times, "sensor_id": sensor, "temperature": values})


def test_many_sensors_have_the_same_features_as_each_alone() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        alone = [irregular(random, f"s{n}") for n in range(random.integers(2, 12))]
        expected = pd.concat([build_features(one, PARAMETERS) for one in alone], ignore_index=True)
        together = build_features(pd.concat(alone, ignore_index=True), PARAMETERS)
        pd.testing.assert_frame_equal(together, expected, check_exact=True)
        mixed = pd.concat(alone, ignore_index=True).sort_values("timestamp", kind="stable")
        again = build_features(mixed, PARAMETERS)
        pd.testing.assert_frame_equal(again, expected.loc[again.index], check_exact=True)


def test_few_readings_have_the_same_features_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    random, judged = np.random.default_rng(1), 0
    for _ in range(300):
        alone = [irregular(random, f"s{n}").tail(10) for n in range(3)]
        few = pd.concat(alone).sort_values("timestamp", kind="stable", ignore_index=True)
        numbers = few["sensor_id"].map({"s0": 0, "s1": -1, "s2": 1}).to_numpy()
        arguments = few["timestamp"].to_numpy(), few["temperature"].to_numpy(), numbers
        wanted = random.random(len(few)) < 0.8
        monkeypatch.setattr(features, "_FEW", 32)
        rows, described = describe_judged(*arguments, wanted, **PARAMETERS.model_dump())
        monkeypatch.setattr(features, "_FEW", 0)
        expected_rows, expected = describe_judged(*arguments, wanted, **PARAMETERS.model_dump())
        order, expected_order = np.argsort(rows), np.argsort(expected_rows)
        assert rows[order].tolist() == expected_rows[expected_order].tolist()
        assert described[order].tobytes() == expected[expected_order].tobytes()
        judged += len(rows)
    assert judged > 200


def test_every_feature_of_every_row_is_a_finite_number() -> None:
    one_row = build_features(series(1), PARAMETERS)
    many = build_features(series(300), PARAMETERS)
    assert np.isfinite(one_row[FEATURES].to_numpy()).all()
    assert np.isfinite(many[FEATURES].to_numpy()).all()


def test_a_stuck_sensor_has_the_lowest_log_std() -> None:
    stuck = series(200, step="5min")
    stuck.loc[150:, "temperature"] = stuck.loc[150, "temperature"]
    result = build_features(stuck, PARAMETERS)
    assert result["log_std_1h"].iloc[-1] == pytest.approx(np.log(PARAMETERS.std_floor))
    assert result["log_std_1h"].idxmin() > 150


def test_a_slow_sensor_still_gets_windows_of_six_rows() -> None:
    slow = series(20, step="3h")
    result = build_features(slow, PARAMETERS)
    last_six = slow["temperature"].tail(6)
    assert result["mean_6h"].iloc[-1] == pytest.approx(last_six.mean())
    assert result["log_std_1h"].iloc[-1] == pytest.approx(np.log(last_six.std() + 0.02))


def test_the_change_over_a_gap_is_not_a_jump() -> None:
    readings = series(100, step="10min")
    readings.loc[50:, "timestamp"] += pd.Timedelta("3D")
    readings.loc[50:, "temperature"] += 20
    result = build_features(readings, PARAMETERS)
    assert result.loc[50, "diff"] == 0
    small_hole = series(100, step="10min")
    small_hole.loc[50:, "timestamp"] += pd.Timedelta("20min")
    small_hole.loc[50:, "temperature"] += 20
    assert build_features(small_hole, PARAMETERS).loc[50, "diff"] > 15


def test_a_jump_after_a_repeated_time_is_still_a_jump() -> None:
    readings = series(100, step="10min")
    readings.loc[50, "timestamp"] = readings.loc[49, "timestamp"]
    readings.loc[51:, "temperature"] += 20
    assert build_features(readings, PARAMETERS).loc[51, "diff"] > 15


def test_the_seasonal_feature_compares_with_the_same_time_of_earlier_days() -> None:
    days = series(48 * 5)
    days["temperature"] = 10.0 + days["timestamp"].dt.hour
    days.loc[48 * 4, "temperature"] += 7  # midnight of the last day
    seasonal = build_features(days, PARAMETERS)["seasonal"]
    assert seasonal[48 * 4] == pytest.approx(7)
    assert seasonal[48 : 48 * 4].abs().max() == pytest.approx(0)
