"""Fixtures: one Spark session for all tests, and tables on both engines."""

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pandas as pd
import pytest

from kedro_azure_mlops.engine import spark_session
from kedro_azure_mlops.engine.on_pandas import types_of
from kedro_azure_mlops.errors import OperationError

SPARK_TYPES = {
    **{"string": "string", "double": "double", "long": "bigint"},
    **{"boolean": "boolean", "datetime": "timestamp_ntz"},
}
# Short runs end before Java's second compiler or more partitions pay off.
JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
SETTINGS = {"spark.sql.shuffle.partitions": "2", "spark.driver.extraJavaOptions": JAVA}
ToEngine = Callable[[pd.DataFrame], Any]


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """A session on ``local[2]``; tests are skipped without pyspark or a supported Java.

    If ``REQUIRE_SPARK`` is set and pyspark is installed, they fail without a supported Java.
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
def to_engine(request: pytest.FixtureRequest) -> ToEngine:
    """Return a function that turns rows into a table of each engine."""
    if request.param == "pandas":
        return lambda frame: frame
    session = request.getfixturevalue("spark")

    def on_spark(frame: pd.DataFrame) -> Any:
        types = {name: SPARK_TYPES[kind] for name, kind in types_of(frame).items()}
        return session.createDataFrame(
            frame, ", ".join(f"`{n}` {kind}" for n, kind in types.items())
        )

    return on_spark


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a process without a Spark session."""
    for name in ("SPARK_MASTER", "JAVA_HOME", "PYSPARK_GATEWAY_PORT", "DATABRICKS_RUNTIME_VERSION"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch
