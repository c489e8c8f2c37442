"""A sample has the same rows on every engine and for any partitioning."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from kedro_azure_mlops.engine import sample, to_pandas
from kedro_azure_mlops.errors import OperationError
from tests.plugin.spark.conftest import ToEngine
from tests.plugin.spark.functions import rows

KEY = ["unit", "time", "value", "number", "is_good"]


@pytest.mark.spark
@pytest.mark.parametrize("key", [KEY, ["unit"]], ids=["distinct", "tied"])
def test_spark_and_pandas_choose_the_same_rows(spark: Any, key: list[str]) -> None:
    partitioned = spark.createDataFrame(rows()).repartition(7)
    expected = sample(rows(), 100, key, seed=3)
    assert_frame_equal(sample(partitioned, 100, key, seed=3), expected, check_exact=True)


def test_a_sample_does_not_depend_on_the_order_of_rows() -> None:
    shuffled = rows().sample(frac=1, random_state=1)
    assert_frame_equal(sample(shuffled, 100, KEY), sample(rows(), 100, KEY), check_exact=True)


def test_a_seed_changes_the_rows_and_a_larger_sample_contains_the_smaller() -> None:
    few, more, others = (
        {*sample(rows(), n, KEY, seed)["number"]} for n, seed in ((100, 0), (200, 0), (100, 1))
    )
    assert len(few) == len(others) == 100
    assert few < more
    assert len(few & others) < 20  # 3.3 are expected


def test_a_sample_keeps_the_shares_of_groups() -> None:
    share = (sample(rows(), 1_000, KEY)["unit"] == "a").mean()
    assert 0.75 < share < 0.85


def test_a_small_table_is_returned_whole(to_engine: ToEngine) -> None:
    whole = sample(to_engine(rows().head(20)), 20, KEY)
    assert_frame_equal(sample(to_engine(rows().head(20)), 21, KEY), whole)
    assert {*whole["number"]} == {*rows().head(20)["number"]}
    assert len(sample(to_engine(rows().head(0).astype({"is_good": bool})), 5, KEY)) == 0


def test_equal_values_have_equal_hashes() -> None:
    """0.0 and -0.0, and the same times in other units and zones."""
    table = to_pandas(rows())
    other = table.assign(
        value=table["value"].where(table["value"] > 0, -0.0),
        time=table["time"]
        .astype("datetime64[us]")
        .dt.tz_localize("UTC")
        .dt.tz_convert("Asia/Tokyo"),
    )
    table["value"] = table["value"].where(table["value"] > 0, 0.0)
    assert_frame_equal(sample(other, 50, ["time", "value"]), sample(table, 50, ["time", "value"]))


def test_hashes_are_those_of_earlier_versions() -> None:
    chosen = sample(rows(), 4, ["unit", "time", "value", "number"])
    assert sorted(chosen["number"] % 10_000) == [923, 3661, 6403, 6679]
    plain = rows().assign(is_good=rows()["number"] > 0)
    assert sorted(sample(plain, 4, KEY)["number"] % 10_000) == [3731, 7772, 9193, 9943]


@pytest.mark.spark
def test_missing_booleans_and_computed_nans_have_one_hash(spark: Any) -> None:
    """Spark hashes blocks, some of which have no missing boolean; a computed NaN has a sign."""
    table = rows(300).assign(is_good=[None, *([True, False] * 150)[1:]])
    table["value"] = table["value"].to_numpy() * np.where(table["value"].isna(), -1.0, 1.0)
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "64")
    try:
        partitioned = spark.createDataFrame(table)
        for key in (["is_good", "number"], ["value", "number"]):
            expected = sample(table, 40, key)
            assert_frame_equal(sample(partitioned, 40, key), expected, check_exact=True)
    finally:
        spark.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")


@pytest.mark.parametrize(
    ("n", "key", "message"),
    [
        (0, KEY, "at least one row"),
        (5, [], "needs a key"),
        (5, "who", "there is no column who"),
        (5, ["unit", "unit"], "unit is named twice"),
    ],
)
def test_invalid_sizes_and_keys_are_refused(n: int, key: Any, message: str) -> None:
    with pytest.raises(OperationError, match=message):
        sample(rows(), n, key)
    assert isinstance(sample(rows(), 1, "unit"), pd.DataFrame)
