"""Some faults stop a run when the data is read; others are repaired and counted."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro_azure_mlops.validation import BadDataError

from {{ cookiecutter.package_name }}.datasets import (
    LabelsCSV,
    MissingFileError,
    TemperatureCSV,
)
from {{ cookiecutter.package_name }}.parameters import CleaningParameters
from {{ cookiecutter.package_name }}.pipelines.pre_processing.nodes import clean
from {{ cookiecutter.package_name }}.schemas import RawTemperatures

ROOT = Path(__file__).parents[3]
CLEANING = CleaningParameters(
    max_repeated=0.3, max_unordered=0.2, max_in_gaps=1.0, max_jittered=0.5, gap_steps=6
)
VALIDATOR = RawTemperatures(minimum=-100, maximum=400, stuck_clock_rows=5)
HEADER = "timestamp,sensor_id,temperature"
ROWS = [f"2024-01-01 {n // 4:02}:{15 * (n % 4):02},hall,{20 + n / 10}" for n in range(16)]

REFUSED = {
    "the file is empty": "",
    "the file is empty, it holds no reading": HEADER,
    "wrong columns, timestamp, temperature missing": "time,sensor_id,celsius\n2024-01-01,hall,20",
    "1 x temperature is not a number": [*ROWS, "2024-01-01 04:00,hall,warm"],
    "1 x temperature is missing": [*ROWS, "2024-01-01 04:00,hall,"],
    "1 x temperature is outside -100 to 400": [*ROWS, "2024-01-01 04:00,hall,9999"],
    "2 x temperature is outside -100 to 400": [*ROWS, "2024-01-02,a,inf", "2024-01-03,a,-inf"],
    "1 x timestamp is missing": [*ROWS, ",hall,20"],
    "1 x timestamp is not a date and time": [*ROWS, "soon,hall,20"],
    "1 x sensor_id is missing": [*ROWS, "2024-01-01 04:00,,20"],
    "times with and without an offset are mixed": [*ROWS, "2024-01-01T04:00Z,hall,20"],
    "6 x clock stands still for more than 5 readings": [*ROWS, *["2024-01-02,hall,20"] * 6],
}
ACCEPTED = {
    "in order": (ROWS, {"repeated": 0, "sent_twice": 0, "unordered": 0, "gaps": 0, "jittered": 0}),
    "newest first": (ROWS[::-1], {"repeated": 0, "unordered": 0, "gaps": 0}),
    "one late": ([*ROWS[:5], *ROWS[6:], ROWS[5]], {"repeated": 0, "unordered": 1}),
    "sent twice": ([*ROWS, ROWS[3], "2024-01-01 01:00,hall,1"], {"repeated": 2, "sent_twice": 1}),
    "a gap": ([*ROWS, "2024-01-03,hall,20"], {"repeated": 0, "gaps": 1}),
    "a jittered step": ([*ROWS, "2024-01-01 04:10,hall,20"], {"gaps": 0, "jittered": 1}),
}


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str | list[str]], pd.DataFrame]:
    """Return what reads and validates some lines as a file."""

    def read(lines: str | list[str]) -> pd.DataFrame:
        text = lines if isinstance(lines, str) else "\n".join([HEADER, *lines])
        (tmp_path / "file.csv").write_text(text + "\n" * bool(text), encoding="utf-8")
        return VALIDATOR.validate(TemperatureCSV(filepath=str(tmp_path / "file.csv")).load())

    return read


def test_the_readings_of_the_project_keep_the_rules() -> None:
    """The file of `raw_file`, if it is in the repository: CI reports faults before a run does."""
    bootstrap_project(ROOT)
    with KedroSession.create(project_path=ROOT) as session:
        context = session.load_context()
        catalog, cleaning = context.catalog, context.params["cleaning"]
        if not catalog.exists("raw_temperatures"):
            pytest.skip("raw_file is not in the repository")
        readings, _ = clean(catalog.load("raw_temperatures"), cleaning)
        catalog.load("labels")
    assert len(readings)


@pytest.mark.parametrize(("message", "lines"), REFUSED.items())
def test_a_file_that_cannot_be_used_is_refused(
    load: Callable, message: str, lines: str | list[str]
) -> None:
    with pytest.raises(BadDataError, match=message) as refusal:
        load(lines)
    assert "file.csv" in str(refusal.value)


@pytest.mark.parametrize(("lines", "counts"), ACCEPTED.values(), ids=ACCEPTED)
def test_what_real_loggers_do_is_handled_and_counted(
    load: Callable, lines: list[str], counts: dict[str, int]
) -> None:
    raw = load(lines)
    readings, report = clean(raw, CLEANING)
    assert {key: report[key] for key in counts} == counts
    assert sorted(readings.index) == sorted(raw.index), "a reading was lost"
    assert readings["timestamp"].is_monotonic_increasing


def test_the_refusal_shows_the_offending_rows_and_their_lines(load: Callable) -> None:
    with pytest.raises(BadDataError) as refusal:
        load([*ROWS[:2], "2024-01-01 00:30,hall,warm"])
    table = str(refusal.value).split("The first offending rows:\n")[1].splitlines()
    assert table[0].split() == ["line", "timestamp", "sensor_id", "temperature", "why"]
    assert table[1].split()[:5] == ["4", "2024-01-01", "00:30", "hall", "warm"]


@pytest.mark.parametrize(
    ("name", "limit", "message"),
    [
        ("sent twice", "max_repeated", "of the readings repeat a time of their sensor"),
        ("one late", "max_unordered", "of the readings are older than the one before"),
        ("a gap", "max_in_gaps", "of the time lies in gaps"),
        ("a jittered step", "max_jittered", "of the steps differ from the usual one"),
    ],
)
def test_too_much_of_it_stops_the_run(load: Callable, name: str, limit: str, message: str) -> None:
    raw = load(ACCEPTED[name][0])
    with pytest.raises(BadDataError, match=message) as refusal:
        clean(raw, CLEANING.model_copy(update={limit: 0.01}))
    assert f"cleaning.{limit} = 1.0%" in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "sensor"),
    [
        ("timestamp,temperature\n{0},20.5\n{1},21\n", "file"),
        ("timestamp,value\n{0},20.5\n{1},21\n", "file"),
        ("{0}, 20.5\n{1}, 21\n", "file"),
        ("{0},a,20.5\n{1},a,21\n", "a"),
        ("\ufeff{0},20.5\r\n{1},21\r\n", "file"),
        ("temperature,extra,timestamp,sensor_id\n20.5,x,{0},7\n21,y,{1},7\n", "7"),
    ],
    ids=["one sensor", "named value", "no header", "three columns", "byte order mark", "more"],
)
def test_logger_files_as_they_come(tmp_path: Path, text: str, sensor: str) -> None:
    path = tmp_path / "file.csv"
    path.write_text(text.format("2024-01-01 00:00", "2024-01-01 00:05"), "utf-8", newline="")
    raw = TemperatureCSV(filepath=str(path)).load()
    assert raw["temperature"].tolist() == [20.5, 21.0]
    assert raw["sensor_id"].tolist() == [sensor, sensor]


def test_times_with_an_offset_become_utc(load: Callable) -> None:
    readings, _ = clean(load(["2024-01-01T00:00+01:00,hall,20"]), CLEANING)
    assert readings["timestamp"].tolist() == [pd.Timestamp("2023-12-31 23:00")]


def test_labels_are_read_and_wrong_ones_refused(tmp_path: Path) -> None:
    assert LabelsCSV(filepath=None).load().empty
    path = tmp_path / "labels.csv"
    with pytest.raises(MissingFileError, match="Set labels_file"):
        LabelsCSV(filepath=str(path)).load()
    path.write_text("sensor_id,start,end\n007 ,2024-01-01,2024-01-02 12:00\n", encoding="utf-8")
    assert LabelsCSV(filepath=str(path)).load()["sensor_id"].tolist() == ["007"]
    path.write_text("sensor_id,start,end\na,2024-01-02,2024-01-01\n", encoding="utf-8")
    with pytest.raises(BadDataError, match="1 labels have no readable start and end"):
        LabelsCSV(filepath=str(path)).load()
