"""Functions without Spark, and the rows that tests pass to them."""

import functools

import numpy as np
import pandas as pd

from kedro_azure_mlops.contract import ColumnType
from kedro_azure_mlops.errors import RefusedError

ROWS: dict[str, ColumnType] = {
    "unit": "string",
    "time": "datetime",
    "value": "double",
    "number": "long",
    "is_good": "boolean",
}
WITH_TOTAL: dict[str, ColumnType] = ROWS | {"total": "double"}


@functools.cache
def rows(n: int = 3_000) -> pd.DataFrame:
    """Return uneven groups, one unnamed, with ties in time, missing values and huge numbers."""
    random = np.random.default_rng(0)
    minutes = pd.to_timedelta(random.integers(0, n, n), "min")
    table = pd.DataFrame(
        {
            "unit": random.choice(["a", "b", "ü", None], n, p=[0.8, 0.1, 0.05, 0.05]),
            "time": pd.Timestamp("2024-03-30 23:30") + minutes,  # clocks change in Europe
            "value": random.normal(size=n) * 10.0 ** random.integers(-8, 16, n),
            "number": random.integers(-(2**62), 2**62, n),
            "is_good": random.choice([True, False, None], n),
        }
    )
    table.loc[::37, "value"] = np.nan
    return table


def running_total(table: pd.DataFrame) -> pd.DataFrame:
    """Return a total whose last bit depends on the order of rows."""
    return table.assign(total=table["value"].fillna(0.0).cumsum())


def hour_before(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(total=table.rolling("60min", on="time")["value"].max().to_numpy())


def third_before(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(total=table["value"].shift(3))


def hour_before_third(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(total=hour_before(table)["total"].shift(3))


def doubled(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(total=table["value"] * 2)


def failing(table: pd.DataFrame) -> pd.DataFrame:
    if (table["unit"] == "b").any():
        raise ValueError("there is no such unit\n\nlook at the list")
    return table


def refusing(table: pd.DataFrame) -> pd.DataFrame:
    raise RefusedError("3 rows are refused")


def count_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the number of rows in the call, on each row."""
    return table[["unit"]].assign(given=len(table))
