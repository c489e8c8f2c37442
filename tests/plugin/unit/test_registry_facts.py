import json
from math import isnan, nan
from typing import Any

import pytest

from kedro_azure_mlops.registry.facts import (
    LONGEST,
    about_model,
    claimed_numbers,
    failed_reasons,
    model_facts,
    verdict_facts,
    verdict_of,
)

RULES = [{"passed": True, "reason": "one; of two"}, {"passed": False, "reason": "three"}]
GATE: dict[str, Any] = {"passed": True, "rules": RULES}


def test_a_version_carries_what_it_was_made_of() -> None:
    origin = {"git.commit": "c0ffee", "git.dirty": "false", "data.file.raw": "1abe1"}
    facts = model_facts("d19e57", origin, {"model": {"seed": 1}, "file": None})
    assert facts == origin | {
        "digest": "d19e57",
        "parameters": '{"file":null,"model":{"seed":1}}',
    }


def test_what_a_run_was_given_is_told_apart_from_what_its_model_is_made_of() -> None:
    model = {"git.commit": "c0ffee", "git.dirty": "false", "data.fingerprint": "f1n9e2"}
    assert about_model(model | {"data.file.raw": "1abe1"}) == model


@pytest.mark.parametrize(("passed", "verdict"), [(True, "passed"), (False, "refused")])
def test_a_version_carries_the_verdict_with_the_challengers_numbers(
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


def test_a_verdict_counts_for_the_model_that_it_names() -> None:
    facts = verdict_facts(GATE | {"passed": True, "digest": "d19e57"}, {})
    assert facts["gate.digest"] == "d19e57"
    assert verdict_of(facts | {"digest": "d19e57"}) == "passed"
    assert verdict_of(facts | {"digest": "07be25"}) is None
    assert verdict_of({"digest": "d19e57"}) is None
    assert verdict_of({"digest": "d19e57", "gate": "refused"}) == "refused", "as before it named it"


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "n/a", ""])
def test_what_is_no_finite_number_is_not_one_of_a_model(text: str) -> None:
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
def test_of_the_reasons_those_that_failed_are_quoted(reasons: str | None, failed: str) -> None:
    assert failed_reasons({} if reasons is None else {"gate.reasons": reasons}) == failed


@pytest.mark.parametrize(("length", "whole"), [(4_900, True), (5_100, False)])
def test_a_text_that_is_too_long_is_not_cut_silently(length: int, whole: bool) -> None:
    facts = model_facts("d19e57", {}, {"long": "x" * length})
    assert len(facts["parameters"]) <= LONGEST
    if whole:
        assert json.loads(facts["parameters"]) == {"long": "x" * length}
    else:
        assert facts["parameters"].startswith("left out: 5,1")
