"""Whole series, the newest rows and tables in memory are the same on both engines."""

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from kedro_azure_mlops.contract import ColumnType, History
from kedro_azure_mlops.engine import in_memory, is_on_spark, map_series, newest_rows, on_spark
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.tables.cleaning import CleaningParameters
from kedro_azure_mlops.tables.on_spark import clean_on_spark
from tests.plugin.spark.conftest import ToEngine

LAST_HOUR = History("time", "unit", days=1 / 24, rows=1)
SCHEMA: dict[str, ColumnType] = {"unit": "string", "time": "datetime", "hour": "double"}


def rows(n: int = 600) -> pd.DataFrame:
    """Return two series in order, the large one with five of six rows; lines are shuffled."""
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


def sum_last_hour(table: pd.DataFrame) -> pd.DataFrame:
    """Sum the values of the hour before each row, for any number of series."""
    sums = [
        group.rolling("1h", on="time")["value"].sum().set_axis(group.index)
        for _, group in table.groupby("unit")
    ]
    return table[["unit", "time"]].assign(hour=pd.concat(sums).round(6))


def test_splitting_a_series_by_time_does_not_change_the_result(to_engine: ToEngine) -> None:
    table = rows()
    result = map_series(
        _on_engine(to_engine, table), sum_last_hour, SCHEMA, LAST_HOUR, most_rows=100
    )
    expected = sum_last_hour(table)
    assert_frame_equal(in_memory(result, "unit", "time"), expected, check_exact=True)


def test_pandas_passes_all_series_in_one_call() -> None:
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
        map_series(table, sum_last_hour, SCHEMA, History("time"))


@pytest.mark.parametrize(("span", "expected"), [("1h", 60), ("1D", 600), ("all", 600)])
def test_newest_rows_are_those_of_the_span(to_engine: ToEngine, span: str, expected: int) -> None:
    result = in_memory(newest_rows(_on_engine(to_engine, rows()), "time", span), "unit", "time")
    assert len(result) == expected
    assert result["time"].max() == rows()["time"].max()


def test_an_empty_table_has_no_newest_rows(to_engine: ToEngine) -> None:
    assert in_memory(newest_rows(_on_engine(to_engine, rows()[:0]), "time", "1h"), "time").empty


def test_rows_without_a_time_are_not_the_newest(to_engine: ToEngine) -> None:
    nowhere = rows(12).assign(time=pd.NaT)
    result = in_memory(newest_rows(_on_engine(to_engine, nowhere), "time", "1h"), "time")
    assert result.empty
    some = _on_engine(to_engine, rows(12).assign(time=rows(12)["time"].mask(rows(12).index > 5)))
    assert len(in_memory(newest_rows(some, "time", "1D"), "time")) == 6


@pytest.mark.spark
def test_newest_instants_do_not_depend_on_the_zone_of_the_machine(
    spark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        table = spark.createDataFrame(rows()[["time"]], "time timestamp")
        assert newest_rows(table, "time", "1h").count() == 60
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("column", "span", "message"),
    [
        ("when", "1h", "there is no column when; the columns are"),
        ("value", "1h", "found by time, but value is double, not datetime"),
        ("time", "5 fortnights", "'5 fortnights' is not a span of time, such as 90D"),
        ("time", "-1D", "'-1D' is not a span of time"),
        ("time", 90, "90 is not a span of time"),
    ],
)
def test_other_columns_and_spans_are_refused(
    to_engine: ToEngine, column: str, span: Any, message: str
) -> None:
    with pytest.raises(OperationError, match=message):
        newest_rows(_on_engine(to_engine, rows(12)), column, span)


@pytest.mark.spark
def test_names_of_cleaned_columns_may_have_a_dot(spark: Any) -> None:
    names = ["at.utc", "unit.name", "value.c"]
    shares = dict.fromkeys(("max_repeated", "max_unordered", "max_in_gaps", "max_jittered"), 1.0)
    table = rows().sort_index().reset_index()[["line", "time", "unit", "value"]].assign(notes=None)
    schema = (
        "line bigint, `at.utc` timestamp_ntz, `unit.name` string, `value.c` double, notes string"
    )
    clean, report = clean_on_spark(
        spark.createDataFrame(table, schema),
        names,
        CleaningParameters(**shares, gap_steps=6),
        group="g",
        rows="r",
        series="s",
    )
    assert clean.columns == ["line", *names, "repeated"]
    assert (report["rows"], report["series"]) == (600, 2)


@pytest.mark.spark
def test_a_table_without_line_numbers_is_not_indexed_by_them(spark: Any) -> None:
    table = spark.createDataFrame(rows(12))
    with pytest.raises(OperationError, match="there is no column line; the columns are unit, "):
        in_memory(table, "time")
    assert len(in_memory(table.selectExpr("*", "0L as line"), "time")) == 12


def test_a_pandas_table_is_returned_unchanged() -> None:
    table = rows()
    assert in_memory(table, "time") is table


@pytest.mark.spark
def test_a_table_larger_than_memory_is_refused_before_it_is_collected(
    spark: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = spark.createDataFrame(rows().reset_index())
    monkeypatch.setattr(on_spark, "_free_memory", lambda: 10_000)
    monkeypatch.setattr(on_spark, "to_pandas", None)
    with pytest.raises(OperationError, match=r"^600 rows need .* train on fewer"):
        in_memory(table, "time")
    monkeypatch.undo()
    assert len(in_memory(table, "time")) == 600
    monkeypatch.setattr(on_spark, "_free_memory", lambda: None)  # not reported by all systems
    assert len(in_memory(table, "time")) == 600


def _on_engine(to_engine: ToEngine, table: pd.DataFrame) -> Any:
    """Return a table of either engine: the line is the index on pandas, a column on Spark."""
    result = to_engine(table.reset_index())
    return result if is_on_spark(result) else table
