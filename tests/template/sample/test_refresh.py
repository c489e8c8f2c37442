"""A refresh learns the newest readings and is evaluated with or without fresh labels."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from temperature_anomalies.detector import Detector
from temperature_anomalies.evaluation import (
    Events,
    as_scored,
    measure,
)
from temperature_anomalies.features import READING, build_features
from temperature_anomalies.parameters import (
    DetectorParameters,
    EvaluationParameters,
    FeatureParameters,
    TrainingParameters,
    ValidationParameters,
)
from temperature_anomalies.pipelines.data_engineering.nodes import engineer_features, split_by_time
from temperature_anomalies.pipelines.data_science.nodes import score_readings, train_detector
from temperature_anomalies.pipelines.metrics.nodes import (
    choose_model,
    compare_detectors,
    measure_slices,
    refit_challenger,
    score_newest_week,
    write_report,
)

from kedro_azure_mlops.contract import digest
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.models import Champion, load_model, save_model
from kedro_azure_mlops.registry.gate import decide
from tests.template.sample.helpers import FOREST, NAME, Project, rendered, series

FEATURES = FeatureParameters(gap_steps=6, std_floor=0.02, seasonal_halflife_days=3)
DETECTOR = DetectorParameters(
    estimator=FOREST, arguments={"n_estimators": 25}, contamination=0.01, refit_every="7D", seed=0
)
VALIDATION = ValidationParameters(minimum=-100, maximum=400, stuck_clock_rows=10)
EVALUATION = EvaluationParameters(alarm_hold="1D")
GATE = yaml.safe_load(
    (rendered() / "operation/configuration/base/parameters.yml").read_text(encoding="utf-8")
)["gate"]
TRUSTED = ["temperature_anomalies.detector.Detector"]
SENSORS = ("cold", "hall", "roof", "yard")
START, DAY = pd.Timestamp("2024-01-01"), pd.Timedelta("1D")
FAULT_DAYS = (12, 13, 14)  # a fault in each of the first three sensors
NO_LABELS = pd.DataFrame({"sensor_id": [], "start": [], "end": []}).astype(
    {"sensor_id": str, "start": "datetime64[ns]", "end": "datetime64[ns]"}
)
PASSED = {"passed": True, "rules": []}


def training(window: str = "all", holdout: float | str = 0.4, *, refit: bool = True) -> Any:
    return TrainingParameters(window=window, holdout=holdout, refit_on_all_after_gate=refit)


def readings(days: float, shifted_from: float | None = None) -> pd.DataFrame:
    """Generate readings of four sensors with three faults and a lasting rise of one sensor."""
    parts = []
    for number, sensor in enumerate(SENSORS):
        rows = series(int(48 * days), sensor=sensor, seed=number)
        since = (rows["timestamp"] - START) / DAY
        if number < len(FAULT_DAYS):
            rows.loc[
                (since >= FAULT_DAYS[number]) & (since < FAULT_DAYS[number] + 0.2), "temperature"
            ] += 9
        if shifted_from is not None and sensor == "hall":
            rows.loc[since >= shifted_from, "temperature"] += 12
        parts.append(rows)
    return pd.concat(parts, ignore_index=True).assign(repeated=False)


def labels() -> pd.DataFrame:
    faults = [
        (sensor, START + day * DAY, START + (day + 0.2) * DAY)
        for sensor, day in zip(SENSORS, FAULT_DAYS, strict=False)
    ]
    return pd.DataFrame(faults, columns=["sensor_id", "start", "end"])


@dataclass
class Trained:
    clean: pd.DataFrame
    features: pd.DataFrame
    train: pd.DataFrame
    test: pd.DataFrame
    challenger: Detector
    held_out: pd.DataFrame

    def refit(
        self, faults: pd.DataFrame = NO_LABELS, verdict: Any = PASSED, settings: Any = None
    ) -> Detector:
        data = (self.challenger, self.features, self.held_out, faults)
        candidate = refit_challenger(*data, DETECTOR, settings or training())
        model, _ = choose_model(verdict, self.challenger, candidate)
        return model

    def compare(self, champion: Detector, faults: pd.DataFrame) -> tuple[pd.DataFrame, Any]:
        known = Champion(version="1", model=champion)
        data = (self.clean, self.train, self.test, self.held_out, faults)
        newest = score_newest_week(self.test, self.refit(faults))
        return compare_detectors(*data, self.challenger, newest, known, DETECTOR, EVALUATION)

    def judge(self, champion: Detector, faults: pd.DataFrame, **changes: Any) -> dict[str, Any]:
        newest = score_newest_week(self.test, self.refit(faults))
        slices = measure_slices(self.held_out, faults, newest, EVALUATION)
        cost = {"latency_ms": 1.0, "size_mb": 1.0}
        return decide(*self.compare(champion, faults), GATE | changes, cost, slices)


def trained(
    clean: pd.DataFrame,
    settings: Any = None,
    parameters: DetectorParameters = DETECTOR,
    faults: pd.DataFrame = NO_LABELS,
) -> Trained:
    settings = settings or training()
    features = engineer_features(clean, FEATURES, settings)
    train, test = split_by_time(clean, features, settings)
    challenger = train_detector(train, faults, parameters, FEATURES, VALIDATION)
    _, held_out = score_readings(clean, features, test, challenger, parameters)
    return Trained(clean, features, train, test, challenger, held_out)


def share_flagged(detector: Detector, clean: pd.DataFrame, sensor: str, since: float) -> float:
    rows = build_features(clean.drop(columns="repeated"), FEATURES)
    rows = rows[(rows["sensor_id"] == sensor) & (rows["timestamp"] >= START + since * DAY)]
    return float((detector.score_samples(rows) > 1).mean())


@pytest.fixture(scope="module")
def usual() -> Trained:
    """Four weeks without a change."""
    return trained(readings(28), faults=labels())


@pytest.fixture(scope="module")
def shifted() -> Trained:
    """Five days after a change, all of them held out."""
    return trained(readings(28, shifted_from=23), faults=labels())


@pytest.mark.parametrize("days", [10, 11, 28])
def test_the_default_holdout_leaves_60_percent_for_training(days: int) -> None:
    clean = readings(days)
    features = engineer_features(clean, FEATURES, training())
    train, test = split_by_time(clean, features, training())
    split = clean["timestamp"].sort_values().iloc[int(0.6 * len(clean))]
    assert (train["timestamp"] < split).all()
    assert (test["timestamp"] >= split).all()
    assert len(train) + len(test) == len(clean)


def test_spans_are_counted_back_from_the_newest_reading() -> None:
    clean = readings(28)
    features = engineer_features(clean, FEATURES, training("14D", "4D"))
    train, test = split_by_time(clean, features, training("14D", "4D"))
    assert train["timestamp"].min() == START + 14 * DAY
    assert test["timestamp"].min() == START + 24 * DAY
    assert (len(train), len(test)) == (10 * 48 * 4, 4 * 48 * 4)
    _, fifth = split_by_time(clean, features, training("14D", 0.2))
    assert len(fifth) == pytest.approx(0.2 * len(features), abs=4)


def test_readings_before_the_window_serve_as_history() -> None:
    clean = readings(28)
    whole = engineer_features(clean, FEATURES, training())
    pd.testing.assert_frame_equal(
        engineer_features(clean, FEATURES, training("14D")),
        whole[whole["timestamp"] >= START + 14 * DAY],
    )


def test_every_row_is_kept_but_rows_before_the_window_have_no_score() -> None:
    clean, settings = readings(28), training("14D", "4D")
    features = engineer_features(clean, FEATURES, settings)
    train, test = split_by_time(clean, features, settings)
    challenger = train_detector(train, NO_LABELS, DETECTOR, FEATURES, VALIDATION)
    scores, held_out = score_readings(clean, features, test, challenger, DETECTOR)
    pd.testing.assert_frame_equal(scores[READING], clean[READING])
    assert scores.loc[scores["timestamp"] < START + 14 * DAY, "score"].isna().all()
    assert scores.loc[scores["timestamp"] >= START + 21 * DAY, "score"].notna().all()
    assert len(held_out) == 4 * 48 * 4


@pytest.mark.parametrize(
    ("refused", "accepted", "named"),
    [
        (training("7D", "7D"), training("7D", "6D"), "training.holdout"),
        (training("all", "28D"), training("all", "27D"), "training.holdout"),
        (training("all", 0.9999), training("all", 0.99), "training.holdout"),
        (training("1min", 0.4), training("1h", 0.4), "training.window"),
    ],
    ids=["as long as the window", "as long as all", "nearly all", "a moment"],
)
def test_a_split_without_training_rows_is_rejected(refused: Any, accepted: Any, named: str) -> None:
    clean = readings(28)

    def split(settings: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
        return split_by_time(clean, engineer_features(clean, FEATURES, settings), settings)

    with pytest.raises(OperationError, match=named):
        split(refused)
    assert all(len(part) for part in split(accepted))


def test_a_lasting_change_in_the_held_out_rows_is_learned_after_the_gate(
    shifted: Trained,
) -> None:
    later = readings(32, shifted_from=23)
    renewed = shifted.refit()
    assert share_flagged(shifted.challenger, later, "hall", 28) > 0.5
    assert share_flagged(renewed, later, "hall", 28) < 0.02
    assert share_flagged(renewed, later, "roof", 28) < 0.02
    assert renewed.ranges["hall"][1] > 32, "the new level, which is about 32 degrees"
    assert shifted.challenger.ranges["hall"][1] < 32
    assert share_flagged(renewed, readings(28).assign(temperature=60.0), "hall", 27) == 1


def test_only_the_new_level_is_learned_if_the_old_one_is_before_the_window() -> None:
    clean = readings(36, shifted_from=20)
    result = trained(clean, training("14D", "4D"))
    renewed = result.refit(settings=training("14D", "4D"))
    assert share_flagged(result.challenger, clean, "hall", 24) < 0.05
    assert share_flagged(renewed, clean, "hall", 24) < 0.05
    assert renewed.ranges["hall"][0] > 24, "the old level is before the window"


def test_readings_flagged_for_only_a_day_are_not_learned() -> None:
    result = trained(readings(28, shifted_from=27))
    assert share_flagged(result.refit(), readings(29, shifted_from=27), "hall", 27.5) > 0.5


def test_even_a_long_labelled_fault_is_not_learned(shifted: Trained) -> None:
    fault = pd.DataFrame(
        {"sensor_id": ["hall"], "start": [START + 23 * DAY], "end": [START + 28 * DAY]}
    )
    assert share_flagged(shifted.refit(fault), shifted.clean, "hall", 24) > 0.5
    assert share_flagged(shifted.refit(), shifted.clean, "hall", 24) < 0.02


def test_without_periodic_refits_a_lasting_change_is_still_learned(shifted: Trained) -> None:
    never = DETECTOR.model_copy(update={"refit_every": None})
    result = trained(shifted.clean, parameters=never)
    data = (result.challenger, result.features, result.held_out, NO_LABELS)
    renewed = refit_challenger(*data, never, training())
    assert share_flagged(renewed, shifted.clean, "hall", 24) < 0.02


@pytest.mark.parametrize(
    ("verdict", "settings"),
    [({"passed": False}, training()), (PASSED, training(refit=False))],
    ids=["refused", "switched off"],
)
def test_without_a_refit_the_model_is_identical_to_the_challenger(
    usual: Trained, tmp_path: Any, verdict: Any, settings: Any
) -> None:
    save_model(usual.challenger, tmp_path / "challenger", TRUSTED)
    stored = replace(usual, challenger=load_model(tmp_path / "challenger", TRUSTED))
    save_model(stored.refit(verdict=verdict, settings=settings), tmp_path / "model", TRUSTED)
    save_model(stored.refit(), tmp_path / "refit", TRUSTED)
    assert digest(tmp_path / "model") == digest(tmp_path / "challenger")
    assert digest(tmp_path / "refit") != digest(tmp_path / "challenger")


@pytest.mark.parametrize("labelled", [SENSORS, SENSORS[1:]], ids=["all", "all but one sensor"])
def test_a_refit_works_if_held_out_readings_are_labelled_as_faults(
    usual: Trained, labelled: tuple[str, ...]
) -> None:
    start, end = usual.test["timestamp"].min(), usual.test["timestamp"].max()
    faults = pd.DataFrame({"sensor_id": labelled, "start": start, "end": end})
    assert usual.refit(faults).sensors == [*SENSORS]


def test_readings_in_labelled_faults_do_not_count_as_training_readings(usual: Trained) -> None:
    rows = usual.train.groupby("sensor_id").head(60)
    fault = {"start": START, "end": START + 28 * DAY}
    faults = pd.DataFrame({"sensor_id": SENSORS} | fault)
    with pytest.raises(OperationError, match="has 50 training readings outside labelled faults"):
        train_detector(rows, faults, DETECTOR, FEATURES, VALIDATION)
    assert train_detector(rows, faults[1:], DETECTOR, FEATURES, VALIDATION).sensors == ["cold"]


def test_two_refits_of_the_same_rows_give_the_same_model(usual: Trained, tmp_path: Any) -> None:
    for name in ("one", "two"):
        save_model(usual.refit(), tmp_path / name, TRUSTED)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


def test_without_fresh_labels_the_last_labelled_period_is_measured(usual: Trained) -> None:
    table, _ = usual.compare(usual.challenger, labels())
    challenger = table.loc["challenger"]
    assert challenger["labelled_average_precision"] > 0.3
    assert challenger["labelled_event_recall"] == 1
    assert challenger["agreement"] == 1
    champion = table.loc["champion", [name for name in table if name.startswith("labelled")]]
    pd.testing.assert_series_equal(challenger[champion.index], champion, check_names=False)
    assert "average_precision" not in table


@pytest.mark.parametrize("holdout", ["3h", "12h", "2D"])
def test_the_last_labelled_period_holds_its_fault_however_little_is_held_out(holdout: str) -> None:
    short = trained(readings(28), training("all", holdout), faults=labels())
    challenger = short.compare(short.challenger, labels())[0].loc["challenger"]
    assert challenger["labelled_event_recall"] == 1
    assert challenger["labelled_average_precision"] > 0.3


def test_with_fresh_labels_only_those_are_measured(usual: Trained) -> None:
    fault = pd.DataFrame(
        {"sensor_id": ["hall"], "start": [START + 20 * DAY], "end": [START + 21 * DAY]}
    )
    table, _ = usual.compare(usual.challenger, fault)
    assert "average_precision" in table
    assert not [name for name in table if name.startswith(("labelled", "agreement"))]


@pytest.mark.parametrize("known", [NO_LABELS, labels().assign(sensor_id="no such sensor")])
def test_labels_without_matching_readings_are_ignored(usual: Trained, known: pd.DataFrame) -> None:
    table, _ = usual.compare(usual.challenger, known)
    assert not [name for name in table if name.startswith("labelled")]
    assert not usual.judge(usual.challenger, known)["passed"]


def test_a_challenger_as_good_as_the_champion_passes_without_fresh_labels(usual: Trained) -> None:
    decision = usual.judge(usual.challenger, labels())
    assert decision["passed"], decision["rules"]
    assert any("agreement" in rule["reason"] for rule in decision["rules"])


def test_the_second_path_can_be_switched_off(usual: Trained) -> None:
    assert not usual.judge(usual.challenger, labels(), second_path=False)["passed"]


def test_a_worse_challenger_is_refused_without_fresh_labels(usual: Trained) -> None:
    blind = copy.deepcopy(usual.challenger)
    blind.threshold = 1e6
    blind.range_values = blind.range_values + np.array([-1e6, 1e6, 0])
    worse = replace(usual, challenger=blind)
    failed = [
        rule for rule in worse.judge(usual.challenger, labels())["rules"] if not rule["passed"]
    ]
    assert {rule["rule"] for rule in failed} == {"champion"}
    assert any(rule["reason"].startswith("event recall on the last labels 0.0") for rule in failed)


def test_a_challenger_that_flags_other_rows_is_refused(usual: Trained) -> None:
    rows = usual.held_out
    flags = rows["is_anomaly"].mask(rows["timestamp"] < START + 17.5 * DAY, 1)
    changed = replace(usual, held_out=rows.assign(is_anomaly=flags))
    failed = [r for r in changed.judge(usual.challenger, labels())["rules"] if not r["passed"]]
    assert [rule["reason"].split(" 0.")[0] for rule in failed] == ["agreement with the champion"]


def test_a_refresh_is_compared_on_the_unchanged_sensors(shifted: Trained) -> None:
    result = trained(readings(27, shifted_from=23), faults=labels())
    champion = trained(readings(23), faults=labels()).challenger
    decision = result.judge(champion, labels())
    assert decision["passed"], decision["rules"]


def test_models_need_not_agree_on_a_sensor_that_has_changed() -> None:
    settings = training("16D", "4D")
    result = trained(readings(32, shifted_from=20), settings, faults=labels())
    champion = trained(readings(20), faults=labels()).challenger
    assert result.judge(champion, labels())["passed"]
    everywhere = copy.deepcopy(champion)
    del everywhere.profile, result.challenger.profile  # then all sensors count
    failed = [rule for rule in result.judge(everywhere, labels())["rules"] if not rule["passed"]]
    assert "agreement with the champion" in "".join(rule["reason"] for rule in failed)


def test_models_need_not_agree_if_every_sensor_has_changed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clean = readings(28)
    clean.loc[clean["timestamp"] >= START + 20 * DAY, "temperature"] += 12
    result = trained(clean, training("all", "4D"), faults=labels())
    table, _ = result.compare(trained(readings(20), faults=labels()).challenger, labels())
    assert table.loc["challenger", "agreement"] == 1
    assert "Every series has drifted" in caplog.text


def test_a_run_after_a_change_gives_a_champion_that_accepts_the_new_level(
    project: Project,
) -> None:
    def files(days: int) -> dict[str, str]:
        rows = readings(days, shifted_from=23).drop(columns="repeated")
        return {
            "raw_file": project.write("new.csv", rows.to_csv(index=False)),
            "labels_file": project.write("faults.csv", labels().to_csv(index=False)),
        }

    def champion() -> Detector:
        version = project.client().get_model_version_by_alias(NAME, "champion")
        (folder,) = (
            file.parent
            for file in (project.path / "mlartifacts").rglob("MLmodel")
            if digest(file.parent) == version.tags["digest"]
        )
        return load_model(folder, TRUSTED)

    small = {"arguments": {"n_estimators": 25}}
    project.run(**files(20), detector=small, gate={"rules": [], "require_labels": False})
    before = champion()
    project.run(**files(27), detector=small)
    assert project.champion() == "2", project.read("gate")["rules"]
    later = readings(31, shifted_from=23)
    assert share_flagged(before, later, "hall", 27) > 0.5
    assert share_flagged(champion(), later, "hall", 27) < 0.02
    judged = digest(project.path / "data/interim/challenger")
    tags = project.client().get_model_version(NAME, "2").tags
    assert tags["refit.of"] == judged != tags["digest"]
    assert "refitted on all readings" in project.processed("report.txt").read_text()
    slices = pd.read_csv(project.processed("slices.csv"), index_col="sensor_id")
    assert slices["share_flagged"].idxmax() == "hall"
    client = project.client()
    run = client.get_run(client.get_model_version(NAME, "2").run_id)
    expected = slices.loc["hall", "share_flagged"]
    assert run.data.metrics["slice.hall.share_flagged"] == pytest.approx(expected)
    assert "slices.csv" in {file.path for file in client.list_artifacts(run.info.run_id)}


def scored(flagged: dict[str, int]) -> pd.DataFrame:
    parts = []
    for sensor, count in flagged.items():
        score = np.zeros(48 * 7)
        score[48 : 48 + count] = 2.0
        parts.append(as_scored(series(48 * 7, sensor=sensor), score))
    return pd.concat(parts, ignore_index=True)


def test_a_slice_equals_the_metrics_of_its_sensor_alone() -> None:
    rows = scored({"cold": 3, "hall": 100, "yard": 0})
    start = START + DAY
    faults = pd.DataFrame({"sensor_id": ["hall"], "start": [start], "end": [start + DAY]})
    table = Events(faults).metrics_by_series(rows, DAY)
    assert table.index.tolist() == ["cold", "hall", "yard"]
    for sensor, own in rows.groupby("sensor_id"):
        sensor_metrics = table.loc[sensor].dropna().to_dict()
        assert sensor_metrics == pytest.approx(Events(faults).metrics(own, DAY))
    assert table.loc["cold", ["event_recall", "average_precision"]].isna().all()


def test_the_worst_slice_refuses_a_model_that_keeps_flagging_a_sensor(
    shifted: Trained,
) -> None:
    gate = {"rules": [rule for rule in GATE["rules"] if rule.get("slice")]}

    def judged(candidate: Detector) -> dict[str, Any]:
        newest = score_newest_week(shifted.test, candidate)
        slices = measure_slices(shifted.held_out, NO_LABELS, newest, EVALUATION)
        return decide({"challenger": {}}, {"version": None}, gate, slices=slices)["rules"][0]

    assert judged(shifted.refit())["passed"]
    refused = judged(shifted.challenger)
    assert not refused["passed"]
    assert "hall" in refused["reason"]


def test_a_change_does_not_count_as_flagging_too_much(shifted: Trained, usual: Trained) -> None:
    table, _ = shifted.compare(usual.challenger, NO_LABELS)
    challenger_metrics = table.loc["challenger"]
    assert challenger_metrics["share_flagged"] > 0.08, "includes the sensor that has changed"
    assert challenger_metrics["steady_share_flagged"] < 0.05
    assert challenger_metrics["newest_share_flagged"] < 0.05


def test_the_report_lists_the_eight_worst_sensors_first() -> None:
    rows = scored({f"s{n}": n for n in range(10)})
    counts = dict.fromkeys(
        (
            "rows",
            "sensors",
            "repeated",
            "sent_twice",
            "unordered",
            "jittered",
            "error_codes",
            "gaps",
            "longest_gap_hours",
        ),
        0,
    )
    cleaning = counts | {"source": "f", "first": "a", "last": "b", "found_codes": []}
    table = pd.DataFrame({"share_flagged": [0.5]}, index=["challenger"])
    slices = Events(NO_LABELS).metrics_by_series(rows, DAY)
    report = write_report(cleaning, rows, table, slices, PASSED).splitlines()
    at = report.index("By sensor, the 8 of 10 with the most flagged readings:")
    assert [line.split()[0] for line in report[at + 2 : at + 10]] == [
        f"s{n}" for n in range(9, 1, -1)
    ]
    assert not report[at + 10]
    last = "  The model is then refitted on all readings."
    for passed in (True, False):  # a refused challenger is not refitted
        gate = {"passed": passed, "rules": [], "judged": "0123"}
        report = write_report(cleaning, rows, table, slices, gate).splitlines()
        assert (report[-1] == last) == passed


def test_recorded_answers_are_measured_like_held_out_rows() -> None:
    rows = scored({"hall": 100})
    start = START + DAY
    faults = pd.DataFrame({"sensor_id": ["hall"], "start": [start], "end": [start + DAY]})
    answered = rows.assign(is_anomaly=rows["is_anomaly"] == 1, reason=None)
    assert measure(answered, faults) == Events(faults).metrics(rows, DAY)
    assert measure(answered, NO_LABELS).keys() == {"share_flagged", "alarms_per_week"}
