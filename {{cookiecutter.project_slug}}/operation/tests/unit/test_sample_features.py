from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from {{ cookiecutter.package_name }}.features import FEATURES, build_features
from {{ cookiecutter.package_name }}.parameters import FeatureParameters

PARAMETERS = FeatureParameters(gap_steps=6, std_floor=0.02, seasonal_halflife_days=3)


@pytest.mark.parametrize("step", ["5min", "30min", "1h"])
def test_a_row_does_not_depend_on_later_rows(series: Callable, step: str) -> None:
    whole = series(400, step=step)
    changed = whole.copy()
    changed.loc[200:, "temperature"] += 50
    cut = build_features(whole.head(200), PARAMETERS)
    pd.testing.assert_frame_equal(build_features(whole, PARAMETERS).head(200), cut)
    pd.testing.assert_frame_equal(build_features(changed, PARAMETERS).head(200), cut)


def test_sensors_do_not_depend_on_each_other(series: Callable) -> None:
    one, two = series(100), series(100, sensor="two", seed=1)
    both = build_features(pd.concat([two, one], ignore_index=True), PARAMETERS)
    np.testing.assert_array_equal(
        both.tail(100)[FEATURES], build_features(one, PARAMETERS)[FEATURES]
    )


def test_a_first_reading_is_described_as_the_first_of_many(series: Callable) -> None:
    many = build_features(series(10), PARAMETERS)[FEATURES].to_numpy()
    alone = build_features(series(10).head(1), PARAMETERS)[FEATURES].to_numpy()
    assert np.isfinite(many).all()
    assert alone.tobytes() == many[:1].tobytes()


def test_a_stuck_sensor_has_the_lowest_log_std(series: Callable) -> None:
    stuck = series(200, step="5min")
    stuck.loc[150:, "temperature"] = stuck.loc[150, "temperature"]
    features = build_features(stuck, PARAMETERS)
    assert features["log_std_1h"].iloc[-1] == pytest.approx(np.log(PARAMETERS.std_floor))
    assert features["log_std_1h"].idxmin() > 150


def test_the_change_over_a_gap_is_not_a_jump(series: Callable) -> None:
    readings = series(100, step="10min")
    readings.loc[50:, "temperature"] += 20
    assert build_features(readings, PARAMETERS).loc[50, "diff"] > 15
    readings.loc[50:, "timestamp"] += pd.Timedelta("3D")
    assert build_features(readings, PARAMETERS).loc[50, "diff"] == 0


def test_the_seasonal_feature_compares_with_the_same_time_of_earlier_days(series: Callable) -> None:
    days = series(48 * 5)
    days["temperature"] = 10.0 + days["timestamp"].dt.hour
    days.loc[48 * 4, "temperature"] += 7  # midnight of the last day
    seasonal = build_features(days, PARAMETERS)["seasonal"]
    assert seasonal[48 * 4] == pytest.approx(7)
    assert seasonal[48 : 48 * 4].abs().max() == pytest.approx(0)
