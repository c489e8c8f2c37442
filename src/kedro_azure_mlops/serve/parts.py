"""Files of recorded answers: JSON lines while being written, then Parquet or gzip.

``DAY/HOUR-WRITER.jsonl`` grows while its writer, which holds a lock on it, is alive. Each line is a
JSON object: the model, the times, and the columns of some requests. Numbers are base64 of
little-endian bytes (ten times as fast as digits); texts are joined, or stored as codes of the
distinct ones. If the writer is killed, all lines but the last are complete. ``compact`` converts
finished files to ``.parquet`` if pyarrow is installed, otherwise to ``.jsonl.gz``. Everything else
needs only the standard library and numpy, so it also works on devices.
"""

import base64
import binascii
import contextlib
import gzip
import json
import logging
import math
import os
import shutil
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from kedro_azure_mlops.contract import Schema

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

LINES, ZIPPED, PARQUET = ".jsonl", ".jsonl.gz", ".parquet"
GIVEN = ("served_at", "request_id", "model_digest", "latency_ms")
"""The columns that precede the model's in every row."""
CUT_OFF = b"cut_off"  # metadata key of a Parquet file whose source was cut off
_NONE = -(2**63)  # a missing time, as numpy stores it, or a missing whole number
_ROWS_PER_GROUP = 100_000  # of a Parquet file
_SEPARATOR = "|"  # between texts; JSON does not escape it
_MAX_MEAN_CHARACTERS = 32  # longer texts are written once and referred to by codes
_FLAGS = {False: 0, True: 1, None: 2}
_SECONDS_UNTIL_ENDED = 7200  # seconds without a new line, if locks are unavailable
_encode = json.JSONEncoder(separators=(",", ":")).encode


Joined = str | list[str | None]
"""Texts: joined by a separator, or a list if one is missing or contains the separator."""


class Answered(NamedTuple):
    """An answered request: its time (ns since 1970, UTC), id, duration and columns.

    ``columns`` are arrays as a scorer accepts them, or for texts the result of ``joined``;
    ``outputs`` are lists of the JSON values in the answer.
    """

    at: int
    request_id: str
    seconds: float
    rows: int
    columns: Mapping[str, np.ndarray | Joined]
    outputs: Sequence[Sequence[Any]]


def joined(texts: list[str | None]) -> Joined:
    """Join texts, because one long text is stored and written much faster."""
    try:
        text = _SEPARATOR.join(texts)  # type: ignore[arg-type]
    except TypeError:  # a text is missing
        return texts
    is_short = len(text) < _MAX_MEAN_CHARACTERS * len(texts)
    return text if is_short and text.count(_SEPARATOR) == len(texts) - 1 else texts


class Form:
    """Formats the answers of one model as lines.

    Parameters
    ----------
    leave_out
        Columns that are never written.

    Raises
    ------
    ValueError
        If the model lacks such a column, or one of its columns is named like another recorded one.
    """

    def __init__(self, schema: Schema, digest: str, leave_out: Sequence[str] = ()) -> None:
        known = [one.name for one in (*schema.inputs, *schema.outputs)]
        if unknown := sorted(set(leave_out) - set(known)):
            raise ValueError(
                f"leave_out names {', '.join(unknown)}, which is not a column of the model: it has "
                f"{', '.join(known)}"
            )
        kept = [name for name in known if name not in leave_out]
        if duplicates := sorted({name for name in kept if name in GIVEN or kept.count(name) > 1}):
            raise ValueError(
                f"the model's column {', '.join(duplicates)} has the name of another recorded "
                "column: add it to leave_out"
            )
        inputs = [one for one in schema.inputs if one.name in kept]
        outputs = [(n, one) for n, one in enumerate(schema.outputs) if one.name in kept]
        types = {one.name: one.type for one in (*inputs, *(one for _, one in outputs))}
        self._inputs = [(_json(one.name), one.type, one.name) for one in inputs]
        self._outputs = [(_json(one.name), one.type, place) for place, one in outputs]
        self._head = b'{"model":%s,"types":%s' % (_json(digest), _json(types))

    def line(self, answered: Sequence[Answered]) -> bytes:
        """Return answered requests as one line."""
        columns = [
            b"%s:%s" % (key, _encoded(kind, [each.columns[name] for each in answered]))
            for key, kind, name in self._inputs
        ]
        columns += [
            b"%s:%s" % (key, _encoded_lists(kind, [each.outputs[place] for each in answered]))
            for key, kind, place in self._outputs
        ]
        return b'%s,"rows":%s,"request_id":%s,"served_at":%s,"latency_ms":%s,"columns":{%s}}\n' % (
            self._head,
            _json([each.rows for each in answered]),
            _json([each.request_id for each in answered]),
            _packed("i8", [each.at for each in answered]),
            _packed("f8", [1e3 * each.seconds for each in answered]),
            b",".join(columns),
        )


class Lines:
    """Lines of a file as tables: dictionaries of arrays, as a scorer accepts them.

    After iteration, ``rows`` is the number of rows, ``cut_off`` whether the last line is cut off,
    and ``damaged`` the number of other unreadable lines.
    """

    def __init__(self, file: IO[bytes], texts: "Texts | None" = None) -> None:
        self._file, self._texts = file, texts or _objects
        self.rows = self.damaged = 0
        self.cut_off = False
        self.types: dict[str, str] = {}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        try:
            for line in self._file:
                if not line.endswith(b"\n"):
                    self.cut_off = True
                    return
                try:
                    types, table = _decoded(line, self._texts)
                except (ValueError, KeyError, TypeError, IndexError, AttributeError):
                    self.damaged += 1
                    continue
                self.types = types
                self.rows += len(table["served_at"])
                yield table
        except (EOFError, gzip.BadGzipFile, zlib.error):  # cut off, or damaged
            self.cut_off = True


def opened(file: Path) -> IO[bytes]:
    """Open a file of lines, gzipped or not."""
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")  # type: ignore[return-value]


def lock(file: IO[bytes] | int) -> bool | None:
    """Lock a file of lines; return whether that worked, or None if locks are unavailable."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems
        return None
    return True


def compact(folder: Path) -> list[Path]:
    """Convert the files of ended writers to Parquet, or to gzip if pyarrow is not installed.

    The new file is complete before the lines are removed. A reader that finds both uses the new
    one.

    Returns
    -------
    The new files.
    """
    compacted = []
    for lines in sorted(folder.glob(f"*/*{LINES}")):
        try:
            with lines.open("rb") as file:
                locked = lock(file)
                is_old = time.time() - os.fstat(file.fileno()).st_mtime > _SECONDS_UNTIL_ENDED
                if locked or (locked is None and is_old):
                    compacted += _compacted(lines, file)
        except (OSError, ValueError, KeyError) as error:
            logger.warning("%s was not compacted: %s", lines, error)
    return compacted


def _compacted(lines: Path, file: IO[bytes]) -> list[Path]:
    stem = lines.name.removesuffix(LINES)
    try:
        import pyarrow as _  # noqa: F401

        target, write = lines.with_name(stem + PARQUET), _write_parquet
    except ImportError:
        target, write = lines.with_name(stem + ZIPPED), _write_zipped
    part = lines.with_name(f"{target.name}.part")
    try:
        if not os.fstat(file.fileno()).st_nlink:  # another process was faster
            return []
        has_rows = write(file, part)
        if has_rows is None:
            file.seek(0)
            target, has_rows = lines.with_name(stem + ZIPPED), _write_zipped(file, part)
        if has_rows:
            part.replace(target)
        lines.unlink()
        return [target] if has_rows else []
    finally:
        part.unlink(missing_ok=True)


def _write_zipped(file: IO[bytes], part: Path) -> bool:
    with gzip.open(part, "wb", compresslevel=6) as target:
        shutil.copyfileobj(file, target)
    return file.tell() > 0


def _write_parquet(file: IO[bytes], part: Path) -> bool | None:
    """Write row groups while reading; all lines are of one model, so the first one has the types.

    The metadata record whether the lines were cut off. Returns whether there are rows; None if a
    line cannot be read, which would be lost.
    """
    import pyarrow
    import pyarrow.parquet

    lines, rows = Lines(file, _arrow_texts), 0
    waiting: list[dict[str, Any]] = []
    writer: Any = None

    def write() -> None:
        nonlocal writer
        table = _arrow_table(waiting, lines.types)
        if writer is None:
            writer = pyarrow.parquet.ParquetWriter(part, table.schema, compression="zstd")
        writer.write_table(table)

    try:
        for table in lines:
            waiting.append(table)
            rows += len(table["served_at"])
            if rows >= _ROWS_PER_GROUP:
                write()
                waiting, rows = [], 0
        if waiting:
            write()
        if writer is not None and lines.cut_off:
            writer.add_key_value_metadata({CUT_OFF: b"true"})
    finally:
        if writer is not None:
            writer.close()
    return None if lines.damaged else writer is not None


def _arrow_table(tables: Sequence[Mapping[str, Any]], types: Mapping[str, str]) -> Any:
    import pyarrow

    arrow = {
        "string": pyarrow.string(),
        "double": pyarrow.float64(),
        "long": pyarrow.int64(),
        "boolean": pyarrow.bool_(),
        "datetime": pyarrow.timestamp("ns"),
    }
    kinds = {
        "served_at": pyarrow.timestamp("ns", "UTC"),
        "request_id": pyarrow.string(),
        "model_digest": pyarrow.string(),
        "latency_ms": pyarrow.float64(),
        **{name: arrow[kind] for name, kind in types.items()},
    }
    columns = {}
    for name, kind in kinds.items():
        values = [table[name] for table in tables]
        if kind == pyarrow.string():
            columns[name] = pyarrow.chunked_array(values, kind)
        else:
            columns[name] = pyarrow.array(np.concatenate(values), kind, from_pandas=True)
    return pyarrow.table(columns)


Texts = Callable[[list[Any], np.ndarray], Any]
"""Takes the distinct texts and, for each row, the index of its text; returns the column."""


def _objects(distinct: list[Any], codes: np.ndarray) -> np.ndarray:
    array = np.empty(len(distinct), object)
    array[:] = distinct
    return array[codes]


def _arrow_texts(distinct: list[Any], codes: np.ndarray) -> Any:
    """Return an Arrow column, ten times as fast as through Python strings.

    Arrow holds only valid Unicode, so invalid characters in older recordings become question marks.
    """
    import pyarrow

    try:
        texts = pyarrow.array(distinct, pyarrow.string())
    except UnicodeEncodeError:
        valid = [text and text.encode("utf-8", "replace").decode() for text in distinct]
        texts = pyarrow.array(valid, pyarrow.string())
    return texts.take(pyarrow.array(codes))


def _json(value: Any) -> bytes:
    return _encode(value).encode()


def _encoded(kind: str, columns: Sequence[np.ndarray | Joined]) -> bytes:
    if kind == "string" and all(isinstance(one, str) for one in columns):
        return b'{"texts":%s}' % _json(_SEPARATOR.join(columns))  # type: ignore[arg-type]
    if kind in {"string", "boolean"}:
        return _encoded_lists(kind, [_list(one) for one in columns])
    values = np.concatenate([np.asarray(one) for one in columns])
    if kind == "datetime":
        return _numbers("i8", values.astype("datetime64[ns]", copy=False).view(np.int64))
    return _numbers("i8" if values.dtype.kind in "iu" else "f8", values)


def _list(column: np.ndarray | Joined) -> list[Any]:
    if isinstance(column, str):
        return column.split(_SEPARATOR)
    return column if isinstance(column, list) else column.tolist()


def _encoded_lists(kind: str, lists: Sequence[Sequence[Any]]) -> bytes:
    """Encode JSON values; much faster if none is missing."""
    if kind in {"string", "boolean"}:
        return _flags(lists) if kind == "boolean" else _codes(lists)
    values = list(chain.from_iterable(lists))
    if kind == "double":
        try:
            return _packed("f8", values)
        except struct.error:
            return _packed("f8", [math.nan if one is None else one for one in values])
    if kind == "datetime":
        times = np.array(["NaT" if one is None else one for one in values], "datetime64[ns]")
        return _numbers("i8", times.view(np.int64))
    return _numbers("i8", np.array([_NONE if one is None else one for one in values], np.int64))


def _flags(lists: Sequence[Sequence[Any]]) -> bytes:
    try:
        data = bytes(map(_FLAGS.__getitem__, chain.from_iterable(lists)))
    except (KeyError, TypeError):  # from an array of inputs
        return _codes(lists)
    return _coded("u1", data, list(_FLAGS))


class _Known(dict[Any, int]):
    """Numbers the values looked up, in order of first appearance."""

    def __missing__(self, value: Any) -> int:
        self[value] = number = len(self)
        return number


def _codes(lists: Sequence[Sequence[Any]]) -> bytes:
    first = next(chain.from_iterable(lists), None)
    if all(one[-1:] == [first] and one.count(first) == len(one) for one in lists):
        return _coded("u1", bytes(sum(map(len, lists))), [first])
    known = _Known()
    try:
        data = bytes(map(known.__getitem__, chain.from_iterable(lists)))
    except ValueError:  # more distinct values than a byte can number
        numbers = map(known.__getitem__, chain.from_iterable(lists))
        return _coded("u4", np.fromiter(numbers, "<u4").data, list(known))
    return _coded("u1", data, list(known))


def _coded(kind: str, data: bytes | memoryview, distinct: list[Any]) -> bytes:
    return _base64_json(kind, data)[:-1] + b',"of":%s}' % _json(distinct)


def _packed(kind: str, values: Sequence[Any]) -> bytes:
    """Encode a list of numbers, twice as fast as numpy."""
    code = {"i8": "q", "f8": "d"}[kind]
    return _base64_json(kind, struct.pack(f"<{len(values)}{code}", *values))


def _numbers(kind: str, values: np.ndarray) -> bytes:
    return _base64_json(kind, np.ascontiguousarray(values, f"<{kind}").data)


def _base64_json(kind: str, data: bytes | memoryview) -> bytes:
    return b'{"%s":"%s"}' % (kind.encode(), binascii.b2a_base64(data, newline=False))


def _decoded(line: bytes, texts: Texts) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the column types, by name, and the columns of a line."""
    fields = json.loads(line)
    rows = np.array(fields["rows"], np.int64)
    served_at = _read(fields["served_at"]).view("datetime64[ns]")
    table: dict[str, Any] = {
        "served_at": np.repeat(served_at, rows),
        "request_id": texts(fields["request_id"], np.repeat(np.arange(len(rows)), rows)),
        "model_digest": texts([fields["model"]], np.zeros(rows.sum(), np.int64)),
        "latency_ms": np.repeat(_read(fields["latency_ms"]), rows),
    }
    for name, kind in fields["types"].items():
        column = fields["columns"][name]
        if "texts" in column:
            single = column["texts"].split(_SEPARATOR)
            values = texts(single, np.arange(len(single)))
        elif "of" in column:
            values = (texts if kind == "string" else _objects)(column["of"], _read(column))
        else:
            values = _read(column)
        if kind == "datetime":
            values = values.view("datetime64[ns]")
        elif kind == "long":
            values = _whole_numbers(values)
        if len(values) != len(table["served_at"]):
            raise ValueError(f"{name} has a different number of rows")
        table[name] = values
    return fields["types"], table


def _whole_numbers(values: np.ndarray) -> np.ndarray:
    """Return integers, as objects if one is missing."""
    is_present = ~np.isnan(values) if values.dtype.kind == "f" else values != _NONE
    if is_present.all():
        return values.astype(np.int64)
    numbers = np.full(len(values), None, object)
    numbers[is_present] = values[is_present].astype(np.int64)
    return numbers


def _read(column: Mapping[str, Any]) -> np.ndarray:
    ((kind, text),) = ((key, value) for key, value in column.items() if key != "of")
    return np.frombuffer(base64.b64decode(text, validate=True), f"<{kind}")


def main() -> int:
    """Compact the folder named on the command line, at low priority."""
    with contextlib.suppress(AttributeError, OSError):  # Windows has no nice
        os.nice(10)
    compact(Path(sys.argv[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
