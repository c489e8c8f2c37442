"""The rules of the gate, applied to the table of a project's node and to plain metrics."""

import json
import math
from typing import Any

import pandas as pd
import pytest
from pydantic import ValidationError

from kedro_azure_mlops.config import Gate
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.registry import Version
from kedro_azure_mlops.registry.facts import untyped, verdict_facts
from kedro_azure_mlops.registry.gate import (
    champion_rules,
    decide,
    decide_alone,
    entry_rules,
    level_rules,
)

R2: dict[str, Any] = {
    "metric": "r2",
    "label": "R²",
    "minimum": 0.3,
    "champion_tolerance": 0.01,
    "beats": ["mean"],
    "needs_labels": True,
}
SHARE = {"metric": "share", "better": "lower", "maximum": 0.1}
LATENCY = {"metric": "latency_ms", "label": "latency in ms", "maximum": 100, "quiet": True}
RULES: dict[str, Any] = {"rules": [R2, SHARE, LATENCY], "require_labels": True}
CHAMPION = {"version": "7", "problem": None, "incomparable": None}
NONE_YET = CHAMPION | {"version": None}
COST = {"latency_ms": 4.0}
NAN = float("nan")


def comparison(**scores: float) -> pd.DataFrame:
    rows = {"challenger": 0.6, "champion": 0.6, "mean": 0.2} | scores
    return pd.DataFrame({"r2": rows, "share": dict.fromkeys(rows, 0.01)})


def gate(*rules: dict[str, Any], **options: Any) -> Gate:
    return Gate(rules=list(rules), **options)


def refused_rules(decision: dict[str, Any]) -> list[str]:
    return [rule["rule"] for rule in decision["rules"] if not rule["passed"]]


def reasons(decision: dict[str, Any], passed: bool | None = None) -> list[str]:
    rules = decision["rules"]
    return [one["reason"] for one in rules if passed is None or one["passed"] is passed]


@pytest.mark.parametrize(
    ("scores", "champion", "refused"),
    [
        ({}, CHAMPION, []),
        ({}, NONE_YET, []),
        ({"challenger": 0.591}, CHAMPION, []),
        ({"challenger": 0.589}, CHAMPION, ["champion"]),
        ({"challenger": 0.30, "champion": 0.3}, CHAMPION, []),
        ({"challenger": 0.29, "champion": 0.29}, CHAMPION, ["minimum"]),
        ({"mean": 0.59}, CHAMPION, []),
        ({"mean": 0.60}, CHAMPION, ["mean"]),
        ({}, CHAMPION | {"problem": "it is gone"}, ["champion"]),
        ({}, CHAMPION | {"incomparable": "other columns"}, ["champion"]),
    ],
    ids=[
        "as good as the champion",
        "no champion yet",
        "a little worse than the champion",
        "worse than the champion",
        "at the minimum",
        "below the minimum",
        "just better than a baseline",
        "no better than a baseline",
        "champion cannot be loaded",
        "champion cannot be compared",
    ],
)
def test_the_gate_checks_minimum_champion_and_baselines(
    scores: dict[str, float], champion: dict[str, str | None], refused: list[str]
) -> None:
    decision = decide(comparison(**scores), champion, RULES, COST)
    assert refused_rules(decision) == refused
    assert decision["passed"] is not bool(refused)


def test_the_reasons_include_the_numbers() -> None:
    decision = decide(comparison(challenger=0.5), CHAMPION, RULES, COST)
    assert "R² 0.500, champion (version 7) 0.600, tolerance 0.01" in reasons(decision)
    assert "R² 0.500, minimum 0.300" in reasons(decision)
    assert "R² 0.500 against 0.200 for mean" in reasons(decision)
    assert decision["champion_version"] == "7"


def test_numbers_that_differ_are_formatted_differently() -> None:
    (reason,) = reasons(decide(comparison(challenger=0.29999), NONE_YET, RULES, COST), False)
    assert reason == "R² 0.29999, minimum 0.3"


def test_the_table_may_be_a_mapping_and_the_gate_a_model() -> None:
    table = comparison().to_dict(orient="index")
    assert decide(table, CHAMPION, Gate(**RULES), COST) == decide(
        comparison(), CHAMPION, RULES, COST
    )


@pytest.mark.parametrize(("share", "passed"), [(0.1, True), (0.11, False)])
def test_a_value_above_the_maximum_is_refused(share: float, passed: bool) -> None:
    decision = decide(comparison().assign(share=share), CHAMPION, RULES, COST)
    assert refused_rules(decision) == ([] if passed else ["maximum"])


@pytest.mark.parametrize(("required", "passed"), [(True, False), (False, True)])
def test_missing_labels_are_refused_only_if_labels_are_required(
    required: bool, passed: bool
) -> None:
    unlabelled = comparison().drop(columns="r2")
    decision = decide(unlabelled, CHAMPION, RULES | {"require_labels": required}, COST)
    assert decision["passed"] is passed
    assert refused_rules(decision) == ([] if passed else ["labels"])


def test_a_nan_metric_does_not_count_as_missing_labels() -> None:
    decision = decide(comparison(challenger=NAN), CHAMPION, RULES, COST)
    assert refused_rules(decision) == ["minimum", "champion", "mean"]
    assert set(reasons(decision, False)) == {"missing metric: r2"}


def test_a_metric_in_the_wrong_case_is_reported_with_the_measured_one() -> None:
    rules = RULES | {"rules": [{"metric": "R2", "minimum": 0.1}]}
    assert "missing metric: R2. Did you mean r2?" in reasons(
        decide(comparison(), CHAMPION, rules, COST), False
    )


@pytest.mark.parametrize(
    ("metric", "hint"),
    [
        ("average_precison", ". Did you mean average_precision?"),
        ("Average_Precison", ". Did you mean average_precision?"),
        ("precision", ""),
        ("recall", ""),
    ],
)
def test_a_misspelled_metric_is_reported_with_the_measured_one(metric: str, hint: str) -> None:
    table = comparison().assign(average_precision=0.5)
    rule = {"metric": metric, "minimum": 0.1}
    decision = decide(table, NONE_YET, gate(rule), COST)
    assert reasons(decision, False) == [f"missing metric: {metric}{hint}"]
    assert decide(table, NONE_YET, gate(rule | {"metric": "average_precision"}), COST)["passed"]


@pytest.mark.parametrize(
    ("metric", "hint"),
    [
        ("average_precision", ""),  # measured on all data, but not by slice
        ("average_precison", ". Did you mean average_precision?"),
    ],
)
def test_a_misspelled_metric_of_slices_is_reported_with_the_measured_one(
    metric: str, hint: str
) -> None:
    table = comparison().assign(average_precision=0.5)
    rule = {"metric": metric, "minimum": 0.1, "slice": "worst"}
    decision = decide(table, NONE_YET, gate(rule), COST)
    assert reasons(decision, False) == [f"missing metric: {metric}.worst{hint}"]


def test_a_champion_that_cannot_be_compared_is_replaced_only_if_configured() -> None:
    champion = CHAMPION | {"incomparable": "version 7 was trained on different columns"}
    refused = decide(comparison(), champion, RULES, COST)
    assert refused_rules(refused) == ["champion"]
    decision = decide(comparison(), champion, RULES | {"on_incomparable": "replace"}, COST)
    assert decision["passed"]
    assert any("trained on different columns" in reason for reason in reasons(decision))


def test_a_champion_missing_from_the_table_is_not_beaten() -> None:
    table = comparison().drop(index="champion")
    decision = decide(table, CHAMPION, RULES, COST)
    assert refused_rules(decision) == ["champion"]
    assert "version 7 has no row champion in the table" in reasons(decision, False)[0]
    assert decide(table, NONE_YET, RULES, COST)["passed"]
    no_comparison = gate(R2 | {"champion_tolerance": None}, SHARE)
    assert decide(table, CHAMPION, no_comparison, COST)["passed"]


@pytest.mark.parametrize(
    "options", [{"require_labels": False}, {"on_incomparable": "replace"}, {"rules": []}], ids=str
)
def test_a_champion_with_a_fault_is_never_replaced(options: dict[str, Any]) -> None:
    unlabelled = comparison().drop(columns="r2")
    champion = CHAMPION | {"problem": "its files were changed"}
    decision = decide(unlabelled, champion, RULES | options, COST)
    assert "champion" in refused_rules(decision)


@pytest.mark.parametrize(
    ("better", "allowed", "value", "passed"),
    [
        ("lower", 1.0, 3.0, True),
        ("lower", 1.0, 3.1, False),
        ("higher", 0.1, 1.9, True),
        ("higher", 0.1, 1.8, False),
        ("higher", None, 0.3, True),
    ],
)
def test_each_metric_has_its_own_champion_tolerance(
    better: str, allowed: float | None, value: float, passed: bool
) -> None:
    table = comparison().assign(other=2.0)
    table.loc["challenger", "other"] = value
    other = {"metric": "other", "better": better, "champion_tolerance": allowed}
    decision = decide(table, CHAMPION, gate(other), COST)
    assert refused_rules(decision) == ([] if passed else ["champion"])


def test_without_a_tolerance_the_champion_is_reported_as_not_compared() -> None:
    decision = decide(comparison(), CHAMPION, gate(SHARE), COST)
    assert "champion (version 7) is not compared: no rule requires it" in reasons(decision)


@pytest.mark.parametrize(("better", "passed"), [("higher", False), ("lower", True)])
def test_a_baseline_is_beaten_in_the_better_direction(better: str, passed: bool) -> None:
    rule = {"metric": "r2", "better": better, "beats": ["mean"]}
    decision = decide(comparison(mean=0.7), NONE_YET, gate(rule), COST)
    assert refused_rules(decision) == ([] if passed else ["mean"])


@pytest.mark.parametrize("limit", [{"minimum": 0.1}, {"champion_tolerance": 0.1}], ids=str)
def test_a_missing_metric_of_a_rule_is_refused(limit: dict[str, float]) -> None:
    table = comparison().assign(recall=NAN)
    rules = {**RULES, "rules": [*RULES["rules"], {"metric": "recall", **limit}]}
    decision = decide(table, CHAMPION, rules, COST)
    assert not decision["passed"]
    assert reasons(decision, False) == ["missing metric: recall"]
    table["recall"] = 0.5
    assert decide(table, CHAMPION, rules, COST)["passed"]


@pytest.mark.parametrize("better", ["higher", "lower"])
@pytest.mark.parametrize("champion_value", [NAN, float("inf"), float("-inf"), None, "n/a"], ids=str)
def test_an_invalid_champion_metric_blocks_the_challenger(better: str, champion_value: Any) -> None:
    table = comparison().assign(other=0.5).astype({"other": object})
    rules = gate({"metric": "other", "better": better, "champion_tolerance": 0.1})
    assert decide(table, CHAMPION, rules, COST)["passed"]
    table.loc["champion", "other"] = champion_value
    assert refused_rules(decide(table, CHAMPION, rules, COST)) == ["champion"]


@pytest.mark.parametrize("challenger_value", [NAN, float("inf"), float("-inf")], ids=str)
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_every_rule_reports_a_nan_or_infinite_metric_as_missing(
    better: str, challenger_value: float
) -> None:
    limit = {"minimum" if better == "higher" else "maximum": 0.3}
    rules = gate({"metric": "m", "better": better, "champion_tolerance": 0.1, **limit})
    sound, broken = {"m": 0.3}, {"m": challenger_value}
    for results in (champion_rules(broken, sound, "7", rules), level_rules(broken, rules)):
        assert [one["reason"] for one in results if not one["passed"]] == ["missing metric: m"]
    for results in (champion_rules(sound, sound, "7", rules), level_rules(sound, rules)):
        assert all(one["passed"] for one in results)


@pytest.mark.parametrize("row", ["challenger", "mean"])
def test_a_baseline_that_cannot_be_compared_is_refused(row: str) -> None:
    rules = gate({"metric": "r2", "beats": ["mean"]})
    assert decide(comparison(), NONE_YET, rules, COST)["passed"]
    decision = decide(comparison(**{row: NAN}), NONE_YET, rules, COST)
    lacks = "r2 is not compared: row mean of gate.table has no r2"
    assert reasons(decision, False) == [{"challenger": "missing metric: r2", "mean": lacks}[row]]
    decision = decide(comparison().drop(index="mean"), NONE_YET, rules)
    assert reasons(decision, False) == ["r2 is not compared: row mean of gate.table is missing"]


@pytest.mark.parametrize(
    ("limits", "better"),
    [
        ({"maximum": 3}, "lower"),
        ({"minimum": 3}, "higher"),
        ({"minimum": 1, "maximum": 3}, "higher"),
        ({}, "higher"),
        ({"maximum": 3, "better": "higher"}, "higher"),
    ],
    ids=str,
)
def test_with_a_maximum_alone_lower_is_better(limits: dict[str, Any], better: str) -> None:
    """A larger error than the champion's would pass otherwise."""
    assert gate({"metric": "mae", **limits}).rules[0].better == better


@pytest.mark.parametrize(
    ("latency", "refused", "reason"),
    [
        (100.0, [], "latency in ms is at most 100"),
        (100.1, ["maximum"], "latency in ms 100.100, maximum 100.000"),
        (None, ["maximum"], "missing metric: latency_ms"),
        (NAN, ["maximum"], "missing metric: latency_ms"),
    ],
)
def test_a_quiet_rule_names_its_number_only_when_it_refuses(
    latency: float | None, refused: list[str], reason: str
) -> None:
    costs = {} if latency is None else {"latency_ms": latency}
    decision = decide(comparison(), CHAMPION, RULES, costs)
    assert refused_rules(decision) == refused
    assert reason in reasons(decision)


def test_a_metric_that_mlflow_would_not_store_is_refused() -> None:
    assert gate({"metric": "precision_at_0.9/all - x"}).rules
    with pytest.raises(ValidationError, match="does not store a metric with '@' in its name"):
        gate({"metric": "f1@0.5"})


def test_a_quiet_rule_omits_the_numbers_of_champion_and_baselines() -> None:
    rule = {"metric": "r2", "champion_tolerance": 0.1, "beats": ["mean"], "quiet": True}
    assert reasons(decide(comparison(), CHAMPION, gate(rule))) == [
        "r2 is at most 0.1 worse than champion (version 7)",
        "r2 is better than that of mean",
    ]


def test_two_runs_of_one_model_get_the_same_decision() -> None:
    first, second = (
        decide(comparison(), CHAMPION, RULES, {"latency_ms": took}) for took in (4.0, 40.0)
    )
    assert json.dumps(first) == json.dumps(second)


def test_typed_parameters_are_written_as_plain_values() -> None:
    parameters = {"features": {"gap": 6.0}, "gate": gate(SHARE)}
    assert json.dumps(untyped(parameters)["features"]) == '{"gap": 6}'
    assert untyped(parameters)["gate"]["rules"][0]["maximum"] == 0.1


def test_without_rules_every_model_passes_and_the_reason_says_so() -> None:
    decision = decide(comparison(), CHAMPION, gate())
    assert decision["passed"]
    assert reasons(decision) == ["no rules are set (gate in mlops.yml): every model passes"]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([{"metric": "a", "champion_tolerance": -1}], "greater than or equal to 0"),
        ([{"metric": "a", "better": "more"}], "'higher' or 'lower'"),
        ([{"metric": "a", "minimun": 1}], "unknown key 'minimun'; allowed keys: metric, better"),
        ([{"metric": "a"}, {"metric": "a"}], "rules name the metric a twice"),
    ],
)
def test_an_invalid_rule_is_rejected(rules: list[Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Gate(rules=rules)


@pytest.mark.parametrize(("r2", "passed"), [(0.59, True), (0.58, False)])
def test_without_a_node_the_gate_decides_on_metrics_and_tags(r2: float, passed: bool) -> None:
    rules = gate({"metric": "r2", "champion_tolerance": 0.01})
    champion = ("7", {"metrics.r2": "0.6", "gate": "passed"})
    decision = decide_alone(rules, None, {"r2": r2}, champion)
    assert decision["passed"] is passed
    assert decision["champion_version"] == "7"
    assert decide_alone(rules, None, {"r2": r2}, None)["passed"]
    assert not decide_alone(rules, None, {"r2": r2}, None, "it cannot be loaded")["passed"]
    assert reasons(decide_alone(rules, None, {}, champion), False) == ["missing metric: r2"]


def test_without_a_node_a_nan_metric_never_passes() -> None:
    rules = gate({"metric": "r2", "minimum": 0.1, "needs_labels": True})
    assert decide_alone(rules, None, {"r2": 0.2}, None)["passed"]
    assert not decide_alone(rules, None, {"r2": NAN}, None)["passed"]
    assert decide_alone(rules, None, {"rmse": 1.0}, None)["passed"], "there are no labels"


def test_a_table_takes_precedence_over_metrics_and_tags() -> None:
    champion = ("7", {"metrics.r2": "0.9"})
    assert decide_alone(Gate(**RULES), comparison(), {"r2": 0.1} | COST, champion)["passed"]


@pytest.mark.parametrize(
    ("tags", "refused"),
    [
        ({"gate": "passed", "metrics.r2": "0.7"}, []),
        ({"metrics.r2": "0.7"}, ["gate"]),
        ({"gate": "refused", "metrics.r2": "0.7"}, ["gate"]),
        ({"gate": "passed", "metrics.r2": "0.2"}, ["minimum", "champion"]),
        ({"gate": "passed", "metrics.r2": "nan"}, ["minimum", "champion"]),
        ({"gate": "passed"}, ["minimum", "champion"]),
    ],
)
def test_a_version_that_enters_an_environment_must_meet_its_rules(
    tags: dict[str, str], refused: list[str]
) -> None:
    champion = Version("model", "3", "c" * 64, {"metrics.r2": "0.7"})
    rules = gate(R2 | {"needs_labels": False})
    results = entry_rules(Version("model", "1", "d" * 64, tags), champion, rules)
    assert [one["rule"] for one in results if not one["passed"]] == refused


AGREES: dict[str, Any] = {"metric": "agreement", "minimum": 0.95, "without_labels": True}
EARLIER: dict[str, Any] = {
    "metric": "earlier_r2",
    "label": "R² of the last labelled period",
    "champion_tolerance": 0.02,
    "without_labels": True,
}
SECOND_PATH = {"rules": [*RULES["rules"], AGREES, EARLIER], "require_labels": True}


def unlabelled(**challenger: float) -> dict[str, dict[str, float]]:
    champion = {"share": 0.01, "earlier_r2": 0.5}
    return {"challenger": {"share": 0.01, **challenger}, "champion": champion}


@pytest.mark.parametrize(
    ("challenger", "refused"),
    [
        ({"agreement": 0.97, "earlier_r2": 0.49}, []),
        ({"agreement": 0.94, "earlier_r2": 0.49}, ["minimum"]),
        ({"agreement": 0.97, "earlier_r2": 0.47}, ["champion"]),
        ({"agreement": 0.97, "earlier_r2": 0.49, "share": 0.2}, ["maximum"]),
        ({"agreement": NAN, "earlier_r2": 0.49}, ["minimum"]),
    ],
    ids=["as good", "disagrees", "worse on what was labelled", "flags too much", "not measured"],
)
def test_without_new_labels_the_second_path_applies(
    challenger: dict[str, float], refused: list[str]
) -> None:
    decision = decide(unlabelled(**challenger), CHAMPION, SECOND_PATH, COST)
    assert refused_rules(decision) == refused
    assert decision["passed"] == (not refused)
    assert any("no new labels" in reason for reason in reasons(decision, passed=True))


def test_the_second_path_can_be_disabled() -> None:
    table = unlabelled(agreement=0.97, earlier_r2=0.49)
    decision = decide(table, CHAMPION, SECOND_PATH | {"second_path": False}, COST)
    assert refused_rules(decision) == ["labels"]


def test_the_second_path_does_not_apply_to_labelled_data() -> None:
    table = comparison().assign(agreement=0.1, earlier_r2=0.1)
    assert refused_rules(decide(table, CHAMPION, SECOND_PATH, COST)) == []
    worse = comparison(challenger=0.2).assign(agreement=1.0, earlier_r2=0.9)
    assert "minimum" in refused_rules(decide(worse, CHAMPION, SECOND_PATH, COST))


def test_missing_labels_are_refused_if_neither_path_was_measured() -> None:
    assert "labels" in refused_rules(decide(unlabelled(), CHAMPION, SECOND_PATH, COST))


def test_a_first_model_without_labels_passes_only_if_none_are_required() -> None:
    first = {"challenger": {"share": 0.01}}
    no_champion = {"version": None, "problem": None}
    assert "labels" in refused_rules(decide(first, no_champion, SECOND_PATH, COST))
    assert (
        refused_rules(decide(first, no_champion, SECOND_PATH | {"require_labels": False}, COST))
        == []
    )


@pytest.mark.parametrize(
    ("challenger", "refused"),
    [
        ({"agreement": 0.97}, []),
        ({"agreement": 0.9}, ["minimum"]),
        ({"agreement": NAN}, ["minimum"]),
    ],
)
def test_a_later_model_must_agree_with_the_champion_if_no_labels_are_required(
    challenger: dict[str, float], refused: list[str]
) -> None:
    decision = decide(
        unlabelled(**challenger), CHAMPION, SECOND_PATH | {"require_labels": False}, COST
    )
    assert refused_rules(decision) == refused
    reason = "R² of the last labelled period: not measured, as nothing is labelled"
    assert reason in reasons(decision, passed=True)
    assert "champion" in refused_rules(
        decide(unlabelled(**challenger), CHAMPION, SECOND_PATH, COST)
    )


WORST: dict[str, Any] = {"metric": "share", "better": "lower", "maximum": 0.5, "slice": "worst"}


@pytest.mark.parametrize(("worst", "refused"), [(0.4, []), (0.6, ["maximum"])])
def test_a_rule_judges_the_worst_slice(worst: float, refused: list[str]) -> None:
    slices = pd.DataFrame({"share": {"north": 0.1, "south": worst, "new": NAN}})
    decision = decide(comparison(), CHAMPION, gate(R2, SHARE, WORST), COST, slices)
    assert refused_rules(decision) == refused
    assert any("south" in reason and f"{worst:.3f}" in reason for reason in reasons(decision))
    assert decision["worst"] == {"share.worst": worst}


def test_the_worst_slice_is_the_lowest_if_higher_is_better() -> None:
    rule = {"metric": "r2", "minimum": 0.2, "slice": "worst"}
    slices = {"north": {"r2": 0.9}, "south": {"r2": 0.1}}
    decision = decide(comparison(), NONE_YET, gate(rule), slices=slices)
    assert refused_rules(decision) == ["minimum"]
    assert "south" in reasons(decision, passed=False)[0]


@pytest.mark.parametrize(("worst", "passes"), [(0.2, True), (math.inf, False)])
def test_an_infinite_slice_is_the_worst(worst: float, passes: bool) -> None:
    slices = {"north": {"share": 0.1}, "south": {"share": worst}, "new": {"share": NAN}}
    decision = decide(comparison(), NONE_YET, gate(WORST), slices=slices)
    assert decision["passed"] is passes
    assert passes or "share is infinite (south)" in [one["reason"] for one in decision["rules"]]


@pytest.mark.parametrize("key", ["table", "slices"])
def test_rows_of_one_name_are_refused(key: str) -> None:
    """One of them would judge the model, and the other would be ignored."""
    tables = {"table": comparison(), "slices": pd.DataFrame({"share": [0.1]}, ["north"])}
    assert decide(tables["table"], NONE_YET, gate(WORST), slices=tables["slices"])["passed"]
    tables[key] = pd.concat([tables[key]] * 2)
    with pytest.raises(OperationError, match=rf"gate\.{key} has two rows "):
        decide(tables["table"], NONE_YET, gate(WORST), slices=tables["slices"])


@pytest.mark.parametrize("table", [{"r2": 0.9}, [0.9]], ids=["metrics", "list"])
def test_a_table_without_rows_of_metrics_is_refused(table: Any) -> None:
    with pytest.raises(OperationError, match=r"gate\.table must be a DataFrame or a mapping"):
        decide(table, NONE_YET, gate(R2))


@pytest.mark.parametrize(("value", "passes"), [(0.7, True), (0.6999, False)])
def test_a_value_exactly_at_the_tolerance_passes(value: float, passes: bool) -> None:
    """In floating point, 0.8 - 0.1 is a little more than 0.7."""
    rules = gate({"metric": "m", "champion_tolerance": 0.1})
    (rule,) = champion_rules({"m": value}, {"m": 0.8}, "7", rules)
    assert rule["passed"] is passes


def test_a_slice_rule_is_refused_if_no_slices_were_measured() -> None:
    decision = decide(comparison(), CHAMPION, gate(WORST), COST)
    assert reasons(decision, passed=False) == ["missing metric: share.worst"]


def test_the_worst_slice_of_a_version_is_checked_by_other_environments() -> None:
    slices = {"south": {"share": 0.4}}
    decision = decide(comparison(), NONE_YET, gate(WORST), slices=slices)
    tags = verdict_facts(decision, {})
    version = Version("plant", "1", "a", tags | {"digest": "a"})
    assert all(rule["passed"] for rule in entry_rules(version, None, gate(WORST)))
    strict = gate(WORST | {"maximum": 0.3})
    assert not all(rule["passed"] for rule in entry_rules(version, None, strict))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (AGREES | {"needs_labels": True}, "exclude each other"),
        (WORST | {"champion_tolerance": 0.1}, "can only have minimum and maximum"),
        (WORST | {"beats": ["mean"]}, "can only have minimum and maximum"),
    ],
)
def test_rules_that_cannot_be_applied_are_rejected(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        gate(rule)
    assert gate(AGREES, WORST).rules
