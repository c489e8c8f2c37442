import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from {{ cookiecutter.package_name }}.features import FEATURES, build_features
from {{ cookiecutter.package_name }}.fingerprint import fingerprint
from {{ cookiecutter.package_name }}.gate import champion_rules, level_rules
from {{ cookiecutter.package_name }}.models import load_detector, save_detector
from {{ cookiecutter.package_name }}.onnx_export import to_onnx
from {{ cookiecutter.package_name }}.parameters import GateParameters, Metric
from {{ cookiecutter.package_name }}.pipelines.metrics.nodes import (
    collect_metrics,
    decide,
    measure_cost,
)

from operation.tests.trained import FEATURE_PARAMETERS, readings, small_detector

RULES: dict[str, Any] = {
    "metric": "average_precision",
    "minimum": {"average_precision": 0.3},
    "champion_tolerance": {"average_precision": 0.01},
    "must_beat": ["ewma_level"],
    "max_share_flagged": 0.1,
    "max_latency_ms": 100,
    "max_size_mb": 5,
    "on_incomparable": "refuse",
    "require_labels": True,
}
CHAMPION = {"challenger": "f1n9e2", "version": "7", "problem": None, "incomparable": None}
NONE_YET = CHAMPION | {"version": None}
COST = {"latency_ms": 4.0, "size_mb": 1.0}
MODEL = "a-model"
NAN = float("nan")


def comparison(**scores: float) -> pd.DataFrame:
    rows = {"challenger": 0.6, "champion": 0.6, "ewma_level": 0.2} | scores
    return pd.DataFrame({"average_precision": rows, "share_flagged": dict.fromkeys(rows, 0.01)})


def refused_rules(decision: dict[str, Any]) -> list[str]:
    return [rule["rule"] for rule in decision["rules"] if not rule["passed"]]


@pytest.mark.parametrize(
    ("scores", "champion", "refused"),
    [
        ({}, CHAMPION, []),
        ({}, NONE_YET, []),
        ({"challenger": 0.591}, CHAMPION, []),
        ({"challenger": 0.589}, CHAMPION, ["champion"]),
        ({"challenger": 0.30, "champion": 0.3}, CHAMPION, []),
        ({"challenger": 0.29, "champion": 0.29}, CHAMPION, ["minimum"]),
        ({"ewma_level": 0.59}, CHAMPION, []),
        ({"ewma_level": 0.60}, CHAMPION, ["ewma_level"]),
        ({}, CHAMPION | {"problem": "it is gone"}, ["champion"]),
        ({}, CHAMPION | {"incomparable": "other sensors"}, ["champion"]),
    ],
    ids=[
        "as good as the champion",
        "no champion yet",
        "a little worse than the champion",
        "worse than the champion",
        "at the minimum",
        "below the minimum",
        "just better than a line",
        "no better than a line",
        "champion cannot be had",
        "champion cannot be compared",
    ],
)
def test_the_gate_on_a_ranking(
    scores: dict[str, float], champion: dict[str, str | None], refused: list[str]
) -> None:
    decision = decide(comparison(**scores), champion, COST, MODEL, GateParameters(**RULES), {})
    assert refused_rules(decision) == refused
    assert decision["passed"] is not bool(refused)


def test_the_gate_says_why_with_the_numbers() -> None:
    worse = comparison(challenger=0.5)
    decision = decide(worse, CHAMPION, COST, MODEL, GateParameters(**RULES), {})
    reasons = [rule["reason"] for rule in decision["rules"]]
    expected = "avg precision 0.500 against 0.600, champion (version 7), 0.01 worse allowed"
    assert expected in reasons
    assert decision["champion_version"] == "7"
    assert decision["model"] == MODEL
    assert decision["fingerprint"] == "f1n9e2"


@pytest.mark.parametrize(("share", "passed"), [(0.1, True), (0.11, False)])
def test_the_gate_on_the_share_flagged(share: float, passed: bool) -> None:
    flagged = comparison().assign(share_flagged=share)
    assert decide(flagged, CHAMPION, COST, MODEL, GateParameters(**RULES), {})["passed"] is passed


@pytest.mark.parametrize(("required", "passed"), [(True, False), (False, True)])
def test_the_gate_without_labels(required: bool, passed: bool) -> None:
    unlabelled = comparison().drop(columns="average_precision")
    rules = GateParameters(**RULES | {"require_labels": required})
    decision = decide(unlabelled, CHAMPION, COST, MODEL, rules, {})
    assert decision["passed"] is passed
    assert refused_rules(decision) == ([] if passed else ["labels"])


def test_a_champion_that_cannot_be_compared_goes_only_when_told() -> None:
    champion = CHAMPION | {"incomparable": "version 7 does not know the sensors attic"}
    replace = GateParameters(**RULES | {"on_incomparable": "replace"})
    decision = decide(comparison(), champion, COST, MODEL, replace, {})
    assert decision["passed"]
    assert any("does not know the sensors attic" in rule["reason"] for rule in decision["rules"])


@pytest.mark.parametrize("rules", [{"require_labels": False}, {"on_incomparable": "replace"}])
def test_a_champion_with_a_fault_is_never_replaced(rules: dict[str, Any]) -> None:
    unlabelled = comparison().drop(columns="average_precision")
    champion = CHAMPION | {"problem": "its files were changed"}
    decision = decide(unlabelled, champion, COST, MODEL, GateParameters(**RULES | rules), {})
    assert "champion" in refused_rules(decision)


@pytest.mark.parametrize(
    ("tolerance", "worse", "passed"),
    [
        ({"false_alarms_per_week": 1.0}, {"false_alarms_per_week": 3.0}, True),
        ({"false_alarms_per_week": 1.0}, {"false_alarms_per_week": 3.1}, False),
        ({"event_recall": 0.1}, {"event_recall": 0.4}, True),
        ({"event_recall": 0.1}, {"event_recall": 0.3}, False),
        ({"event_recall": None}, {"event_recall": 0.3}, True),
    ],
    ids=str,
)
def test_each_named_metric_may_be_so_much_worse(
    tolerance: dict[str, float | None], worse: dict[str, float], passed: bool
) -> None:
    table = comparison().assign(false_alarms_per_week=2.0, event_recall=0.5)
    for name, value in worse.items():
        table.loc["challenger", name] = value
    rules = GateParameters(**RULES | {"champion_tolerance": tolerance})
    decision = decide(table, CHAMPION, COST, MODEL, rules, {})
    assert refused_rules(decision) == ([] if passed else ["champion"])


@pytest.mark.parametrize(("alarms", "passed"), [(3.0, True), (3.1, False)])
def test_of_alarms_the_level_is_a_maximum(alarms: float, passed: bool) -> None:
    rules = GateParameters(**RULES | {"minimum": {"false_alarms_per_week": 3.0}})
    table = comparison().assign(false_alarms_per_week=alarms)
    decision = decide(table, NONE_YET, COST, MODEL, rules, {})
    assert refused_rules(decision) == ([] if passed else ["minimum"])


@pytest.mark.parametrize("group", ["minimum", "champion_tolerance"])
def test_a_named_metric_that_is_missing_is_a_refusal(group: str) -> None:
    table = comparison().assign(event_recall=float("nan"))
    rules = GateParameters(**RULES | {group: {"event_recall": 0.1}})
    decision = decide(table, CHAMPION, COST, MODEL, rules, {})
    assert not decision["passed"]
    reasons = [rule["reason"] for rule in decision["rules"] if not rule["passed"]]
    assert reasons == ["missing metric: event_recall"]
    table["event_recall"] = 0.5
    assert decide(table, CHAMPION, COST, MODEL, rules, {})["passed"]


@pytest.mark.parametrize("name", ["event_recall", "false_alarms_per_week"])
@pytest.mark.parametrize("theirs", [NAN, float("inf"), float("-inf")], ids=str)
def test_a_champions_number_that_is_none_waves_nothing_through(name: Metric, theirs: float) -> None:
    table = comparison().assign(**{name: 0.5})
    rules = GateParameters(**RULES | {"champion_tolerance": {name: 0.1}})
    assert decide(table, CHAMPION, COST, MODEL, rules, {})["passed"]
    table.loc["champion", name] = theirs
    assert refused_rules(decide(table, CHAMPION, COST, MODEL, rules, {})) == ["champion"]


@pytest.mark.parametrize("ours", [NAN, float("inf"), float("-inf")], ids=str)
@pytest.mark.parametrize("name", ["average_precision", "false_alarms_per_week"])
def test_of_a_number_that_is_none_each_rule_says_that_it_is_missing(
    name: Metric, ours: float
) -> None:
    rules = GateParameters(**RULES | {"minimum": {name: 0.3}, "champion_tolerance": {name: 0.1}})
    missing = [f"missing metric: {name}"]
    sound, broken = {"roc_auc": 0.9, name: 0.3}, {"roc_auc": 0.9, name: ours}
    for reasons in (champion_rules(broken, sound, "7", rules), level_rules(broken, rules)):
        assert [one["reason"] for one in reasons if not one["passed"]] == missing
    for reasons in (champion_rules(sound, sound, "7", rules), level_rules(sound, rules)):
        assert all(one["passed"] for one in reasons)


def test_a_ranking_that_is_missing_is_a_refusal() -> None:
    table = comparison().assign(event_recall=0.5).drop(columns="average_precision")
    rules = GateParameters(**RULES | {"minimum": {}, "champion_tolerance": {}})
    assert refused_rules(decide(table, CHAMPION, COST, MODEL, rules, {})) == ["ewma_level"]


@pytest.mark.parametrize(
    ("cost", "refused", "reason"),
    [
        ({"latency_ms": 100.0}, [], "a reading is scored within 100 ms"),
        ({"latency_ms": 100.1}, ["latency"], "scoring a reading took 100.1 ms, at most 100 ms"),
        ({"latency_ms": None}, ["latency"], "missing metric: latency_ms"),
        ({"latency_ms": NAN}, ["latency"], "missing metric: latency_ms"),
        ({"size_mb": 5.0}, [], "5.00 MB to serve, at most 5 MB"),
        ({"size_mb": 5.1}, ["size"], "5.10 MB to serve, at most 5 MB"),
        ({"size_mb": None}, ["size"], "missing metric: size_mb"),
        ({"size_mb": NAN}, ["size"], "missing metric: size_mb"),
    ],
    ids=str,
)
def test_the_gate_on_what_a_model_costs(
    cost: dict[str, float | None], refused: list[str], reason: str
) -> None:
    measured = {name: value for name, value in (COST | cost).items() if value is not None}
    decision = decide(comparison(), CHAMPION, measured, MODEL, GateParameters(**RULES), {})
    assert refused_rules(decision) == refused
    assert reason in [rule["reason"] for rule in decision["rules"]]


def test_two_runs_of_one_model_get_the_same_decision() -> None:
    slow = COST | {"latency_ms": 40.0}
    rules = GateParameters(**RULES)
    given = {"features": {"gap_steps": 6.0}, "gate": rules}
    first, second = (decide(comparison(), CHAMPION, c, MODEL, rules, given) for c in (COST, slow))
    assert json.dumps(first) == json.dumps(second)
    assert json.dumps(first["parameters"]["features"]) == '{"gap_steps": 6}', "typed or not"
    assert first["parameters"]["gate"]["minimum"] == RULES["minimum"]


@pytest.mark.parametrize("group", ["minimum", "champion_tolerance"])
def test_a_metric_that_nobody_measures_is_refused_in_the_parameters(group: str) -> None:
    with pytest.raises(ValidationError, match="f1"):
        GateParameters(**RULES | {group: {"f1": 0.5}})


def test_the_cost_is_measured_on_the_detector() -> None:
    detector = small_detector()
    test = build_features(readings(), FEATURE_PARAMETERS)
    cost = measure_cost(detector, test)
    assert cost["latency_ms"] > 0
    assert cost["size_mb"] == len(to_onnx(detector.forest)) / 1_000_000


def test_a_detector_that_cannot_be_served_has_no_size() -> None:
    detector = small_detector()
    alike = pd.DataFrame(np.zeros((100, len(FEATURES))), columns=FEATURES)
    detector.forest.fit(alike)  # trees that are a single leaf
    cost = measure_cost(detector, build_features(readings(), FEATURE_PARAMETERS))
    assert list(cost) == ["latency_ms"]


def test_the_fingerprint_is_that_of_the_scores() -> None:
    detector, again = small_detector(), small_detector()
    assert fingerprint(detector) == fingerprint(again)
    assert fingerprint(replace(detector, threshold=0.9)) != fingerprint(detector)
    again.forest.estimators_ = again.forest.estimators_[1:]
    again.forest.estimators_features_ = again.forest.estimators_features_[1:]
    assert fingerprint(again) != fingerprint(detector)


def test_the_fingerprint_survives_a_folder(tmp_path: Path) -> None:
    detector = small_detector()
    save_detector(detector, tmp_path / "model")
    assert fingerprint(load_detector(tmp_path / "model")) == fingerprint(detector)


def test_metrics_are_named_after_their_detector() -> None:
    assert collect_metrics(comparison(champion=float("nan"))) == {
        "average_precision": 0.6,
        "ewma_level.average_precision": 0.2,
        "share_flagged": 0.01,
        "champion.share_flagged": 0.01,
        "ewma_level.share_flagged": 0.01,
    }
