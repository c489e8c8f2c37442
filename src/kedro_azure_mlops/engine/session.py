"""The Spark session of a project: one that a platform has opened, or a new one."""

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kedro_azure_mlops.errors import OperationError

_JAVAS = (17, 21)
_INSTALL = "install one, on Debian or Ubuntu with apt-get install openjdk-17-jre-headless"
# Set in a process whose Spark a platform has started.
_PLATFORM_VARIABLES = ("PYSPARK_GATEWAY_PORT", "DATABRICKS_RUNTIME_VERSION")
_SECONDS = 5
MASTER = "SPARK_MASTER"
"""The variable that names the master of a new session, such as ``spark://host:7077``."""
_RUNTIME = {
    # a time without offset must mean the same here, on executors and in pandas
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}
_LOCAL = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.maxResultSize": "0",  # no limit, as the driver is this machine
    "spark.log.level": "FATAL",  # errors are raised; Spark would print each of them three times
}


def spark_session(master: str | None = None, settings: Mapping[str, str] | None = None) -> Any:
    """Return the Spark session: an existing one, as platforms have, or a new one.

    Times are in UTC and tables are passed through Arrow, also in an existing session. A local
    session listens only on the loopback address, and its executors are this Python with its
    ``sys.path``.

    Parameters
    ----------
    master
        For a new session: ``local[2]``, ``spark://host:7077``, ``yarn`` and so on; default: that of
        the variable ``SPARK_MASTER``, else ``local[*]``.
    settings
        Additional settings of a new session, such as ``{"spark.driver.memory": "4g"}``.

    Raises
    ------
    OperationError
        If pyspark or Java 17 or 21 is missing, or the master does not answer.
    """
    sessions = _sessions()
    if (spark := sessions.getActiveSession()) is not None:
        for name, value in _RUNTIME.items():
            if spark.conf.get(name, value) != value:
                spark.conf.set(name, value)
        return spark
    builder, own = sessions.builder, {}
    if not _is_on_platform():
        master = master or os.environ.get(MASTER) or "local[*]"
        _refuse_unsuitable_java()
        _refuse_unreachable_master(master)
        builder, own = builder.master(master).appName("kedro"), _local_settings(master)
    for name, value in (_RUNTIME | own | dict(settings or {})).items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def refuse_missing_spark() -> None:
    """Check that pyspark and Java are installed for ``spark_session``, without opening one.

    Raises
    ------
    OperationError
        If pyspark or Java 17 or 21 is missing, and no platform has started Spark.
    """
    _sessions()
    if not _is_on_platform():
        _refuse_unsuitable_java()


def send_packages(spark: Any, *names: str) -> None:
    """Send importable packages of pure Python to the executors of a cluster.

    Not needed for a local session, nor if the project's wheel is installed on the cluster.

    Parameters
    ----------
    names
        Packages such as ``"kedro_azure_mlops"``, which executors need too, and the project's own.

    Raises
    ------
    OperationError
        If there is no such package here.
    """
    for name in names:
        found = importlib.util.find_spec(name)
        if found is None or not found.submodule_search_locations:
            raise OperationError(f"there is no package {name} here to send to executors")
        folder = Path(next(iter(found.submodule_search_locations)))
        archive = shutil.make_archive(
            str(Path(tempfile.mkdtemp()) / name), "zip", folder.parent, folder.name
        )
        if type(spark).__module__.startswith(
            "pyspark.sql.connect."
        ):  # Spark Connect has no context
            spark.addArtifacts(archive, pyfile=True)
        else:
            spark.sparkContext.addPyFile(archive)


def _sessions() -> Any:
    """Return the class of sessions."""
    try:
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise OperationError(
            f"Spark cannot be imported ({error}): pip install 'kedro-azure-mlops[spark]'"
        ) from error
    return SparkSession


def _is_on_platform() -> bool:
    return any(name in os.environ for name in _PLATFORM_VARIABLES)


def _local_settings(master: str) -> dict[str, str]:
    """Return the settings of a local session; none for a cluster, which has its own."""
    if not master.startswith("local"):
        return {}
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    found = {"spark.executorEnv.PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with suppress(ValueError, OSError, AttributeError):  # not every system reports these
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        # the executors' Python processes and collected tables need the larger part
        found["spark.driver.memory"] = f"{max(memory // 4, 2**30) // 2**20}m"
    return _LOCAL | found


def _refuse_unsuitable_java() -> None:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    wanted = f"Spark needs Java {' or '.join(map(str, _JAVAS))}"
    if java is None:
        where = f"JAVA_HOME names {home}, which has none" if home else "there is none on PATH"
        raise OperationError(f"{wanted}, but {where}: {_INSTALL}")
    process = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(?:1\.)?(\d+)', process.stderr)
    if found is None or int(found[1]) not in _JAVAS:
        actual = f"Java {found[1]}" if found else "not a Java that reports its version"
        raise OperationError(
            f"{wanted}, but {java} is {actual}: {_INSTALL}, or set JAVA_HOME to it"
        )


def _refuse_unreachable_master(master: str) -> None:
    """Check that a Spark master answers; Spark itself would try for a minute."""
    if not master.startswith("spark://"):
        return
    failures = []
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), _SECONDS).close()
        except (OSError, ValueError) as error:
            failures.append(f"{address}: {error}")
        else:
            return
    raise OperationError(
        f"no Spark master answers at {master} ({'; '.join(failures)}): start it, or name another "
        "one, in SPARK_MASTER for example"
    )
