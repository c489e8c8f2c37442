"""Times are in UTC, without a zone, whatever zone the session or the machine has."""

from typing import Any

import pandas as pd
import pytest

from kedro_azure_mlops.engine import aggregate, map_rows, to_pandas
from kedro_azure_mlops.errors import OperationError

TIMES = pd.to_datetime(["2024-03-31 00:30", "2024-03-31 02:30", "2024-10-27 00:30", None])
SCHEMA = {"time": "datetime"}


def test_times_with_a_zone_are_converted_to_utc() -> None:
    table = pd.DataFrame({"time": TIMES.tz_localize("UTC").tz_convert("Europe/Berlin")})
    assert to_pandas(table)["time"].equals(pd.Series(TIMES))


@pytest.mark.spark
@pytest.mark.parametrize("kind", ["timestamp", "timestamp_ntz"])
def test_times_survive_a_round_trip(spark: Any, kind: str) -> None:
    """Among them are times that Berlin skips or repeats when its clocks change."""
    table = spark.createDataFrame(pd.DataFrame({"time": TIMES}), f"time {kind}")
    result = map_rows(table, lambda rows: rows, SCHEMA)
    assert result.schema["time"].dataType.simpleString() == "timestamp_ntz"
    assert to_pandas(result)["time"].sort_values(ignore_index=True).equals(pd.Series(TIMES))


@pytest.mark.spark
def test_times_that_pandas_cannot_store_are_reported(spark: Any) -> None:
    table = spark.sql("select 'a' as unit, 1D as value, timestamp_ntz'9999-12-31' as until")
    for result in (table, map_rows(table, lambda rows: rows[["until"]], {"until": "datetime"})):
        with pytest.raises(OperationError, match=r"has .*times? .*pandas cannot store"):
            to_pandas(result)
    total = to_pandas(aggregate(table, "unit", {"value": "sum"}))  # does not need the column
    assert total["value_sum"].tolist() == [1.0]


@pytest.mark.spark
def test_instants_are_refused_if_the_session_has_another_zone(spark: Any) -> None:
    frames = {
        kind: spark.createDataFrame(pd.DataFrame({"time": TIMES}), f"time {kind}")
        for kind in ("timestamp", "timestamp_ntz")
    }
    spark.conf.set("spark.sql.session.timeZone", "Europe/Berlin")
    try:
        with pytest.raises(OperationError, match="the session's time zone is Europe/Berlin"):
            to_pandas(frames["timestamp"])
        assert to_pandas(frames["timestamp_ntz"])["time"].equals(pd.Series(TIMES))
    finally:
        spark.conf.set("spark.sql.session.timeZone", "UTC")
