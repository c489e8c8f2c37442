"""A function gets the same groups on both engines, and its result must match the schema."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from kedro_azure_mlops.contract import ColumnType, History
from kedro_azure_mlops.engine import map_groups, map_rows, spark_errors, to_pandas
from kedro_azure_mlops.errors import OperationError, RefusedError
from tests.plugin.spark import functions
from tests.plugin.spark.conftest import ToEngine
from tests.plugin.spark.functions import ROWS, WITH_TOTAL, rows

HISTORIES = {
    functions.hour_before_third: History(order="time", days=1 / 24, rows=3),
    functions.hour_before: History(order="time", days=1 / 24),
    functions.third_before: History(order="time", rows=3),
}
SMALL = pd.DataFrame({"unit": ["a", "b", "a"], "value": [1.0, 2.0, 4.0]})


NAN = np.nan
LOSSLESS: dict[str, tuple[Any, ColumnType]] = {
    "int32": (np.array([1, 2, 3], "int32"), "long"),
    "float32": (np.array([1, 2, 3], "float32"), "double"),
    "no number": ([None, None, None], "double"),
    "no time": ([None, None, None], "datetime"),
    "text": (["x", None, NAN], "string"),
    "boolean": ([True, None, False], "boolean"),
    "Int64": (pd.Series([1, 2, 3], dtype="Int64"), "long"),
    "nullable": (pd.Series([True, False, None], dtype="boolean"), "boolean"),
    "strings": (pd.Series(["x", "y", None], dtype="string"), "string"),
    "times": (pd.DatetimeIndex(["2024-01-01 00:00:00.000001", None, "2024-01-01"]), "datetime"),
}
LOSSY: list[tuple[Any, ColumnType, str]] = [
    ([1.0, 2.5, 3.0], "long", "new as double, not as long"),
    (pd.DatetimeIndex(["2024-01-01 00:00:00.000000001"] * 3), "datetime", "new has nanoseconds"),
    (["1", "2", "3"], "double", "new as string, not as double"),
    ([1, 2, 3], "double", "new as long, not as double"),
    ([1.0, 2.0, NAN], "string", "new as double, not as string"),
    ([1, "2", None], "string", "new as mixed-integer, not as string"),
    ([None, None, None], "long", "new as missing, not as long"),
    (pd.array([1, 2, None], dtype="Int64"), "long", "column new has 1 missing whole numbers"),
    (pd.DatetimeIndex(["2024-01-01"] * 3, tz="UTC"), "datetime", "new as datetime with a zone"),
    (np.array(["9999-12-31"] * 3, "datetime64[us]"), "datetime", "times that pandas cannot store"),
]


def sum_values(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"value": [table["value"].sum()]})


def with_new(table: pd.DataFrame, column: Any) -> pd.DataFrame:
    return table[["unit"]].assign(new=column)


def collected(frame: Any) -> pd.DataFrame:
    """Return a result sorted by all columns."""
    table = to_pandas(frame)
    return table.sort_values([*table.columns], ignore_index=True)


def expected_on_pandas(function: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """Apply a function to one group after another, with pandas alone."""
    table = to_pandas(rows()).sort_values(["time", *ROWS], kind="stable")
    groups = table.groupby("unit", dropna=False)
    return collected(pd.concat([function(group.reset_index(drop=True)) for _, group in groups]))


def test_groups_are_sorted_for_any_order_of_the_table(to_engine: ToEngine) -> None:
    """The last bit of the total depends on the order, also of rows with equal times."""
    table = to_engine(rows().sample(frac=1, random_state=1))
    result = map_groups(table, "unit", functions.running_total, WITH_TOTAL, order_by="time")
    assert_frame_equal(
        collected(result), expected_on_pandas(functions.running_total), check_exact=True
    )


@pytest.mark.parametrize("function", HISTORIES, ids=lambda function: function.__name__)
def test_splitting_a_large_group_by_time_changes_no_bit(
    to_engine: ToEngine, function: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    result = map_groups(
        to_engine(rows()), "unit", function, WITH_TOTAL, history=HISTORIES[function], most_rows=200
    )
    assert_frame_equal(collected(result), expected_on_pandas(function), check_exact=True)


@pytest.mark.spark
def test_large_groups_with_unevenly_spaced_times_are_split(spark: Any) -> None:
    """A few rows are years earlier or later, so most parts cover the same short time."""
    table = rows().copy()
    for first, years in ((0, -3), (1, 3)):
        table.loc[first::100, "time"] += pd.Timedelta(days=365 * years)
    function, history = functions.hour_before_third, HISTORIES[functions.hour_before_third]
    on_pandas, on_spark = (
        map_groups(frame, "unit", function, WITH_TOTAL, history=history, most_rows=100)
        for frame in (table, spark.createDataFrame(table))
    )
    assert_frame_equal(collected(on_pandas), collected(on_spark), check_exact=True)


@pytest.mark.spark
@pytest.mark.parametrize(("step", "days"), [("30D", 1.0), ("1h", 36_500.0)], ids=["long", "days"])
def test_a_split_group_and_its_history_may_span_a_century(
    spark: Any, step: str, days: float
) -> None:
    """The seconds of 68 years fill 32 bits."""
    times = pd.date_range("1880-01-01", periods=1_500, freq=step)
    table = rows(1_500).assign(unit="a", time=times, value=np.arange(1_500.0)[::-1])
    schema = {"unit": "string", "time": "datetime", "total": "double"}

    def largest(group: pd.DataFrame) -> pd.DataFrame:
        found = group["value"].rolling(2).max() if step == "30D" else group["value"].cummax()
        return group[["unit", "time"]].assign(total=found)

    history = History(order="time", days=days, rows=1)
    on_pandas, on_spark = (
        map_groups(frame, "unit", largest, schema, history=history, most_rows=400)
        for frame in (table, spark.createDataFrame(table))
    )
    assert_frame_equal(collected(on_pandas), collected(on_spark), check_exact=True)


@pytest.mark.spark
def test_parts_of_a_split_group_are_small(spark: Any) -> None:
    """A part has the requested rows, others of the same time, and the history."""
    schema = {"unit": "string", "given": "long"}
    history = History(order="time", rows=10)
    table = spark.createDataFrame(rows())
    result = map_groups(table, "unit", functions.count_rows, schema, history=history, most_rows=200)
    collected_rows = to_pandas(result)
    assert len(collected_rows) == len(rows())
    assert 200 <= collected_rows["given"].max() < 250


def test_groups_are_in_the_order_of_their_keys_on_pandas() -> None:
    result = map_groups(rows(), "unit", functions.count_rows, {"unit": "string", "given": "long"})
    assert [*result["unit"].drop_duplicates()] == ["a", "b", "ü", None]


def test_missing_keys_form_a_group(to_engine: ToEngine) -> None:
    """Keys of every type except double; the second row has only its number."""
    day = pd.Timestamp("2024-01-01")
    keys = {"text": ["a", None, "a"], "number": [1, 1, 1], "is_good": [True, None, True]}
    table = to_engine(pd.DataFrame(keys | {"time": [day, None, day], "value": [1.0, 2.0, 4.0]}))
    result = map_groups(table, [*keys, "time"], sum_values, {"value": "double"})
    assert [*collected(result)["value"]] == [2.0, 5.0]


def test_booleans_have_one_form_on_both_engines(to_engine: ToEngine) -> None:
    """The group without a missing one has plain booleans; ``~`` is right in both."""
    table = pd.DataFrame({"unit": ["a", "a", "b", "b"], "is_good": [True, False, None, True]})
    schema: dict[str, ColumnType] = {"unit": "string", "dtype": "string", "is_bad": "boolean"}

    def invert(group: pd.DataFrame) -> pd.DataFrame:
        dtype = str(group["is_good"].dtype)
        return group[["unit"]].assign(dtype=dtype, is_bad=~group["is_good"])

    for by in ("unit", "is_good"):
        result = collected(map_groups(to_engine(table), by, invert, schema))
        assert result["is_bad"].isna().tolist() == [False, False, False, True]
        assert result["is_bad"].dropna().tolist() == [False, True, False]
        kinds = {
            "unit": ["bool", "bool", "boolean", "boolean"],
            "is_good": [*["bool"] * 3, "boolean"],
        }
        assert result["dtype"].tolist() == kinds[by]
    assert to_pandas(to_engine(table.head(2)))["is_good"].dtype == bool


def test_an_empty_table_gives_an_empty_result(to_engine: ToEngine) -> None:
    table = to_engine(rows().head(0).astype({"is_good": bool}))
    for result in (
        map_groups(table, "unit", functions.running_total, WITH_TOTAL, order_by="time"),
        map_rows(table, functions.doubled, WITH_TOTAL),
    ):
        frame = to_pandas(result)
        assert [*frame.columns] == [*WITH_TOTAL]
        assert frame["total"].dtype == "float64"
        assert not len(frame)


def test_a_group_may_return_no_rows(to_engine: ToEngine) -> None:
    def only_a(table: pd.DataFrame) -> pd.DataFrame:
        return table[table["unit"] == "a"][["unit"]]

    assert [
        *collected(map_groups(to_engine(SMALL), "unit", only_a, {"unit": "string"}))["unit"]
    ] == ["a"] * 2


def test_lossless_conversions_match_the_schema(to_engine: ToEngine) -> None:
    """Narrow numbers, nullable pandas types, empty columns, and columns in any order."""

    def function(_: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({name: column for name, (column, _) in LOSSLESS.items()})[
            [*LOSSLESS][::-1]
        ]

    table = to_engine(pd.DataFrame({"unit": ["a"]}))
    result = to_pandas(
        map_groups(table, "unit", function, {n: kind for n, (_, kind) in LOSSLESS.items()})
    )
    assert [*result.columns] == [*LOSSLESS]
    for name, (column, _) in LOSSLESS.items():
        values = pd.Series(column).astype(object)
        assert [*result[name].isna()] == [*values.isna()]
        assert [*result[name].dropna()] == [*values.dropna()]


@pytest.mark.parametrize(("column", "declared", "message"), LOSSY)
def test_lossy_conversions_are_refused(column: Any, declared: ColumnType, message: str) -> None:
    schema: dict[str, ColumnType] = {"unit": "string", "new": declared}
    with pytest.raises(OperationError, match=f"given 3 rows of a block, returned .*{message}"):
        map_rows(SMALL, lambda table: with_new(table, column), schema)


@pytest.mark.spark
@pytest.mark.parametrize(("column", "declared", "message"), LOSSY[:2])
def test_conversions_that_spark_would_do_silently_are_refused(
    spark: Any, column: Any, declared: ColumnType, message: str
) -> None:
    schema: dict[str, ColumnType] = {"unit": "string", "new": declared}
    table = spark.createDataFrame(SMALL.assign(unit="a"))
    with pytest.raises(OperationError, match=f"given 3 rows of unit=a, returned .*{message}"):
        to_pandas(map_groups(table, "unit", lambda rows: with_new(rows, column), schema))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda table: table["unit"], "Series, not a DataFrame"),
        (lambda table: table, "the columns unit, value, not unit"),
        (lambda table: table[[]], "the columns , not unit"),
        (lambda table: table[["unit"]].set_axis([1], axis=1), "columns whose .* are not text: 1"),
    ],
    ids=["series", "more", "none", "number"],
)
def test_columns_that_differ_from_the_schema_are_refused(
    function: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    with pytest.raises(
        OperationError, match=f"lambda>, given 3 rows of a block, returned {message}"
    ):
        map_rows(SMALL, function, {"unit": "string"})


def test_with_a_history_each_row_returns_one_row(to_engine: ToEngine) -> None:
    table = to_engine(rows().assign(unit="a").head(20))
    history = History(order="time", rows=1)
    message = "lambda>, given 20 rows of unit=a, returned 1 rows, not one for each"
    with pytest.raises(OperationError, match=message):
        to_pandas(map_groups(table, "unit", lambda rows: rows.head(1), ROWS, history=history))


def test_a_failure_names_the_function_and_the_group(to_engine: ToEngine) -> None:
    """The message of the function has several lines, one of them empty."""
    start = "failing, given 2 rows of unit=b, failed: ValueError: there is no such unit\n  \n  look"
    table = to_engine(SMALL.assign(unit=["a", "b", "b"]))
    with pytest.raises(OperationError) as caught:
        to_pandas(
            map_groups(table, "unit", functions.failing, {"unit": "string", "value": "double"})
        )
    assert str(caught.value).startswith(start)
    assert caught.value.exit_code == 2


def test_a_refusal_keeps_its_exit_status(to_engine: ToEngine) -> None:
    """The plugin's own errors are not wrapped, as they name what they refuse."""
    with pytest.raises(RefusedError, match=r"^3 rows are refused$") as caught:
        to_pandas(map_groups(to_engine(SMALL), "unit", functions.refusing, ROWS))
    assert caught.value.exit_code == 1


def test_an_error_with_exit_status_1_is_a_refusal() -> None:
    class TooManyError(Exception):
        exit_code = 1

    def refuse(_: pd.DataFrame) -> pd.DataFrame:
        raise TooManyError("3 rows")

    with pytest.raises(RefusedError, match=r"refuse, given 3 .*, failed: TooManyError: 3 rows"):
        map_rows(SMALL, refuse, ROWS)


@pytest.mark.spark
def test_an_error_while_writing_a_result_is_as_clear(spark: Any, tmp_path: Any) -> None:
    schema: dict[str, ColumnType] = {"unit": "string", "value": "double"}
    table = map_rows(spark.createDataFrame(SMALL), functions.failing, schema)
    message = r"^failing, given \d rows of a block, failed: "
    with pytest.raises(OperationError, match=message), spark_errors():
        table.write.parquet(str(tmp_path / "table"))


@pytest.mark.spark
def test_other_spark_errors_are_unchanged(spark: Any) -> None:
    with pytest.raises(Exception, match="UNRESOLVED_COLUMN"), spark_errors():
        spark.createDataFrame(SMALL).select("nothing")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"by": "who"},
            "there is no column who; the columns are unit, time, value, number, is_good",
        ),
        ({"by": []}, "by is .*, but needs at least one column"),
        ({"by": "value"}, "by is .*none of type double"),
        ({"by": ["unit", "number", "unit"]}, "unit is named twice: name a column once"),
        ({"most_rows": 0}, "most_rows is 0, but needs to be at least 1"),
        ({"order_by": "when"}, "there is no column when"),
        ({"schema": {}}, "a schema must give each column one of string, double, "),
        ({"schema": {"unit": "text"}}, "a schema must give each column one of string, double, "),
        ({"history": History(order="number", rows=1)}, "number, which is not a datetime column"),
        ({"history": History(order="time"), "order_by": "unit"}, "order_by begins with unit"),
    ],
    ids=[
        *("by", "no key", "double", "twice", "no rows", "order"),
        *("no column", "type", "history", "two orders"),
    ],
)
def test_invalid_arguments_are_refused_before_anything_runs(
    arguments: dict[str, Any], message: str
) -> None:
    valid = {"by": "unit", "function": functions.running_total, "schema": WITH_TOTAL}
    with pytest.raises(OperationError, match=message):
        map_groups(rows(), **valid | arguments)


def test_a_history_refuses_rows_without_a_time(to_engine: ToEngine) -> None:
    table = to_engine(rows().assign(time=rows()["time"].mask(rows().index == 5)))
    history = History(order="time", rows=3)
    result = map_groups(table, "unit", functions.third_before, WITH_TOTAL, order_by="time")
    assert len(to_pandas(result)) == len(rows())
    with pytest.raises(OperationError, match=r"time, which orders the history of unit=.* missing"):
        to_pandas(map_groups(table, "unit", functions.third_before, WITH_TOTAL, history=history))


def test_a_list_is_not_accepted_as_a_table() -> None:
    with pytest.raises(OperationError, match="a table is a pandas or Spark DataFrame, not list"):
        map_rows([1], functions.doubled, WITH_TOTAL)


def test_unsupported_pandas_columns_are_refused() -> None:
    with pytest.raises(OperationError, match=r"{'price': 'decimal'}"):
        map_rows(SMALL.assign(price=Decimal(1)), functions.doubled, WITH_TOTAL)
    with pytest.raises(OperationError, match="columns have the same name: unit, unit"):
        map_rows(SMALL[["unit", "unit"]], functions.doubled, WITH_TOTAL)


@pytest.mark.spark
def test_unsupported_spark_columns_are_refused(spark: Any) -> None:
    table = spark.sql("select 'a' as unit, cast(1 as decimal(9, 2)) as price, array(1) as list")
    with pytest.raises(OperationError, match=r"{'price': 'decimal\(9,2\)', 'list': 'array<int>'}"):
        map_rows(table, functions.doubled, WITH_TOTAL)
    for repeated in ("select 1D as a, 2D as a", "select 1D as a, 2D as A"):
        with pytest.raises(OperationError, match=r"the same name for Spark, .*: a, [aA]: rename"):
            to_pandas(spark.sql(repeated))
    narrow = spark.sql("select cast(1 as float) as value, cast(1 as smallint) as `a b`")
    result = map_rows(narrow, lambda t: t, {"value": "double", "a b": "long"})
    assert to_pandas(result).to_dict("list") == {"value": [1.0], "a b": [1]}
