"""The shipped sample is reproducible, small and contains the faults it labels."""

import csv
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers import PROJECT, ROOT

RAW = Path(PROJECT) / "data" / "raw"
FAULTS = {"spike", "level_shift", "drift", "stuck", "dropout", "noise"}


def raw(name: str, root: Path = ROOT) -> Path:
    return root / RAW / f"{{% if cookiecutter.sample != 'none' %}}{name}{{% endif %}}"


def rows(name: str) -> list[dict[str, str]]:
    with raw(name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_files_are_small_and_readings_are_in_order() -> None:
    readings = rows("temperatures.csv")
    assert sum(raw(name).stat().st_size for name in ("temperatures.csv", "labels.csv")) < 500_000
    keys = [(row["timestamp"], row["sensor_id"]) for row in readings]
    assert keys == sorted(set(keys))


def test_every_sensor_has_every_fault_in_the_held_out_part() -> None:
    times = sorted(row["timestamp"] for row in rows("temperatures.csv"))
    split = times[int(0.6 * len(times))]
    late = [row for row in rows("labels.csv") if row["start"] >= split]
    sensors = {row["sensor_id"] for row in rows("temperatures.csv")}
    counted = Counter((row["sensor_id"], row["fault"]) for row in late)
    assert counted == {(sensor, fault): 1 for sensor in sensors for fault in FAULTS}


@pytest.mark.parametrize("fault", ["stuck", "dropout"])
def test_a_label_covers_exactly_its_fault(fault: str) -> None:
    values = {
        (row["sensor_id"], row["timestamp"]): row["temperature"] for row in rows("temperatures.csv")
    }
    for label in rows("labels.csv"):
        if label["fault"] != fault:
            continue
        within = [
            value
            for (sensor, time), value in values.items()
            if sensor == label["sensor_id"] and label["start"] <= time <= label["end"]
        ]
        assert len(set(within)) == 1
        assert within.count("0.00") == (len(within) if fault == "dropout" else 0)


@pytest.mark.slow
def test_the_script_reproduces_the_sample(tmp_path: Path, environment: Path) -> None:
    copy = tmp_path / "tools" / "make_sample.py"
    copy.parent.mkdir()
    copy.write_bytes((ROOT / "tools" / "make_sample.py").read_bytes())
    subprocess.run([environment / "bin" / "python", copy], check=True, capture_output=True)
    for name in ("temperatures.csv", "labels.csv"):
        assert raw(name, tmp_path).read_bytes() == raw(name).read_bytes()
