import base64
import errno
import gzip
import json
import logging
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kedro_azure_mlops.contract import Column, Schema
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.monitor.served import ServedRows, read_served
from kedro_azure_mlops.serve import answers, metrics, parts, record, score
from kedro_azure_mlops.serve.record import Recorder, Settings, identified
from tests.plugin.helpers import new_shell
from tests.plugin.trained import SCORER, body_of, measured, save_small_model, small_scorer

NOON = int(pd.Timestamp("2024-05-01 12:00", tz="UTC").value)
SECOND, HOUR, DAY = 10**9, 3600 * 10**9, 86_400 * 10**9


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def schema() -> Schema:
    return small_scorer().schema


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> score.Model:
    small_scorer()  # makes its package importable
    folder = save_small_model(tmp_path_factory.mktemp("trained") / "model")
    return score.load_served(folder, SCORER)


@pytest.fixture
def served(
    model: score.Model, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Recorder:
    """The recorder of this process."""
    monkeypatch.setattr(score, "_loaded", model)
    recorder = Recorder(Settings(tmp_path), model.schema, model.digest, clock=clock)
    monkeypatch.setattr(answers, "_recorder", recorder)
    return recorder


def score_table(table: pd.DataFrame, request_id: str = "a") -> list[dict[str, Any]]:
    answer = answers.answer("POST", lambda: body_of(table), request_id)
    assert answer.status == 200
    return list(answer.body["data"])


def put(recorder: Recorder, rows: int = 2, name: str = "a") -> None:
    """Record a made-up request to the small model."""
    start = np.datetime64(recorder._clock(), "ns")
    columns = {
        "time": start + np.arange(rows) * np.timedelta64(1, "h"),
        "unit": np.array([name] * rows, object),  # unique to the request
        "load": np.arange(rows, dtype=float),
    }
    recorder.put(name, 0.001, columns, [[0.5] * rows, [False] * rows])


def lines_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.jsonl"))


def names_in(folder: Path) -> list[str]:
    return sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*.*"))


def recorded_answers(served_rows: ServedRows) -> list[dict[str, Any]]:
    rows = served_rows.rows.astype(object).where(served_rows.rows.notna(), None)
    answers_of_rows: list[Any] = rows[["unit", "deviation", "is_far"]].to_dict("records")
    return answers_of_rows


def equals(served_rows: ServedRows, expected: list[dict[str, Any]]) -> bool:
    columns = [{key: row[key] for key in ("unit", "deviation", "is_far")} for row in expected]
    return recorded_answers(served_rows) == columns


@pytest.mark.parametrize("form", ["lines", "parquet", "zipped"])
def test_recorded_answers_equal_the_returned_answers(
    served: Recorder, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = measured().tail(60).assign(unit=["south", "north", "7"] * 20).sort_values("unit")
    table["time"] = pd.date_range("2024-01-01", periods=60, freq="h")
    expected = score_table(table, "mine-1")
    served.flush()
    if form != "lines":
        served._end_part()
        if form == "zipped":
            monkeypatch.setitem(sys.modules, "pyarrow", None)
        assert parts.compact(tmp_path) == list(tmp_path.glob("*/*.*"))
    suffix = {"lines": "jsonl", "parquet": "parquet", "zipped": "jsonl.gz"}[form]
    assert names_in(tmp_path) == [f"2024-05-01/12-{served._name}-0001.{suffix}"]
    monkeypatch.undo()
    served_rows = read_served(tmp_path, served_schema())
    assert equals(served_rows, expected)
    assert served_rows.notes == []
    rows = served_rows.rows
    assert rows["load"].tolist() == table["load"].tolist()
    assert rows["time"].tolist() == table["time"].tolist()
    assert set(rows["request_id"]) == {"mine-1"}
    assert set(rows["served_at"]) == {pd.Timestamp(NOON, tz="UTC")}
    assert (rows["latency_ms"] > 0).all()
    assert rows["is_far"].dtype == "boolean"
    assert served.recorded == 60


def served_schema() -> Schema:
    return small_scorer().schema


def test_a_rejected_request_is_not_recorded(served: Recorder, tmp_path: Path) -> None:
    assert answers.answer("POST", lambda: b"{", "a").status == 400
    served.flush()
    assert lines_in(tmp_path) == []
    score_table(measured().tail(2))
    served.flush()
    assert len(lines_in(tmp_path)) == 1


EVERY_TYPE = Schema(
    inputs=(
        Column("text", "string", nullable=True),
        Column("count", "long", nullable=True),
        Column("size", "long"),
        Column("is_on", "boolean", nullable=True),
        Column("since", "datetime", nullable=True),
    ),
    outputs=(
        Column("until", "datetime", nullable=True),
        Column("large", "long", nullable=True),
        Column("number", "double", nullable=True),
    ),
)


@pytest.mark.parametrize("is_compacted", [False, True], ids=["lines", "parquet"])
def test_values_of_every_type_are_read_unchanged(
    tmp_path: Path, clock: Clock, is_compacted: bool
) -> None:
    recorder = Recorder(Settings(tmp_path), EVERY_TYPE, "d" * 64, clock=clock)
    columns = {
        "text": np.array(["ä\n", None], object),
        "count": np.array([3, math.nan]),
        "size": np.array([2**62 + 1, -5]),
        "is_on": np.array([True, None], object),
        "since": np.array(["2024-01-01T00:00:00.123456789", "NaT"], "datetime64[ns]"),
    }
    recorder.put("a", 0.5, columns, [["2024-01-02T00:00:00", None], [2**62 + 1, None], [0.1, None]])
    recorder.flush()
    if is_compacted:
        recorder._end_part()
        assert len(parts.compact(tmp_path)) == 1
    first, second = read_served(tmp_path, EVERY_TYPE).rows.to_dict("records")
    assert (first["text"], first["count"], first["size"]) == ("ä\n", 3, 2**62 + 1)
    assert (first["is_on"], first["large"], first["number"]) == (True, 2**62 + 1, 0.1)
    assert first["since"] == pd.Timestamp("2024-01-01T00:00:00.123456789")
    assert first["until"] == pd.Timestamp("2024-01-02")
    assert second["size"] == -5
    del second["size"]
    assert [name for name, value in second.items() if pd.isna(value)] == [
        *("text", "count", "is_on", "since", "until", "large", "number")
    ]
    assert first["latency_ms"] == 500


WORDS = {
    "short": [["hall", "", "hall"], ["roof"]],
    "missing": [["hall", None], ["roof"], [None]],
    "with the separator": [["a|b", "|"], ["c"], ["||"]],
    "long": [["x" * 5000, "y" * 5000], ["z"]],
    "other characters": [["Küche", "\u2028", '"\\'], ["\0"]],
    "many": [[f"unit {n}" for n in range(200)], [None, *(f"row {n}" for n in range(200))]],
    "without rows": [[], ["hall"]],
}


@pytest.mark.parametrize("texts", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("as_written", [False, True], ids=["for readers", "for Parquet"])
def test_texts_and_flags_of_several_requests_are_read_unchanged(
    tmp_path: Path, texts: list[list[str | None]], as_written: bool
) -> None:
    outputs = (Column("score", "double"), Column("is_far", "boolean"), Column("why", "string"))
    schema = Schema(inputs=(Column("unit", "string"),), outputs=outputs)
    recorder = Recorder(Settings(tmp_path), schema, "d")
    expected: list[tuple[Any, ...]] = []
    for number, units in enumerate(texts):
        scores = [None if row % 3 == 1 else row / 7 for row in range(len(units))]
        flags = [None if row % 5 == 4 else row % 2 == number for row in range(len(units))]
        columns = {"unit": np.array(units, object)}
        recorder.put(f"r{number}", 0.001, columns, [scores, flags, units])
        expected += zip(units, scores, flags, units, strict=True)
    recorder.flush()

    with parts.opened(lines_in(tmp_path)[0]) as file:
        lines = parts.Lines(file, parts._arrow_texts if as_written else None)
        (table,) = lines
    names = ("unit", "score", "is_far", "why")
    recorded = zip(*(pd.Series(table[name]).astype(object).tolist() for name in names), strict=True)
    assert [tuple(None if pd.isna(one) else one for one in row) for row in recorded] == expected
    assert (lines.damaged, recorder.recorded) == (0, len(expected))


def test_a_full_queue_drops_and_counts_rows_without_stopping_answers(
    served: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "MOST_ROWS", 50)
    for number in range(4):
        assert len(score_table(measured().tail(20), str(number))) == 20
    assert served.dropped == 40
    assert len(score_table(measured().tail(100))) == 100
    served.flush()
    assert (served.recorded, served.dropped) == (40, 140)
    # an empty queue accepts a request of any size
    assert len(score_table(measured().tail(100))) == 100
    served.flush()
    assert (served.recorded, served.dropped) == (140, 140)
    lines = metrics.text().decode().splitlines()
    assert "score_rows_not_recorded_total 0.0" in lines  # of another recorder
    metrics.watch(served)
    monkeypatch.setattr(metrics._figures, "recorder", served)
    lines = metrics.text().decode().splitlines()
    assert {"score_rows_recorded_total 140.0", "score_rows_not_recorded_total 140.0"} <= set(lines)


def test_long_texts_also_fill_the_queue(
    schema: Schema, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "MOST_CHARACTERS", 1000)
    recorder = Recorder(Settings(tmp_path), schema, "d", clock=clock)
    for letter in "abc":
        put(recorder, 4, letter * 120)
    assert recorder.dropped == 4
    recorder.flush()
    put(recorder, 1, "d" * 1200)
    recorder.flush()
    assert (recorder.recorded, recorder.dropped) == (9, 4)


def test_a_request_that_cannot_be_written_does_not_drop_others(
    schema: Schema, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "_ROWS_PER_LINE", 1)
    recorder = Recorder(Settings(tmp_path), schema, "d", clock=clock)
    put(recorder, 2, "first")
    recorder._waiting[0].columns["unit"] = [object()]
    put(recorder, 3, "second")
    recorder.flush()
    assert (recorder.recorded, recorder.dropped) == (3, 2)
    assert set(read_served(tmp_path, schema).rows["request_id"]) == {"second"}


def test_left_out_columns_are_not_in_the_files(
    model: score.Model, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(tmp_path, leave_out=("unit", "deviation"))
    recorder = Recorder(settings, model.schema, model.digest, clock=clock)
    monkeypatch.setattr(score, "_loaded", model)
    monkeypatch.setattr(answers, "_recorder", recorder)
    body = score_table(measured().tail(20).assign(unit="north"))
    recorder.flush()
    text = lines_in(tmp_path)[0].read_bytes()
    deviations = np.array([row["deviation"] for row in body])
    assert b"north" not in text
    assert base64.b64encode(deviations.tobytes())[:40] not in text
    assert b"unit" not in text
    recorder._end_part()
    (parquet,) = parts.compact(tmp_path)
    import pyarrow.parquet

    assert pyarrow.parquet.read_schema(parquet).names == [*parts.GIVEN, "time", "load", "is_far"]
    served_rows = read_served(tmp_path, model.schema)
    assert served_rows.left_out == ["unit", "deviation"]
    assert served_rows.rows["unit"].isna().all()
    assert served_rows.rows["is_far"].tolist() == [row["is_far"] for row in body]
    assert served_rows.notes == [
        "unit, deviation: not recorded (recording.leave_out).",
        "Without unit, rows that were sent repeatedly are counted each time.",
    ]


@pytest.mark.parametrize("name", ["unti", "reason"])
def test_an_unknown_column_cannot_be_left_out(schema: Schema, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"leave_out names {name}, which is not a column"):
        Recorder(Settings(tmp_path, leave_out=(name,)), schema, "d")
    Recorder(Settings(tmp_path, leave_out=("unit",)), schema, "d")


def test_a_model_column_must_not_have_the_name_of_a_recorded_column(tmp_path: Path) -> None:
    schema = Schema((Column("request_id", "string"),), (Column("x", "double"),))
    with pytest.raises(
        ValueError, match="the model's column request_id has the name of another recorded"
    ):
        Recorder(Settings(tmp_path), schema, "d")
    Recorder(Settings(tmp_path, leave_out=("request_id",)), schema, "d")


RECORDING = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[2], sys.argv[3]]
from tests.plugin.unit.test_record import put, served_schema
from kedro_azure_mlops.serve.record import Recorder, Settings
recorder = Recorder(Settings(Path(sys.argv[1])), served_schema(), "d" * 64)
put(recorder, 3, "first")
recorder.flush()
put(recorder, 4, "second")
recorder.flush()
put(recorder, 5, "not yet written")
print("written", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A folder whose writer was killed during a write."""
    paths = [str(Path(__file__).parents[3]), str(Path(__file__).parents[1] / "project/src")]
    with subprocess.Popen(
        [sys.executable, "-c", RECORDING, str(tmp_path), *paths],
        env=new_shell(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert b"written\n" in process.stdout  # after Kedro's log lines
        (lines,) = lines_in(tmp_path)
        assert parts.compact(tmp_path) == []  # only after the writer has ended
        process.send_signal(signal.SIGKILL)
    with lines.open("ab") as file:  # an incomplete line
        file.write(b'{"model":"ddd')
    return tmp_path


def test_all_rows_written_by_a_killed_process_can_be_read(killed: Path, schema: Schema) -> None:
    before = read_served(killed, schema)
    assert before.rows["request_id"].value_counts().to_dict() == {"first": 3, "second": 4}
    assert len(before.notes) == 1
    assert "is cut off after row 7." in before.notes[0]
    assert [one.suffix for one in parts.compact(killed)] == [".parquet"]
    assert lines_in(killed) == []
    after = read_served(killed, schema)
    pd.testing.assert_frame_equal(after.rows, before.rows)
    assert "is cut off after row 7." in after.notes[0]


def test_the_next_start_compacts_the_files_of_a_dead_process(killed: Path, schema: Schema) -> None:
    recorder = Recorder(Settings(killed), schema, "d")
    recorder.start()
    recorder.close(None)
    assert {Path(name).suffix for name in names_in(killed)} == {".parquet"}
    assert len(read_served(killed, schema).rows) == 7


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_a_damaged_file_does_not_prevent_reading_the_others(
    schema: Schema, tmp_path: Path, clock: Clock, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hours in (0, 1):
        clock.now = NOON + hours * HOUR
        recorder = Recorder(Settings(tmp_path), schema, "d", clock=clock)
        for number in range(40):
            put(recorder, 3, f"{hours}-{number}")
            recorder.flush()
        recorder._end_part()
    if suffix == ".jsonl.gz":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    if suffix != ".jsonl":
        parts.compact(tmp_path)
    monkeypatch.undo()
    (first,) = tmp_path.glob(f"*/12-*{suffix}")
    content = first.read_bytes()
    first.write_bytes(content[: len(content) * 2 // 3])
    served_rows = read_served(tmp_path, schema)
    (note,) = served_rows.notes
    assert first.relative_to(tmp_path).as_posix() in note
    assert ("cannot be read" if suffix == ".parquet" else "is cut off after row") in note
    ids = set(served_rows.rows["request_id"])
    assert {f"1-{number}" for number in range(40)} <= ids
    assert ("0-0" in ids) == (suffix != ".parquet")
    assert "0-39" not in ids


def test_an_unreadable_line_is_counted_and_skipped(
    schema: Schema, tmp_path: Path, clock: Clock
) -> None:
    recorder = Recorder(Settings(tmp_path), schema, "d", clock=clock)
    for name in ("a", "b", "c"):
        put(recorder, 1, name)
        recorder.flush()
        clock.now += HOUR // 10
    recorder._end_part()
    (lines,) = lines_in(tmp_path)
    first, second, third = lines.read_bytes().splitlines(keepends=True)
    for wrong in (b"\0" * 20 + b"\n", second.replace(b'"rows":[1]', b'"rows":[7]')):
        lines.write_bytes(first + wrong + third)
        served_rows = read_served(tmp_path, schema)
        assert served_rows.rows["request_id"].tolist() == ["a", "c"]
        assert served_rows.notes == [f"2024-05-01/{lines.name}: 1 lines cannot be read."]
    (kept,) = parts.compact(tmp_path)
    assert kept.name == f"{lines.name}.gz", "compaction to Parquet would lose the line"
    assert gzip.decompress(kept.read_bytes()) == first + wrong + third
    assert read_served(tmp_path, schema).rows["request_id"].tolist() == ["a", "c"]


def test_an_invalid_text_does_not_lose_the_answers_recorded_with_it(
    schema: Schema, tmp_path: Path, clock: Clock
) -> None:
    """Earlier versions accepted half of a surrogate pair, which Arrow cannot hold."""
    recorder = Recorder(Settings(tmp_path), schema, "d", clock=clock)
    for name in ("north", "\ud800"):
        put(recorder, 2, name)
    recorder.flush()
    recorder._end_part()
    assert [one.suffix for one in parts.compact(tmp_path)] == [".parquet"]
    assert read_served(tmp_path, schema).rows["unit"].tolist() == ["north", "north", "?", "?"]


def test_two_writers_write_separate_files(schema: Schema, tmp_path: Path, clock: Clock) -> None:
    one, other = (Recorder(Settings(tmp_path), schema, "d", clock=clock) for _ in range(2))
    for number in range(3):
        put(one, 1, f"one-{number}")
        put(other, 1, f"other-{number}")
        one.flush()
        other.flush()
        clock.now += SECOND
    assert len(lines_in(tmp_path)) == 2
    one._end_part()
    assert [path.suffix for path in parts.compact(tmp_path)] == [".parquet"]  # the other runs
    served_rows = read_served(tmp_path, schema)
    assert sorted(served_rows.rows["request_id"]) == [
        *("one-0", "one-1", "one-2", "other-0", "other-1", "other-2")
    ]


FORKING = """
import os, sys
from pathlib import Path
sys.path[:0] = [sys.argv[2], sys.argv[3]]
from tests.plugin.unit.test_record import put, served_schema
from kedro_azure_mlops.serve.record import Recorder, Settings
recorder = Recorder(Settings(Path(sys.argv[1])), served_schema(), "d" * 64)
recorder.start()
put(recorder, 3, "before")
recorder.flush()
child = os.fork()
put(recorder, 4, "parent" if child else "child")
recorder.close(None)
if child:
    os._exit(os.waitpid(child, 0)[1])
os._exit(0)
"""


def test_a_forked_process_writes_its_own_files(tmp_path: Path, schema: Schema) -> None:
    paths = [str(Path(__file__).parents[3]), str(Path(__file__).parents[1] / "project/src")]
    command = [sys.executable, "-W", "ignore", "-c", FORKING, str(tmp_path), *paths]
    subprocess.run(command, env=new_shell(), check=True)
    served_rows = read_served(tmp_path, schema)
    counts = served_rows.rows["request_id"].value_counts().to_dict()
    assert counts == {"before": 3, "parent": 4, "child": 4}
    assert len(names_in(tmp_path)) == 2


def test_each_hour_has_its_own_file(schema: Schema, tmp_path: Path, clock: Clock) -> None:
    recorder = Recorder(Settings(tmp_path), schema, "d", clock=clock)
    clock.now = NOON + HOUR - SECOND
    put(recorder, 1, "late")
    clock.now += 2 * SECOND
    put(recorder, 1, "early")
    recorder.flush()
    assert [name[:13] for name in names_in(tmp_path)] == ["2024-05-01/12", "2024-05-01/13"]
    clock.now += 12 * HOUR
    recorder.flush()
    assert recorder._file is None
    assert read_served(tmp_path, schema).rows["request_id"].tolist() == ["late", "early"]


def test_a_clock_set_back_is_noted_and_no_row_is_lost(
    schema: Schema, tmp_path: Path, clock: Clock
) -> None:
    recorder = Recorder(Settings(tmp_path), schema, "d", clock=clock)
    for number, back in enumerate((0, 600, 7200)):
        clock.now = NOON + HOUR // 2 - back * SECOND
        put(recorder, 2, f"{number}")
        recorder.flush()
    assert [name[:13] for name in names_in(tmp_path)] == ["2024-05-01/10", "2024-05-01/12"]
    served_rows = read_served(tmp_path, schema)
    assert served_rows.rows["request_id"].tolist() == ["2", "2", "1", "1", "0", "0"]
    (note,) = served_rows.notes
    assert note.endswith("-0001.jsonl: the clock was set back by 0 days 00:10:00 after row 2.")


def test_old_files_are_removed(schema: Schema, tmp_path: Path, clock: Clock) -> None:
    recorder = Recorder(Settings(tmp_path, keep_days=3), schema, "d", clock=clock)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/of-mine.txt").touch()
    for _ in range(6):
        put(recorder)
        recorder.flush()
        clock.now += DAY
    recorder.flush()
    days = sorted(folder.name for folder in tmp_path.iterdir())
    assert days == ["2024-05-04", "2024-05-05", "2024-05-06", "notes"]
    assert (tmp_path / "notes/of-mine.txt").exists()


def test_the_oldest_files_are_removed_above_the_size_limit(
    schema: Schema, tmp_path: Path, clock: Clock
) -> None:
    limit = 40_000
    recorder = Recorder(Settings(tmp_path, max_megabytes=limit / 1e6), schema, "d", clock=clock)
    sizes = []
    for number in range(200):
        put(recorder, 30, str(number))
        recorder.flush()
        clock.now += 10 * SECOND
        sizes.append(sum(file.stat().st_size for file in tmp_path.rglob("*.*")))
    assert 0.8 * limit < max(sizes[100:])
    assert max(sizes) <= 1.05 * limit
    numbers = [int(one) for one in read_served(tmp_path, schema).rows["request_id"].unique()]
    assert numbers[-1] == 199
    assert all(after - before == 1 for before, after in pairwise(sorted(numbers)))
    assert recorder.dropped == 0


def test_a_deleted_file_is_created_again(schema: Schema, tmp_path: Path, clock: Clock) -> None:
    recorder = Recorder(Settings(tmp_path), schema, "d", clock=clock)
    put(recorder, 1, "first")
    recorder.flush()
    lines_in(tmp_path)[0].unlink()
    put(recorder, 1, "second")
    recorder.flush()
    assert read_served(tmp_path, schema).rows["request_id"].tolist() == ["second"]


def test_a_full_disk_is_logged_once_and_leaves_no_partial_lines(
    schema: Schema,
    tmp_path: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = Recorder(Settings(tmp_path), schema, "d", clock=clock)
    put(recorder, 2, "before")
    recorder.flush()
    write = os.write

    def fail(file: int, data: bytes) -> int:
        if len(data) > 20:
            return write(file, data[:20])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(os, "write", lambda file, data: fail(file, bytes(data)[:30]))
        for _ in range(3):
            put(recorder, 5, "lost")
            recorder.flush()
    clock.now += SECOND
    put(recorder, 3, "after")
    recorder.flush()
    assert (recorder.recorded, recorder.dropped) == (5, 15)
    assert caplog.text.count("cannot be recorded in") == 1
    assert caplog.text.count("Answers are being recorded again") == 1
    served_rows = read_served(tmp_path, schema)
    assert served_rows.notes == []
    assert set(served_rows.rows["request_id"]) == {"before", "after"}


def test_a_folder_that_cannot_be_written_is_rejected(schema: Schema, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"file/there cannot be written \(Not a directory\)"):
        Recorder(Settings(tmp_path / "file/there"), schema, "d")
    Recorder(Settings(tmp_path / "new/there"), schema, "d")
    assert (tmp_path / "new/there").is_dir()


def test_a_share_of_the_requests_is_selected_by_their_ids(
    schema: Schema, tmp_path: Path, clock: Clock
) -> None:
    selected = []
    for name in ("one", "other"):
        settings = Settings(tmp_path / name, share=0.25)
        recorder = Recorder(settings, schema, "d", clock=clock)
        for number in range(400):
            put(recorder, 3, f"request-{number}")
            clock.now += HOUR // 400
        recorder.flush()
        counts = read_served(tmp_path / name, schema).rows["request_id"].value_counts()
        assert set(counts) == {3}
        selected.append(set(counts.index))
    assert selected[0] == selected[1]
    assert 60 < len(selected[0]) < 140
    assert recorder.dropped == 0


def test_a_share_of_a_files_rows_is_selected_row_by_row(
    schema: Schema, tmp_path: Path, clock: Clock
) -> None:
    counts = []
    for name in ("one", "again"):
        settings = Settings(tmp_path / name, share=0.25)
        recorder = Recorder(settings, schema, "d", clock=clock)
        columns = {
            "time": np.datetime64("2024-01-01", "ns") + np.arange(400) * np.timedelta64(1, "h"),
            "unit": np.array(["north"] * 400, object),
            "load": np.arange(400.0),
        }
        recorder.write("rows.csv:2", columns, [np.arange(400.0).tolist(), [None] * 400])
        nothing = {column: values[:0] for column, values in columns.items()}
        recorder.write("rows.csv:402", nothing, [[], []])
        assert recorder.dropped == 0
        rows = read_served(tmp_path / name, schema).rows
        assert (rows["load"] == rows["deviation"]).all()
        assert rows["latency_ms"].isna().all()
        counts.append(rows["load"].tolist())
    assert counts[0] == counts[1]
    assert 60 < len(counts[0]) < 140


def test_a_row_sent_again_as_history_is_read_once(
    served: Recorder, tmp_path: Path, clock: Clock
) -> None:
    table = measured().query("unit == 'north'").tail(30)
    expected = []
    for end in range(10, 31):  # each request contains a new row and its history
        expected.append(score_table(table.iloc[end - 10 : end], str(end))[-1])
        clock.now += 60 * SECOND
    score_table(table.iloc[20:30], "a second try")
    served.flush()
    served_rows = read_served(tmp_path, served_schema())
    assert len(served_rows.rows) == 30
    last = served_rows.rows.sort_values("time").tail(21)
    assert last["deviation"].tolist() == [row["deviation"] for row in expected]
    assert last["request_id"].tolist() == [*map(str, range(10, 30)), "a second try"]


def test_rows_before_a_time_are_left_out(schema: Schema, tmp_path: Path, clock: Clock) -> None:
    recorder = Recorder(Settings(tmp_path), schema, "d", clock=clock)
    for number in range(5):
        put(recorder, 1, str(number))
        recorder.flush()
        clock.now += HOUR // 2
    lines_in(tmp_path)[0].write_bytes(b"an hour before the requested time: not even opened")
    for since in ("2024-05-01 13:30", "2024-05-01 15:30+02:00"):
        served_rows = read_served(tmp_path, schema, since=pd.Timestamp(since))
        assert served_rows.rows["request_id"].tolist() == ["3", "4"]
        assert served_rows.notes == []
    nothing = read_served(tmp_path, schema, since=pd.Timestamp("2024-06-01"))
    assert list(nothing.rows) == [*parts.GIVEN, "time", "unit", "load", "deviation", "is_far"]
    assert nothing.rows.empty
    assert nothing.left_out == []


def test_a_file_and_its_copy_are_read_once(schema: Schema, tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "devices/gateway"
    recorder = Recorder(Settings(folder), schema, "d", clock=clock)
    put(recorder, 3)
    recorder.flush()
    recorder._end_part()
    (lines,) = lines_in(folder)
    text = lines.read_bytes()
    parts.compact(folder)
    lines.write_bytes(text)  # as if the process was killed before it removed them
    copy = tmp_path / "copied" / lines.parent.name
    copy.mkdir(parents=True)
    (copy / f"{lines.name}.gz").write_bytes(gzip.compress(text))
    assert len(read_served(tmp_path, schema).rows) == 3
    assert len(read_served(lines, schema).rows) == 3


def test_files_of_another_model_are_skipped_and_noted(
    schema: Schema, tmp_path: Path, clock: Clock
) -> None:
    recorder = Recorder(Settings(tmp_path), EVERY_TYPE, "e", clock=clock)
    columns = {one.name: np.array([None], object) for one in EVERY_TYPE.inputs}
    columns |= {"count": np.array([1.0]), "size": np.array([1])}
    columns |= {"since": np.array(["NaT"], "datetime64[ns]")}
    recorder.put("other", 1, columns, [[None], [None], [None]])
    recorder.flush()
    ours = Recorder(Settings(tmp_path), schema, "d", clock=clock)
    put(ours, 2, "ours")
    ours.flush()
    served_rows = read_served(tmp_path, schema)
    assert served_rows.rows["request_id"].tolist() == ["ours", "ours"]
    (note,) = served_rows.notes
    assert note.endswith(
        f"{recorder._name}-0001.jsonl: its rows are from a model with different columns."
    )
    assert served_rows.left_out == []


def test_a_missing_folder_is_an_error_that_names_the_setting(
    schema: Schema, tmp_path: Path
) -> None:
    with pytest.raises(OperationError, match=r"set recording\.enabled in mlops\.yml"):
        read_served(tmp_path / "none", schema)
    assert read_served(tmp_path, schema).rows.empty


VARIABLES = {
    "RECORD_FOLDER": "/served",
    "RECORD_SHARE": "0.5",
    "RECORD_MAX_MEGABYTES": "100.0",
    "RECORD_KEEP_DAYS": "7.0",
    "RECORD_LEAVE_OUT": '["unit"]',
    "RECORD_PYTHON": "/python",
}


def test_settings_survive_a_round_trip_through_variables() -> None:
    settings = Settings(Path("/served"), 0.5, 100.0, 7.0, ("unit",), "/python")
    assert settings.variables() == VARIABLES
    assert Settings.from_variables(VARIABLES) == settings
    assert Settings.from_variables({"RECORD_FOLDER": "/served"}) == Settings(Path("/served"))
    assert Settings.from_variables({"RECORD_SHARE": "0.5"}) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("RECORD_SHARE", value) for value in ("half", "0", "1.5", "nan")),
        *(("RECORD_MAX_MEGABYTES", value) for value in ("-1", "inf")),
        ("RECORD_KEEP_DAYS", "a week"),
        *(("RECORD_LEAVE_OUT", value) for value in ("unit", '{"unit": 1}')),
    ],
)
def test_an_error_names_the_wrong_variable(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} (is|must be)"):
        Settings.from_variables(VARIABLES | {name: value})


@pytest.mark.parametrize("request_id", [None, "", "a b", "x" * 129, "a\r\nset-cookie: b", "ä"])
def test_a_missing_or_invalid_id_is_replaced(request_id: str | None) -> None:
    assert identified(request_id) != request_id
    assert identified(request_id) != identified(request_id)
    assert identified("7f-abc.1:2/3=") == "7f-abc.1:2/3="


@pytest.fixture
def _environment(
    model: score.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    monkeypatch.setattr(score, "init", lambda: None)
    monkeypatch.setattr(score, "_loaded", model)
    monkeypatch.setenv("RECORD_FOLDER", str(tmp_path / "served"))
    yield
    answers.end()


@pytest.mark.usefixtures("_environment")
def test_a_server_records_until_it_ends(tmp_path: Path, schema: Schema) -> None:
    answers.begin()
    expected = score_table(measured().tail(40), "mine")
    answers.end()
    assert equals(read_served(tmp_path / "served", schema), expected)
    assert {Path(name).suffix for name in names_in(tmp_path / "served")} == {".parquet"}
    score_table(measured().tail(40), "after the end")
    assert len(read_served(tmp_path / "served", schema).rows) == 40


@pytest.mark.usefixtures("_environment")
def test_a_server_that_cannot_record_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECORD_LEAVE_OUT", json.dumps(["name"]))
    with pytest.raises(ValueError, match="leave_out names name"):
        answers.begin()
    monkeypatch.setenv("RECORD_LEAVE_OUT", json.dumps(["unit"]))
    answers.begin()


@pytest.mark.usefixtures("_environment")
def test_a_failing_writer_does_not_stop_answers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("an internal fault")

    answers.begin()
    recorder = answers._recorder
    assert isinstance(recorder, Recorder)
    monkeypatch.setattr(recorder._form, "line", fail)
    with caplog.at_level(logging.ERROR):
        score_table(measured().tail(40))
        recorder.flush()
        score_table(measured().tail(20))
        recorder.flush()
    assert recorder.dropped == 60
    assert caplog.text.count("an internal fault") == 1
