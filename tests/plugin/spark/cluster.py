"""Check on two executors what one process cannot check, and print the results as JSON.

Run as a separate process: each executor of ``local-cluster[2,1,1024]`` has its own JVM.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from kedro_azure_mlops.contract import History
from kedro_azure_mlops.engine import map_groups, sample, spark_session, to_pandas
from kedro_azure_mlops.errors import OperationError
from tests.plugin.spark import functions
from tests.plugin.spark.conftest import JAVA, SETTINGS
from tests.plugin.spark.functions import WITH_TOTAL, rows

KEY = ["unit", "time", "value", "number"]
HISTORY = History(order="time", days=1 / 24, rows=3)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def kill_executor_once(marker: Path) -> None:
    """Kill the JVM that started this worker, on the first call of all workers only."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    pid = os.getppid()
    while "java" not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode():
        pid = parent_of(pid)
    os.kill(pid, signal.SIGKILL)


def is_equal(result: object, expected: pd.DataFrame) -> bool:
    """Compare bit by bit, after sorting by all columns."""
    tables = [to_pandas(table) for table in (result, expected)]
    ours, theirs = (table.sort_values([*table.columns], ignore_index=True) for table in tables)
    return ours.equals(theirs)


def main(folder: Path) -> None:
    executor_settings = {"spark.executor.memory": "512m", "spark.executor.extraJavaOptions": JAVA}
    failure_settings = {"spark.task.maxFailures": "2"}  # the lost executor causes one
    spark = spark_session(
        "local-cluster[2,1,1024]", SETTINGS | executor_settings | failure_settings
    )
    table = spark.createDataFrame(rows()).repartition(2)
    marker = folder / "killed"

    def killing_executor(group: pd.DataFrame) -> pd.DataFrame:
        if (group["unit"] == "b").any():
            kill_executor_once(marker)
        return functions.hour_before_third(group)

    arguments: dict[str, Any] = {"by": "unit", "schema": WITH_TOTAL, "history": HISTORY}
    results = {
        "is_equal": is_equal(
            map_groups(table, function=killing_executor, most_rows=200, **arguments),
            map_groups(rows(), function=functions.hour_before_third, **arguments),
        ),
        "was_killed": marker.exists(),
        "is_same_sample": sample(table, 100, KEY).equals(sample(rows(), 100, KEY)),
        "error": "",
    }
    try:
        to_pandas(map_groups(table, "unit", functions.failing, functions.ROWS))
    except OperationError as error:
        results["error"] = str(error)
    print(json.dumps(results))
    spark.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
