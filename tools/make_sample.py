"""Write the sample that every project starts with: four sensors, five weeks, labelled faults.

    python tools/make_sample.py

The files come from one seed and are byte-identical on every machine. Over the five weeks, each
fault of `FAULTS` happens to every sensor, most of them in the last two, which the sample holds out
for testing. `labels.csv` lists when each began and ended, both ends included.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

SEED = 20240101
START = datetime(2024, 1, 1)
STEP = timedelta(minutes=15)
DAYS = 36
ROWS_A_DAY = timedelta(days=1) // STEP
ROWS = DAYS * ROWS_A_DAY
RAW = Path(__file__).parents[1] / "{{cookiecutter.project_slug}}" / "data" / "raw"

Array = np.ndarray
Fault = Callable[[Array, float, np.random.Generator], Array]


@dataclass(frozen=True)
class Sensor:
    """One sensor: its usual level, its daily swing and its noise, in degrees Celsius."""

    name: str
    level: float
    swing: float
    noise: float


SENSORS = (
    Sensor("boiler", 62.0, 4.0, 0.50),
    Sensor("cold_room", 4.0, 0.6, 0.15),
    Sensor("hall", 21.0, 2.5, 0.20),
    Sensor("outdoor", 8.0, 5.0, 0.40),
)


def _spike(value: Array, size: float, random: np.random.Generator) -> Array:
    return value + size * random.choice([-1, 1])


def _level_shift(value: Array, size: float, random: np.random.Generator) -> Array:
    return value + 0.8 * size * random.choice([-1, 1])


def _drift(value: Array, size: float, _: np.random.Generator) -> Array:
    return value + np.linspace(0, 1.2 * size, len(value))


def _stuck(value: Array, _: float, __: np.random.Generator) -> Array:
    return np.full(len(value), value[0])


def _dropout(value: Array, _: float, __: np.random.Generator) -> Array:
    return np.zeros(len(value))


def _noise(value: Array, size: float, random: np.random.Generator) -> Array:
    return value + random.normal(0, 0.4 * size, len(value))


# kind: (function that changes the readings, fewest rows, most rows)
FAULTS: dict[str, tuple[Fault, int, int]] = {
    "spike": (_spike, 1, 3),
    "level_shift": (_level_shift, 16, 48),
    "drift": (_drift, 64, 128),
    "stuck": (_stuck, 16, 48),
    "dropout": (_dropout, 2, 8),
    "noise": (_noise, 12, 32),
}


def main() -> None:
    """Generate the readings and the labels and write both files."""
    random = np.random.default_rng(SEED)
    times = [START + row * STEP for row in range(ROWS)]
    readings: list[tuple[datetime, str, float]] = []
    labels: list[tuple[str, datetime, datetime, str]] = []
    for sensor in SENSORS:
        value = _normal_readings(sensor, random)
        size = 1.5 * sensor.swing + 6 * sensor.noise
        for kind, start, stop in _fault_plan(random):
            value[start:stop] = FAULTS[kind][0](value[start:stop], size, random)
            labels.append((sensor.name, times[start], times[stop - 1], kind))
        readings += zip(times, [sensor.name] * ROWS, value.tolist(), strict=True)
    RAW.mkdir(parents=True, exist_ok=True)
    _write(
        "temperatures.csv",
        ("timestamp", "sensor_id", "temperature"),
        [(_text(t), name, f"{v:.2f}") for t, name, v in sorted(readings, key=lambda row: row[:2])],
    )
    _write(
        "labels.csv",
        ("sensor_id", "start", "end", "fault"),
        [(name, _text(a), _text(b), kind) for name, a, b, kind in sorted(labels)],
    )


def _normal_readings(sensor: Sensor, random: np.random.Generator) -> Array:
    """Draw a daily swing (smaller at weekends), slow weather and noise."""
    hours = np.arange(ROWS) * (STEP / timedelta(hours=1))
    weekend = (START.weekday() + hours // 24) % 7 >= 5
    daily = np.sin(2 * np.pi * (hours - 9) / 24) * np.where(weekend, 0.6, 1.0)
    weather = 0.35 * np.sin(2 * np.pi * hours / (24 * 11) + random.uniform(0, 6))
    noise = random.normal(0, sensor.noise, ROWS)
    return sensor.level + sensor.swing * (daily + weather) + noise


def _fault_plan(random: np.random.Generator) -> list[tuple[str, int, int]]:
    """Place two faults in the first three weeks, and one of each kind in the last two."""
    early = random.choice(list(FAULTS), size=2, replace=False).tolist()
    late = random.permutation(list(FAULTS)).tolist()
    days = [6, 14, *range(23, 35, 2)]
    plan = []
    for day, kind in zip(days, [*early, *late], strict=True):
        _, shortest, longest = FAULTS[kind]
        start = day * ROWS_A_DAY + int(random.integers(0, ROWS_A_DAY))
        plan.append((kind, start, min(start + int(random.integers(shortest, longest + 1)), ROWS)))
    return plan


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M")


def _write(name: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    path = RAW / f"{{% if cookiecutter.sample != 'none' %}}{name}{{% endif %}}"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    print(f"{name}: {len(rows):,} rows, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
