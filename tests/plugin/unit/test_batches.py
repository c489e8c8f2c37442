import gc
import json
import logging
import os
import re
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from kedro.io import DatasetError

from kedro_azure_mlops.contract import Column, Columns, Schema
from kedro_azure_mlops.errors import OperationError, RefusedError
from kedro_azure_mlops.serve import batches, score
from kedro_azure_mlops.serve.batches import CsvPieces, ScoredPieces, columns_of_table, score_pieces
from tests.plugin.trained import measured, small_scorer

INPUTS = ["time", "unit", "load"]
COLUMNS = [*INPUTS, "deviation", "is_far", "model_version"]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Return six days of alternating rows of two units: some outliers, times as text."""
    table = measured().tail(600).reset_index(drop=True)
    return table.assign(time=table["time"].dt.strftime("%Y-%m-%d %H:%M"))


def split_rows(table: pd.DataFrame, size: int) -> Iterator[pd.DataFrame]:
    return (table.iloc[start : start + size] for start in range(0, len(table), size))


def scored(table: pd.DataFrame, size: int = 10_000) -> pd.DataFrame:
    return pd.concat(score_pieces(split_rows(table, size), small_scorer(), "3"))


def pieces_of(path: Path, size: int = 1000) -> CsvPieces:
    return CsvPieces(filepath=str(path), rows=size, load_args={"dtype": {"unit": str}})


def scores_at(path: Path, **options: Any) -> ScoredPieces:
    return ScoredPieces(filepath=str(path), load_args={"dtype": {"unit": str}}, **options)


def write(path: Path, table: pd.DataFrame) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    return path


def run(source: Path, target: Path, size: int = 1000, **options: Any) -> None:
    pieces = pieces_of(source, size).load()
    scores_at(target, **options).save(score_pieces(pieces, small_scorer(), "3"))


def untidy(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with some late, some sent twice and one at the time of an earlier row."""
    order = np.arange(len(rows), dtype=float)
    order[[100, 101, 110, 300, 405]] += [9, 3, 16, 20, 5]
    table = rows.iloc[np.argsort(order, kind="stable")]
    table = pd.concat([table[:200], table[190:195], table[200:]], ignore_index=True)
    table.loc[230, "time"] = table.loc[228, "time"]
    return table


# The scores


@pytest.mark.parametrize("is_tidy", [True, False], ids=["tidy", "untidy"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pieces_of_any_size_give_the_same_scores(
    rows: pd.DataFrame, size: int, is_tidy: bool
) -> None:
    table = (rows if is_tidy else untidy(rows)).head(240)
    whole = scored(table)
    assert whole["deviation"].nunique() > 100
    pd.testing.assert_frame_equal(scored(table, size), whole, check_exact=True)


def test_scores_equal_those_of_an_endpoint_that_receives_all_rows(rows: pd.DataFrame) -> None:
    model = score.Model(small_scorer(), "d" * 64)
    answer = score.answer(model, json.dumps({"data": rows.to_dict("records")}))
    ours = scored(rows, 7)
    assert [row["deviation"] for row in answer.body["data"]] == ours["deviation"].tolist()
    assert [row["is_far"] for row in answer.body["data"]] == (ours["is_far"] == 1).tolist()
    assert [row["time"] for row in answer.body["data"]] == ours["time"].tolist()


def test_every_row_is_scored_in_order(rows: pd.DataFrame) -> None:
    result = scored(rows, 100)
    assert list(result.columns) == COLUMNS
    pd.testing.assert_frame_equal(result[INPUTS], rows)
    assert (result["model_version"] == "3").all()
    assert result["is_far"].tolist() == (result["deviation"].abs() > 10).astype(int).tolist()
    assert 0 < result["is_far"].mean() < 0.1


def test_rows_of_an_unknown_unit_have_no_score(
    rows: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    south = rows.replace({"unit": {"7": "south"}})
    result = scored(south)
    is_south = result["unit"] == "south"
    assert result.loc[is_south, ["deviation", "is_far"]].isna().all(axis=None)
    assert result.loc[~is_south, ["deviation", "is_far"]].notna().all(axis=None)
    assert "300 rows not scored, not known to the model: south" in caplog.text


def test_late_rows_are_counted(rows: pd.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        scored(untidy(rows), 50)
    table = untidy(rows)
    times = pd.to_datetime(table["time"])
    late = (times < times.groupby(table["unit"]).cummax()).sum()
    assert late >= 5
    assert f"Scored {len(table)} rows with model 3" in caplog.text
    assert f" flagged, {late} late" in caplog.text


def test_progress_is_logged_every_few_seconds(
    rows: pd.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    seconds = iter(range(0, 100, 2))
    with caplog.at_level(logging.INFO):
        list(score_pieces(split_rows(rows, 100), small_scorer(), "3", clock=lambda: next(seconds)))
    lines = [record.message for record in caplog.records]
    assert lines[:2] == ["Scored 300 rows", "Scored 600 rows"]
    assert lines[2].startswith("Scored 600 rows with model 3")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_progress_in_files_includes_the_remaining_time(
    tmp_path: Path, rows: pd.DataFrame, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    (tmp_path / "new").mkdir()
    for name, table in {"a": rows[:200], "b": rows[200:]}.items():
        path = tmp_path / f"new/{name}.{kind}"
        table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path, index=False)
    seconds = iter(range(0, 100, 10))
    pieces = pieces_of(tmp_path / "new", 200).load()
    with caplog.at_level(logging.INFO):
        list(score_pieces(pieces, small_scorer(), "3", clock=lambda: next(seconds)))
    first, second, last = [record.message for record in caplog.records][:3]
    assert re.fullmatch(r"Scored 200 rows, [34]\d%, about 0:00:[12]\d left", first)
    assert second.startswith("Scored 400 rows, ")
    assert last == "Scored 600 rows, 100%, about 0:00:00 left"


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(("hours", "is_refused"), [(12, False), (12.5, True)])
def test_rows_that_are_too_late_are_rejected(
    rows: pd.DataFrame, size: int, hours: float, is_refused: bool
) -> None:
    north = rows[rows["unit"] == "north"].head(150).reset_index(drop=True)
    steps = int(hours * 2)
    late = pd.concat([north[:100], north[101 : 102 + steps - 1], north[100:101]])
    late = pd.concat([late, north[102 + steps - 1 :]]).rename_axis("line")
    if not is_refused:
        assert len(scored(late, size)) == len(north)
        return
    with pytest.raises(RefusedError, match=r"more than 12 hours older(.|\n)*2024-01-09 08:00"):
        scored(late, size)


def test_scored_pieces_are_released(rows: pd.DataFrame) -> None:
    alive: list[weakref.ref[pd.DataFrame]] = []
    most_alive = 0

    def pieces() -> Iterator[pd.DataFrame]:
        for piece in split_rows(rows, 60):
            copy = piece.copy()
            alive.append(weakref.ref(copy))
            yield copy
            del copy

    for _ in score_pieces(pieces(), small_scorer(), "3"):
        gc.collect()
        most_alive = max(most_alive, sum(piece() is not None for piece in alive))
    assert len(alive) == 10
    assert most_alive <= 2


def test_pieces_are_read_lazily(rows: pd.DataFrame) -> None:
    """Kedro saves the generator that a node returns, and only then requests the first piece."""
    reads = []

    def pieces() -> Iterator[pd.DataFrame]:
        reads.append(1)
        yield rows

    scores = score_pieces(pieces(), small_scorer(), "3")
    assert not reads
    assert len(next(scores)) == len(rows)


# The values of a table


class AnyTypeScorer:
    schema = Schema(
        inputs=(
            Column("size", "double", minimum=0),
            Column("count", "long", maximum=9),
            Column("is_new", "boolean", nullable=True),
            Column("kind", "string", nullable=True),
            Column("since", "datetime", nullable=True),
        ),
        outputs=(
            Column("class", "string"),
            Column("steps", "long", nullable=True),
            Column("share", "double", decimals=1),
        ),
    )

    def score(self, columns: Columns, wanted: np.ndarray | None = None) -> Columns:
        rows = len(columns["size"])
        return {
            "class": np.array(["a"] * rows, object),
            "steps": np.full(rows, np.nan),
            "share": columns["size"] / 3,
        }


TABLE = pd.DataFrame(
    {
        "size": ["1", "2.5", "0"],
        "count": [1, 2, 3],
        "is_new": ["true", "0", None],
        "kind": [1, "b", None],
        "since": ["2024-01-01T01:00:00+01:00", None, "2024-02-01"],
        "more": ["is", "left", "out"],
    },
    index=[2, 3, 4],
)


def test_columns_are_converted_to_the_types_of_the_schema() -> None:
    columns = columns_of_table(TABLE, AnyTypeScorer.schema)
    assert columns["size"].tolist() == [1.0, 2.5, 0.0]
    assert columns["count"].dtype == np.int64
    assert columns["is_new"].tolist() == [True, False, None]
    assert columns["kind"].tolist() == ["1", "b", None]
    assert np.isnat(columns["since"]).tolist() == [False, True, False]
    assert columns["since"][0] == np.datetime64("2024-01-01")
    times = TABLE.assign(since=pd.to_datetime(TABLE["since"], utc=True, format="ISO8601"))
    again = columns_of_table(times, AnyTypeScorer.schema)
    np.testing.assert_array_equal(again["since"], columns["since"])


def test_outputs_of_every_type_become_columns() -> None:
    (piece,) = score_pieces([TABLE], AnyTypeScorer(), None)
    assert list(piece) == [*list(TABLE)[:5], "class", "steps", "share", "model_version"]
    assert piece["share"].tolist() == [0.3, 0.8, 0.0]
    assert piece["steps"].isna().all()
    assert piece["steps"].dtype == "Int64"
    assert piece.index.tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"size": ["x", 2, 3]}, "size is not a number"),
        ({"size": [None, 2, 3]}, "size is missing"),
        ({"size": [-1, 2, 3]}, "size is outside 0 to inf"),
        ({"size": [float("inf"), 2, 3]}, "size is not finite"),
        ({"size": [True, False, True]}, "size is not a number"),
        ({"count": [1.5, 2, 3]}, "count is not a whole number"),
        ({"count": [10, 2, 3]}, "count is outside -inf to 9"),
        ({"is_new": ["maybe", "true", None]}, "is_new is not true or false"),
        ({"since": ["soon", None, None]}, "since is not a date and time"),
    ],
    ids=str,
)
def test_invalid_values_are_rejected_naming_their_lines(
    changes: dict[str, list[Any]], reason: str
) -> None:
    table = TABLE.assign(**changes)
    with pytest.raises(RefusedError, match=reason) as refusal:
        columns_of_table(table, AnyTypeScorer.schema)
    assert "of 3 rows cannot be used" in str(refusal.value)
    assert "\n   2 " in str(refusal.value)


class Fixed:
    """Gives each row the same answer, and refuses to answer none, like most models."""

    def __init__(self, *inputs: Column, answer: float = 0.0, decimals: int | None = None) -> None:
        self.schema = Schema(inputs, (Column("score", "double", decimals=decimals),))
        self._answer = answer

    def score(self, columns: Columns, wanted: np.ndarray | None = None) -> Columns:
        rows = len(columns[self.schema.inputs[0].name])
        if not rows:
            raise ValueError("there are no rows")
        return {"score": np.full(rows, self._answer)}


class Counting:
    """Answers with a given number in a column of whole numbers."""

    schema = Schema((Column("load", "double"),), (Column("count", "long"),))

    def __init__(self, count: float) -> None:
        self._count = count

    def score(self, columns: Columns, wanted: np.ndarray | None = None) -> Columns:
        return {"count": np.array([self._count])}


@pytest.mark.parametrize("count", [1.5, np.inf])
def test_an_answer_that_does_not_fit_the_schema_is_not_a_fault_of_the_file(count: float) -> None:
    with pytest.raises(OperationError, match="cannot be scored: count holds a number") as failure:
        list(score_pieces([pd.DataFrame({"load": [1.0]})], Counting(count), "3"))
    assert failure.value.exit_code == 2


@pytest.mark.parametrize(("count", "written"), [(2.0, 2), (np.nan, pd.NA)])
def test_whole_numbers_of_a_scorer_may_be_missing(count: float, written: Any) -> None:
    (scored,) = score_pieces([pd.DataFrame({"load": [1.0]})], Counting(count), "3")
    assert scored["count"].dtype == "Int64"
    assert scored["count"][0] is written or scored["count"][0] == written


ID = Schema((Column("id", "long"),), ())


@pytest.mark.parametrize(
    ("ids", "read"),
    [
        (pd.Series([2**63, 1], dtype="uint64"), None),
        (pd.Series([2**63 - 1, 1], dtype="uint64"), 2**63 - 1),
        ([1e19, 1.0], None),
        ([-(2.0**63), 1.0], -(2**63)),
        (pd.Series([2**70, 1], dtype=object), None),
        (pd.Series([2**53 + 1, 1], dtype=object), 2**53 + 1),
        (["-9223372036854775809", "1"], None),
        (["9223372036854775807", "1"], 2**63 - 1),
        (["1e19", "1"], None),
        (["1e3", "5.0"], 1000),
        (["007", "5.0"], 7),
    ],
    ids=lambda value: str(list(value)) if isinstance(value, pd.Series | list) else "",
)
def test_whole_numbers_are_exact_or_rejected_as_too_large(ids: Any, read: int | None) -> None:
    table = pd.DataFrame({"id": ids}).set_axis([2, 3])
    if read is not None:
        assert columns_of_table(table, ID)["id"][0] == read
        return
    with pytest.raises(RefusedError, match=r"1 x id is too large(.|\n)*   2 "):
        columns_of_table(table, ID)


def test_missing_columns_are_named() -> None:
    with pytest.raises(RefusedError, match=r"wrong columns, size, kind missing"):
        columns_of_table(TABLE.drop(columns=["size", "kind"]), AnyTypeScorer.schema)


def test_a_refusal_by_the_scorer_names_the_lines(rows: pd.DataFrame) -> None:
    table = rows.assign(load=195.0)
    with pytest.raises(RefusedError, match="lines 0 to 599: the loads are too large"):
        scored(table)


@pytest.mark.parametrize(
    ("answer", "decimals", "shown"),
    [
        (2.675, 2, 2.67),
        (0.285, 2, 0.28),
        (0.125, 2, 0.12),
        (2.676, 2, 2.68),
        (-1234.5678, 1, -1234.6),
        (1e300, 10, 1e300),
        (123456789012345.67, 3, 123456789012345.67),
        (2.5, 30, 2.5),
        (1250.0, -2, 1200.0),
        (np.inf, 2, None),
        (np.inf, None, None),
        (np.nan, 2, None),
    ],
)
def test_numbers_are_rounded_in_files_as_in_answers_of_servers(
    answer: float, decimals: int | None, shown: float | None
) -> None:
    scorer = Fixed(Column("load", "double"), answer=answer, decimals=decimals)
    (piece,) = score_pieces([pd.DataFrame({"load": [1.0]})], scorer, "3")
    assert piece["score"].astype(object).where(piece["score"].notna(), None).tolist() == [shown]
    served = score.answer(score.Model(scorer, "d" * 64), '{"data": [{"load": 1.0}]}')
    assert [row["score"] for row in served.body["data"]] == [shown]


@pytest.mark.parametrize("decimals", [0, 1, 4, 9])
def test_any_number_is_rounded_as_python_does(decimals: int) -> None:
    random = np.random.default_rng(0)
    ties = random.integers(-(10**7), 10**7, 2000) / 10.0 ** (decimals + 1)
    values = np.concatenate(
        [ties, random.normal(size=2000) * 10.0 ** random.integers(-9, 20, 2000)]
    )
    column = Column("score", "double", decimals=decimals)
    found = batches._shown_values(values, column)
    assert found.tolist() == [round(value, decimals) for value in values.tolist()]


# The files


def test_the_scores_of_a_file_do_not_depend_on_the_piece_size(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    source = write(tmp_path / "new.csv", untidy(rows))
    contents = set()
    for size in (100, 333, 5000):
        run(source, tmp_path / "scores", size)
        contents.add((tmp_path / "scores.csv").read_bytes())
    assert len(contents) == 1
    result = pd.read_csv(tmp_path / "scores.csv", dtype={"unit": str})
    assert list(result.columns) == COLUMNS
    pd.testing.assert_frame_equal(result[INPUTS], untidy(rows))
    assert {path.name for path in tmp_path.iterdir()} == {"new.csv", "scores.csv"}


def test_the_written_format_does_not_depend_on_the_piece_size(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    """Times and numbers have one format, even in pieces that hold only days or integers."""
    table = rows.head(60).copy()
    table.loc[:30, "load"] = 20.0
    table["time"] = [f"2024-01-{1 + row // 2:02}" for row in range(60)]
    source = write(tmp_path / "new.csv", table)
    contents = set()
    for size in (1, 60):
        run(source, tmp_path / "scores", size)
        contents.add((tmp_path / "scores.csv").read_bytes())
    assert len(contents) == 1


def test_numbers_are_parsed_as_in_a_request(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("time,unit,load\n2024-01-01,north,21.074012061756214\n")
    (piece,) = pieces_of(tmp_path / "new.csv").load()
    assert piece["load"].tolist() == [json.loads("21.074012061756214")]
    assert piece.index.tolist() == [2]


@pytest.mark.parametrize("at", [1, 100, 401])
def test_a_folder_is_scored_like_one_file_wherever_it_is_split(
    rows: pd.DataFrame, tmp_path: Path, at: int
) -> None:
    write(tmp_path / "new" / "part-0.csv", rows[:at])
    write(tmp_path / "new" / "part-1.csv", rows[at:])
    (tmp_path / "new" / "_SUCCESS").write_text("")
    (tmp_path / "new" / ".hidden.csv").write_text("")
    (tmp_path / "new" / "README.md").write_text("")
    run(tmp_path / "new", tmp_path / "scores", 250)
    written = sorted((tmp_path / "scores").iterdir())
    assert [path.name for path in written] == ["part-0.csv", "part-1.csv"]
    first, second = (path.read_text() for path in written)
    run(write(tmp_path / "whole.csv", rows), tmp_path / "other")
    header = ",".join(COLUMNS) + "\n"
    assert first + second.removeprefix(header) == (tmp_path / "other.csv").read_text()


def file_scores(
    folder: Path, content: str | pd.DataFrame, scorer: Any, size: int = 1000, **options: Any
) -> pd.DataFrame:
    """Return the scores of a file as they are written, without conversion."""
    file = folder / ("new.csv" if isinstance(content, str) else "new.parquet")
    if isinstance(content, str):
        file.write_text(content)
    else:
        content.to_parquet(file)
    pieces = CsvPieces(filepath=str(file), rows=size, load_args=options)
    ScoredPieces(filepath=str(folder / "scores")).save(score_pieces(pieces.load(), scorer, "3"))
    return pd.read_csv(folder / "scores.csv", dtype=str, keep_default_na=False)


@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize(
    "texts", ["1.1,1.10", "1,2,", "70,,007", "TRUE,false", "1e3,1000", "a,2,"], ids=str
)
def test_text_is_scored_as_it_is_written(texts: str, size: int, tmp_path: Path) -> None:
    scorer = Fixed(Column("kind", "string", nullable=True), Column("load", "double"))
    names = texts.split(",")
    content = "kind,load\n" + "".join(f"{name},1\n" for name in names)
    assert file_scores(tmp_path, content, scorer, size)["kind"].tolist() == names
    (piece,) = CsvPieces(filepath=str(tmp_path / "new.csv"), rows=1000).load()
    assert piece["load"].dtype == "int64"


def test_a_configured_type_overrides_that_of_the_model(tmp_path: Path) -> None:
    scorer = Fixed(Column("kind", "string"))
    for options in ({"dtype": {"kind": int}}, {"dtype": int}, {"converters": {"kind": int}}):
        found = file_scores(tmp_path, "kind\n07\n8\n", scorer, **options)
        assert found["kind"].tolist() == ["7", "8"]


@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_whole_numbers_next_to_missing_ones_are_written_exactly(
    kind: str, size: int, tmp_path: Path
) -> None:
    scorer = Fixed(Column("id", "long", nullable=True), Column("kind", "string", nullable=True))
    content: Any = "id,kind\n9007199254740993,1\n,\n-5,2\n"
    if kind == "parquet":
        whole = {"id": [2**53 + 1, None, -5], "kind": [1, None, 2]}
        content = pd.DataFrame(whole, dtype="Int64")
    found = file_scores(tmp_path, content, scorer, size)
    assert found["id"].tolist() == ["9007199254740993", "", "-5"]
    assert found["kind"].tolist() == ["1", "", "2"]


@pytest.mark.parametrize("size", [1, 1000])
def test_parquet_scores_have_the_types_of_the_model(size: int, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text(
        "load,is_new,kind,since,id\n1,,,,\n2,true,b,2024-01-01,7\n", encoding="utf-8"
    )
    inputs = [Column("load", "double"), Column("is_new", "boolean", nullable=True)]
    inputs += [Column("kind", "string", nullable=True), Column("since", "datetime", nullable=True)]
    scorer = Fixed(*inputs, Column("id", "long", nullable=True))
    pieces = CsvPieces(filepath=str(tmp_path / "new.csv"), rows=size).load()
    target = ScoredPieces(filepath=str(tmp_path / "scores.parquet"))
    target.save(score_pieces(pieces, scorer, "3"))
    schema = pyarrow.parquet.read_schema(tmp_path / "scores.parquet")
    types = ["double", "bool", "string", "string", "int64", "double", "string"]
    assert [str(one) for one in schema.types] == types
    (found,) = target.load()
    assert found["is_new"].tolist() == [pd.NA, True]
    assert found["since"].tolist() == [None, "2024-01-01"]


class Filtered(CsvPieces):
    """No row without a load is scored."""

    def accept(self, pieces: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        return (piece[piece["load"] > 0] for piece in pieces)


def test_a_project_may_remove_all_rows_of_a_piece(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("time,unit,load\n2024-01-01,7,0\n2024-01-01,7,5\n")
    for scorer in (small_scorer(), Fixed(Column("load", "double"))):
        pieces = Filtered(filepath=str(tmp_path / "new.csv"), rows=1).load()
        empty, full = score_pieces(pieces, scorer, "3")
        assert (len(empty), full["load"].tolist()) == (0, [5.0])
        assert list(empty.columns) == list(full.columns)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"nrows": 1}, "nrows in load_args: not supported"),
        ({"comment": "#", "chunksize": 5}, "chunksize, comment in load_args: not supported"),
        ({"dtype_backend": "pyarrow"}, "dtype_backend in load_args: not supported"),
        ({"skiprows": [0]}, r"skiprows: \[0\] in load_args: give the number of lines"),
        ({"header": 1}, "header: 1 in load_args: give skiprows"),
        ({"skiprows": 1, "dtype_backend": "numpy_nullable"}, None),
        ({"skiprows": 1, "header": 0}, None),
    ],
    ids=str,
)
def test_arguments_that_would_skip_lines_are_rejected_by_name(
    tmp_path: Path, options: dict[str, Any], reason: str | None
) -> None:
    content, scorer = "by machine 7\nload\n1\n2\n", Fixed(Column("load", "double"))
    if reason is None:
        assert file_scores(tmp_path, content, scorer, **options)["load"].tolist() == ["1", "2"]
        return
    with pytest.raises(DatasetError, match=reason) as refusal:
        file_scores(tmp_path, content, scorer, **options)
    assert isinstance(refusal.value.__cause__, OperationError)


class Headerless(CsvPieces):
    """Files without a header, named after their unit; no piece may begin with the previous load."""

    def read_csv(self, address: str) -> Iterator[pd.DataFrame]:
        self.load_args = {"header": None, "names": ["time", "load"]}
        for piece in super().read_csv(address):
            yield piece.assign(unit=Path(address).stem)

    def accept(self, pieces: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        last = None
        for piece in pieces:
            if piece["load"].iloc[0] == last:
                raise RefusedError(f"{piece.attrs['source']}: the load stands still")
            last = piece["load"].iloc[-1]
            yield piece


def test_a_project_can_customize_how_files_are_read_and_checked(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    for unit, unit_rows in rows.groupby("unit"):
        path = tmp_path / "new" / f"{unit}.csv"
        unit_rows[["time", "load"]].to_csv(path, index=False, header=False)
    pieces = Headerless(filepath=str(tmp_path / "new"), rows=100).load()
    scores = pd.concat(score_pieces(pieces, small_scorer(), "3"))
    north = scores[scores["unit"] == "north"]
    expected = scored(rows).query("unit == 'north'")
    assert north["deviation"].tolist() == expected["deviation"].tolist()
    (tmp_path / "still.csv").write_text("2024-01-01,1\n2024-01-02,1\n")
    with pytest.raises(RefusedError, match=r"still\.csv: the load stands still"):
        list(Headerless(filepath=str(tmp_path / "still.csv"), rows=1).load())


@pytest.mark.parametrize("is_text", [True, False], ids=["text", "timestamps"])
def test_parquet_parts_are_scored_like_csv_parts(
    rows: pd.DataFrame, tmp_path: Path, is_text: bool
) -> None:
    table = rows if is_text else rows.astype({"time": "datetime64[us]"})
    (tmp_path / "new").mkdir()
    table[:400].to_parquet(tmp_path / "new" / "a.parquet")
    write(tmp_path / "new" / "b.csv", rows[400:])
    run(tmp_path / "new", tmp_path / "scores", 300)
    result = pd.concat([*scores_at(tmp_path / "scores").load()])
    assert result["deviation"].tolist() == scored(rows)["deviation"].tolist()
    times = pd.to_datetime(result["time"], format="ISO8601").tolist()
    assert times == pd.to_datetime(rows["time"]).tolist()


@pytest.mark.parametrize("options", [{"format": "parquet"}, {}], ids=["format", "suffix"])
def test_scores_can_be_written_as_parquet(
    rows: pd.DataFrame, tmp_path: Path, options: dict[str, str]
) -> None:
    target = tmp_path / ("scores" if options else "scores.parquet")
    table = rows.assign(unit=["south"] * 200 + rows["unit"][200:].tolist())
    run(write(tmp_path / "new.csv", table), target, 100, **options)
    assert [path.name for path in tmp_path.iterdir() if path.name != "new.csv"] == [
        "scores.parquet"
    ]
    (result,) = scores_at(target, **options).load()
    pd.testing.assert_frame_equal(result, scored(table))


def test_names_that_need_quotes_are_quoted(rows: pd.DataFrame, tmp_path: Path) -> None:
    table = rows.head(10).replace({"unit": {"7": 'a "b", c'}})
    run(write(tmp_path / "new.csv", table), tmp_path / "scores")
    result = pd.read_csv(tmp_path / "scores.csv")
    assert result["unit"].tolist() == table["unit"].tolist()


def test_a_bad_row_is_named_and_leaves_earlier_scores_in_place(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    bad = rows.astype({"load": object})
    bad.loc[450, "load"] = "hot"
    bad.loc[451, "load"] = 1e6
    source = write(tmp_path / "new.csv", bad)
    (tmp_path / "scores.csv").write_text("of an earlier run")
    with pytest.raises(DatasetError) as refusal:
        run(source, tmp_path / "scores", 100)
    assert isinstance(refusal.value.__cause__, RefusedError)  # what `kedro run` shows
    for text in ("new.csv", "452", "hot", "load is not a number", "453", "outside 0 to 200"):
        assert text in str(refusal.value)
    assert {path.name for path in tmp_path.iterdir()} == {"new.csv", "scores.csv"}
    assert (tmp_path / "scores.csv").read_text() == "of an earlier run"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("time,unit,load\n", "the file is empty"),
        ("time,unit,load\n2024-01-01,a,1\n2024-01-01,a,1,2\n", "not a CSV table"),
        ("time,unit,load\n" + "2024-01-01,a,1\n" * 3 + "2024-01-01,a,1,2\n", "not a CSV table"),
    ],
    ids=["empty", "header only", "long line", "long line in a later piece"],
)
def test_a_file_that_is_not_a_csv_table_is_rejected(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "new.csv"
    path.write_text(text)
    with pytest.raises(RefusedError, match=f"new.csv: {message}"):
        list(pieces_of(path, 2).load())


def test_an_empty_part_of_a_folder_is_named(rows: pd.DataFrame, tmp_path: Path) -> None:
    write(tmp_path / "new" / "a.csv", rows)
    rows.head(0).to_parquet(tmp_path / "new" / "b.parquet")
    with pytest.raises(RefusedError, match=r"b\.parquet: the file is empty"):
        list(pieces_of(tmp_path / "new").load())


def test_an_invalid_parquet_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("no parquet")
    with pytest.raises(RefusedError, match=r"a\.parquet: not a Parquet table"):
        list(pieces_of(tmp_path / "a.parquet").load())


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"load": np.random.default_rng(0).random(1000)}).to_parquet(path, compression=None)
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36
    path.write_bytes(content)
    with pytest.raises(RefusedError, match=r"a\.parquet: not a Parquet table, or damaged"):
        list(pieces_of(path).load())


@pytest.mark.parametrize("index", ["time", ["time", "unit"], None], ids=str)
def test_the_index_of_a_parquet_file_is_read_as_columns(
    rows: pd.DataFrame, tmp_path: Path, index: Any, caplog: pytest.LogCaptureFixture
) -> None:
    table = rows.set_index(index) if index else rows.iloc[::-1].iloc[::-1]
    table.to_parquet(tmp_path / "new.parquet")
    pieces = pieces_of(tmp_path / "new.parquet").load()
    found = pd.concat(score_pieces(pieces, small_scorer(), "3"))
    assert found["deviation"].tolist() == scored(rows)["deviation"].tolist()
    assert "not used" not in caplog.text


def test_a_parquet_file_with_two_columns_of_one_name_is_rejected(tmp_path: Path) -> None:
    table = pyarrow.table([[1.0], [2.0], [3.0]], names=["load", "unit", "load"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(RefusedError, match=r"a\.parquet: columns 1 and 3 are both called load"):
        list(pieces_of(tmp_path / "a.parquet").load())


def test_a_folder_of_parquet_files_is_not_skipped_inside_another(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    write(tmp_path / "new" / "a.csv", rows)
    (tmp_path / "new" / "other").mkdir()
    (tmp_path / "new" / "day.parquet").mkdir()
    rows.to_parquet(tmp_path / "new" / "day.parquet" / "part-0.parquet")
    assert list(pieces_of(tmp_path / "new" / "day.parquet").files()) == ["part-0"]
    with pytest.raises(
        DatasetError, match=r"new holds the folder day\.parquet, .*: move its files"
    ):
        pieces_of(tmp_path / "new").load()
    (tmp_path / "new" / "day.parquet").rename(tmp_path / "day.parquet")
    assert list(pieces_of(tmp_path / "new").files()) == ["a"]


def test_suffixes_may_be_in_capital_letters(rows: pd.DataFrame, tmp_path: Path) -> None:
    write(tmp_path / "new" / "A.CSV", rows[:300])
    rows[300:].to_parquet(tmp_path / "new" / "b.PARQUET")
    pieces = pieces_of(tmp_path / "new").load()
    found = pd.concat(score_pieces(pieces, small_scorer(), "3"))
    assert found["deviation"].tolist() == scored(rows)["deviation"].tolist()


@pytest.mark.parametrize("exists", [True, False], ids=["a folder or file", "nothing yet"])
def test_scores_are_written_through_a_symbolic_link(
    rows: pd.DataFrame, tmp_path: Path, exists: bool
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "scores").symlink_to(disk / "many")
    (tmp_path / "scores.csv").symlink_to(disk / "one.csv")
    if exists:
        (disk / "many").mkdir()
        (disk / "many" / "old.csv").touch()
        (disk / "one.csv").touch()
    run(write(tmp_path / "new" / "a.csv", rows), tmp_path / "scores")
    run(tmp_path / "new", tmp_path / "scores")
    assert (tmp_path / "scores").is_symlink()
    assert (tmp_path / "scores.csv").is_symlink()
    content = (disk / "one.csv").read_bytes()
    assert content.count(b"\n") == len(rows) + 1
    assert (disk / "many" / "a.csv").read_bytes() == content
    assert {path.name for path in disk.rglob("*")} == {"many", "a.csv", "one.csv"}


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="There is no file") as refusal:
        pieces_of(tmp_path / "none.csv").load()
    assert isinstance(refusal.value.__cause__, OperationError)  # what `kedro run` shows
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no file to score"):
        pieces_of(tmp_path / "empty").load()
    with pytest.raises(DatasetError, match="no file or folder is named"):
        CsvPieces(filepath=None).load()
    with pytest.raises(DatasetError, match="are read-only"):
        pieces_of(tmp_path / "empty").save(pd.DataFrame())


def test_two_files_with_the_same_output_name_are_rejected(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    write(tmp_path / "new" / "a.csv", rows)
    rows.to_parquet(tmp_path / "new" / "a.parquet")
    with pytest.raises(DatasetError, match="holds two files named a"):
        pieces_of(tmp_path / "new").load()


def test_scores_of_a_file_and_of_a_folder_do_not_overwrite_each_other(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    file = write(tmp_path / "new.csv", rows)
    write(tmp_path / "new" / "a.csv", rows)
    listings, scores = [], scores_at(tmp_path / "scores")
    for number, source in enumerate((file, tmp_path / "new", tmp_path / "new", file)):
        run(source, tmp_path / "scores")
        listings.append(sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("scores")))
        for target in tmp_path.glob("scores*"):  # file system clocks are coarse
            os.utime(target, (0, number) if (source == file) == target.is_file() else (0, 0))
        assert len(list(scores.load())) == 1
    both = ["scores", "scores.csv"]
    assert listings == [["scores.csv"], both, both, both]
    (tmp_path / "scores" / "b.csv").write_bytes((tmp_path / "scores" / "a.csv").read_bytes())
    os.utime(tmp_path / "scores", (0, 100))
    assert len(list(scores.load())) == 2


def test_scores_are_not_written_to_a_remote_address() -> None:
    with pytest.raises(DatasetError, match="not a folder on this machine"):
        ScoredPieces.from_config(
            "new_scores", {"type": ScoredPieces, "filepath": "abfs://scores@account/new"}
        )


def test_rows_are_read_from_any_fsspec_address(rows: pd.DataFrame) -> None:
    import fsspec

    with fsspec.filesystem("memory").open("/new/rows.csv", "w") as file:
        rows.to_csv(file, index=False)
    pieces = CsvPieces(filepath="memory://new/rows.csv", load_args={"dtype": {"unit": str}})
    pd.testing.assert_frame_equal(pd.concat(pieces.load()).reset_index(drop=True), rows)
