"""Mutates valid inputs into broken ones: seeded, so that a number reproduces an input.

Neither atheris nor hypothesis is among the locked packages; for these small grammars, ``random`` is
enough.
"""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
TOKENS = [
    *(b"nan NaN inf -Infinity 1e3 1e999 007 0x10 1_000 1,5 true null ~ off 85.0 -127".split()),
    *(b"2024-02-30 2024-01-31T13:00Z 2024-01-31T13:00-05:00 0001-01-01 9999-12-31".split()),
    *(
        b'\0 \r\n \n\n \r , ; : " \' "" { } [ ] # & * ! % ${ ${globals:gate} ??? - <<: \\'.split(
            b" "
        )
    ),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xb0C", "°C".encode(), "\u0663".encode(), b"\\ud800", b"\t"),
    *(b"time,device,load", b"value", b"unit", b'"data"', b"{}", b"[]", b"9" * 400, b"  "),
]


def seeds(target: str) -> list[bytes]:
    """Return the stored inputs: valid ones, and those that once failed."""
    return [file.read_bytes() for file in sorted((CORPUS / target).iterdir())]


def mutated(corpus: list[bytes], number: int) -> bytes:
    """Return the input of this number: a seed with some of its bytes, words or lines changed."""
    chance = random.Random(number)  # noqa: S311
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.choice((0, 0, 1, 2, 8, 30)))
        change = chance.randrange(6)
        if change == 0:
            data[start:end] = chance.choice(TOKENS)
        elif change == 1:
            data[start:end] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 4)))
        elif change == 2:
            del data[start:end]
        elif change == 3:
            data[start:start] = data[start:end] * chance.randrange(1, 4)
        elif change == 4:  # digits and signs, as in numbers and times
            data[start : start + 1] = chance.choice(b"0123456789+-.:eETZ \"',").to_bytes()
        else:
            lines = bytes(data).split(b"\n")
            other = chance.choice(corpus).split(b"\n")
            lines[chance.randrange(len(lines))] = chance.choice(other)
            data = bytearray(b"\n".join(lines))
    return bytes(data)


def inputs(target: str, first: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield the corpus, then endless mutations of it, each with its name."""
    corpus = seeds(target)
    yield from ((f"{target} seed {number}", data) for number, data in enumerate(corpus))
    number = first
    while True:
        yield f"{target} {number}", mutated(corpus, number)
        number += 1


def run(
    target: str, check: Callable[[bytes], bool], *, rounds: int, seconds: float = 0, first: int = 0
) -> tuple[int, int]:
    """Check inputs for a number of rounds and seconds; count all and the accepted ones.

    Raises
    ------
    AssertionError
        If an input crashes a reader or is parsed wrongly; the message names and shows it.
    """
    end = time.monotonic() + seconds
    tried = accepted = 0
    for name, data in inputs(target, first):
        if tried >= rounds and time.monotonic() >= end:
            break
        tried += 1
        try:
            accepted += check(data)
        except Exception as error:
            raise AssertionError(f"{name}: {type(error).__name__}: {error}\n{data!r}") from error
    return tried, accepted
