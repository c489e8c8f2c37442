import json
from math import isnan, nan
from typing import Any

import pytest

from kedro_azure_mlops.registry.facts import (
    LONGEST,
    about_model,
    allowed_names,
    claimed_numbers,
    failed_reasons,
    model_facts,
    verdict_facts,
    verdict_of,
)

RULES = [{"passed": True, "reason": "one; of two"}, {"passed": False, "reason": "three"}]
GATE: dict[str, Any] = {"passed": True, "rules": RULES}


def test_a_versions_tags_record_its_origin() -> None:
    origin = {"git.commit": "c0ffee", "git.dirty": "false", "data.file.raw": "1abe1"}
    facts = model_facts("d19e57", origin, {"model": {"seed": 1}, "file": None})
    assert facts == origin | {
        "digest": "d19e57",
        "parameters": '{"file":null,"model":{"seed":1}}',
    }


def test_the_files_that_a_run_read_are_not_facts_about_its_model() -> None:
    model = {"git.commit": "c0ffee", "git.dirty": "false", "data.fingerprint": "f1n9e2"}
    assert about_model(model | {"data.file.raw": "1abe1"}) == model


@pytest.mark.parametrize(("passed", "verdict"), [(True, "passed"), (False, "refused")])
def test_a_versions_tags_record_the_verdict_and_the_challengers_metrics(
    passed: bool, verdict: str
) -> None:
    numbers = {"r2": 0.1 + 0.2, "champion.r2": 0.5, "odd": nan, "latency_ms": 4}
    facts = verdict_facts(GATE | {"passed": passed}, numbers)
    assert facts == {
        "gate": verdict,
        "gate.reasons": "ok  one; of two; NO  three",
        "metrics.r2": "0.30000000000000004",
        "metrics.latency_ms": "4.0",
    }
    assert claimed_numbers(facts) == {"r2": 0.1 + 0.2, "latency_ms": 4.0}


def test_a_limited_metric_with_a_dot_in_its_name_is_a_tag() -> None:
    """Otherwise a later challenger would not be compared with it."""
    numbers = {"precision_at_0.9": 0.8, "champion.r2": 0.5}
    facts = verdict_facts(GATE | {"passed": True}, numbers, {"precision_at_0.9"})
    assert claimed_numbers(facts) == {"precision_at_0.9": 0.8}


def test_names_that_mlflow_forbids_are_changed_and_stay_different() -> None:
    values = {"f1@0.5": 1, "f1_0.5": 2, "f1#0.5": 3, "a/b: c-d": 4}
    assert allowed_names(values) == {"f1_0.5_": 1, "f1_0.5": 2, "f1_0.5__": 3, "a/b: c-d": 4}


def test_a_verdict_applies_only_to_the_model_that_it_names() -> None:
    facts = verdict_facts(GATE | {"passed": True, "digest": "d19e57"}, {})
    assert facts["gate.digest"] == "d19e57"
    assert verdict_of(facts | {"digest": "d19e57"}) == "passed"
    assert verdict_of(facts | {"digest": "07be25"}) is None
    assert verdict_of({"digest": "d19e57"}) is None
    assert verdict_of({"digest": "d19e57", "gate": "refused"}) == "refused", "an older verdict"


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "n/a", ""])
def test_a_metric_without_a_finite_number_is_read_as_nan(text: str) -> None:
    tags = {"metrics.r2": text, "metrics.size_mb": "1e-1", "gate": "passed"}
    claimed = claimed_numbers(tags)
    assert claimed.keys() == {"r2", "size_mb"}
    assert claimed["size_mb"] == 0.1
    assert isnan(claimed["r2"])


@pytest.mark.parametrize(
    ("reasons", "failed"),
    [
        ("ok  one; NO  two", "two"),
        ("NO  two; of three; ok  one; NO  four", "two; of three; four"),
        ("all is odd", "all is odd"),
        (None, "no reason is recorded"),
    ],
)
def test_only_the_reasons_of_failed_rules_are_quoted(reasons: str | None, failed: str) -> None:
    assert failed_reasons({} if reasons is None else {"gate.reasons": reasons}) == failed


@pytest.mark.parametrize(("length", "fits"), [(4_900, True), (5_100, False)])
def test_a_text_that_is_too_long_is_left_out_with_a_note(length: int, fits: bool) -> None:
    facts = model_facts("d19e57", {}, {"long": "x" * length})
    assert len(facts["parameters"]) <= LONGEST
    if fits:
        assert json.loads(facts["parameters"]) == {"long": "x" * length}
    else:
        assert facts["parameters"].startswith("left out: 5,1")
