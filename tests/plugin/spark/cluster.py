"""What a cluster of two executors does that one process cannot; prints what it found as JSON.

Run in a process of its own: ``local-cluster[2,1,1024]`` has executors with Java of their own.
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


def kill_executor_once(mark: Path) -> None:
    """End the Java process that has started this worker, once for all of them."""
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return
    pid = os.getppid()
    while "java" not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode():
        pid = parent_of(pid)
    os.kill(pid, signal.SIGKILL)


def is_equal(found: object, wanted: pd.DataFrame) -> bool:
    """Compare to the bit, in an order that only values determine."""
    tables = [to_pandas(table) for table in (found, wanted)]
    ours, theirs = (table.sort_values([*table.columns], ignore_index=True) for table in tables)
    return ours.equals(theirs)


def main(folder: Path) -> None:
    of_executors = {"spark.executor.memory": "512m", "spark.executor.extraJavaOptions": JAVA}
    failures = {"spark.task.maxFailures": "2"}  # one is the executor's
    spark = spark_session("local-cluster[2,1,1024]", SETTINGS | of_executors | failures)
    table = spark.createDataFrame(rows()).repartition(2)
    mark = folder / "killed"

    def dying(group: pd.DataFrame) -> pd.DataFrame:
        if (group["unit"] == "b").any():
            kill_executor_once(mark)
        return functions.hour_before_third(group)

    arguments: dict[str, Any] = {"by": "unit", "schema": WITH_TOTAL, "history": HISTORY}
    found = {
        "is_equal": is_equal(
            map_groups(table, function=dying, most_rows=200, **arguments),
            map_groups(rows(), function=functions.hour_before_third, **arguments),
        ),
        "was_killed": mark.exists(),
        "is_same_sample": sample(table, 100, KEY).equals(sample(rows(), 100, KEY)),
        "error": "",
    }
    try:
        to_pandas(map_groups(table, "unit", functions.failing, functions.ROWS))
    except OperationError as error:
        found["error"] = str(error)
    print(json.dumps(found))
    spark.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
