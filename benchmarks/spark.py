"""The engine on pandas and on Spark, side by side: the same functions, the same rows, in turns.

    python benchmarks/spark.py                                    # 1,000,000 rows of 50 units
    python benchmarks/spark.py --rows 10000000 --units 500 --turns 3 --master 'local[8]'

Needs ``kedro-azure-mlops[spark]`` and Java 17 or 21. Both engines read the same Parquet files, and
what they return is compared to the bit. A first turn warms up and is not counted. On small data
this shows what Spark costs: it pays where the data does not fit into one machine.
"""

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kedro_azure_mlops.engine import (
    aggregate,
    map_groups,
    map_rows,
    sample,
    spark_session,
    to_pandas,
)

SCHEMA = {
    "unit": "string",
    "time": "datetime",
    "value": "double",
    "mean": "double",
    "std": "double",
}


def write_rows(folder: Path, rows: int, units: int) -> None:
    """Write rows of units, one of them with a fifth of all, a row a minute."""
    random = np.random.default_rng(0)
    shares = np.r_[0.2, np.full(units - 1, 0.8 / (units - 1))]
    unit = np.sort(random.choice(units, rows, p=shares))
    minute = np.arange(rows) - np.searchsorted(unit, unit)
    table = pd.DataFrame(
        {
            "unit": [f"unit-{number:04}" for number in unit],
            "time": (np.datetime64("2024-01-01") + minute.astype("m8[m]")).astype("M8[us]"),
            "value": random.normal(size=rows).cumsum(),
        }
    )
    for number, part in enumerate(np.array_split(np.arange(rows), 8)):
        table.iloc[part].to_parquet(folder / f"{number}.parquet", index=False)


def features(rows: pd.DataFrame) -> pd.DataFrame:
    """Describe each row by the day before it."""
    day = rows["value"].rolling(1_440, min_periods=1)
    return rows.assign(mean=day.mean(), std=day.std())


def score(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(value=((rows["value"] - rows["mean"]) / rows["std"]).abs())


TASKS: dict[str, Callable[[Any], Any]] = {
    "map_groups": lambda table: map_groups(table, "unit", features, SCHEMA, order_by="time"),
    "map_groups, map_rows": lambda table: map_rows(
        map_groups(table, "unit", features, SCHEMA, order_by="time"), score, SCHEMA
    ),
    "aggregate": lambda table: aggregate(table, "unit", {"value": ["count", "sum", "mean", "max"]}),
    "sample of 10,000": lambda table: sample(table, 10_000, ["unit", "time"]),
}


def run(name: str, read: Callable[[], Any], target: Path) -> float:
    """Read, do a task, write what it returns; seconds."""
    shutil.rmtree(target, ignore_errors=True)
    started = time.perf_counter()
    result = TASKS[name](read())
    if isinstance(result, pd.DataFrame):
        target.mkdir()
        result.to_parquet(target / "all.parquet", index=False)
    else:
        result.write.parquet(str(target))
    return time.perf_counter() - started


def in_order(folder: Path) -> pd.DataFrame:
    table = to_pandas(pd.read_parquet(folder))
    return table.sort_values([*table.columns], ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--units", type=int, default=50)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--master", default=f"local[{os.cpu_count()}]")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "rows"
        source.mkdir()
        write_rows(source, asked.rows, asked.units)
        started = time.perf_counter()
        spark = spark_session(asked.master, {"spark.driver.memory": "4g"})
        print(
            f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python "
            f"{platform.python_version()}, pandas {pd.__version__}, Spark {spark.version} in "
            f"{asked.master}, started in {time.perf_counter() - started:.1f} s; "
            f"{asked.rows:,} rows of {asked.units} units; medians of {asked.turns} turns in seconds"
        )
        readers = {
            "pandas": lambda: pd.read_parquet(source),
            "Spark": lambda: spark.read.parquet(str(source)),
        }
        print(f"{'':<22}{'pandas':>8}{'Spark':>8}{'Spark / pandas':>16}  to the bit")
        for name in TASKS:
            took: dict[str, list[float]] = {engine: [] for engine in readers}
            for _ in range(asked.turns + 1):
                for engine, read in readers.items():
                    took[engine].append(run(name, read, Path(place) / engine))
            ours, theirs = (statistics.median(seconds[1:]) for seconds in took.values())
            same = in_order(Path(place) / "pandas").equals(in_order(Path(place) / "Spark"))
            shown = "equal" if same else "DIFFERENT"
            print(
                f"{name:<22}{ours:>8.2f}{theirs:>8.2f}{theirs / ours:>16.1f}  {shown}", flush=True
            )
        spark.stop()


if __name__ == "__main__":
    main()
