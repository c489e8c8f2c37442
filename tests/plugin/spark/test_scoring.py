"""Models score Spark tables as they score files, for all types of columns."""

from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kedro_azure_mlops.contract import Column, Columns, History, Schema
from kedro_azure_mlops.engine import in_memory, map_groups, on_spark
from kedro_azure_mlops.errors import RefusedError
from kedro_azure_mlops.serve.batches import score_pieces
from kedro_azure_mlops.tables.on_spark import FILES, LINES_OF_A_FILE

INPUTS = (
    Column("time", "datetime"),
    Column("value", "double"),
    Column("number", "long", nullable=True),
)
OUTPUTS = (
    Column("is_large", "boolean", nullable=True),
    Column("rank", "long", nullable=True),
)
ROWS = pd.DataFrame(
    {
        "time": pd.Timestamp("2024-01-01") + pd.to_timedelta([0, 60, 30, 90], "min"),
        "value": [1.0, 5.0, -1.0, 7.0],
        "number": [3.0, 1.0, 2.0, 4.0],
    },
    index=pd.Index([2, 3, 4, 5], name="line"),
)


class Ranking:
    """Scorer without answers for values below 0."""

    def __init__(self, history: History | None) -> None:
        self.schema = Schema(INPUTS, OUTPUTS, history)

    def score(self, columns: Columns, wanted: np.ndarray | None = None) -> Columns:
        value = np.asarray(columns["value"], float)
        large = np.where(value < 0, None, value > 3)
        rank = np.where(value < 0, np.nan, np.round(value))
        rows = slice(None) if wanted is None else wanted
        return {"is_large": large[rows], "rank": rank[rows]}


@pytest.mark.spark
@pytest.mark.parametrize("history", [None, History("time", days=1, rows=1)])
def test_flags_and_integers_may_be_missing(spark: Any, history: History | None) -> None:
    table = spark.createDataFrame(ROWS.reset_index())
    ours = in_memory(score_pieces(table, Ranking(history), "3"))
    (theirs,) = score_pieces([ROWS], Ranking(history), "3")
    assert as_list(ours["is_large"]) == [False, True, None, True]
    assert as_list(theirs["is_large"]) == [0, 1, None, 1]
    for name in ("time", "value", "number", "rank", "model_version"):
        assert as_list(ours[name]) == as_list(theirs[name])


def as_list(column: pd.Series) -> list[Any]:
    return [None if pd.isna(value) else value for value in column]


@pytest.mark.spark
def test_most_late_refuses_later_rows(spark: Any) -> None:
    table = spark.createDataFrame(ROWS.reset_index())
    scorer, most_late = Ranking(History("time", days=1, rows=1)), timedelta(minutes=10)
    result = score_pieces(table, scorer, "3", most_late=most_late)
    with pytest.raises(RefusedError, match="1 of 4 rows are more than"), on_spark.spark_errors():
        result.count()
    assert score_pieces(table, scorer, "3").count() == 4


@pytest.mark.spark
def test_late_rows_are_reported_by_the_lines_of_their_file(spark: Any) -> None:
    """The third row is the first one of the second file; the message is that of pandas."""
    lines = [2, 3, LINES_OF_A_FILE + 2, LINES_OF_A_FILE + 3]
    table = spark.createDataFrame(ROWS.set_axis(pd.Index(lines, name="line")).reset_index())
    table.attrs = {FILES: ["a.csv", "b.csv"]}
    scorer, most_late = Ranking(History("time", days=1, rows=1)), timedelta(minutes=10)
    with pytest.raises(RefusedError) as caught, on_spark.spark_errors():
        score_pieces(table, scorer, "3", most_late=most_late).count()
    assert str(caught.value).startswith("b.csv: 1 of 2 rows are more than 0.166667 hours older")
    assert str(caught.value).splitlines()[-1].split()[:2] == ["2", "2024-01-01"]
    scored = in_memory(score_pieces(table, scorer, "3"))
    assert scored.index.tolist() == lines


@pytest.mark.spark
def test_late_rows_of_a_split_series_are_scored_once(
    spark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late row is the history of a part, and arrives after the first of the part's own rows."""
    split = partial(map_groups, most_rows=2)
    monkeypatch.setattr("kedro_azure_mlops.serve.on_spark.map_groups", split)
    scorer = Ranking(History("time", days=1, rows=1))
    result = in_memory(score_pieces(spark.createDataFrame(ROWS.reset_index()), scorer, "3"))
    assert result.index.tolist() == [2, 3, 4, 5]
    assert result["value"].tolist() == ROWS["value"].tolist()


class Doubling:
    """Scorer of columns with a dot in their names."""

    schema = Schema(
        (Column("unit.name", "string"), Column("time", "datetime"), Column("value.c", "double")),
        (Column("score", "double"),),
        History("time", by="unit.name", rows=1),
    )

    def score(self, columns: Columns, wanted: np.ndarray | None = None) -> Columns:
        found = np.asarray(columns["value.c"], float) * 2
        return {"score": found if wanted is None else found[wanted]}


@pytest.mark.spark
def test_names_of_inputs_may_have_a_dot(spark: Any) -> None:
    table = spark.createDataFrame(ROWS.rename(columns={"value": "value.c"}).assign(unit="a"))
    table = table.withColumnRenamed("unit", "unit.name")
    scored = on_spark.to_pandas(
        score_pieces(table, Doubling(), "3").select("score"), {"score": "double"}
    )
    assert sorted(scored["score"]) == [-2.0, 2.0, 10.0, 14.0]
