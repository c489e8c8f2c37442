from typing import Any

import pandas as pd
import pytest

from {{ cookiecutter.package_name }}.parameters import GateParameters
from {{ cookiecutter.package_name }}.pipelines.metrics.nodes import collect_metrics, decide

RULES: dict[str, Any] = {
    "metric": "average_precision",
    "minimum": 0.3,
    "champion_tolerance": 0.01,
    "must_beat": ["ewma_level"],
    "max_share_flagged": 0.1,
    "on_incomparable": "refuse",
    "require_labels": True,
}
CHAMPION = {"version": "7", "problem": None, "incomparable": None}
NONE_YET = {"version": None, "problem": None, "incomparable": None}
MODEL = "a-model"


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
    decision = decide(comparison(**scores), champion, MODEL, GateParameters(**RULES))
    assert refused_rules(decision) == refused
    assert decision["passed"] is not bool(refused)


def test_the_gate_says_why_with_the_numbers() -> None:
    decision = decide(comparison(challenger=0.5), CHAMPION, MODEL, GateParameters(**RULES))
    reasons = [rule["reason"] for rule in decision["rules"]]
    expected = "avg precision 0.500 against 0.600, champion (version 7), 0.01 worse allowed"
    assert expected in reasons
    assert decision["champion_version"] == "7"
    assert decision["model"] == MODEL


@pytest.mark.parametrize(("share", "passed"), [(0.1, True), (0.11, False)])
def test_the_gate_on_the_share_flagged(share: float, passed: bool) -> None:
    flagged = comparison().assign(share_flagged=share)
    assert decide(flagged, CHAMPION, MODEL, GateParameters(**RULES))["passed"] is passed


@pytest.mark.parametrize(("required", "passed"), [(True, False), (False, True)])
def test_the_gate_without_labels(required: bool, passed: bool) -> None:
    unlabelled = comparison().drop(columns="average_precision")
    rules = GateParameters(**RULES | {"require_labels": required})
    decision = decide(unlabelled, CHAMPION, MODEL, rules)
    assert decision["passed"] is passed
    assert refused_rules(decision) == ([] if passed else ["labels"])


def test_a_champion_that_cannot_be_compared_goes_only_when_told() -> None:
    champion = CHAMPION | {"incomparable": "version 7 does not know the sensors attic"}
    replace = GateParameters(**RULES | {"on_incomparable": "replace"})
    decision = decide(comparison(), champion, MODEL, replace)
    assert decision["passed"]
    assert any("does not know the sensors attic" in rule["reason"] for rule in decision["rules"])


@pytest.mark.parametrize("rules", [{"require_labels": False}, {"on_incomparable": "replace"}])
def test_a_champion_with_a_fault_is_never_replaced(rules: dict[str, Any]) -> None:
    unlabelled = comparison().drop(columns="average_precision")
    champion = CHAMPION | {"problem": "its files were changed"}
    decision = decide(unlabelled, champion, MODEL, GateParameters(**RULES | rules))
    assert "champion" in refused_rules(decision)


def test_metrics_are_named_after_their_detector() -> None:
    assert collect_metrics(comparison(champion=float("nan"))) == {
        "average_precision": 0.6,
        "ewma_level.average_precision": 0.2,
        "share_flagged": 0.01,
        "champion.share_flagged": 0.01,
        "ewma_level.share_flagged": 0.01,
    }
