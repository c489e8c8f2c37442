"""Fault detection by the sample's detector, compared with the usual tutorial's raw-value forest.

    build/demo/temperature-anomalies/.venv/bin/python benchmarks/detection.py

Runs the functions of a rendered project (`make demo` creates one) with its default parameters, on
series with a 5-minute step and generated faults (four seeds) and, if `../shared/data` exists, on
two real series. Every detector is trained on the first 40 % (3,400 rows of the office series) and
measured on the rest; rows are means over the seeds. `--json` prints the same for tests.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from sklearn.ensemble import IsolationForest

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
SEEDS = range(4)
METRICS = ("roc_auc", "average_precision", "event_recall", "false_alarms_per_week", "share_flagged")


@dataclass(frozen=True)
class Series:
    """Readings of one sensor, its labelled faults, and the number of training rows."""

    name: str
    readings: pd.DataFrame
    faults: pd.DataFrame
    train_rows: int


def main() -> None:
    """Measure every detector on every series and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--project", type=Path, default=next(ROOT.glob("build/demo/*"), None))
    parser.add_argument("--json", action="store_true", help="print numbers for tests")
    options = parser.parse_args()
    if options.project is None:
        parser.error("no rendered project found: run make demo, or set --project")
    sys.path.insert(0, str(options.project / "src"))
    rows = [
        {"series": series.name, "detector": detector} | metrics
        for series in all_series()
        for detector, metrics in measure(series, options.project).items()
    ]
    table = pd.DataFrame(rows).groupby(["series", "detector"], sort=False)[list(METRICS)].mean()
    if options.json:
        print(json.dumps({"/".join(key): row.to_dict() for key, row in table.iterrows()}))
    else:
        print(table.to_string(float_format=lambda value: f"{value:.3f}"))


def measure(series: Series, project: Path) -> dict[str, dict[str, float]]:
    """Score the held-out rows of a series with each detector."""
    package = __import__(next((project / "src").glob("*/features.py")).parent.name)
    name = package.__name__
    parts = ("evaluation", "features", "parameters", "training")
    modules = {part: __import__(f"{name}.{part}", fromlist=[part]) for part in parts}
    training, evaluation = modules["training"], modules["evaluation"]
    settings = _parameters(project)
    detector_parameters = modules["parameters"].DetectorParameters(**settings["detector"])
    feature_parameters = modules["parameters"].FeatureParameters(**settings["features"])

    features = modules["features"].build_features(series.readings, feature_parameters)
    train, test = features[: series.train_rows], features[series.train_rows :]
    fitted = training.fit_detector(train, detector_parameters, feature_parameters)
    forward = training.score_forward(
        features, test["timestamp"].iloc[0], fitted, detector_parameters
    )
    scores = {
        "raw value, tutorial (contamination 0.05)": _raw_forest(train, test, 0.05),
        "raw value, our threshold": _raw_forest(train, test, detector_parameters.contamination),
        "ours": fitted.score_samples(test),
        "ours, refitted": forward[series.train_rows :].to_numpy(),
    }
    events = evaluation.Events(series.faults)
    hold = pd.Timedelta(settings["evaluation"]["alarm_hold"])
    return {
        name: events.metrics(evaluation.as_scored(test, score), hold)
        for name, score in scores.items()
    }


def all_series() -> Iterator[Series]:
    """Yield the generated series and the real ones, if available."""
    for seed in SEEDS:
        yield _generated(seed)
    if not SHARED.is_dir():
        print(
            f"no {SHARED.name} folder next to the repository: generated series only",
            file=sys.stderr,
        )
        return
    yield _office()
    yield _tutorial()


def _generated(seed: int) -> Series:
    """Generate 40 days of a daily cycle with slow weather, and three faults of each type."""
    random = np.random.default_rng(seed)
    rows, day = 288 * 40, 288
    hours = np.arange(rows) / 12
    value = 20 + 3 * np.sin(2 * np.pi * (hours - 9) / 24) + 0.5 * np.sin(2 * np.pi * hours / 168)
    value += 0.5 * np.cumsum(random.normal(0, 0.02, rows)) + random.normal(0, 0.15, rows)
    lengths = {
        "spike": (1, 4),
        "shift": (36, 200),
        "drift": (day, day + 1),
        "stuck": (36, 200),
        "dropout": (3, 30),
        "noise": (36, 150),
    }
    faults = []
    for fault, (shortest, longest) in [*lengths.items()] * 3:
        start = int(random.integers(5 * day, rows - 600))
        length = int(random.integers(shortest, longest))
        span = slice(start, start + length)
        sign = random.choice([-1, 1])
        value[span] = {
            "spike": value[span] + sign * random.uniform(5, 10),
            "shift": value[span] + sign * random.uniform(3, 6),
            "drift": value[span] + np.linspace(0, 6, length),
            "stuck": np.full(length, value[start]),
            "dropout": np.zeros(length),
            "noise": value[span] + random.normal(0, 1.5, length),
        }[fault]
        faults.append((start, start + length - 1))
    times = pd.date_range("2024-01-01", periods=rows, freq="5min")
    windows = [(times[start], times[end]) for start, end in faults]
    return _series("generated faults", times, value.round(2), windows, int(0.4 * rows))


def _office() -> Series:
    data = pd.read_csv(SHARED / "nab_ambient_temperature.csv", parse_dates=["timestamp"])
    windows = json.loads((SHARED / "nab_ambient_windows.json").read_text())
    (faults,) = windows.values()
    return _series("office, hourly", data["timestamp"], data["value"], faults, 3400)


def _tutorial() -> Series:
    data = pd.read_csv(
        SHARED / "pydata2022_temps.csv", names=["timestamp", "value"], skipinitialspace=True
    )
    times = pd.to_datetime(data["timestamp"])
    faults = [(time, time) for time in times[data["value"] >= 150]]
    return _series("tutorial's own file", times, data["value"], faults, int(0.4 * len(data)))


def _series(
    name: str,
    times: pd.Series | pd.DatetimeIndex,
    value: pd.Series | np.ndarray,
    faults: list[tuple[object, object]],
    train_rows: int,
) -> Series:
    readings = pd.DataFrame({"timestamp": times, "sensor_id": "one", "temperature": value})
    windows = pd.DataFrame(faults, columns=["start", "end"]).apply(pd.to_datetime)
    return Series(
        name,
        readings.astype({"temperature": float}).sort_values("timestamp", kind="stable"),
        windows.assign(sensor_id="one"),
        train_rows,
    )


def _raw_forest(train: pd.DataFrame, test: pd.DataFrame, contamination: float) -> np.ndarray:
    """Score the value alone, like the tutorial; 1 is the threshold for the contamination."""
    forest = IsolationForest(random_state=0).fit(train[["temperature"]])
    known = -forest.score_samples(train[["temperature"]])
    centre, threshold = np.quantile(known, [0.5, 1 - contamination])
    return (-forest.score_samples(test[["temperature"]]) - centre) / (threshold - centre)


def _parameters(project: Path) -> dict[str, Any]:
    path = project / "operation" / "configuration" / "base" / "parameters.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
