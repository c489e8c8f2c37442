"""Score readings on a device that has no network: a CSV file, or one JSON request.

    .venv/bin/python score_file.py readings.csv scores.csv
    .venv/bin/python score_file.py < request.json

The readings (``timestamp,sensor_id,temperature``) are checked as an endpoint checks them and scored
by the same code, piece by piece, so that a file of any length fits into little memory. Nothing is
scored if a file of this folder is not as it was made.

Exit status: 0 if the readings are scored, 1 if they are refused, 2 if it could not be tried.
"""

import argparse
import csv
import hashlib
import itertools
import json
import math
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
COLUMNS = ["timestamp", "sensor_id", "temperature"]
ROWS_PER_PIECE = 10_000
_SUMS = "SHA256SUMS"
_FIRST_LINE = 2  # after the header


class NotTriedError(Exception):
    """It could not be tried: the message says why."""


class RefusedError(Exception):
    """The readings are refused: the message names the field."""


def main() -> int:
    """Score what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("readings", type=Path, nargs="?", help="CSV file; without it JSON on stdin")
    parser.add_argument("scores", type=Path, nargs="?", help="CSV file to write")
    parser.add_argument("--check", action="store_true", help="check this folder and its model")
    options = parser.parse_args()
    try:
        refuse_changed_files()
        score = load()
        if options.check:
            _say(f"model {score.model().version} is whole, and scores as it was trained to")
        elif options.readings is None:
            return score_request(score)
        elif options.scores is None:
            raise NotTriedError("name the file to write, too: score_file.py READINGS SCORES")
        else:
            score_file(score, options.readings, options.scores)
    except RefusedError as refusal:
        _complain(str(refusal))
        return 1
    except NotTriedError as problem:
        _complain(str(problem))
        return 2
    except OSError as problem:
        _complain(f"{problem.filename}: {problem.strerror}")
        return 2
    return 0


def refuse_changed_files() -> None:
    """Compare the files beside this one with their checksums; wheels may have been deleted.

    Raises
    ------
    NotTriedError
        If one is missing or has changed.
    """
    lines = (HERE / _SUMS).read_text(encoding="utf-8").splitlines()
    for expected, name in (line.split("  ", 1) for line in lines):
        file = HERE / name
        if name.startswith("wheels/") and not file.exists():
            continue
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise NotTriedError(f"{name} is not as it was made: unpack the bundle again")


def load() -> Any:
    """Import the score function of this folder and load the model.

    Raises
    ------
    NotTriedError
        If what it needs is not installed, or the model is not the one that was bundled.
    """
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(HERE / "src"))
    try:
        from {{ cookiecutter.package_name }} import score
    except ImportError as error:
        raise NotTriedError(f"{error}: run sh install.sh, and use .venv/bin/python") from error
    os.environ.update(json.loads((HERE / "model.json").read_text(encoding="utf-8")))
    try:
        score.init(HERE / "model")
    except (ValueError, ImportError) as error:
        raise NotTriedError(str(error)) from error
    return score


def score_request(score: Any) -> int:
    """Answer the request on standard input, as an endpoint would."""
    answer = score.run(sys.stdin.buffer.read(score.MAX_BYTES + 1))
    _say(answer.text())
    if answer.status == 200:
        return 0
    error = answer.body["error"]
    _complain(f"{error['field']} {error['message']}")
    return 1


def score_file(score: Any, source: Path, target: Path) -> None:
    """Write a line of scores for each reading; the file is whole or not there.

    Raises
    ------
    RefusedError
        Naming the first line and field that is wrong.
    """
    if target.exists() and source.samefile(target):
        raise NotTriedError(
            f"{target} is the file of the readings: name another one for the scores"
        )
    part = target.with_name(f"{target.name}.part")
    try:
        with (
            source.open(encoding="utf-8-sig", newline="") as read,
            part.open("w", encoding="utf-8", newline="") as write,
        ):
            writer = csv.writer(write, lineterminator="\n")
            writer.writerow([*COLUMNS, "score", "is_anomaly", "model_version"])
            scored = flagged = 0
            for rows in _scored(score, csv.reader(read)):
                writer.writerows(rows)
                scored, flagged = scored + len(rows), flagged + sum(row[4] == 1 for row in rows)
        part.replace(target)
        _say(f"{scored:,} readings scored, {flagged:,} flagged: {target}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise RefusedError(f"{source} is no CSV file in UTF-8: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _scored(score: Any, lines: Iterator[list[str]]) -> Iterator[list[list[object]]]:
    """Score a file piece by piece."""
    from {{ cookiecutter.package_name }}.scoring.stream import Stream

    if next(lines, None) != COLUMNS:
        raise RefusedError(f"the first line must be {','.join(COLUMNS)}")
    model, stream = score.model(), Stream(score.model().scorer)
    latest: dict[str, Any] = {}
    number, rows = _FIRST_LINE, _without_blank_end(lines)
    while piece := list(itertools.islice(rows, ROWS_PER_PIECE)):
        readings = _checked(piece, number, model.scorer.limits)
        _refuse_disorder(readings, number, latest)
        try:
            scores = stream.score(readings.sensors, readings.times, readings.values)
        except ValueError as error:  # of the features, about all readings together
            raise RefusedError(f"lines {number} to {number + len(piece) - 1}: {error}") from error
        yield [
            [*row, *_verdict(one, score.DECIMALS), model.version]
            for row, one in zip(piece, scores.tolist(), strict=True)
        ]
        number += len(piece)


def _without_blank_end(lines: Iterator[list[str]]) -> Iterator[list[str]]:
    """Leave out lines without anything at the end of the file; elsewhere they are refused."""
    blank = 0
    for row in lines:
        if not row:
            blank += 1
            continue
        yield from ([] for _ in range(blank))
        blank = 0
        yield row


def _checked(piece: list[list[str]], number: int, limits: tuple[float, float]) -> Any:
    """Check a piece as the body of a request is checked."""
    from {{ cookiecutter.package_name }}.scoring.request import BadRequestError, check

    rows = []
    for row in itertools.takewhile(lambda row: len(row) == len(COLUMNS), piece):
        rows.append({**dict(zip(COLUMNS, row, strict=True)), "temperature": _number(row[2])})
    try:
        readings = check(rows, limits)
    except BadRequestError as error:
        raise RefusedError(_with_lines(str(error), number)) from error
    if len(rows) < len(piece):
        fields = ", ".join(COLUMNS)
        raise RefusedError(f"line {number + len(rows)} must have the fields {fields}")
    return readings


def _with_lines(text: str, first: int) -> str:
    """Name lines of the file, where a request's refusal counts the rows of its body."""
    return re.sub(r"data\[(\d+)\]\.?", lambda row: f"line {first + int(row[1])} ", text)


def _number(text: str) -> float | str:
    try:
        return text if "_" in text else float(text)
    except ValueError:
        return text  # the check refuses it


def _refuse_disorder(readings: Any, number: int, latest: dict[str, Any]) -> None:
    """Refuse what the check of a single piece cannot see: time that goes back between two."""
    for row, (sensor, time) in enumerate(zip(readings.sensors, readings.times, strict=True)):
        if sensor in latest and time < latest[sensor]:
            raise RefusedError(
                f"line {number + row} timestamp is before that of an earlier line: send the "
                "readings of a sensor in order"
            )
        latest[sensor] = time


def _verdict(score: float, decimals: int) -> list[object]:
    """Round a score as an endpoint does; nothing for a sensor that the model does not know."""
    return ["", ""] if math.isnan(score) else [round(score, decimals), int(score > 1)]


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _complain(text: str) -> None:
    sys.stderr.write(f"score_file: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
