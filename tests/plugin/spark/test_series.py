"""Whole series, the newest rows, and tables in memory: the same on both engines."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from kedro_azure_mlops.contract import ColumnType, History
from kedro_azure_mlops.engine import in_memory, is_on_spark, map_series, newest_rows, on_spark
from kedro_azure_mlops.errors import OperationError
from tests.plugin.spark.conftest import Give

LAST_HOUR = History("time", "unit", days=1 / 24, rows=1)
SCHEMA: dict[str, ColumnType] = {"unit": "string", "time": "datetime", "hour": "double"}


def rows(n: int = 600) -> pd.DataFrame:
    """Two series, one with five of six rows, in the order of series and time; lines of no order."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "unit": np.where(np.arange(n) % 6, "large", "small"),
            "time": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(n), "min"),
            "value": random.normal(size=n),
        },
        index=pd.Index(random.permutation(n), name="line"),
    )
    return table.sort_values(["unit", "time"])


def of_last_hour(table: pd.DataFrame) -> pd.DataFrame:
    """Sum the values of the hour before each row, of any number of series."""
    sums = [
        group.rolling("1h", on="time")["value"].sum().set_axis(group.index)
        for _, group in table.groupby("unit")
    ]
    return table[["unit", "time"]].assign(hour=pd.concat(sums).round(6))


def test_a_series_split_by_time_gives_what_it_gives_whole(give: Give) -> None:
    table = rows()
    found = map_series(_given(give, table), of_last_hour, SCHEMA, LAST_HOUR, most_rows=100)
    whole = of_last_hour(table)
    assert_frame_equal(in_memory(found, "unit", "time"), whole, check_exact=True)


def test_pandas_gives_all_series_to_the_function_at_once() -> None:
    seen = []

    def count(table: pd.DataFrame) -> pd.DataFrame:
        seen.append(table["unit"].nunique())
        return table

    map_series(rows(), count, SCHEMA, LAST_HOUR)
    assert seen == [2]


@pytest.mark.spark
def test_a_history_without_a_series_is_refused_on_spark(spark: Any) -> None:
    table = spark.createDataFrame(rows().reset_index())
    with pytest.raises(OperationError, match="names no column of the series"):
        map_series(table, of_last_hour, SCHEMA, History("time"))


@pytest.mark.parametrize(("span", "kept"), [("1h", 60), ("1D", 600), ("all", 600)])
def test_the_newest_rows(give: Give, span: str, kept: int) -> None:
    found = in_memory(newest_rows(_given(give, rows()), "time", span), "unit", "time")
    assert len(found) == kept
    assert found["time"].max() == rows()["time"].max()


def test_no_row_has_no_newest(give: Give) -> None:
    assert in_memory(newest_rows(_given(give, rows()[:0]), "time", "1h"), "time").empty


def test_a_pandas_table_is_in_memory_as_it_is() -> None:
    table = rows()
    assert in_memory(table, "time") is table


@pytest.mark.spark
def test_a_table_that_does_not_fit_is_refused_before_it_is_collected(
    spark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = spark.createDataFrame(rows().reset_index())
    monkeypatch.setattr(on_spark, "_free_memory", lambda: 10_000)
    monkeypatch.setattr(on_spark, "to_pandas", None)
    with pytest.raises(OperationError, match=r"^600 rows need .* train on fewer"):
        in_memory(table, "time")
    monkeypatch.undo()
    assert len(in_memory(table, "time")) == 600
    monkeypatch.setattr(on_spark, "_free_memory", lambda: None)  # of a system that does not say
    assert len(in_memory(table, "time")) == 600


def _given(give: Give, table: pd.DataFrame) -> Any:
    """Give a table of either engine: on pandas it is indexed, on Spark the line is a column."""
    found = give(table.reset_index())
    return found if is_on_spark(found) else table
