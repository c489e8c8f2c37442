import logging

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from temperature_anomalies.features import build_features
from temperature_anomalies.parameters import (
    DetectorParameters,
    EvaluationParameters,
    FeatureParameters,
)
from temperature_anomalies.pipelines.backtest.nodes import (
    BacktestParameters,
    collect_backtest_metrics,
    measure_schedules,
    schedule_name,
    schedules,
    score_by_schedule,
)
from temperature_anomalies.pipelines.backtest.plots import plot_backtest
from temperature_anomalies.pipelines.backtest.report import advise, write_backtest_report

from kedro_azure_mlops.baselines import BASELINES
from kedro_azure_mlops.errors import OperationError


def series(rows: int) -> pd.DataFrame:
    """Generate half-hourly readings of a sensor: a daily swing and noise."""
    random = np.random.default_rng(0)
    swing = 20 + 3 * np.sin(2 * np.pi * np.arange(rows) / 48)
    return pd.DataFrame(
        {
            "timestamp": pd.date_range("2024-01-01", periods=rows, freq="30min"),
            "sensor_id": "hall",
            "temperature": (swing + random.normal(0, 0.3, rows)).round(2),
        }
    )


FEATURES = FeatureParameters(gap_steps=6, std_floor=0.02, seasonal_halflife_days=3)
DETECTOR = DetectorParameters(
    estimator="sklearn.ensemble.IsolationForest",
    arguments={"n_estimators": 10, "max_samples": 128},
    contamination=0.01,
    refit_every="7D",
    seed=0,
)
EVALUATION = EvaluationParameters(alarm_hold="1D")
BACKTEST = BacktestParameters(
    start_fraction=0.25, refit_every=[None, "14D"], period="7D", worthwhile=0.02
)
NO_LABELS = pd.DataFrame(columns=["sensor_id", "start", "end"]).astype(
    {"start": "datetime64[ns]", "end": "datetime64[ns]"}
)


def labels(*windows: tuple[str, str]) -> pd.DataFrame:
    frame = pd.DataFrame([("hall", *window) for window in windows], columns=NO_LABELS.columns)
    return frame.astype(NO_LABELS.dtypes.to_dict())


FAULTS = labels(("2024-01-20 00:00", "2024-01-20 04:00"), ("2024-02-08 00:00", "2024-02-08 04:00"))


RISE = 5.0  # of a fault; it stays in the range that the sensor reaches later


def readings(days: int = 42) -> pd.DataFrame:
    """Six weeks of a sensor that warms up slowly and fails twice."""
    rows = series(48 * days)
    rows["temperature"] += np.linspace(0, 6, len(rows))
    for fault in FAULTS.itertuples():
        rows.loc[rows["timestamp"].between(fault.start, fault.end), "temperature"] += RISE
    return rows


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    return score_by_schedule(build_features(readings(), FEATURES), DETECTOR, FEATURES, BACKTEST)


@pytest.fixture(scope="module")
def measured(scores: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    return measure_schedules(scores, FAULTS, DETECTOR, EVALUATION, BACKTEST)


def scores_of(scores: pd.DataFrame, detector: str) -> pd.Series:
    return scores.loc[scores["detector"] == detector, "score"].reset_index(drop=True)


@pytest.mark.parametrize(
    ("every", "name"),
    [
        (None, "never"),
        ("7D", "every_7_days"),
        ("168h", "every_7_days"),
        ("12h", "every_12_hours"),
        ("90min", "every_90_minutes"),
        ("1500ms", "every_1.5_seconds"),
    ],
)
def test_the_name_of_a_schedule_states_its_interval(every: str | None, name: str) -> None:
    assert schedule_name(every) == name


def test_the_configured_schedule_is_always_among_those_compared() -> None:
    assert list(schedules(BACKTEST, DETECTOR)) == ["never", "every_14_days", "every_7_days"]


def test_equal_intervals_are_compared_once() -> None:
    twice = BACKTEST.model_copy(update={"refit_every": ["168h", None, "7D"]})
    assert list(schedules(twice, DETECTOR)) == ["never", "every_7_days"]


def test_every_detector_scores_the_same_rows_from_the_start_on(scores: pd.DataFrame) -> None:
    expected = readings().iloc[48 * 42 // 4 :]
    names = ["never", "every_14_days", "every_7_days", *BASELINES]
    assert list(scores["detector"].unique()) == names
    for _, rows in scores.groupby("detector"):
        assert rows["timestamp"].tolist() == expected["timestamp"].tolist()


def test_schedules_agree_until_the_first_refit_and_differ_after_it(scores: pd.DataFrame) -> None:
    never, weekly = scores_of(scores, "never"), scores_of(scores, "every_7_days")
    pd.testing.assert_series_equal(never[: 48 * 7], weekly[: 48 * 7])
    assert (never[48 * 7 :] != weekly[48 * 7 :]).mean() > 0.9


def test_no_score_depends_on_a_later_row(scores: pd.DataFrame) -> None:
    kept = 48 * 30
    start = BACKTEST.start_fraction * (48 * 42 - 1) / (kept - 1)
    earlier = BACKTEST.model_copy(update={"start_fraction": start})
    cut = score_by_schedule(
        build_features(readings().head(kept), FEATURES), DETECTOR, FEATURES, earlier
    )
    for name in ("never", "every_14_days", "every_7_days", "distance_from_median", "ewma_level"):
        rows = scores_of(cut, name)
        pd.testing.assert_series_equal(rows, scores_of(scores, name)[: len(rows)])


def test_a_refit_does_not_learn_rows_flagged_earlier() -> None:
    """A schedule that saw a fault before one of its refits finds its recurrence."""
    again = readings()
    recurring = again["timestamp"].between("2024-01-26", "2024-01-26 12:00")
    again.loc[recurring, "temperature"] += RISE
    rows = score_by_schedule(build_features(again, FEATURES), DETECTOR, FEATURES, BACKTEST)
    weekly = rows[(rows["detector"] == "every_7_days") & (rows["is_anomaly"] == 1)]
    assert weekly["timestamp"].between("2024-02-08", "2024-02-08 04:00").any()


def test_counted_refits_equal_the_logged_ones(
    caplog: pytest.LogCaptureFixture, measured: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    table, _ = measured
    assert table["refits"].iloc[:3].tolist() == [0, 2, 4]
    with caplog.at_level(logging.INFO):
        features = build_features(readings(), FEATURES)
        score_by_schedule(features, DETECTOR, FEATURES, BACKTEST)
    start = features["timestamp"].iloc[48 * 42 // 4]
    messages = [record.getMessage() for record in caplog.records]
    refits = [text.split(" at ")[1].split(" on ")[0] for text in messages if "Refitted" in text]
    assert sum(pd.Timestamp(time) > start for time in refits) == table["refits"].sum()


def test_retraining_is_advised_for_a_drifting_sensor(
    measured: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    table, _ = measured
    assert table.loc["every_7_days", "share_flagged"] < table.loc["never", "share_flagged"] / 2
    assert table.loc["random", "roc_auc"] == pytest.approx(0.5, abs=0.2)
    assert "Advice: retrain every" in advise(table, 2, 0.02)


def test_the_periods_cover_all_rows_once(
    scores: pd.DataFrame, measured: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    _, periods = measured
    never = periods[periods["detector"] == "never"]
    assert len(never) == 4, "31.5 days: the remainder is just under half a period"
    assert never["end"].tolist()[:-1] == never["start"].tolist()[1:]
    rows = scores[scores["detector"] == "never"]
    flagged = rows.groupby((rows["timestamp"] - rows["timestamp"].min()) // pd.Timedelta("7D"))
    expected = flagged["is_anomaly"].mean()
    assert never["share_flagged"].tolist()[:3] == pytest.approx(expected.tolist()[:3])
    assert never["event_recall"].notna().tolist() == [False, True, False, True]


def test_a_period_without_a_fault_has_false_alarms_too(
    measured: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    table, periods = measured
    never = periods[periods["detector"] == "never"]
    quiet = never[never["event_recall"].isna()]
    assert quiet["false_alarms_per_week"].equals(quiet["alarms_per_week"])
    faulty = never[never["event_recall"].notna()]
    assert (faulty["false_alarms_per_week"] < faulty["alarms_per_week"]).all()
    assert table.loc["never", "false_alarms_per_week"] > 0


def test_a_short_remainder_joins_the_last_period(scores: pd.DataFrame) -> None:
    short = scores[scores["timestamp"] < scores["timestamp"].min() + pd.Timedelta("17D")]
    _, periods = measure_schedules(short, FAULTS, DETECTOR, EVALUATION, BACKTEST)
    assert (periods["detector"] == "never").sum() == 2
    assert periods["end"].max() == short["timestamp"].max()


def test_without_labels_there_are_alarms_and_no_advice(scores: pd.DataFrame) -> None:
    table, periods = measure_schedules(scores, NO_LABELS, DETECTOR, EVALUATION, BACKTEST)
    assert list(table.columns) == ["refits", "share_flagged", "alarms_per_week"]
    text = write_backtest_report(table, scores, NO_LABELS, BACKTEST)
    assert "Advice: none. No labelled fault" in text
    assert "alarms/wk" in text
    assert "avg precision" not in text
    assert len(plot_backtest(periods, BACKTEST).axes) == 2


def test_the_plot_has_a_line_for_each_detector(
    measured: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    _, periods = measured
    axes = plot_backtest(periods, BACKTEST).axes
    assert len(axes) == 3
    for axis in axes:
        assert len(axis.get_lines()) == 6
    points = [[np.isfinite(line.get_ydata()).sum() for line in axis.get_lines()] for axis in axes]
    assert points[0] == [2] * 6, "faults in two periods, a gap in the others"
    assert points[2] == [4] * 6


def test_the_report_states_the_data_and_the_schedules(
    scores: pd.DataFrame, measured: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    text = write_backtest_report(measured[0], scores, FAULTS, BACKTEST)
    assert "1,512 readings of 1 sensor(s)" in text
    assert "2 labelled faults" in text
    for name in ("refit never", "refit every 14 days", "refit every 7 days", "ewma level"):
        assert name in text
    assert "too short" not in text


def test_a_schedule_that_never_came_due_is_named(scores: pd.DataFrame) -> None:
    monthly = BACKTEST.model_copy(update={"refit_every": [None, "60D"]})
    monthly_scores = scores.replace({"detector": {"every_14_days": "every_60_days"}})
    table, _ = measure_schedules(monthly_scores, FAULTS, DETECTOR, EVALUATION, monthly)
    text = write_backtest_report(table, monthly_scores, FAULTS, monthly)
    assert "too short for a refit every 60 days" in text
    assert "too short for a refit never" not in text


def test_metrics_are_tracked_by_schedule(measured: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    metrics = collect_backtest_metrics(measured[0])
    assert metrics["backtest.every_7_days.refits"] == 4
    assert "backtest.random.refits" not in metrics
    assert metrics["backtest.random.roc_auc"] == measured[0].loc["random", "roc_auc"]


def results(**average_precision: float) -> pd.DataFrame:
    frame = pd.DataFrame({"average_precision": average_precision})
    return frame.assign(false_alarms_per_week=[float(row) for row in range(len(frame))])


@pytest.mark.parametrize(
    ("never", "rare", "often", "advice"),
    [
        (0.50, 0.60, 0.70, "retrain every 7 days. Refitted every 7 days, average precision is 0.7"),
        (0.50, 0.69, 0.70, "retrain every 28 days"),
        (0.69, 0.60, 0.70, "no difference worth retraining for"),
        (0.70, 0.60, 0.50, "no difference worth retraining for"),
    ],
)
def test_the_advice_is_the_rarest_schedule_that_is_nearly_best(
    never: float, rare: float, often: float, advice: str
) -> None:
    table = results(never=never, every_28_days=rare, every_7_days=often, random=0.1)
    assert f"Advice: {advice}" in advise(table, 9, 0.02)
    assert "a baseline" not in advise(table, 9, 0.02)


def test_the_gain_and_its_cost_are_in_the_advice() -> None:
    text = advise(results(never=0.5, every_7_days=0.7, random=0.1), 9, 0.02)
    assert "+0.200 against never" in text
    assert "false alarms 1.00 against 0.00 per sensor and week (9 faults)" in text


def test_the_advice_names_a_better_baseline() -> None:
    text = advise(results(never=0.5, every_7_days=0.7, ewma_level=0.8), 9, 0.02)
    assert text.endswith("But ewma level, a baseline, has 0.800.")


@pytest.mark.parametrize("fraction", [0.01, 0.02])
def test_too_little_history_before_the_start_is_refused(fraction: float) -> None:
    too_early = BACKTEST.model_copy(update={"start_fraction": fraction})
    with pytest.raises(OperationError, match=r"Give a larger backtest\.start_fraction"):
        score_by_schedule(build_features(readings(), FEATURES), DETECTOR, FEATURES, too_early)


def test_readings_of_a_single_time_are_refused() -> None:
    rows = build_features(series(1), FEATURES)
    with pytest.raises(OperationError, match="no history to walk over"):
        score_by_schedule(rows, DETECTOR, FEATURES, BACKTEST)


@pytest.mark.parametrize(
    "wrong",
    [{"start_fraction": 0}, {"refit_every": []}, {"refit_every": ["soon"]}, {"period": "-1D"}],
    ids=str,
)
def test_invalid_parameters_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BacktestParameters(**(BACKTEST.model_dump() | wrong))
