"""A sample has the same rows on every engine and however they are spread."""

from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from kedro_azure_mlops.engine import sample, to_pandas
from kedro_azure_mlops.errors import OperationError
from tests.plugin.spark.conftest import Give
from tests.plugin.spark.functions import rows

KEY = ["unit", "time", "value", "number", "is_good"]


@pytest.mark.spark
@pytest.mark.parametrize("key", [KEY, ["unit"]], ids=["distinct", "tied"])
def test_spark_chooses_the_rows_that_pandas_chooses(spark: Any, key: list[str]) -> None:
    spread = spark.createDataFrame(rows()).repartition(7)
    wanted = sample(rows(), 100, key, seed=3)
    assert_frame_equal(sample(spread, 100, key, seed=3), wanted, check_exact=True)


def test_a_sample_does_not_depend_on_the_order_of_rows() -> None:
    shuffled = rows().sample(frac=1, random_state=1)
    assert_frame_equal(sample(shuffled, 100, KEY), sample(rows(), 100, KEY), check_exact=True)


def test_another_seed_chooses_others_and_a_larger_sample_holds_the_smaller() -> None:
    few, more, others = (
        {*sample(rows(), n, KEY, seed)["number"]} for n, seed in ((100, 0), (200, 0), (100, 1))
    )
    assert len(few) == len(others) == 100
    assert few < more
    assert len(few & others) < 20  # 3.3 would be usual


def test_groups_are_in_a_sample_by_their_share() -> None:
    share = (sample(rows(), 1_000, KEY)["unit"] == "a").mean()
    assert 0.75 < share < 0.85


def test_a_small_table_is_returned_whole(give: Give) -> None:
    whole = sample(give(rows().head(20)), 20, KEY)
    assert_frame_equal(sample(give(rows().head(20)), 21, KEY), whole)
    assert {*whole["number"]} == {*rows().head(20)["number"]}
    assert len(sample(give(rows().head(0).astype({"is_good": bool})), 5, KEY)) == 0


def test_what_is_equal_has_one_hash() -> None:
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


@pytest.mark.parametrize(
    ("n", "key", "message"),
    [(0, KEY, "at least one row"), (5, [], "needs a key"), (5, "who", "there is no column who")],
)
def test_a_sample_of_nothing_is_refused(n: int, key: Any, message: str) -> None:
    with pytest.raises(OperationError, match=message):
        sample(rows(), n, key)
    assert isinstance(sample(rows(), 1, "unit"), pd.DataFrame)
