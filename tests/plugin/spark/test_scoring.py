"""Models score Spark tables as they score files, for all types of columns."""

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kedro_azure_mlops.contract import Column, Columns, History, Schema
from kedro_azure_mlops.engine import in_memory, on_spark
from kedro_azure_mlops.errors import RefusedError
from kedro_azure_mlops.serve.batches import score_pieces

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
    assert ours["is_large"].tolist() == [False, True, None, True]
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
