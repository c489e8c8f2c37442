"""Seconds of fuzzing; ``FUZZ_SECONDS=600`` or ``python -m tests.fuzz --minutes 10`` for more."""

import os

import pytest

from tests.fuzz.fuzzing import mutated, run, seeds
from tests.fuzz.targets import TARGETS

ROUNDS = {"requests": 2_000, "tables": 150, "configuration": 40}
SECONDS = float(os.environ.get("FUZZ_SECONDS", "0")) / len(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_any_bytes_are_refused_in_words_or_read_as_a_plain_parser_reads_them(target: str) -> None:
    tried, accepted = run(target, TARGETS[target], rounds=ROUNDS[target], seconds=SECONDS)
    assert 0 < accepted < tried, "both must happen, or nothing is tested"


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_holds_what_is_accepted_and_what_is_refused(target: str) -> None:
    assert {TARGETS[target](data) for data in seeds(target)} == {True, False}


def test_a_number_is_enough_to_see_an_input_again() -> None:
    assert mutated([b"time,load"], 7) == mutated([b"time,load"], 7)


def test_an_input_that_is_read_wrongly_is_shown() -> None:
    def check(data: bytes) -> bool:
        assert not data.startswith(b"time"), "another number"
        return True

    with pytest.raises(AssertionError, match=r"tables seed \d: .*another number(.|\n)*b'time,"):
        run("tables", check, rounds=20)
