"""The cost of a run as rows, series and weeks grow, compared with a plain script.

    build/demo/temperature-anomalies/.venv/bin/python benchmarks/growth.py

`make demo` renders the project. For each shape of data these three alternate: `kedro run` of the
sample, its `--pipelines score`, and a script of pandas and scikit-learn that reads the file,
describes it with the sample's own `describe`, one sensor after the other, fits, refits as often
on samples of the same size, scores every row once on all cores and writes the scores; it does not
validate, compare, draw, gate or track. Prints the medians, the ratios, the peak memory, and the
rows per second of each node, with two limits: a numpy pass over the features, and the stored model
in ONNX on all cores.

    --shapes 1e5x50x70 1e6x50x70      rows x sensors x days; the default is SHAPES
    --turns 3                         the number of turns for the medians
    --forms ordered unordered gap     the order of rows: by sensor, by time with the sensors mixed,
                                      or with a gap of one year

Exit status: 0 if all targets are reached, 1 if one is missed, 2 if the measurement failed.
"""

import argparse
import itertools
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
SHAPES = ["1e5x50x70", "1e6x50x70", "1e6x50x1095", "1e6x5000x70", "1e7x50x1095"]
MOST_TIMES_PLAIN, MOST_GROWTH = 1.5, 12.0  # times the plain script; from 1e6 to 1e7 rows
MOST_MB, MOST_SCORING_MB = 6_000, 500
REFIT_DAYS, TRAIN_SHARE, SAMPLE = 7, 0.6, 50_000
_NODE = re.compile(r"^(\d\d:\d\d:\d\d) Running node: (\w+):")


@dataclass(frozen=True)
class Shape:
    """The shape of the generated data: rows, sensors, days and the order of rows."""

    rows: int
    sensors: int
    days: int
    form: str = "ordered"

    @classmethod
    def parse(cls, text: str, form: str) -> "Shape":
        """Parse a shape such as `1e6x50x70`."""
        rows, sensors, days = (int(float(part)) for part in text.split("x"))
        return cls(rows, sensors, days, form)

    def __str__(self) -> str:
        """Return the title of the shape's table."""
        text = f"{self.rows:.0e} rows, {self.sensors:,} sensors, {self.days:,} days"
        return text.replace("e+0", "e") + ("" if self.form == "ordered" else f", {self.form}")


@dataclass
class Cost:
    """The cost of a process, and its log."""

    wall: float
    cpu: float
    peak_mb: float
    log: str = ""


def main() -> int:
    """Measure every shape and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--project", type=Path, default=next(ROOT.glob("build/demo/*"), None))
    parser.add_argument("--shapes", nargs="+", default=SHAPES)
    parser.add_argument("--forms", nargs="+", default=["ordered"])
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--plain", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.project is None:
        print("no rendered project found: run make demo, or set --project")
        return 2
    if options.plain:
        plain(options.project, *options.plain)
        return 0
    print(
        f"{platform.machine()}, {_processor()}, {os.cpu_count()} cores, {platform.python_version()}"
    )
    missed: list[str] = []
    run_times: dict[Shape, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for shape in [Shape.parse(s, form) for form in options.forms for s in options.shapes]:
            costs = measure(shape, options.project, Path(folder), options.turns)
            run_times[shape] = costs["run"].wall
            missed += report(shape, costs)
    missed += growth(run_times)
    for line in missed:
        print(f"MISSED  {line}")
    return 1 if missed else 0


def measure(shape: Shape, project: Path, folder: Path, turns: int) -> dict[str, Cost]:
    """Run the three programs alternately, in copies of the project without earlier results."""
    file = generate(shape, folder / "readings.csv")
    kedro = [str(_tool(project, "kedro")), "run"]
    parameters = f"raw_file={file},labels_file=null,gate.require_labels=false"
    score = f"score.input={file},score.output={folder / 'new.csv'},score.model=trained"
    commands = {
        "plain": [
            *(sys.executable, __file__, "--project", str(project)),
            *("--plain", str(file), str(folder / "plain.parquet")),
        ],
        "run": [*kedro, "--params", parameters],
        "score": [*kedro, "--pipelines", "score", "--params", score],
    }
    all_costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for turn in range(turns):
        copy = folder / f"project{turn}"
        left_out = shutil.ignore_patterns(".venv", "build", "mlruns*", "*.pyc")
        shutil.copytree(project, copy, ignore=left_out)
        for name, command in commands.items():
            print(f"  {shape}: {name} ...", file=sys.stderr, flush=True)
            all_costs[name].append(_run(command, copy))
        shutil.rmtree(copy)
    return {
        name: sorted(costs, key=lambda cost: cost.wall)[turns // 2]
        for name, costs in all_costs.items()
    }


def report(shape: Shape, costs: dict[str, Cost]) -> list[str]:
    """Print the costs of a shape; return the targets that it misses."""
    print(f"\n{shape}")
    for name, cost in costs.items():
        share = cost.wall / costs["plain"].wall
        print(
            f"  {name:6}{cost.wall:8.1f} s{cost.cpu:8.1f} s of CPU{cost.peak_mb:8,.0f} MB"
            f"{share:7.2f} x plain{shape.rows / cost.wall:12,.0f} rows/s"
        )
    for name, seconds in _node_seconds(costs["run"].log).items():
        rate = f"{shape.rows / seconds:14,.0f} rows/s" if seconds else "     under a second"
        print(f"      {name:24}{seconds:6.0f} s{rate}")
    for name, rate in limits(shape.rows).items():
        print(f"      limit, {name:17}{shape.rows / rate:6.1f} s{rate:14,.0f} rows/s")
    missed = []
    run, ratio = costs["run"], costs["run"].wall / costs["plain"].wall
    if shape.rows >= 1e6 and ratio > MOST_TIMES_PLAIN:
        missed.append(f"{shape}: {ratio:.2f} x the plain script, at most {MOST_TIMES_PLAIN}")
    if run.peak_mb > MOST_MB:
        missed.append(f"{shape}: {run.peak_mb:,.0f} MB, at most {MOST_MB:,}")
    if costs["score"].peak_mb > MOST_SCORING_MB:
        missed.append(
            f"{shape}: scoring took {costs['score'].peak_mb:,.0f} MB, at most {MOST_SCORING_MB}"
        )
    return missed


def growth(run_times: dict[Shape, float]) -> list[str]:
    """Compare each shape with the one of ten times its rows and the same sensors and days."""
    missed = []
    for shape, seconds in run_times.items():
        larger = Shape(shape.rows * 10, shape.sensors, shape.days, shape.form)
        if larger in run_times and shape.rows >= 1e6:
            times = run_times[larger] / seconds
            print(f"\n{larger}: {times:.1f} x the time of {shape.rows:,} rows")
            if times > MOST_GROWTH:
                missed.append(f"{larger}: {times:.1f} x the time of a tenth, at most {MOST_GROWTH}")
    return missed


def generate(shape: Shape, file: Path) -> Path:
    """Write a daily swing for each sensor, with noise and short faults."""
    random = np.random.default_rng(0)
    each = shape.rows // shape.sensors
    seconds = np.arange(each) * (shape.days * 86_400 / each)
    if shape.form == "gap":
        seconds[each // 2 :] += 365 * 86_400
    times = np.datetime64("2023-01-02", "s") + seconds.astype("timedelta64[s]")
    texts = np.datetime_as_string(times, unit="s")
    hours = seconds / 3600
    swing = 20 + 3 * np.sin(2 * np.pi * (hours - 9) / 24) + 0.5 * np.sin(2 * np.pi * hours / 168)
    with file.open("w", encoding="utf-8") as out:
        out.write("timestamp,sensor_id,temperature\n")
        for number in range(shape.sensors):
            value = swing + random.normal(0, 3) + random.normal(0, 0.15, each)
            for start in random.integers(0, each, each // 2000 + 1):
                value[start : start + 3] += random.choice([-8, 8])
            rows = pd.DataFrame({"t": texts, "s": f"s{number:05d}", "v": value.round(3)})
            rows.to_csv(out, header=False, index=False, lineterminator="\n")
    if shape.form == "unordered":
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        rest = np.array(lines[1:], object)
        # swap neighbours: files may have rows older than their predecessor
        swap = np.arange(0, len(rest) - 1, 10)
        rest[swap], rest[swap + 1] = rest[swap + 1].copy(), rest[swap].copy()
        order = np.argsort(np.arange(len(rest)) % each, kind="stable")
        file.write_text(lines[0] + "".join(rest[order]), encoding="utf-8")
    return file


def plain(project: Path, file: Path, out: Path) -> None:
    """Compute the same features, fit, refits and scores once."""
    from sklearn.ensemble import IsolationForest

    sys.path.insert(0, str(project / "src"))
    package = next((project / "src").glob("*/features.py")).parent.name
    module = __import__(f"{package}.features", fromlist=["describe"])
    settings = {"gap_steps": 6.0, "std_floor": 0.02, "seasonal_halflife_days": 3.0}
    rows = pd.read_csv(file, parse_dates=["timestamp"])
    rows = rows.sort_values(["sensor_id", "timestamp"], kind="stable", ignore_index=True)
    described = [
        module.describe(one["timestamp"].to_numpy(), one["temperature"].to_numpy(), **settings)
        for _, one in rows.groupby("sensor_id", sort=False)
    ]
    features = pd.DataFrame(np.concatenate(described), columns=module.FEATURES)
    split = rows["timestamp"].sort_values().iloc[int(TRAIN_SHARE * len(rows))]
    train = features[rows["timestamp"] < split].groupby(rows["sensor_id"])
    centre, spread = train.median(), train.quantile(0.75) - train.quantile(0.25)
    sensors = rows["sensor_id"]
    standard = (features - centre.loc[sensors].to_numpy()) / spread.loc[sensors].to_numpy()
    standard, times = standard.to_numpy(), rows["timestamp"].to_numpy()
    random, score = np.random.default_rng(0), np.full(len(rows), np.nan)
    week = np.timedelta64(REFIT_DAYS, "D")
    first, cuts = times.min() + week, []
    while first < split:
        cuts.append(first)
        first = max(first + week, first + (first - times.min()))
    cuts += list(np.arange(split.to_datetime64(), times.max(), week))
    for start, stop in zip(cuts, [*cuts[1:], times.max() + week], strict=True):
        past, now = np.flatnonzero(times < start), np.flatnonzero((times >= start) & (times < stop))
        if len(past) > SAMPLE:
            past = random.choice(past, SAMPLE, replace=False)
        forest = IsolationForest(random_state=0, n_jobs=-1).fit(standard[past])
        threshold = np.quantile(-forest.score_samples(standard[past]), 0.995)
        if len(now):
            score[now] = -forest.score_samples(standard[now]) / threshold
    rows.assign(score=score, is_anomaly=score > 1).to_parquet(out)


def limits(rows: int) -> dict[str, float]:
    """Measure the rows per second of a numpy pass, and of a forest in ONNX on all cores."""
    from sklearn.ensemble import IsolationForest

    from kedro_azure_mlops.onnx_trees import Tree, TreeSum, tree_ensemble

    few = min(rows, 500_000)
    table = np.random.default_rng(0).normal(size=(few, 7))
    started = time.perf_counter()
    np.cumsum(table, axis=0)
    passes = few / (time.perf_counter() - started)
    forest = IsolationForest(random_state=0).fit(table[:SAMPLE])
    trees = [
        Tree(t.children_left, t.children_right, np.maximum(t.feature, 0), t.threshold, t.threshold)
        for t in (one.tree_ for one in forest.estimators_)
    ]
    run, cores = TreeSum(tree_ensemble(trees, 7)), os.cpu_count() or 1
    started = time.perf_counter()
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(run, np.array_split(table, cores)))
    return {"numpy": passes, "ONNX": few / (time.perf_counter() - started)}


def _run(command: list[str], folder: Path) -> Cost:
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        log.seek(0)
        text = log.read()
    if status:
        sys.exit(f"{' '.join(command)} failed:\n{text[-3000:]}")
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, text)


def _node_seconds(log: str) -> dict[str, float]:
    """Read each node's duration from the log, in whole seconds, until the next node begins."""
    begun = [match.groups() for line in log.splitlines() if (match := _NODE.match(line))]
    times = [datetime.strptime(text, "%H:%M:%S") for text, _ in begun]
    steps = [(after - before).total_seconds() for before, after in itertools.pairwise(times)]
    return {name: step for (_, name), step in zip(begun, steps, strict=False)}


def _tool(project: Path, name: str) -> Path:
    own = project / ".venv" / "bin" / name
    return own if own.exists() else Path(sys.executable).with_name(name)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "?")


if __name__ == "__main__":
    sys.exit(main())
