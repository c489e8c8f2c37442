import numpy as np
import pandas as pd
import pytest
from temperature_anomalies.features import FEATURES, build_features
from temperature_anomalies.parameters import FeatureParameters

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
def test_a_first_reading_is_described_as_the_first_of_many(value: float) -> None:
    many = series(10)
    many.loc[0, "temperature"] = value
    alone = build_features(many.head(1), PARAMETERS)[FEATURES].to_numpy()
    first = build_features(many, PARAMETERS)[FEATURES].to_numpy()[:1]
    assert alone.tobytes() == first.tobytes()


@pytest.mark.parametrize("rows", [1, 2])
def test_a_reading_that_no_exact_sum_can_hold_is_refused(rows: int) -> None:
    huge = series(rows).assign(temperature=1e13)
    with pytest.raises(ValueError, match="too large to be a temperature"):
        build_features(huge, PARAMETERS)
    assert len(build_features(huge.assign(temperature=1e5), PARAMETERS)) == rows


def test_a_row_does_depend_on_earlier_rows() -> None:
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


def test_every_feature_of_every_row_is_a_finite_number() -> None:
    one_row = build_features(series(1), PARAMETERS)
    many = build_features(series(300), PARAMETERS)
    assert np.isfinite(one_row[FEATURES].to_numpy()).all()
    assert np.isfinite(many[FEATURES].to_numpy()).all()


def test_a_stuck_sensor_has_the_lowest_log_std() -> None:
    stuck = series(200, step="5min")
    stuck.loc[150:, "temperature"] = stuck.loc[150, "temperature"]
    features = build_features(stuck, PARAMETERS)
    assert features["log_std_1h"].iloc[-1] == pytest.approx(np.log(PARAMETERS.std_floor))
    assert features["log_std_1h"].idxmin() > 150


def test_a_slow_sensor_still_gets_windows_of_six_rows() -> None:
    slow = series(20, step="3h")
    features = build_features(slow, PARAMETERS)
    last_six = slow["temperature"].tail(6)
    assert features["mean_6h"].iloc[-1] == pytest.approx(last_six.mean())
    assert features["log_std_1h"].iloc[-1] == pytest.approx(np.log(last_six.std() + 0.02))


def test_the_change_over_a_gap_is_not_a_jump() -> None:
    readings = series(100, step="10min")
    readings.loc[50:, "timestamp"] += pd.Timedelta("3D")
    readings.loc[50:, "temperature"] += 20
    features = build_features(readings, PARAMETERS)
    assert features.loc[50, "diff"] == 0
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
