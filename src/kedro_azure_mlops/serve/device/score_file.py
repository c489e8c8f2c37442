"""Score rows on a device without a network: a CSV file, or one JSON request.

    .venv/bin/python score_file.py rows.csv scores.csv
    .venv/bin/python score_file.py < request.json
    .venv/bin/python score_file.py --record served rows.csv scores.csv

The rows are checked and scored by the same code as on an endpoint, piece by piece, so a file of any
length needs little memory. Nothing is scored if a file in this folder was altered. --record FOLDER
also records the answers, as servers do: copy that folder back and run `kedro mlops monitor` on it.

Exit status: 0 if the rows were scored, 1 if they were refused, 2 if scoring could not start or
did not finish.
"""

import argparse
import contextlib
import csv
import hashlib
import itertools
import json
import os
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

HERE = Path(__file__).resolve().parent
ROWS_PER_PIECE = 10_000
_SUMS = "SHA256SUMS"
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


class NotTriedError(Exception):
    """Scoring could not start; the message has the reason."""


class RefusedError(Exception):
    """The rows were refused: the message names the field."""


def main() -> int:
    """Score the file named on the command line, or the request on standard input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", type=Path, nargs="?", help="CSV file; default: JSON on stdin")
    parser.add_argument("scores", type=Path, nargs="?", help="CSV file to write")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="record the answers in it")
    parser.add_argument("--check", action="store_true", help="check this folder and its model")
    options = parser.parse_args()
    try:
        refuse_changed_files()
        score = load()
        if options.check:
            _print_line(f"model {score.model().version} is intact and scores as it did in training")
        elif options.rows is None:
            return score_request(score, options.record)
        elif options.scores is None:
            raise NotTriedError("name the output file, too: score_file.py ROWS SCORES")
        else:
            score_file(score, options.rows, options.scores, options.record)
    except RefusedError as refusal:
        _print_error(str(refusal))
        return 1
    except NotTriedError as problem:
        _print_error(str(problem))
        return 2
    except OSError as problem:
        _print_error(f"{problem.filename}: {problem.strerror}")
        return 2
    except Exception as problem:  # noqa: BLE001, a model may raise anything
        message = " ".join(f"{type(problem).__name__}: {problem}".split()).rstrip(":")
        _print_error(f"the model failed: {message}")
        return 2
    return 0


def refuse_changed_files() -> None:
    """Check the files in this folder against their checksums; wheels may have been deleted.

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
            raise NotTriedError(f"{name} was altered: unpack the bundle again")


def load() -> Any:
    """Import the score function of this folder and load the model.

    Raises
    ------
    NotTriedError
        If a package is not installed, or the model is not the one that was bundled.
    """
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(HERE / "code"))
    try:
        from kedro_azure_mlops.serve import score
    except ImportError as error:
        raise NotTriedError(
            f"{error}: install the packages as in README.md, and use .venv/bin/python"
        ) from error
    os.environ.update(json.loads((HERE / "model.json").read_text(encoding="utf-8")))
    try:
        score.init(HERE / "model")
    except (ValueError, ImportError) as error:
        raise NotTriedError(str(error)) from error
    return score


def recorder_in(folder: Path | None, score: Any) -> Any:
    """Return a recorder of answers in a folder; None if no folder is named.

    Raises
    ------
    NotTriedError
        If the folder cannot be written.
    """
    if folder is None:
        return None
    from kedro_azure_mlops.serve.record import Recorder, Settings

    try:
        return Recorder(Settings(folder), score.model().schema, score.model().digest)
    except ValueError as error:
        raise NotTriedError(str(error)) from error


def score_request(score: Any, record: Path | None = None) -> int:
    """Answer the request on standard input, as an endpoint would."""
    recorder, kept = recorder_in(record, score), []
    body = _opened(sys.stdin, "standard input").buffer.read(score.MAX_BYTES + 1)
    answer = score.run(body, lambda *found: kept.append(found))
    _print_line(answer.text())
    for rows, outputs in kept if recorder else ():
        recorder.write("request", rows.columns, outputs)
        _end(recorder)
    if answer.status == 200:
        return 0
    error = answer.body["error"]
    _print_error(f"{error['field']} {error['message']}")
    return 1


def score_file(score: Any, source: Path, target: Path, record: Path | None = None) -> None:
    """Write a line of answers for each row; the file is either complete or absent.

    Raises
    ------
    RefusedError
        If the rows are invalid; the message names the first invalid line and field.
    """
    if target.exists() and source.samefile(target):
        raise NotTriedError(f"{target} is the file with the rows: name another file for the scores")
    flag = score.model().schema.flag
    recorder = recorder_in(record, score)
    try:
        with (
            source.open(encoding="utf-8-sig", newline="") as read,
            _written_beside(target) as write,
        ):
            file = _File(score, _lines(read))
            writer = csv.writer(write, lineterminator="\n")
            writer.writerow([*file.columns, *file.outputs, "model_version"])
            scored = flagged = 0
            for rows, columns, answers in file.scored():
                if recorder:
                    recorder.write(f"{source.name}:{scored + 2}", columns, answers)
                cells = zip(
                    *([_cell(value) for value in values] for values in answers), strict=True
                )
                for row, answer in zip(rows, cells, strict=True):
                    writer.writerow([*row, *answer, score.model().version])
                scored += len(rows)
                flagged += answers[file.outputs.index(flag)].count(True) if flag else 0
        if recorder:
            _end(recorder)
        summary = f", {flagged:,} flagged" if flag else ""
        _print_line(f"{scored:,} rows scored{summary}: {target}")
    except UnicodeDecodeError as error:
        raise RefusedError(f"{source} is not a CSV file in UTF-8: {error}") from error
    finally:
        if recorder:
            recorder.abandon()  # no effect after _end; otherwise there are no scores either


@contextlib.contextmanager
def _written_beside(target: Path) -> Iterator[TextIO]:
    """Open a new file that replaces the target, or what it links to, once it is complete."""
    place = target.resolve()
    if place.exists() and not place.is_file():
        raise NotTriedError(f"{target} is not a file: name a file for the scores")
    # unlike the files of tempfile, it has the usual permissions
    part = place.with_name(f"{place.name}.{secrets.token_hex(8)}.part")
    with _naming(str(target)):
        write = part.open("x", encoding="utf-8", newline="")
        try:
            with write:
                yield write
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def _naming(place: str) -> Iterator[None]:
    """Add a place to errors of the system that name none, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or place
        raise


def _end(recorder: Any) -> None:
    """Finish the recording; report rows that could not be recorded, but do not fail."""
    recorder.close(None)
    if recorder.dropped:
        _print_error(f"{recorder.dropped:,} rows were not recorded, see above")


class _File:
    """A CSV file with the inputs of the model as columns."""

    def __init__(self, score: Any, lines: Iterator[tuple[int, list[str]]]) -> None:
        from kedro_azure_mlops.serve.stream import Stream
        from kedro_azure_mlops.values import has_offset

        self._model = score.model()
        self._stream = Stream(self._model.scorer)
        self._lines = lines
        schema = self._model.schema
        self._converters = {one.name: _converter(one) for one in schema.inputs}
        self._history = schema.history
        self._latest: dict[Any, Any] = {}
        self._has_offset = has_offset
        self._offset_lines: dict[bool, int] = {}  # the first lines without and with an offset
        self.outputs = [one.name for one in schema.outputs]
        self.columns = next((row for _, row in lines), [])
        self._refuse_other_columns()

    def scored(self) -> Iterator[tuple[list[list[str]], Any, list[list[Any]]]]:
        """Yield for each piece its rows as text, its columns, and the columns of the answer."""
        rows = _without_trailing_blanks(self._lines)
        while numbered := list(itertools.islice(rows, ROWS_PER_PIECE)):
            numbers, piece = [line for line, _ in numbered], [row for _, row in numbered]
            checked = self._checked(piece, numbers)
            self._refuse_mixed_offsets(piece, numbers)
            self._refuse_disorder(checked.columns, numbers)
            try:
                found = self._stream.score(checked.columns)
            except ValueError as error:  # the model refuses the rows as a whole
                raise RefusedError(f"lines {numbers[0]} to {numbers[-1]}: {error}") from error
            yield piece, checked.columns, self._model.outputs(found, len(piece))

    def _refuse_other_columns(self) -> None:
        wanted = ",".join(self._converters)
        missing = [name for name in self._converters if name not in self.columns]
        unknown = [name for name in self.columns if name not in self._converters]
        for names, fault in ((missing, "is missing"), (unknown, "is not known")):
            if names:
                raise RefusedError(
                    f"the first line must be {wanted}, in any order: {', '.join(names)} {fault}"
                )
        if len(set(self.columns)) < len(self.columns):
            raise RefusedError(f"the first line must be {wanted}: a name appears twice")

    def _checked(self, piece: list[list[str]], numbers: list[int]) -> Any:
        """Check a piece like the body of a request."""
        from kedro_azure_mlops.serve.request import BadRequestError

        width = len(self.columns)
        rows = [
            {
                name: self._converters[name](text)
                for name, text in zip(self.columns, row, strict=True)
            }
            for row in itertools.takewhile(lambda row: len(row) == width, piece)
        ]
        try:
            checked = self._model.reader.check(rows)
        except BadRequestError as error:
            raise RefusedError(_with_lines(str(error), numbers)) from error
        if len(rows) < len(piece):
            fields = ", ".join(self.columns)
            raise RefusedError(f"line {numbers[len(rows)]} must have the fields {fields}")
        return checked

    def _refuse_mixed_offsets(self, piece: list[list[str]], numbers: list[int]) -> None:
        """Refuse a file in which only some times have an offset."""
        if self._history is None:
            return
        column = self.columns.index(self._history.order)
        for line, row in zip(numbers, piece, strict=True):
            self._offset_lines.setdefault(self._has_offset(row[column]), line)
            if len(self._offset_lines) > 1:
                raise RefusedError(
                    f"line {self._offset_lines[False]} {self._history.order} has no offset, "
                    f"line {self._offset_lines[True]} has one: write all with an offset (or Z), "
                    "or all without"
                )

    def _refuse_disorder(self, columns: Any, numbers: list[int]) -> None:
        """Refuse times that go back between pieces, which the check of one piece cannot detect."""
        if self._history is None:
            return
        times = columns[self._history.order]
        by = self._history.by
        names = columns[by].tolist() if by else [None] * len(times)
        for row, (name, time) in enumerate(zip(names, times, strict=True)):
            if name in self._latest and time < self._latest[name]:
                raise RefusedError(
                    f"line {numbers[row]} {self._history.order} is before that of an earlier line: "
                    "sort the rows of a series by it"
                )
            self._latest[name] = time


def _lines(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file with their first line; refuse NUL, which truncates numbers."""
    reader, line = csv.reader(file, strict=True), 1  # else a file may end within quotes
    try:
        with _naming(file.name):
            for row in reader:
                if any("\0" in cell for cell in row):
                    raise RefusedError(
                        f"line {line} holds a NUL byte: the file was damaged, copy it again"
                    )
                yield line, row
                line = reader.line_num + 1
    except csv.Error as error:
        raise RefusedError(
            f"line {line} cannot be cut into fields ({error}): a quote may be unclosed"
        ) from error


def _without_trailing_blanks(
    lines: Iterator[tuple[int, list[str]]],
) -> Iterator[tuple[int, list[str]]]:
    """Drop blank lines at the end of the file; others are passed on and refused later."""
    blank: list[int] = []
    for line, row in lines:
        if not row:
            blank.append(line)
            continue
        yield from ((number, []) for number in blank)
        blank = []
        yield line, row


def _converter(column: Any) -> Any:
    """Return a converter from a cell to a request's value; unreadable cells stay text."""
    read = {"double": _number, "long": _whole, "boolean": _boolean}.get(column.type, str)
    if column.nullable:
        return lambda text: read(text) if text.strip() else None
    return read


def _number(text: str) -> float | str:
    from kedro_azure_mlops.values import read_number

    try:
        return read_number(text)
    except ValueError:
        return text


def _whole(text: str) -> int | str:
    try:
        return int(text) if isinstance(_number(text), float) else text
    except ValueError:
        return text


def _boolean(text: str) -> bool | str:
    return _BOOLEANS.get(text.strip().lower(), text)


def _cell(value: Any) -> Any:
    """Return a value as CSV: booleans as 0 and 1, as in other score files, missing as empty."""
    return "" if value is None else int(value) if isinstance(value, bool) else value


def _with_lines(text: str, numbers: list[int]) -> str:
    """Replace the row numbers in a request's refusal with line numbers of the file."""
    return re.sub(r"data\[(\d+)\]\.?", lambda row: f"line {numbers[int(row[1])]} ", text)


def _opened(stream: Any, name: str) -> Any:
    if stream is None:
        raise NotTriedError(f"{name} is closed")
    return stream


def _print_line(text: str) -> None:
    output = _opened(sys.stdout, "standard output")
    try:
        with _naming("standard output"):
            output.write(text + "\n")
            output.flush()
    except OSError:
        sys.stdout = None  # else Python tries it again at its end, and reports that, too
        raise


def _print_error(text: str) -> None:
    with contextlib.suppress(OSError, AttributeError):  # the exit status remains
        sys.stderr.write(f"score_file: {text}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
