"""Labelled intervals, alarms, and metrics compared with manual counts."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from kedro_azure_mlops.events import Events, alarm_onsets

HOLD = pd.Timedelta("1D")
ROWS = 48 * 7  # a week of half hours
WEEKS = (ROWS - 1) / ROWS


def events(*windows: tuple[str, str, str]) -> Events:
    frame = pd.DataFrame(windows, columns=["unit", "start", "end"])
    frame = frame.astype({"start": "datetime64[ns]", "end": "datetime64[ns]"})
    return Events(frame, by="unit", time="time", flag="flagged")


def scored(flagged: list[int], unit: str = "a", rows: int = ROWS) -> pd.DataFrame:
    times = pd.date_range("2024-01-01", periods=rows, freq="30min")
    score = np.zeros(rows)
    score[flagged] = 2.0
    table = pd.DataFrame({"time": times, "unit": unit, "score": score})
    return table.assign(flagged=(table["score"] > 1).astype("Int64"))


def onsets(rows: pd.DataFrame) -> pd.DataFrame:
    return alarm_onsets(rows[rows["flagged"] == 1], HOLD, by="unit", time="time")


def test_an_event_includes_both_ends_and_only_its_own_series() -> None:
    rows = pd.concat([scored([], rows=6), scored([], "b", rows=6)], ignore_index=True)
    event = events(("a", "2024-01-01 01:00", "2024-01-01 02:00"))
    assert np.flatnonzero(event.contain(rows)).tolist() == [2, 3, 4]


def test_rows_of_an_event_are_found_in_any_order() -> None:
    rows = scored([], rows=6).sample(frac=1, random_state=0)
    event = events(("a", "2024-01-01 01:00", "2024-01-01 02:00"))
    assert sorted(rows.index[event.contain(rows)]) == [2, 3, 4]


def test_rows_of_events_are_left_out() -> None:
    rows = scored([], rows=6)
    event = events(("a", "2024-01-01 01:00", "2024-01-01 02:00"))
    assert event.leave_out(rows).index.tolist() == [0, 1, 5]
    assert events().leave_out(rows) is rows


def test_one_flagged_row_detects_an_event() -> None:
    three = events(
        ("a", "2024-01-01 01:00", "2024-01-01 02:00"),
        ("a", "2024-01-03 01:00", "2024-01-03 02:00"),
        ("b", "2024-01-01 01:00", "2024-01-01 02:00"),
    )
    rows = scored([3])
    assert three.found_by(rows[rows["flagged"] == 1]).tolist() == [True, False, False]
    assert three.touching(rows).windows["unit"].tolist() == ["a", "a"]


def test_flagged_rows_within_the_hold_are_one_alarm() -> None:
    # half hours: 5 h, 20 h and 25 h after the first
    assert onsets(scored([10, 20, 50, 60, 200])).index.tolist() == [10, 60, 200]
    assert onsets(scored([])).empty


def test_each_series_has_its_own_alarms() -> None:
    both = pd.concat([scored([10, 11]), scored([12], "b")], ignore_index=True)
    assert len(onsets(both)) == 2


def test_a_permanent_alarm_counts_as_a_false_alarm_every_day() -> None:
    event = events(("a", "2024-01-01 05:00", "2024-01-01 06:00"))
    metrics = event.metrics(scored(list(range(ROWS))), HOLD)
    # raised at 0:00, then every 24.5 hours; the second one is still an echo of the event
    assert metrics["alarms_per_week"] == pytest.approx(7 / WEEKS)
    assert metrics["false_alarms_per_week"] == pytest.approx(6 / WEEKS)


def test_the_echo_of_an_event_is_not_a_false_alarm() -> None:
    event = events(("a", "2024-01-01 05:00", "2024-01-01 06:00"))
    assert event.metrics(scored([30]), HOLD)["false_alarms_per_week"] == 0
    assert event.metrics(scored([70]), HOLD)["false_alarms_per_week"] > 0


def test_metrics_match_manual_counts() -> None:
    two = events(
        ("a", "2024-01-01 05:00", "2024-01-01 06:00"),  # rows 10 to 12
        ("a", "2024-01-06 00:00", "2024-01-06 01:00"),  # rows 240 to 242
    )
    metrics = two.metrics(scored([11, 100]), HOLD)
    assert metrics["share_flagged"] == pytest.approx(2 / ROWS)
    assert metrics["alarms_per_week"] == pytest.approx(2 / WEEKS)
    assert metrics["false_alarms_per_week"] == pytest.approx(1 / WEEKS)
    assert metrics["event_recall"] == 0.5
    # one of 6 rows in events and one of 330 others score above the rest, which are tied
    assert metrics["roc_auc"] == pytest.approx((1 * (329 + 0.5) + 5 * (0.5 * 329)) / (6 * 330))
    assert metrics["average_precision"] == pytest.approx(1 / 6 * 0.5 + 5 / 6 * 6 / 336)


def test_a_missing_score_detects_nothing() -> None:
    rows = scored([11, 100])
    rows.loc[240, ["score", "flagged"]] = None
    event = events(("a", "2024-01-06 00:00", "2024-01-06 01:00"))
    assert event.metrics(rows, HOLD) == event.metrics(scored([11, 100]), HOLD)


@pytest.mark.parametrize(
    "labels",
    [
        events(),
        events(("b", "2024-01-01", "2024-01-02")),
        events(("a", "2030-01-01", "2030-01-02")),
        events(("a", "2020-01-01", "2030-01-02")),
    ],
    ids=["no labels", "different series", "different time", "all rows"],
)
def test_ranking_metrics_need_rows_inside_and_outside_an_event(labels: Events) -> None:
    assert set(labels.metrics(scored([11]), HOLD)) == {"share_flagged", "alarms_per_week"}


def test_metrics_by_series_equal_those_of_each_series_alone() -> None:
    parts = {"a": scored([11, 100]), "b": scored([5], "b"), "c": scored([], "c", rows=1)}
    two = events(
        ("a", "2024-01-01 05:00", "2024-01-01 06:00"),
        ("b", "2024-01-02", "2024-01-03"),
    )
    table = two.metrics_by_series(pd.concat(parts.values(), ignore_index=True), HOLD)
    assert table.index.tolist() == ["a", "b", "c"]
    for name, part in parts.items():
        metrics = table.loc[name].dropna().to_dict()
        assert metrics == pytest.approx(two.metrics(part, HOLD))
    assert table.loc["c"].dropna().to_dict() == {"share_flagged": 0, "alarms_per_week": 0}
    none = replace(two, windows=two.windows.head(0))
    assert none.metrics_by_series(parts["a"], HOLD).columns.tolist() == [
        *("share_flagged", "alarms_per_week"),
    ]
