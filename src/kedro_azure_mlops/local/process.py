"""The processes of one step, each with a clean environment and a log; they are stopped together.

A distributed step starts as many processes as on Azure ML, with the variables that Azure ML sets.
"""

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from kedro_azure_mlops.safety import Redactor, redact
from kedro_azure_mlops.writing import out_of_space

_HERE = "127.0.0.1"
_GRACE = 10.0  # seconds that a process has to exit after SIGTERM
# Variables that the cloud would set too, and the location of Spark on this machine.
_INHERITED = re.compile(
    r"HOME|USER|LANG|LC_\w+|TMPDIR|TEMP|TMP|SYSTEMROOT|(HTTPS?|NO|ALL|FTP)_PROXY|SSL_CERT_FILE"
    r"|REQUESTS_CA_BUNDLE|MLFLOW_TRACKING_\w+|MLFLOW_DISABLE_TELEMETRY|AZURE_\w+|DATABRICKS_\w+"
    r"|JAVA_HOME|SPARK_(HOME|MASTER|LOCAL_\w+)",
    re.IGNORECASE,  # proxy variables may be upper or lower case
)


def clean_environment() -> dict[str, str]:
    """Return the environment variables that a step inherits, with this Python first in PATH."""
    inherited = {name: text for name, text in os.environ.items() if _INHERITED.fullmatch(name)}
    tools = str(Path(sys.executable).parent)
    return inherited | {"PATH": os.pathsep.join((tools, os.environ.get("PATH", os.defpath)))}


def variables_of_ranks(distribution: Mapping[str, Any], instances: int) -> list[dict[str, str]]:
    """Return the variables of each process; a non-distributed step has one, without variables.

    References
    ----------
    https://learn.microsoft.com/azure/machine-learning/how-to-train-distributed-gpu
    """
    kind = str(distribution.get("type", "")).lower()
    if kind == "tensorflow":
        workers = int(distribution.get("worker_count") or instances)
        return _tensorflow(workers, int(distribution.get("parameter_server_count") or 0))
    each = int(distribution.get("process_count_per_instance") or 1)
    if kind == "mpi":
        return [_mpi(rank, each, instances) for rank in range(each * instances)]
    if kind == "pytorch":
        (port,) = _free_ports(1)
        return [_pytorch(rank, each, instances, port) for rank in range(each * instances)]
    return [{}]


@dataclass(frozen=True)
class Ended:
    """The outcome of a step: the reason it failed, or None, and its log."""

    problem: str | None
    log: Path


class StepProcess:
    """A command that runs once for each rank.

    Parameters
    ----------
    command
        The command for ``bash -c``.
    ranks
        The complete environment of each process.
    logs
        The folder for ``log.txt`` and, for further ranks, ``log.rank1.txt`` and so on.
    write
        Called with each line of the first rank.
    """

    def __init__(
        self,
        command: str,
        folder: Path,
        ranks: list[dict[str, str]],
        logs: Path,
        write: Callable[[str], None],
    ) -> None:
        self._command = command
        self._folder = folder
        self._ranks = ranks
        further = (f"log.rank{number}.txt" for number in range(1, len(ranks)))
        self._logs = [logs / name for name in ("log.txt", *further)]
        self._write = write
        self._lock = threading.Condition()
        self._processes: list[subprocess.Popen[str]] = []  # running, or with children left
        self._ended = False

    def run(self, timeout: float | None = None) -> Ended:
        """Run all ranks until they exit; if one fails, stop the others."""
        statuses: queue.Queue[tuple[int, int]] = queue.Queue()
        threads = []
        try:
            for rank, process in enumerate(self._start()):
                threads.append(
                    threading.Thread(target=self._follow, args=(rank, process, statuses))
                )
                threads[-1].start()
            return self._wait(statuses, len(threads), timeout)
        finally:
            self.end()
            for thread in threads:
                thread.join()

    def end(self) -> None:
        """Stop all running processes and prevent new ones."""
        with self._lock:
            self._ended = True
        try:
            self._signal(signal.SIGTERM)
            with self._lock:
                self._lock.wait_for(lambda: not self._processes, _GRACE)
        finally:
            self._signal(signal.SIGKILL)

    def _start(self) -> list[subprocess.Popen[str]]:
        with self._lock:
            if not self._ended:
                for environment in self._ranks:
                    self._processes.append(_popen(self._command, self._folder, environment))
            return list(self._processes)

    def _follow(
        self, rank: int, process: subprocess.Popen[str], statuses: queue.Queue[tuple[int, int]]
    ) -> None:
        """Copy the output of a process to its log until it and its orphaned children have ended.

        A container would kill them immediately; here Spark's JVM has time to remove its files.
        """
        reader = threading.Thread(target=self._read, args=(rank, process))
        reader.start()
        status = process.wait()
        _kill(process, signal.SIGTERM)
        reader.join(_GRACE)  # until no process can write to the log any more
        with self._lock:
            _kill(process, signal.SIGKILL)
            self._processes.remove(process)
            self._lock.notify_all()
        reader.join()
        statuses.put((rank, status))

    def _signal(self, number: signal.Signals) -> None:
        with self._lock:
            for process in self._processes:
                _kill(process, number)

    def _read(self, rank: int, process: subprocess.Popen[str]) -> None:
        with _Log(self._logs[rank], self._write) as log, process:
            log.write(redact(f"$ {self._command}\n"))
            redactor = Redactor()
            for line in process.stdout or ():
                if redacted := redactor.redact(line):
                    log.write(redacted)
                    if rank == 0:
                        with suppress(BrokenPipeError):  # the console is gone; keep the log
                            self._write(redacted.rstrip("\n"))

    def _wait(
        self, statuses: queue.Queue[tuple[int, int]], count: int, timeout: float | None
    ) -> Ended:
        deadline = None if timeout is None else time.monotonic() + timeout
        if count == 0:
            return Ended("it was interrupted", self._logs[0])
        for _ in range(count):
            try:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                rank, status = statuses.get(timeout=left)
            except queue.Empty:
                return Ended(f"it ran longer than its limit of {timeout:g} s", self._logs[0])
            if status:
                of_rank = f" of rank {rank}" if count > 1 else ""
                return Ended(f"its command{of_rank} {_describe_status(status)}", self._logs[rank])
        return Ended(None, self._logs[0])


class _Log:
    """The log of a process. A write error is reported once, and the process continues."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path, self._say = path, say
        self._file: TextIO | None = None
        self._is_writable = True

    def write(self, text: str) -> None:
        if not self._is_writable:
            return
        try:
            if self._file is None:
                self._file = self._path.open("w", encoding="utf-8")
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            self._is_writable = False
            self._say(str(out_of_space(error, [self._path], "the log of this step") or error))

    def __enter__(self) -> "_Log":
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # already reported
            if self._file is not None:
                self._file.close()


def _popen(command: str, folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )


def _kill(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to a process and its children."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _describe_status(status: int) -> str:
    if status > 0:
        return f"ended with exit status {status}"
    return f"was killed by signal {signal.Signals(-status).name}"


def _pytorch(rank: int, each: int, instances: int, port: int) -> dict[str, str]:
    return {
        "MASTER_ADDR": _HERE,
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(each * instances),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank % each),
        "NODE_RANK": str(rank // each),
    }


def _mpi(rank: int, each: int, instances: int) -> dict[str, str]:
    return {
        "OMPI_COMM_WORLD_SIZE": str(each * instances),
        "OMPI_COMM_WORLD_RANK": str(rank),
        "OMPI_COMM_WORLD_LOCAL_SIZE": str(each),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(rank % each),
    }


def _tensorflow(workers: int, servers: int) -> list[dict[str, str]]:
    addresses = [f"{_HERE}:{port}" for port in _free_ports(workers + servers)]
    cluster = {"worker": addresses[:workers]}
    if servers:
        cluster["ps"] = addresses[workers:]
    tasks = [(kind, index) for kind, members in cluster.items() for index in range(len(members))]
    return [
        {
            "TF_CONFIG": json.dumps(
                {
                    "cluster": cluster,
                    "task": {"type": kind, "index": index},
                    "environment": "cloud",
                }
            )
        }
        for kind, index in tasks
    ]


def _free_ports(count: int) -> list[int]:
    """Return free ports; each stays bound until all are found, so that they differ."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((_HERE, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
