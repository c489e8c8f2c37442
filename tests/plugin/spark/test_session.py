"""A session without pyspark, a supported Java or a master is refused with advice."""

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from kedro_azure_mlops.engine import map_rows, send_packages, spark_session, to_pandas
from kedro_azure_mlops.errors import OperationError

ADVICE = "apt-get install openjdk-17-jre-headless"
needs_pyspark = pytest.mark.spark


@pytest.fixture
def absent_master(shell: pytest.MonkeyPatch) -> str:
    """The address of a master that does not answer, in a process without a session."""
    pytest.importorskip("pyspark", reason="pip install 'kedro-azure-mlops[spark]'")
    shell.setattr("pyspark.sql.SparkSession.getActiveSession", lambda: None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"spark://127.0.0.1:{free.getsockname()[1]}"


def write_java(folder: Path, line: str) -> Path:
    """Write a fake ``java`` that prints this line about its version, to stderr like Java."""
    program = folder / "bin" / "java"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{line}' >&2\n")
    program.chmod(0o755)
    return folder


def test_without_pyspark_the_error_names_the_extra(shell: pytest.MonkeyPatch) -> None:
    shell.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(OperationError, match=r"pip install 'kedro-azure-mlops\[spark\]'"):
        spark_session()


@pytest.mark.spark
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('openjdk version "11.0.22" 2024-01-16', "java is Java 11"),
        ('java version "1.8.0_392"', "java is Java 8"),
        ('openjdk version "25" 2025-09-16', "java is Java 25"),
        ("no Java runtime present", "java is not a Java that reports its version"),
    ],
)
def test_an_unsupported_java_is_refused(
    absent_master: str, shell: pytest.MonkeyPatch, tmp_path: Path, line: str, message: str
) -> None:
    shell.setenv("JAVA_HOME", str(write_java(tmp_path, line)))
    with pytest.raises(OperationError, match=f"Java 17 or 21, .*{message}: .*{ADVICE}"):
        spark_session(absent_master)


@pytest.mark.spark
@pytest.mark.parametrize("line", ['openjdk version "17.0.15" 2025-04-15', 'java version "21" LTS'])
def test_a_supported_java_is_accepted_and_an_absent_master_is_refused(
    absent_master: str, shell: pytest.MonkeyPatch, tmp_path: Path, line: str
) -> None:
    shell.setenv("JAVA_HOME", str(write_java(tmp_path, line)))
    with pytest.raises(
        OperationError, match=f"no Spark master answers at {absent_master} .*SPARK_MASTER"
    ):
        spark_session(absent_master)


@pytest.mark.spark
def test_a_missing_java_is_refused(
    absent_master: str, shell: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shell.setenv("PATH", str(tmp_path))
    with pytest.raises(OperationError, match=f"there is none on PATH: .*{ADVICE}"):
        spark_session(absent_master)
    shell.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(OperationError, match=f"JAVA_HOME names {tmp_path}, which has none"):
        spark_session(absent_master)


@pytest.mark.spark
def test_an_open_session_is_reused(spark: Any) -> None:
    spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    assert spark_session("spark://127.0.0.1:1") is spark
    assert spark.conf.get("spark.sql.session.timeZone") == "UTC"


@pytest.mark.spark
def test_a_local_session_listens_on_loopback_only_and_runs_this_python(spark: Any) -> None:
    assert spark.conf.get("spark.driver.host") == "127.0.0.1"
    assert spark.sparkContext.uiWebUrl is None
    assert os.environ["PYSPARK_PYTHON"] == sys.executable
    result = map_rows(
        spark.range(1),
        lambda rows: rows.assign(python=sys.executable),
        {"id": "long", "python": "string"},
    )
    assert to_pandas(result)["python"].tolist() == [sys.executable]


@pytest.mark.spark
def test_a_package_is_sent_to_executors_that_lack_it(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "of_the_project"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nodes.py").write_text("def same(rows):\n    return rows\n")
    monkeypatch.syspath_prepend(tmp_path)  # on the driver only
    from of_the_project.nodes import same

    table = spark.range(3)
    with pytest.raises(OperationError, match=r'have no of_the_project: .* "of_the_project"\)'):
        to_pandas(map_rows(table, same, {"id": "long"}))
    send_packages(spark, "of_the_project")
    assert sorted(to_pandas(map_rows(table, same, {"id": "long"}))["id"]) == [0, 1, 2]
    with pytest.raises(OperationError, match="there is no package nowhere"):
        send_packages(spark, "nowhere")
