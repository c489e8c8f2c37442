"""A function of a group's rows is given the same on both engines, and its promises are kept."""

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
from tests.plugin.spark.conftest import Give
from tests.plugin.spark.functions import ROWS, WITH_TOTAL, rows

HISTORIES = {
    functions.hour_before_third: History(order="time", days=1 / 24, rows=3),
    functions.hour_before: History(order="time", days=1 / 24),
    functions.third_before: History(order="time", rows=3),
}
SMALL = pd.DataFrame({"unit": ["a", "b", "a"], "value": [1.0, 2.0, 4.0]})


NAN = np.nan
KEPT: dict[str, tuple[Any, ColumnType]] = {
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
BROKEN: list[tuple[Any, ColumnType, str]] = [
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
    """Return a result in an order that only its values determine."""
    table = to_pandas(frame)
    return table.sort_values([*table.columns], ignore_index=True)


def plain(function: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """Return what pandas alone makes of the groups, one after another."""
    table = to_pandas(rows()).sort_values(["time", *ROWS], kind="stable")
    groups = table.groupby("unit", dropna=False)
    return collected(pd.concat([function(group.reset_index(drop=True)) for _, group in groups]))


def test_a_group_is_given_in_order_whatever_the_order_of_the_table(give: Give) -> None:
    """The total depends on the order, to the bit; rows of equal times have one order too."""
    table = give(rows().sample(frac=1, random_state=1))
    result = map_groups(table, "unit", functions.running_total, WITH_TOTAL, order_by="time")
    assert_frame_equal(collected(result), plain(functions.running_total), check_exact=True)


@pytest.mark.parametrize("function", HISTORIES, ids=lambda function: function.__name__)
def test_a_large_group_is_split_by_time_and_no_bit_changes(
    give: Give, function: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    result = map_groups(
        give(rows()), "unit", function, WITH_TOTAL, history=HISTORIES[function], most_rows=200
    )
    assert_frame_equal(collected(result), plain(function), check_exact=True)


@pytest.mark.spark
def test_parts_are_found_however_unevenly_rows_lie_in_time(spark: Any) -> None:
    """A few come years before and after: most parts share the same small share of the time."""
    table = rows().copy()
    for first, years in ((0, -3), (1, 3)):
        table.loc[first::100, "time"] += pd.Timedelta(days=365 * years)
    function, history = functions.hour_before_third, HISTORIES[functions.hour_before_third]
    one, other = (
        map_groups(given, "unit", function, WITH_TOTAL, history=history, most_rows=100)
        for given in (table, spark.createDataFrame(table))
    )
    assert_frame_equal(collected(one), collected(other), check_exact=True)


@pytest.mark.spark
def test_a_part_of_a_split_group_is_small(spark: Any) -> None:
    """As many rows as asked for, those of one time more, and the history."""
    schema = {"unit": "string", "given": "long"}
    history = History(order="time", rows=10)
    table = spark.createDataFrame(rows())
    result = map_groups(
        table, "unit", functions.count_given, schema, history=history, most_rows=200
    )
    found = to_pandas(result)
    assert len(found) == len(rows())
    assert 200 <= found["given"].max() < 250


def test_rows_of_a_group_are_the_order_of_the_keys_on_pandas() -> None:
    result = map_groups(rows(), "unit", functions.count_given, {"unit": "string", "given": "long"})
    assert [*result["unit"].drop_duplicates()] == ["a", "b", "ü", None]


def test_missing_keys_are_a_group(give: Give) -> None:
    """Keys of each type but fractional numbers; the second row has none but its number."""
    day = pd.Timestamp("2024-01-01")
    keys = {"text": ["a", None, "a"], "number": [1, 1, 1], "is_good": [True, None, True]}
    table = give(pd.DataFrame(keys | {"time": [day, None, day], "value": [1.0, 2.0, 4.0]}))
    result = map_groups(table, [*keys, "time"], sum_values, {"value": "double"})
    assert [*collected(result)["value"]] == [2.0, 5.0]


def test_a_table_without_rows_has_a_result_without_rows(give: Give) -> None:
    table = give(rows().head(0).astype({"is_good": bool}))
    for result in (
        map_groups(table, "unit", functions.running_total, WITH_TOTAL, order_by="time"),
        map_rows(table, functions.doubled, WITH_TOTAL),
    ):
        found = to_pandas(result)
        assert [*found.columns] == [*WITH_TOTAL]
        assert found["total"].dtype == "float64"
        assert not len(found)


def test_a_group_may_come_to_nothing(give: Give) -> None:
    def only_a(table: pd.DataFrame) -> pd.DataFrame:
        return table[table["unit"] == "a"][["unit"]]

    assert [*collected(map_groups(give(SMALL), "unit", only_a, {"unit": "string"}))["unit"]] == [
        "a"
    ] * 2


def test_what_loses_nothing_keeps_a_promise(give: Give) -> None:
    """Narrow numbers, the nullable types of pandas, columns that are all missing, any order."""

    def function(_: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({name: column for name, (column, _) in KEPT.items()})[[*KEPT][::-1]]

    table = give(pd.DataFrame({"unit": ["a"]}))
    found = to_pandas(
        map_groups(table, "unit", function, {n: kind for n, (_, kind) in KEPT.items()})
    )
    assert [*found.columns] == [*KEPT]
    for name, (column, _) in KEPT.items():
        values = pd.Series(column).astype(object)
        assert [*found[name].isna()] == [*values.isna()]
        assert [*found[name].dropna()] == [*values.dropna()]


@pytest.mark.parametrize(("column", "promised", "message"), BROKEN)
def test_what_an_engine_would_change_breaks_a_promise(
    column: Any, promised: ColumnType, message: str
) -> None:
    schema: dict[str, ColumnType] = {"unit": "string", "new": promised}
    with pytest.raises(OperationError, match=f"given 3 rows of a block, returned .*{message}"):
        map_rows(SMALL, lambda table: with_new(table, column), schema)


@pytest.mark.spark
@pytest.mark.parametrize(("column", "promised", "message"), BROKEN[:2])
def test_what_spark_itself_would_change_in_silence_breaks_a_promise(
    spark: Any, column: Any, promised: ColumnType, message: str
) -> None:
    schema: dict[str, ColumnType] = {"unit": "string", "new": promised}
    table = spark.createDataFrame(SMALL.assign(unit="a"))
    with pytest.raises(OperationError, match=f"given 3 rows of unit=a, returned .*{message}"):
        to_pandas(map_groups(table, "unit", lambda rows: with_new(rows, column), schema))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda table: table["unit"], "Series, not a DataFrame"),
        (lambda table: table, "the columns unit, value, not unit"),
        (lambda table: table[[]], "the columns , not unit"),
    ],
    ids=["series", "more", "none"],
)
def test_other_columns_break_a_promise(
    function: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    with pytest.raises(
        OperationError, match=f"lambda>, given 3 rows of a block, returned {message}"
    ):
        map_rows(SMALL, function, {"unit": "string"})


def test_rows_with_a_history_are_returned_one_for_one(give: Give) -> None:
    table = give(rows().assign(unit="a").head(20))
    history = History(order="time", rows=1)
    message = "lambda>, given 20 rows of unit=a, returned 1 rows, not one for each"
    with pytest.raises(OperationError, match=message):
        to_pandas(map_groups(table, "unit", lambda rows: rows.head(1), ROWS, history=history))


def test_a_failure_names_the_function_and_the_group(give: Give) -> None:
    """The message has lines of its own, an empty one among them."""
    result = (
        "failing, given 2 rows of unit=b, failed: ValueError: there is no such unit\n  \n  look"
    )
    table = give(SMALL.assign(unit=["a", "b", "b"]))
    with pytest.raises(OperationError) as caught:
        to_pandas(
            map_groups(table, "unit", functions.failing, {"unit": "string", "value": "double"})
        )
    assert str(caught.value).startswith(result)
    assert caught.value.exit_code == 2


def test_a_refusal_keeps_its_exit_status(give: Give) -> None:
    with pytest.raises(RefusedError, match=r"refusing, given .* 3 rows are refused") as caught:
        to_pandas(map_groups(give(SMALL), "unit", functions.refusing, ROWS))
    assert caught.value.exit_code == 1


@pytest.mark.spark
def test_an_error_is_as_clear_where_a_result_is_written(spark: Any, tmp_path: Any) -> None:
    schema: dict[str, ColumnType] = {"unit": "string", "value": "double"}
    table = map_rows(spark.createDataFrame(SMALL), functions.failing, schema)
    message = r"^failing, given \d rows of a block, failed: "
    with pytest.raises(OperationError, match=message), spark_errors():
        table.write.parquet(str(tmp_path / "table"))


@pytest.mark.spark
def test_other_errors_of_spark_stay_as_they_are(spark: Any) -> None:
    with pytest.raises(Exception, match="UNRESOLVED_COLUMN"), spark_errors():
        spark.createDataFrame(SMALL).select("nothing")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "who"}, "there is no column who; there are unit, time, value, number, is_good"),
        ({"by": []}, "by names .*: at least one column"),
        ({"by": "value"}, "by names .*none of type double"),
        ({"order_by": "when"}, "there is no column when"),
        ({"schema": {}}, "a schema gives each column one of string, double, "),
        ({"schema": {"unit": "text"}}, "a schema gives each column one of string, double, "),
        ({"history": History(order="number", rows=1)}, "number, which is not a datetime column"),
        ({"history": History(order="time"), "order_by": "unit"}, "order_by begins with unit"),
    ],
    ids=["by", "no key", "double", "order", "no column", "type", "history", "two orders"],
)
def test_what_cannot_be_meant_is_refused_before_anything_runs(
    arguments: dict[str, Any], message: str
) -> None:
    usual = {"by": "unit", "function": functions.running_total, "schema": WITH_TOTAL}
    with pytest.raises(OperationError, match=message):
        map_groups(rows(), **usual | arguments)


def test_rows_without_a_time_have_no_place_in_a_history(give: Give) -> None:
    table = give(rows().assign(time=rows()["time"].mask(rows().index == 5)))
    history = History(order="time", rows=3)
    result = map_groups(table, "unit", functions.third_before, WITH_TOTAL, order_by="time")
    assert len(to_pandas(result)) == len(rows())
    with pytest.raises(OperationError, match=r"time, which orders the history of unit=.* missing"):
        to_pandas(map_groups(table, "unit", functions.third_before, WITH_TOTAL, history=history))


def test_no_other_table_is_taken() -> None:
    with pytest.raises(OperationError, match="a table is a pandas or Spark DataFrame, not list"):
        map_rows([1], functions.doubled, WITH_TOTAL)


def test_pandas_columns_of_other_types_are_refused() -> None:
    with pytest.raises(OperationError, match=r"{'price': 'decimal'}"):
        map_rows(SMALL.assign(price=Decimal(1)), functions.doubled, WITH_TOTAL)
    with pytest.raises(OperationError, match="columns have the same name: unit, unit"):
        map_rows(SMALL[["unit", "unit"]], functions.doubled, WITH_TOTAL)


@pytest.mark.spark
def test_spark_columns_of_other_types_are_refused(spark: Any) -> None:
    table = spark.sql("select 'a' as unit, cast(1 as decimal(9, 2)) as price, array(1) as list")
    with pytest.raises(OperationError, match=r"{'price': 'decimal\(9,2\)', 'list': 'array<int>'}"):
        map_rows(table, functions.doubled, WITH_TOTAL)
    narrow = spark.sql("select cast(1 as float) as value, cast(1 as smallint) as `a b`")
    found = map_rows(narrow, lambda t: t, {"value": "double", "a b": "long"})
    assert to_pandas(found).to_dict("list") == {"value": [1.0], "a b": [1]}
