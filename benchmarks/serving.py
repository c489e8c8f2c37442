"""The speed of serving and of scoring files, compared with MLflow and scikit-learn.

    python benchmarks/serving.py                      # after `make demo`
    python benchmarks/serving.py --rows 100000 --seconds 2 --turns 1    # a quick look

Requests: Azure's inference server and the plain application, started by ``kedro mlops serve``,
``mlflow models serve`` with the same model folder and one worker, and a call within a process (the
limit). The same two clients, which keep their connections, load all of them alternately: a single
client would limit the throughput, because the server idles while the client works. On a shared
machine, the CPU time of a server per request is more meaningful than the wall time. All get the
same readings; our servers check them, MLflow's only checks its signature. (Before 0.2 it got
finished features; now the stored model computes them.) Memory is the peak of all processes of a
server.

Batch: ``kedro run --pipelines score``, and a script of plain scikit-learn that reads the whole
file, computes the same features with the same function, calls ``score_samples`` and writes the
scores. It does not check the readings. Standard library only; Linux only.

Explanations: the same judged reading with ``"explain": true``, called within a process.

Exit status: 0 if all targets are reached, 1 if one is missed, 2 if the measurement failed.
"""

import argparse
import http.client
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from first_run import LEAKS, MeasurementError, describe_machine

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
AZURE, PLAIN, MLFLOW, LIMIT = "Azure's server", "plain app", "mlflow models serve", "in process"
EXPLAINED = "in process, explained"
MANY = 1_000
JUDGED = 7  # rows: a reading with the shortest history needed to judge it
SENSORS = ("boiler", "cold_room", "hall", "outdoor")

TIMES = {AZURE: 15, PLAIN: 30}  # times the throughput of MLflow's server, for a judged reading
P99, MEMORY, BATCH = 1 / 5, 1 / 3, 1.3
FLAT = 1.25  # memory with the most rows, relative to the fewest
EXPLAIN_MS = 5.0  # to explain a reading

IN_PROCESS = """
import sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[1] + "/build/serve/code"]
from kedro_azure_mlops.serve import score
score.init(Path(sys.argv[2]))
print("ready", flush=True)
for line in sys.stdin:
    seconds, name = line.split(" ", 1)
    body, found = Path(name.strip()).read_bytes(), []
    end = time.perf_counter() + float(seconds)
    while time.perf_counter() < end:
        start = time.perf_counter()
        answer = score.run(body)
        answer.text()
        found.append(time.perf_counter() - start)
    assert answer.status == 200, answer
    print(*found, flush=True)
"""

PLAIN_SKLEARN = """
import sys
sys.path[:0] = [sys.argv[1] + "/src"]
from pathlib import Path
import pandas as pd
from {package}.features import build_features
from {package}.parameters import FeatureParameters
from kedro_azure_mlops.models import load_model
detector = load_model(Path(sys.argv[2]), ["{package}.detector.Detector"])
readings = pd.read_csv(sys.argv[3], parse_dates=["timestamp"])
ordered = readings.sort_values(["sensor_id", "timestamp"], kind="stable")
features = build_features(ordered, FeatureParameters(**detector.settings))
score = detector.score_samples(features)
scored = ordered.assign(score=score.round(6), is_anomaly=(score > 1).astype(int)).sort_index()
scored.to_csv(sys.argv[4], index=False)
"""


@dataclass
class Server:
    """A running server and the bodies to send to it."""

    name: str
    port: int
    process: "subprocess.Popen[bytes]"
    path: str
    bodies: dict[int, bytes]


@dataclass
class Measured:
    """The seconds of each request in a turn, and the turn's wall time and server CPU time."""

    seconds: list[float] = field(default_factory=list)
    wall: float = 0.0
    cpu: float = 0.0

    def per_second(self) -> float:
        """Return the throughput."""
        return len(self.seconds) / self.wall

    def quantile(self, share: float) -> float:
        """Return the time within which this share of the requests was answered, in ms."""
        ordered = sorted(self.seconds)
        return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def environment(**more: str) -> dict[str, str]:
    """Return the environment without the caller's settings."""
    leaks = (*LEAKS, "MODEL_DIGEST", "MODEL_VERSION")
    return {key: value for key, value in os.environ.items() if key not in leaks} | more


def readings(rows: int, step: int = 1) -> Iterator[tuple[str, str, float]]:
    """Generate readings of the sample's sensors, ``step`` minutes apart, with a daily swing."""
    draw = random.Random(0)
    usual = {"boiler": 60.0, "cold_room": 4.0, "hall": 20.0, "outdoor": 6.0}
    start = datetime(2024, 3, 1, tzinfo=UTC)
    for number in range(rows):
        minute, sensor = step * (number // len(SENSORS)), SENSORS[number % len(SENSORS)]
        timestamp = (start + timedelta(minutes=minute)).strftime("%Y-%m-%d %H:%M:%S")
        swing = math.sin(2 * math.pi * minute / 1440)
        yield timestamp, sensor, round(usual[sensor] + swing + draw.gauss(0, 0.2), 2)


def requests() -> dict[int, list[tuple[str, str, float]]]:
    """Return a lone reading (only its range is judged), a fully judged one, and many."""
    many = list(readings(MANY, step=60))
    one_sensor = [row for row in many if row[1] == SENSORS[0]]
    return {1: many[:1], JUDGED: [one_sensor[0], *one_sensor[32 : 31 + JUDGED]], MANY: many}


def bodies_of_ours() -> dict[int, bytes]:
    """Return the requests in the format of our servers."""
    names = ("timestamp", "sensor_id", "temperature")
    return {
        count: json.dumps({"data": [dict(zip(names, row, strict=True)) for row in rows]}).encode()
        for count, rows in requests().items()
    }


def bodies_of_mlflow() -> dict[int, bytes]:
    """Return the same requests in MLflow's format."""
    names = ["timestamp", "sensor_id", "temperature"]
    return {
        count: json.dumps({"dataframe_split": {"columns": names, "data": rows}}).encode()
        for count, rows in requests().items()
    }


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def started(
    name: str, command: list[str], target: dict[str, Any], project: Path
) -> Iterator[Server]:
    """Start a server, wait until it answers, and stop it with all its processes."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            cwd=project,
            env=environment(PATH=f"{project}/.venv/bin{os.pathsep}{os.environ['PATH']}"),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            for _ in range(1200):
                if process.poll() is not None or _answers(target["port"]):
                    break
                time.sleep(0.1)
            if process.poll() is not None or not _answers(target["port"]):
                log.seek(0)
                tail = log.read().decode(errors="replace").splitlines()[-20:]
                raise MeasurementError("\n".join([f"{name} did not start", *tail]))
            yield Server(name, process=process, **target)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def load(server: Server, rows: int, seconds: float, clients: int) -> Measured:
    """Send the same request repeatedly from some clients, each over its own connection."""
    measured, failures = Measured(), []

    def client() -> None:
        times = []
        connection = http.client.HTTPConnection(HOST, server.port, timeout=120)
        headers = {"Content-Type": "application/json"}
        try:
            while (start := time.perf_counter()) < end:
                connection.request("POST", server.path, server.bodies[rows], headers)
                answer = connection.getresponse()
                content = answer.read()
                times.append(time.perf_counter() - start)
                if answer.status != 200:
                    raise MeasurementError(
                        f"{server.name} answers {answer.status}: {content[:300]!r}"
                    )
        except (OSError, http.client.HTTPException, MeasurementError) as error:
            failures.append(error)
        connection.close()
        measured.seconds += times

    used, begin = cpu_seconds(server.process), time.perf_counter()
    end = begin + seconds
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    measured.wall = time.perf_counter() - begin
    measured.cpu = cpu_seconds(server.process) - used
    if failures:
        raise MeasurementError(f"{server.name}: {failures[0]!r}")
    return measured


def processes(process: "subprocess.Popen[bytes]") -> list[Path]:
    """Return the folders in /proc of a process and its descendants.

    The command itself is left out: it only waits for its server, and a container does not have it.
    """
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = int(_stat(folder)[1])
    tree, before = {process.pid}, 0
    while len(tree) != before:
        before = len(tree)
        tree |= {pid for pid, parent in parents.items() if parent in tree}
    folders = [Path("/proc", str(pid)) for pid in tree]
    return [path for path in folders if "mlops\0serve" not in (path / "cmdline").read_text()]


def _stat(folder: Path) -> list[str]:
    return (folder / "stat").read_text().rpartition(")")[2].split()


def peak_memory(process: "subprocess.Popen[bytes]") -> float:
    """Return the sum of the memory peaks of a server's processes, in MB."""
    texts = [(folder / "status").read_text() for folder in processes(process)]
    return sum(int(text.partition("VmHWM:")[2].split()[0]) for text in texts) / 1e3


def cpu_seconds(process: "subprocess.Popen[bytes]") -> float:
    """Return the CPU time used by the processes of a server."""
    ticks = [int(number) for folder in processes(process) for number in _stat(folder)[11:13]]
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def measure_requests(project: Path, model: Path, options: argparse.Namespace) -> bool:
    """Start all servers, load them alternately, print; return whether all targets are reached."""
    ours, mlflow = bodies_of_ours(), bodies_of_mlflow()
    serve = [".venv/bin/kedro", "mlops", "serve", "--model", str(model)]
    ports = {name: free_port() for name in (AZURE, PLAIN, MLFLOW)}
    mlflow_serve = [
        *(".venv/bin/mlflow", "models", "serve", "--model-uri", str(model), "--host", HOST),
        *("--port", str(ports[MLFLOW]), "--env-manager", "local", "--workers", "1"),
    ]
    commands = {
        AZURE: [*serve, "--port", str(ports[AZURE])],
        PLAIN: [*serve, "--plain", "--port", str(ports[PLAIN])],
        MLFLOW: mlflow_serve,
    }
    package = next((project / "src").glob("*/score.py")).parent.name
    measurements: dict[tuple[str, int], list[Measured]] = {}
    memory = {}
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="serving-") as folder:
        servers = []
        for name, command in commands.items():
            bodies, path = (mlflow, "/invocations") if name == MLFLOW else (ours, "/score")
            target = {"port": ports[name], "path": path, "bodies": bodies}
            servers.append(stack.enter_context(started(name, command, target, project)))
        limit = [".venv-serve/bin/python", "-c", IN_PROCESS.format(package=package)]
        scorer = stack.enter_context(_in_process([*limit, str(project), str(model)], project))
        for count in ours:
            Path(folder, str(count)).write_bytes(ours[count])
        Path(folder, "explained").write_bytes(ours[JUDGED][:-1] + b', "explain": true}')
        for server in servers:  # warm up
            for count in ours:
                load(server, count, 0.5, options.clients)
        for turn in range(1, options.turns + 1):
            print(f"turn {turn} of {options.turns}", file=sys.stderr, flush=True)
            for count in ours:
                for server in servers:
                    measured = load(server, count, options.seconds, options.clients)
                    measurements.setdefault((server.name, count), []).append(measured)
                    _progress(server.name, count, measured)
                measured = _load_scorer(scorer, options.seconds, Path(folder, str(count)))
                measurements.setdefault((LIMIT, count), []).append(measured)
                _progress(LIMIT, count, measured)
            measured = _load_scorer(scorer, options.seconds, Path(folder, "explained"))
            measurements.setdefault((EXPLAINED, JUDGED), []).append(measured)
        memory = {server.name: peak_memory(server.process) for server in servers}
        memory[LIMIT] = peak_memory(scorer)
    return _report_requests(measurements, memory)


def _progress(name: str, rows: int, measured: Measured) -> None:
    print(f"  {name:20}{rows:6} rows{measured.per_second():10.1f}/s", file=sys.stderr, flush=True)


@contextmanager
def _in_process(command: list[str], project: Path) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen(
        command, cwd=project, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise MeasurementError("the score function did not start")
        yield process
    finally:
        process.kill()
        process.wait()


def _load_scorer(process: "subprocess.Popen[bytes]", seconds: float, body: Path) -> Measured:
    if process.stdin is None or process.stdout is None:
        raise MeasurementError("the score function has no pipes")
    process.stdin.write(f"{seconds} {body}\n".encode())
    process.stdin.flush()
    used = cpu_seconds(process)
    times = [float(text) for text in process.stdout.readline().split()]
    return Measured(times, sum(times), cpu_seconds(process) - used)


def _report_requests(
    measurements: dict[tuple[str, int], list[Measured]], memory: dict[str, float]
) -> bool:
    heads = f"{'per s':>10}{'p50 ms':>10}{'p99 ms':>10}{'CPU ms':>10}{'MB':>7}"
    print(f"{'':22}{'rows':>5}{heads}  per s, of mlflow's")
    numbers: dict[tuple[str, int], tuple[float, float, float, float]] = {}
    for (name, rows), turns in measurements.items():
        numbers[name, rows] = (
            median(turn.per_second() for turn in turns),
            median(turn.quantile(0.5) for turn in turns),
            median(turn.quantile(0.99) for turn in turns),
            median(1e3 * turn.cpu / len(turn.seconds) for turn in turns),
        )
    for rows in sorted({rows for _, rows in numbers}):
        for name in (MLFLOW, AZURE, PLAIN, LIMIT):
            rate, p50, p99, cpu = numbers[name, rows]
            ratio = rate / numbers[MLFLOW, rows][0]
            print(
                f"{name:22}{rows:5}{rate:10.1f}{p50:10.2f}{p99:10.2f}{cpu:10.2f}{memory[name]:7.0f}"
                f"{ratio:11.1f} x"
            )
    explained = numbers[EXPLAINED, JUDGED][1] - numbers[LIMIT, JUDGED][1]
    print()
    good = _target("ms to explain a judged reading", explained, "<=", EXPLAIN_MS)
    for name, times in TIMES.items():
        rate, _, p99, _ = (
            mine / theirs
            for mine, theirs in zip(numbers[name, JUDGED], numbers[MLFLOW, JUDGED], strict=True)
        )
        good &= _target(f"{name}, throughput, a judged reading", rate, ">=", times)
        good &= _target(f"{name}, p99, a judged reading", p99, "<=", P99)
        good &= _target(f"{name}, memory", memory[name] / memory[MLFLOW], "<=", MEMORY)
    return good


def _target(name: str, ratio: float, sign: str, target: float) -> bool:
    good = ratio >= target if sign == ">=" else ratio <= target
    print(f"{name:44}{ratio:8.2f}  {sign} {target:.2f} {'reached' if good else 'MISSED'}")
    return good


def measure_batch(project: Path, model: Path, options: argparse.Namespace) -> bool:
    """Score files of all sizes both ways and print; return whether all targets are reached."""
    package = next((project / "src").glob("*/score.py")).parent.name
    script = PLAIN_SKLEARN.format(package=package)
    usages: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="serving-") as folder:
        for rows in options.rows:
            file = Path(folder, f"{rows}.csv")
            _write(file, rows)
            ours = [".venv/bin/kedro", "run", "--pipelines", "score", "--params"]
            ours += [f"score.input={file},score.model=trained"]
            theirs = [".venv/bin/python", "-c", script, str(project), str(model), str(file)]
            theirs += [str(Path(folder, "scores.csv"))]
            for _ in range(options.turns if rows < 5_000_000 else 1):
                for name, command in (("ours", ours), ("scikit-learn", theirs)):
                    used = _run_and_measure(command, project)
                    usages.setdefault((name, rows), []).append(used)
                    print(
                        f"  {name:14}{rows:12,} rows{used[0]:8.1f} s{used[1]:8.0f} MB",
                        file=sys.stderr,
                        flush=True,
                    )
            file.unlink()
    return _report_batch(usages, options.rows)


def _write(file: Path, rows: int) -> None:
    print(f"writing {rows:,} rows", file=sys.stderr, flush=True)
    with file.open("w") as target:
        target.write("timestamp,sensor_id,temperature\n")
        target.writelines(
            f"{timestamp},{sensor},{value}\n" for timestamp, sensor, value in readings(rows)
        )


def _run_and_measure(command: list[str], project: Path) -> tuple[float, float]:
    """Run a command and return its seconds and its peak memory in MB."""
    with tempfile.TemporaryFile() as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=project, env=environment(), stdout=log, stderr=log)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            tail = log.read().decode(errors="replace").splitlines()[-20:]
            raise MeasurementError("\n".join([f"failed: {' '.join(command[:4])}", *tail]))
    return wall, used.ru_maxrss / 1e3


def _report_batch(
    usages: dict[tuple[str, int], list[tuple[float, float]]], sizes: list[int]
) -> bool:
    print(f"\n{'':16}{'rows':>12}{'seconds':>9}{'rows/s':>11}{'MB':>7}")
    seconds, memory = {}, {}
    for (name, rows), turns in usages.items():
        wall, peak = (median(values) for values in zip(*turns, strict=True))
        seconds[name, rows], memory[name, rows] = wall, peak
        print(f"{name:16}{rows:12,}{wall:9.1f}{rows / wall:11,.0f}{peak:7.0f}")
    print()
    most, fewest = max(sizes), min(sizes)
    ratio = seconds["scikit-learn", most] / seconds["ours", most]
    good = _target(f"rows/s of plain scikit-learn's, {most:,} rows", ratio, ">=", BATCH)
    if len(sizes) > 1:
        flat = memory["ours", most] / memory["ours", fewest]
        good &= _target(f"memory, {most:,} rows of {fewest:,}", flat, "<=", FLAT)
    return good


def read_options(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, Path, Path]:
    """Add the options of every load test; return all options, the project and its model."""
    parser.add_argument("--project", type=Path, default=ROOT / "build/demo/temperature-anomalies")
    parser.add_argument("--clients", type=int, default=2, help="number of concurrent clients")
    options = parser.parse_args()
    project, model = options.project.resolve(), options.project.resolve() / "data/processed/model"
    if not (model / "MLmodel").is_file():
        parser.error(f"{project} has no model: run make demo, or set --project")
    return options, project, model


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5, help="seconds for each server and turn")
    parser.add_argument("--turns", type=int, default=3, help="medians are printed")
    sizes = "100000,1000000,10000000"
    parser.add_argument("--rows", default=sizes, help=f"rows of the files (default: {sizes})")
    parser.add_argument("--only", choices=("requests", "batch"), help="skip the other half")
    options, project, model = read_options(parser)
    options.rows = [int(rows) for rows in options.rows.split(",")]
    try:
        if not (project / ".venv-serve/bin/python").is_file():
            _run_and_measure(["make", ".venv-serve/.synced"], project)
        tools = (str(project / ".venv/bin/python"), str(project / ".venv/bin/mlflow"))
        print(
            f"{describe_machine(*tools)}; median of {options.turns}; clients: {options.clients}\n"
        )
        good = options.only == "batch" or measure_requests(project, model, options)
        good &= options.only == "requests" or measure_batch(project, model, options)
    except MeasurementError as problem:
        print(problem, file=sys.stderr)
        return 2
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
