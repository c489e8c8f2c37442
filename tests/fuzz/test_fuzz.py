"""Seconds of fuzzing; ``FUZZ_SECONDS=600`` or ``python -m tests.fuzz --minutes 10`` for more."""

import os

import pytest

from tests.fuzz.fuzzing import mutated, run, seeds
from tests.fuzz.targets import TARGETS

ROUNDS = {"requests": 2_000, "tables": 150, "configuration": 40}
SECONDS = float(os.environ.get("FUZZ_SECONDS", "0")) / len(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_any_bytes_are_rejected_with_a_message_or_parsed_like_the_reference(target: str) -> None:
    tried, accepted = run(target, TARGETS[target], rounds=ROUNDS[target], seconds=SECONDS)
    assert 0 < accepted < tried, "without accepted and rejected inputs, nothing is tested"


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_has_accepted_and_rejected_inputs(target: str) -> None:
    assert {TARGETS[target](data) for data in seeds(target)} == {True, False}


def test_a_number_reproduces_an_input() -> None:
    assert mutated([b"time,load"], 7) == mutated([b"time,load"], 7)


def test_a_wrongly_parsed_input_is_shown() -> None:
    def check(data: bytes) -> bool:
        assert not data.startswith(b"time"), "another number"
        return True

    with pytest.raises(AssertionError, match=r"tables seed \d: .*another number(.|\n)*b'time,"):
        run("tables", check, rounds=20)
