"""Fixtures: one Spark session for all tests, and tables that are given on both engines."""

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pandas as pd
import pytest

from kedro_azure_mlops.engine import spark_session
from kedro_azure_mlops.engine.on_pandas import types_of
from kedro_azure_mlops.errors import OperationError

KINDS = {
    **{"string": "string", "double": "double", "long": "bigint"},
    **{"boolean": "boolean", "datetime": "timestamp_ntz"},
}
# A short run is over before the second compiler of Java and further partitions pay.
JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
SETTINGS = {"spark.sql.shuffle.partitions": "2", "spark.driver.extraJavaOptions": JAVA}
Give = Callable[[pd.DataFrame], Any]


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """A session in ``local[2]``; tests are skipped where there is no pyspark or no fit Java.

    With the variable ``REQUIRE_SPARK`` they fail where pyspark is and the Java is not.
    """
    try:
        session = spark_session("local[2]", SETTINGS)
    except OperationError as error:
        if "REQUIRE_SPARK" in os.environ and find_spec("pyspark"):
            raise
        pytest.skip(str(error))
    yield session
    session.stop()


@pytest.fixture(params=["pandas", pytest.param("spark", marks=pytest.mark.spark)])
def give(request: pytest.FixtureRequest) -> Give:
    """Make a table of each engine of the same rows."""
    if request.param == "pandas":
        return lambda frame: frame
    session = request.getfixturevalue("spark")

    def on_spark(frame: pd.DataFrame) -> Any:
        kinds = {name: KINDS[kind] for name, kind in types_of(frame).items()}
        return session.createDataFrame(
            frame, ", ".join(f"`{n}` {kind}" for n, kind in kinds.items())
        )

    return on_spark


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a process that has no session yet."""
    for name in ("SPARK_MASTER", "JAVA_HOME", "PYSPARK_GATEWAY_PORT", "DATABRICKS_RUNTIME_VERSION"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch
