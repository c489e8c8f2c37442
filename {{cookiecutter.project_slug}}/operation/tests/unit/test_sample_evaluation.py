from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from {{ cookiecutter.package_name }}.evaluation import (
    Events,
    alarm_onsets,
    as_scored,
    baseline_scores,
    detection_metrics,
)

HOLD = pd.Timedelta("1D")
WEEK = 48 * 7


def labels(*windows: tuple[str, str, str]) -> Events:
    frame = pd.DataFrame(windows, columns=["sensor_id", "start", "end"])
    return Events(frame.astype({"start": "datetime64[ns]", "end": "datetime64[ns]"}))


@pytest.fixture
def scored(series: Callable) -> Callable[[list[int]], pd.DataFrame]:
    def make(flagged: list[int]) -> pd.DataFrame:
        score = np.zeros(WEEK)
        score[flagged] = 2.0
        return as_scored(series(WEEK), score)

    return make


def test_a_fault_includes_both_its_ends_and_only_its_sensor(series: Callable) -> None:
    readings = pd.concat([series(6), series(6, sensor="two")], ignore_index=True)
    fault = labels(("one", "2024-01-01 01:00", "2024-01-01 02:00"))
    assert np.flatnonzero(fault.contain(readings)).tolist() == [2, 3, 4]


def test_flagged_rows_within_the_hold_are_one_alarm(scored: Callable) -> None:
    rows = scored([10, 20, 50, 60, 200])  # half hours: 5 h, 20 h and 25 h after the first
    assert alarm_onsets(rows[rows["is_anomaly"] == 1], HOLD).index.tolist() == [10, 60, 200]


def test_metrics_are_those_counted_by_hand(scored: Callable) -> None:
    faults = labels(
        ("one", "2024-01-01 05:00", "2024-01-01 06:00"),  # rows 10 to 12
        ("one", "2024-01-06 00:00", "2024-01-06 01:00"),  # rows 240 to 242
    )
    metrics = detection_metrics(scored([11, 100]), faults, HOLD)
    weeks = (WEEK - 1) / WEEK
    assert metrics["share_flagged"] == pytest.approx(2 / WEEK)
    assert metrics["alarms_per_week"] == pytest.approx(2 / weeks)
    assert metrics["false_alarms_per_week"] == pytest.approx(1 / weeks)
    assert metrics["event_recall"] == 0.5
    # of 6 faulty and 330 other rows, 1 and 1 score above the rest, which are tied
    assert metrics["roc_auc"] == pytest.approx((1 * (329 + 0.5) + 5 * (0.5 * 329)) / (6 * 330))
    assert metrics["average_precision"] == pytest.approx(1 / 6 * 0.5 + 5 / 6 * 6 / 336)


def test_without_a_fault_to_rank_there_are_no_ranking_metrics(scored: Callable) -> None:
    for faults in (labels(), labels(("two", "2024-01-01", "2024-01-02"))):
        metrics = detection_metrics(scored([11]), faults, HOLD)
        assert set(metrics) == {"share_flagged", "alarms_per_week"}


def test_the_baselines_rank_a_jump_and_chance_does_not(series: Callable) -> None:
    train, test = series(48 * 14), series(48 * 28).tail(48 * 14)
    test.loc[1000, "temperature"] = 60.0
    found = baseline_scores(train, test, contamination=0.01, seed=0)
    assert found["distance_from_median"]["score"].idxmax() == 1000
    assert found["ewma_level"]["score"][1000] > found["ewma_level"]["score"][999]
    faults = labels(("one", "2024-01-20", "2024-01-22"))
    assert detection_metrics(found["random"], faults, HOLD)["roc_auc"] == pytest.approx(
        0.5, abs=0.1
    )
