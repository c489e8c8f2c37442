import numpy as np
import pandas as pd
import pytest
from temperature_anomalies.evaluation import (
    Events,
    alarm_onsets,
    as_scored,
    baseline_scores,
    detection_metrics,
)

from tests.template.sample.helpers import series

HOLD = pd.Timedelta("1D")


def labels(*windows: tuple[str, str, str]) -> Events:
    frame = pd.DataFrame(windows, columns=["sensor_id", "start", "end"])
    return Events(frame.astype({"start": "datetime64[ns]", "end": "datetime64[ns]"}))


def scored(flagged: list[int], rows: int = 48 * 7) -> pd.DataFrame:
    score = np.zeros(rows)
    score[flagged] = 2.0
    return as_scored(series(rows), score)


def test_a_fault_includes_both_its_ends_and_only_its_sensor() -> None:
    readings = pd.concat([series(6), series(6, sensor="cold")], ignore_index=True)
    fault = labels(("hall", "2024-01-01 01:00", "2024-01-01 02:00"))
    assert np.flatnonzero(fault.contain(readings)).tolist() == [2, 3, 4]


def test_rows_in_any_order_are_found() -> None:
    readings = series(6).sample(frac=1, random_state=0)
    fault = labels(("hall", "2024-01-01 01:00", "2024-01-01 02:00"))
    assert sorted(readings.index[fault.contain(readings)]) == [2, 3, 4]


def test_a_fault_counts_as_found_with_one_flagged_row() -> None:
    faults = labels(
        ("hall", "2024-01-01 01:00", "2024-01-01 02:00"),
        ("hall", "2024-01-03 01:00", "2024-01-03 02:00"),
        ("cold", "2024-01-01 01:00", "2024-01-01 02:00"),
    )
    rows = scored([3])
    assert faults.found_by(rows[rows["is_anomaly"] == 1]).tolist() == [True, False, False]


def test_flagged_rows_within_the_hold_are_one_alarm() -> None:
    rows = scored([10, 20, 50, 60, 200])  # half hours: 5 h, 20 h and 25 h after the first
    onsets = alarm_onsets(rows[rows["is_anomaly"] == 1], HOLD)
    assert onsets.index.tolist() == [10, 60, 200]


def test_each_sensor_has_its_own_alarms() -> None:
    both = pd.concat([scored([10, 11]), scored([12]).assign(sensor_id="cold")], ignore_index=True)
    assert len(alarm_onsets(both[both["is_anomaly"] == 1], HOLD)) == 2


def test_an_alarm_that_does_not_end_is_false_again_every_day() -> None:
    faults = labels(("hall", "2024-01-01 05:00", "2024-01-01 06:00"))
    metrics = detection_metrics(scored(list(range(48 * 7))), faults, HOLD)
    weeks = (48 * 7 - 1) / (48 * 7)
    # raised at 0:00, then every day and a half hour; the one of the second day is still an echo
    assert metrics["alarms_per_week"] == pytest.approx(7 / weeks)
    assert metrics["false_alarms_per_week"] == pytest.approx(6 / weeks)


def test_the_echo_of_a_fault_is_no_false_alarm() -> None:
    faults = labels(("hall", "2024-01-01 05:00", "2024-01-01 06:00"))
    assert detection_metrics(scored([30]), faults, HOLD)["false_alarms_per_week"] == 0
    assert detection_metrics(scored([70]), faults, HOLD)["false_alarms_per_week"] > 0


def test_metrics_are_those_counted_by_hand() -> None:
    faults = labels(
        ("hall", "2024-01-01 05:00", "2024-01-01 06:00"),  # rows 10 to 12
        ("hall", "2024-01-06 00:00", "2024-01-06 01:00"),  # rows 240 to 242
    )
    metrics = detection_metrics(scored([11, 100]), faults, HOLD)
    weeks = (48 * 7 - 1) / (48 * 7)
    assert metrics["share_flagged"] == pytest.approx(2 / (48 * 7))
    assert metrics["alarms_per_week"] == pytest.approx(2 / weeks)
    assert metrics["false_alarms_per_week"] == pytest.approx(1 / weeks)
    assert metrics["event_recall"] == 0.5
    # of 6 faulty and 330 other rows, 1 and 1 score above the rest, which are tied
    assert metrics["roc_auc"] == pytest.approx((1 * (329 + 0.5) + 5 * (0.5 * 329)) / (6 * 330))
    assert metrics["average_precision"] == pytest.approx(1 / 6 * 0.5 + 5 / 6 * 6 / 336)


@pytest.mark.parametrize(
    "faults",
    [
        labels(),
        labels(("cold", "2024-01-01", "2024-01-02")),
        labels(("hall", "2030-01-01", "2030-01-02")),
        labels(("hall", "2020-01-01", "2030-01-02")),
    ],
    ids=["no labels", "another sensor", "another time", "all of it"],
)
def test_without_a_fault_to_rank_there_are_no_ranking_metrics(faults: Events) -> None:
    metrics = detection_metrics(scored([11]), faults, HOLD)
    assert set(metrics) == {"share_flagged", "alarms_per_week"}


def test_the_baselines_are_what_they_say() -> None:
    train, test = series(48 * 14), series(48 * 28).tail(48 * 14)
    test.loc[1000, "temperature"] = 60.0
    found = baseline_scores(train, test, contamination=0.01, seed=0)
    assert found["distance_from_median"]["score"].idxmax() == 1000
    assert found["distance_from_median"].loc[1000, "is_anomaly"] == 1
    smooth = found["ewma_level"]["score"]
    assert smooth[1000] > smooth[999]
    assert smooth[1012] < smooth[1000]
    assert abs(found["random"]["score"].corr(found["distance_from_median"]["score"])) < 0.15


def test_the_random_score_ranks_like_chance() -> None:
    train, test = series(48 * 14), series(48 * 28).tail(48 * 14)
    faults = labels(("hall", "2024-01-20", "2024-01-22"))
    random = baseline_scores(train, test, contamination=0.01, seed=0)["random"]
    assert detection_metrics(random, faults, HOLD)["roc_auc"] == pytest.approx(0.5, abs=0.1)
