"""The cost of recording for a server: latency, memory, and the rows lost when the server is killed.

    python benchmarks/recording.py                              # after `make demo`; 20 minutes
    python benchmarks/recording.py --minutes 0.5                # a quick look

The plain server of ``kedro mlops serve`` runs twice with the same model, once with ``--record``.
Two clients load both at full rate, in turns of one second and in alternating order. The speed of a
shared machine can double or halve from one second to the next, so ratios are computed per turn, and
their median over many turns is reported. Requests have 1, 7 and 1,000 rows. At the end the
recording server is killed (-9) under load, and the rows in its files are compared with its answers.
Standard library and the plugin; Linux only.

Exit status: 0 if all targets are reached, 1 if one is missed, 2 if the measurement failed.
"""

import argparse
import http.client
import itertools
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import mean, median

from first_run import MeasurementError, describe_machine
from serving import (
    HOST,
    JUDGED,
    MANY,
    Measured,
    Server,
    bodies_of_ours,
    free_port,
    load,
    processes,
    read_options,
    started,
)

from kedro_azure_mlops.serve.parts import LINES, PARQUET, Lines, opened

SLOWER, GROWTH, LOST = 1.05, 1.05, 1.0  # ratio of latencies, ratio of memory, seconds
SIZES = (1, JUDGED, MANY)


def resident(server: Server) -> float:
    """Return the memory of a server's processes in MB, except the one that compacts files."""
    folders = processes(server.process)
    serving = [one for one in folders if b"serve.parts" not in (one / "cmdline").read_bytes()]
    texts = [(folder / "status").read_text() for folder in serving]
    return sum(int(one.partition("VmRSS:")[2].split()[0]) for one in texts if "VmRSS" in one) / 1e3


def figure(server: Server, name: str) -> float:
    """Read a figure from /metrics."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=60)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def recorded(folder: Path) -> tuple[int, set[str]]:
    """Count the rows in a folder, and collect the ids of their requests."""
    import pyarrow.parquet

    rows, ids = 0, set()
    for file in folder.glob(f"*/*{PARQUET}"):
        with pyarrow.parquet.ParquetFile(file) as content:
            for batch in content.iter_batches(columns=["request_id"]):
                rows += batch.num_rows
                ids |= set(batch.column(0).unique().to_pylist())
    for file in folder.glob(f"*/*{LINES}"):
        with opened(file) as content:
            for table in Lines(content):
                rows += len(table["served_at"])
                ids |= set(table["request_id"])
    return rows, ids


def kill_under_load(server: Server, seconds: float, clients: int) -> dict[str, float]:
    """Kill a server under load; return the seconds from each answer to the kill, by request id."""
    answered: dict[str, float] = {}

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(HOST, server.port, timeout=60)
        try:
            for count in itertools.count():
                name = f"kill-{number}-{count}"
                connection.request(
                    "POST", server.path, server.bodies[JUDGED], {"x-request-id": name}
                )
                if connection.getresponse().read():
                    answered[name] = time.monotonic()
        except (OSError, http.client.HTTPException):
            pass  # the server is dead

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    tree = [int(folder.name) for folder in processes(server.process)]
    at = time.monotonic()
    for pid in tree:
        os.kill(pid, signal.SIGKILL)
    for thread in threads:
        thread.join()
    return {name: at - then for name, then in answered.items()}


def measure(project: Path, model: Path, options: argparse.Namespace) -> bool:
    """Load both servers alternately and print; return whether all targets are reached."""
    serve = [".venv/bin/kedro", "mlops", "serve", "--plain", "--model", str(model)]
    bodies = bodies_of_ours()
    measurements: dict[tuple[str, int], list[Measured]] = {}
    memory: list[float] = []
    folder = project / "data/served"
    before = recorded(folder)[0]
    with ExitStack() as stack:
        servers = []
        for name in ("plain", "recording"):
            target = {"port": free_port(), "path": "/score", "bodies": bodies}
            command = [*serve, "--port", str(target["port"])]
            command += ["--record"] if name == "recording" else []
            servers.append(stack.enter_context(started(name, command, target, project)))
        records = servers[1]
        for server in servers:  # warm up
            for size in SIZES:
                load(server, size, 1, options.clients)
        turns = max(2, round(options.minutes * 60 / (options.seconds * len(SIZES))))
        for turn in range(turns):
            for size in SIZES:
                for server in servers if turn % 2 else reversed(servers):
                    measured = load(server, size, options.seconds, options.clients)
                    measurements.setdefault((server.name, size), []).append(measured)
            memory.append(resident(records))
            print(f"turn {turn + 1} of {turns}: {memory[-1]:.0f} MB", file=sys.stderr, flush=True)
        sent = figure(records, "score_rows_total")
        dropped = figure(records, "score_rows_not_recorded_total")
        while figure(records, "score_rows_recorded_total") + dropped < sent:
            time.sleep(0.1)
        rows = recorded(folder)[0] - before
        answered = kill_under_load(records, 5, options.clients)
    _, ids = recorded(folder)
    good = _report(measurements, turns)
    half = len(memory) // 2
    growth = mean(memory[half:]) / mean(memory[half // 2 : half])
    good &= _target(f"memory, second half of first ({memory[-1]:.0f} MB)", growth, GROWTH)
    print(f"{sent:,.0f} rows answered, {rows:,} in the files, {dropped:,.0f} dropped")
    good &= _target("rows neither in the files nor counted as dropped", sent - rows - dropped, 0)
    missing = [seconds for name, seconds in answered.items() if name not in ids]
    print(f"killed after {len(answered):,} answers: {len(missing):,} of them are not in the files")
    good &= _target("seconds lost before the kill", max(missing, default=0), LOST)
    return good


def _report(measurements: dict[tuple[str, int], list[Measured]], turns: int) -> bool:
    good = True
    print(f"{'rows':>6}{'plain ms':>10}{'recording':>10}{'rate':>8}{'CPU':>8}  median of {turns}")
    for size in SIZES:
        pairs = list(zip(measurements["plain", size], measurements["recording", size], strict=True))
        slower = median(two.quantile(0.5) / one.quantile(0.5) for one, two in pairs)
        rate = median(two.per_second() / one.per_second() for one, two in pairs)
        cpu = median(
            (two.cpu / len(two.seconds)) / (one.cpu / len(one.seconds)) for one, two in pairs
        )
        halves = [median(one[side].quantile(0.5) for one in pairs) for side in (0, 1)]
        print(f"{size:6}{halves[0]:10.3f}{halves[1]:10.3f}{rate:8.3f}{cpu:8.3f}")
        good &= _target(f"median latency, {size} rows", slower, SLOWER)
    return good


def _target(name: str, value: float, target: float) -> bool:
    good = value <= target
    print(f"{name:56}{value:8.3f}  <= {target:.2f} {'reached' if good else 'MISSED'}")
    return good


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10, help="minutes of load for each server")
    parser.add_argument("--seconds", type=float, default=1, help="per server, size and turn")
    options, project, model = read_options(parser)
    try:
        tools = (str(project / ".venv/bin/python"), str(project / ".venv/bin/mlflow"))
        print(f"{describe_machine(*tools)}; clients: {options.clients}\n")
        return 0 if measure(project, model, options) else 1
    except MeasurementError as problem:
        print(problem, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
