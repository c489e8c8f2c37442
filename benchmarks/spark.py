"""Compare the engine on pandas and on Spark: the same functions on the same rows, alternately.

    .venv-spark/bin/python benchmarks/spark.py                    # 1,000,000 rows of 100 units
    .venv-spark/bin/python benchmarks/spark.py --rows 10000000 --units 1000 --turns 3
    .venv-spark/bin/python benchmarks/spark.py --share 0.5        # one unit has half of all rows

Needs ``kedro-azure-mlops[spark]``, Java 17 or 21 and Linux. Both engines read the same Parquet
files and write Parquet, and their results are compared bit for bit. A first turn warms up and is
not counted. On small data this shows the overhead of Spark, which pays off when the data does not
fit into one machine. To plan for larger data (docs/how-to/spark-plan.md), it prints per row: the
CPU time of Spark (Java and Python processes); the bytes shuffled and spilled to disk, as counted by
Spark; and the peak memory of a task, for sorting in Java and as a Python process.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.ensemble import IsolationForest

from kedro_azure_mlops.contract import History
from kedro_azure_mlops.engine import aggregate, map_groups, map_rows, sample, spark_session
from kedro_azure_mlops.onnx_trees import Tree, TreeSum, tree_ensemble

SCHEMA = {
    "unit": "string",
    "time": "datetime",
    "value": "double",
    "mean": "double",
    "std": "double",
}
PEAKS = {"unit": "string", "time": "datetime", "value": "double", "peak": "double"}
SCORES = {"unit": "string", "time": "datetime", "score": "double"}
DAY = History(order="time", days=1, rows=1)
FEATURES = ["value", "mean", "std"]


def write_rows(folder: Path, options: argparse.Namespace) -> None:
    """Write the rows of all units, one a minute, in one file per time span, like arriving data.

    The first unit has the given share of all rows.
    """
    random = np.random.default_rng(0)
    rest = (1 - options.share) / (options.units - 1)
    unit = np.sort(
        random.choice(
            options.units, options.rows, p=np.r_[options.share, [rest] * (options.units - 1)]
        )
    )
    minute = np.arange(options.rows) - np.searchsorted(unit, unit)
    order = np.argsort(minute, kind="stable")
    unit, minute = unit[order], minute[order]
    table = pa.table(
        {
            "unit": pa.DictionaryArray.from_arrays(
                unit, [f"unit-{number:06}" for number in range(options.units)]
            ).cast(pa.string()),
            "time": (np.datetime64("2024-01-01") + minute.astype("m8[m]")).astype("M8[us]"),
            "value": random.normal(size=options.rows),
        }
    )
    for number, part in enumerate(np.array_split(np.arange(options.rows), options.files)):
        if len(part):
            pq.write_table(table.slice(part[0], len(part)), folder / f"{number:06}.parquet")


def features(rows: pd.DataFrame) -> pd.DataFrame:
    """Describe each row by the day before it."""
    day = rows["value"].rolling(1_440, min_periods=1)
    return rows.assign(mean=day.mean(), std=day.std())


def peaks(rows: pd.DataFrame) -> pd.DataFrame:
    """Describe each row by its history alone, so that a group may be split."""
    return rows.assign(peak=rows.rolling("1D", on="time")["value"].max().to_numpy())


def forest() -> bytes:
    """Fit 100 trees, as ONNX, that sum the depths of the leaves of a row."""
    model = IsolationForest(random_state=0).fit(np.random.default_rng(0).normal(size=(10_000, 3)))
    trees = []
    for each in model.estimators_:
        tree, depth = each.tree_, each.tree_.compute_node_depths().astype(float)
        parts = (tree.children_left, tree.children_right, tree.feature, tree.threshold)
        trees.append(Tree(*parts, weight=depth))
    return tree_ensemble(trees, len(FEATURES))


class Forest:
    """Scores rows with a stored forest, which each task opens once."""

    def __init__(self, model: bytes) -> None:
        self._model = model
        self._opened: TreeSum | None = None

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        self._opened = self._opened or TreeSum(self._model)
        scores = self._opened(rows[FEATURES].fillna(0.0).to_numpy())
        return rows[["unit", "time"]].assign(score=scores)

    def __getstate__(self) -> dict[str, Any]:
        return {"_model": self._model, "_opened": None}


def tasks(options: argparse.Namespace) -> dict[str, Callable[[Any], Any]]:
    """Return the operations on a table, by name."""
    score = Forest(forest())

    def described(table: Any) -> Any:
        return map_groups(table, "unit", features, SCHEMA, order_by="time")

    return {
        "map_groups": described,
        "map_groups, history": lambda table: map_groups(
            table, "unit", peaks, PEAKS, history=DAY, most_rows=options.most_rows
        ),
        "map_groups, map_rows": lambda table: map_rows(described(table), score, SCORES),
        "aggregate": lambda table: aggregate(
            table, "unit", {"value": ["count", "sum", "mean", "max"]}
        ),
        "sample": lambda table: sample(table, options.sample, ["unit", "time"]),
    }


def run(task: Callable[[Any], Any], read: Callable[[], Any], target: Path) -> float:
    """Read, run a task and write its result; return the seconds taken."""
    shutil.rmtree(target, ignore_errors=True)
    started = time.perf_counter()
    result = task(read())
    if isinstance(result, pd.DataFrame):
        target.mkdir()
        result.to_parquet(target / "all.parquet", index=False)
    else:
        result.write.parquet(str(target))
    return time.perf_counter() - started


def in_order(folder: Path) -> pa.Table:
    table = pq.read_table(folder)
    keys = [name for name in ("unit", "time") if name in table.column_names]
    if "time" in keys:
        position = table.column_names.index("time")
        table = table.set_column(position, "time", table["time"].cast(pa.timestamp("us")))
    return table.sort_by([(key, "ascending") for key in keys]).replace_schema_metadata()


@dataclass
class Cost:
    """The resources that Spark has used since the last call."""

    events: Path
    _read: int = 0
    _cpu: float = 0.0

    def look(self) -> dict[str, float]:
        """Return seconds of CPU, bytes shuffled and spilled, and peak memory of a task in MB."""
        usage = {"shuffled": 0.0, "spilled": 0.0, "sorting": 0.0}
        for metrics in self._tasks():
            usage["shuffled"] += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]
            usage["spilled"] += metrics["Disk Bytes Spilled"]
            usage["sorting"] = max(usage["sorting"], metrics.get("Peak Execution Memory", 0) / 1e6)
        cpu, most = 0.0, 0.0
        for each in (this := psutil.Process(), *this.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, FileNotFoundError):  # idle processes end
                cpu += sum(each.cpu_times()[:4])  # including children that have ended
                if each != this and each.name().startswith("python"):
                    most = max(most, peak_of(each.pid))
        usage["cpu"], self._cpu = cpu - self._cpu, cpu
        return usage | {"worker": most}

    def _tasks(self) -> Iterator[dict[str, Any]]:
        (file,) = (each for each in self.events.iterdir() if not each.name.endswith(".crc"))
        with file.open("rb") as log:
            log.seek(self._read)
            whole, _, _ = log.read().rpartition(b"\n")
        self._read += len(whole) + 1 if whole else 0
        for event in map(json.loads, whole.splitlines()):
            if event["Event"] == "SparkListenerTaskEnd" and "Task Metrics" in event:
                yield event["Task Metrics"]


def peak_of(pid: int) -> float:
    """Return the peak memory of a process since the last call, in MB."""
    status, reset = Path(f"/proc/{pid}/status"), Path(f"/proc/{pid}/clear_refs")
    peak = int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1e3
    reset.write_text("5")
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--units", type=int, default=100)
    parser.add_argument("--share", type=float, help="of all rows, for the first unit")
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--sample", type=int, default=10_000)
    parser.add_argument("--most-rows", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=8, help="partitions of a shuffle")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--master", default=f"local[{os.cpu_count()}]")
    parser.add_argument("--only", nargs="*", help="run only these tasks")
    options = parser.parse_args()
    options.share = options.share or 1 / options.units
    with tempfile.TemporaryDirectory() as folder:
        source, events = Path(folder) / "rows", Path(folder) / "events"
        source.mkdir()
        events.mkdir()
        write_rows(source, options)
        started = time.perf_counter()
        spark = spark_session(
            options.master,
            {
                "spark.driver.memory": "4g",
                "spark.sql.shuffle.partitions": str(options.partitions),
                "spark.eventLog.enabled": "true",
                "spark.eventLog.dir": events.as_uri(),
                "spark.eventLog.compress": "false",
                "spark.eventLog.rolling.enabled": "false",
            },
        )
        print(
            f"{datetime.now():%d %B %Y %H:%M}; {platform.machine()}, {os.cpu_count()} cores, load "
            f"{os.getloadavg()[0]:.1f}; Python {platform.python_version()}, pandas "
            f"{pd.__version__}, Spark {spark.version} in {options.master}, started in "
            f"{time.perf_counter() - started:.1f} s\n"
            f"{options.rows:,} rows of {options.units:,} units, the first with "
            f"{options.share:.0%}, in {options.files:,} files of "
            f"{size_of(source) / options.rows:.1f} bytes a row; a sample of "
            f"{options.sample:,}; medians of {options.turns} turns"
        )
        readers = {
            "pandas": lambda: pd.read_parquet(source),
            "Spark": lambda: spark.read.parquet(str(source)),
        }
        print(
            f"{'':<22}{'pandas s':>9}{'Spark s':>9}{'CPU s':>8}{'rows/CPU s':>12}{'shuffled':>10}"
            f"{'spilled':>9}{'written':>9}{'sorting':>9}{'process':>9}  to the bit"
        )
        cost = Cost(events)
        for name, task in tasks(options).items():
            if options.only and name not in options.only:
                continue
            took: dict[str, list[float]] = {engine: [] for engine in readers}
            costs: list[dict[str, float]] = []
            for _ in range(options.turns + 1):
                for engine, read in readers.items():
                    cost.look()
                    took[engine].append(run(task, read, Path(folder) / engine))
                costs.append(cost.look())
            ours, theirs = (statistics.median(seconds[1:]) for seconds in took.values())
            medians = {key: statistics.median(each[key] for each in costs[1:]) for key in costs[0]}
            same = in_order(Path(folder) / "pandas").equals(in_order(Path(folder) / "Spark"))
            print(
                f"{name:<22}{ours:>9.2f}{theirs:>9.2f}{medians['cpu']:>8.1f}"
                f"{options.rows / medians['cpu']:>12,.0f}"
                f"{medians['shuffled'] / options.rows:>8.1f} B"
                f"{medians['spilled'] / options.rows:>7.1f} B"
                f"{size_of(Path(folder) / 'Spark') / options.rows:>7.1f} B"
                f"{medians['sorting']:>6.0f} MB"
                f"{medians['worker']:>6.0f} MB"
                f"  {'equal' if same else 'DIFFERENT'}",
                flush=True,
            )
        spark.stop()


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.parquet"))


if __name__ == "__main__":
    main()
