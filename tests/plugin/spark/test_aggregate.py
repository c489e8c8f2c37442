"""Aggregates are exact, so every engine returns bit-identical results."""

from fractions import Fraction
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from kedro_azure_mlops.engine import aggregate, exact, to_pandas
from kedro_azure_mlops.engine.rows import Types
from kedro_azure_mlops.errors import OperationError
from tests.plugin.spark.conftest import ToEngine
from tests.plugin.spark.functions import rows

ALL = {
    "value": ["count", "sum", "min", "max", "mean"],
    "number": ["mean", "min"],
    "time": ["min", "max", "count"],
    "is_good": "count",
}
LARGE = 2**62


def collected(frame: Any) -> pd.DataFrame:
    return to_pandas(frame).sort_values("unit", ignore_index=True)


def test_results_equal_exact_arithmetic(to_engine: ToEngine) -> None:
    result = collected(aggregate(to_engine(rows()), "unit", ALL))
    groups = [group for _, group in rows().groupby("unit", dropna=False)]
    values = [[Fraction(v) for v in group["value"].dropna()] for group in groups]
    numbers = [[*map(int, group["number"])] for group in groups]
    expected = pd.DataFrame(
        {
            "unit": ["a", "b", "ü", None],
            "value_count": [len(v) for v in values],
            "value_sum": [float(sum(v)) for v in values],
            "value_min": [group["value"].min() for group in groups],
            "value_max": [group["value"].max() for group in groups],
            "value_mean": [float(sum(v)) / len(v) for v in values],
            "number_mean": [sum(n) / len(n) for n in numbers],
            "number_min": [min(n) for n in numbers],
            "time_min": [group["time"].min() for group in groups],
            "time_max": [group["time"].max() for group in groups],
            "time_count": [len(group) for group in groups],
            "is_good_count": [group["is_good"].notna().sum() for group in groups],
        }
    )
    assert_frame_equal(result, expected, check_exact=True)


@pytest.mark.spark
def test_results_do_not_depend_on_the_number_of_blocks(spark: Any) -> None:
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "64")
    try:
        result = collected(aggregate(spark.createDataFrame(rows()).repartition(5), "unit", ALL))
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
    assert_frame_equal(result, collected(aggregate(rows(), "unit", ALL)), check_exact=True)


def test_missing_and_infinite_values(to_engine: ToEngine) -> None:
    """Spark may put the infinite values into a separate block."""
    table = pd.DataFrame(
        {
            "unit": [
                "none",
                "none",
                "up",
                "up",
                "both",
                "both",
                "both",
                "cancels",
                "cancels",
                "cancels",
            ],
            "value": [np.nan, np.nan, np.inf, 1.0, np.inf, 1.0, -np.inf, 1e16, 1.0, -1e16],
        }
    )
    aggregates = {"value": ["count", "sum", "mean", "min"]}
    result = collected(aggregate(to_engine(table), ["unit"], aggregates)).set_index("unit")
    assert result.loc["none"].tolist()[:2] == [0, 0.0]
    assert result.loc["none"].isna().tolist() == [False, False, True, True]
    assert result.loc["up"].tolist() == [2, np.inf, np.inf, 1.0]
    assert result.loc["both", "value_count"] == 3
    assert result.loc["both"].isna().tolist() == [False, True, True, False]
    assert result.loc["cancels"].tolist() == [3, 1.0, 1 / 3, -1e16]


@pytest.mark.parametrize(
    "values",
    [
        [1e16, 1.0, -1e16],
        [1e308, 1e308, -1e308],
        [np.inf, 1.0, 2.0],
        [np.inf, 1.0, -np.inf],
        [0.0, -0.0, np.nan],
    ],
    ids=["cancels", "large", "infinite", "not a number", "zeros"],
)
def test_blocks_of_one_row_give_the_same_result(values: list[float]) -> None:
    aggregates = {"value": ["count", "sum", "mean", "min", "max"]}
    table = pd.DataFrame({"unit": "a", "value": values})
    types: Types = {"unit": "string", "value": "double"}
    for order in permutations(range(3)):
        blocks = [exact.partials(table.iloc[[row]], ["unit"], aggregates) for row in order]
        result = exact.totals(pd.concat(blocks, ignore_index=True), ["unit"], types, aggregates)
        assert_frame_equal(result, aggregate(table, "unit", aggregates), check_exact=True)
        assert np.signbit(result["value_min"][0]) == (min(values[1:]) < 0)


def test_a_sum_may_overflow_on_the_way_but_not_at_the_end(to_engine: ToEngine) -> None:
    table = pd.DataFrame({"unit": "a", "value": [1e308, 1e308, -1e308, 1e-300]})
    result = to_pandas(aggregate(to_engine(table), "unit", {"value": ["sum", "mean"]}))
    assert result.loc[0, ["value_sum", "value_mean"]].tolist() == [1e308, 2.5e307]
    too_large = to_engine(table.assign(value=1e308))
    assert [*to_pandas(aggregate(too_large, "unit", {"value": "mean"}))["value_mean"]] == [1e308]
    with pytest.raises(OperationError, match="sum of value does not fit into 64 bits: scale"):
        to_pandas(aggregate(too_large, "unit", {"value": "sum"}))


def test_an_integer_sum_that_overflows_is_refused(to_engine: ToEngine) -> None:
    table = pd.DataFrame({"unit": "a", "number": [LARGE, LARGE, -LARGE, LARGE - 1]})
    result = to_pandas(aggregate(to_engine(table), "unit", {"number": ["sum", "mean"]}))
    assert [*result["number_sum"]] == [2**63 - 1]
    assert [*result["number_mean"]] == [(2**63 - 1) / 4]
    too_large = to_engine(table.assign(number=LARGE))
    with pytest.raises(OperationError, match="sum of number does not fit into 64 bits"):
        to_pandas(aggregate(too_large, "unit", {"number": "sum"}))
    assert [*to_pandas(aggregate(too_large, "unit", {"number": "mean"}))["number_mean"]] == [LARGE]


def test_an_empty_table_has_no_groups(to_engine: ToEngine) -> None:
    table = to_engine(rows().head(0).astype({"is_good": bool}))
    result = to_pandas(aggregate(table, "unit", ALL))
    assert len(result) == 0
    assert result.dtypes[["value_sum", "value_count"]].tolist() == [np.float64, np.int64]


def test_a_key_may_have_the_name_of_a_partial_result(to_engine: ToEngine) -> None:
    """The maximum needs a count of values, which is not the column of that name."""
    table = pd.DataFrame({"value": [1.0, 2.0, 3.0, 4.0], "value_count": [7, 7, 8, 8]})
    result = to_pandas(aggregate(to_engine(table), "value_count", {"value": ["max", "mean"]}))
    result = result.sort_values("value_count")
    assert result.to_numpy().tolist() == [[7, 2.0, 1.5], [8, 4.0, 3.5]]
    dotted = to_engine(table.rename(columns={"value": "value.c", "value_count": "unit.name"}))
    assert len(to_pandas(aggregate(dotted, "unit.name", {"value.c": "max"}))) == 2
    with pytest.raises(OperationError, match="the count of value would be named value_count like"):
        aggregate(to_engine(table), "value_count", {"value": "count"})


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ({"value": "median"}, "median is not supported for value, which is double: use count of "),
        ({"unit": "mean"}, "mean is not supported for unit, which is string"),
        ({"who": "count"}, "there is no column who"),
    ],
)
def test_unknown_aggregates_and_columns_are_refused(
    functions: dict[str, str], message: str
) -> None:
    with pytest.raises(OperationError, match=message):
        aggregate(rows(), "unit", functions)
    assert len(aggregate(rows(), "unit", {"unit": "count"})) == 4
