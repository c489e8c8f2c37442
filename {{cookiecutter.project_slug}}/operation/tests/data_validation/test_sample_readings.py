"""Some faults stop a run when the data is read; others are repaired and counted."""

from pathlib import Path

import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro_azure_mlops.validation import BadDataError

from {{ cookiecutter.package_name }}.features import READING
from {{ cookiecutter.package_name }}.parameters import CleaningParameters
from {{ cookiecutter.package_name }}.pipelines.pre_processing.nodes import clean
from {{ cookiecutter.package_name }}.schemas import RawTemperatures

ROOT = Path(__file__).parents[3]
CLEANING = CleaningParameters(
    max_repeated=0.3, max_unordered=0.2, max_in_gaps=1.0, max_jittered=0.5, gap_steps=6
)
VALIDATOR = RawTemperatures(minimum=-100, maximum=400, stuck_clock_rows=5)
ROWS = [f"2024-01-01 {n // 4:02}:{15 * (n % 4):02},hall,{20 + n / 10}" for n in range(16)]

REFUSED = {
    "the file is empty, it holds no row": [],
    "1 x temperature is not a number": [*ROWS, "2024-01-01 04:00,hall,warm"],
    "1 x temperature is missing": [*ROWS, "2024-01-01 04:00,hall,"],
    "1 x temperature is outside -100 to 400": [*ROWS, "2024-01-01 04:00,hall,9999"],
    "2 x temperature is outside -100 to 400": [*ROWS, "2024-01-02,a,inf", "2024-01-03,a,-inf"],
    "1 x timestamp is missing": [*ROWS, ",hall,20"],
    "1 x timestamp is not a date and time": [*ROWS, "soon,hall,20"],
    "1 x sensor_id is missing": [*ROWS, "2024-01-01 04:00,,20"],
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


def validated(lines: list[str]) -> pd.DataFrame:
    """Validate some lines of a file, as the catalog does when it has read them."""
    cells = [[cell or None for cell in line.split(",")] for line in lines]
    raw = pd.DataFrame(cells, range(2, len(cells) + 2), READING)
    raw.attrs["source"] = "file.csv"
    return VALIDATOR.validate(raw)


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
def test_a_file_that_cannot_be_used_is_refused(message: str, lines: list[str]) -> None:
    with pytest.raises(BadDataError, match=message) as refusal:
        validated(lines)
    assert "file.csv" in str(refusal.value)


@pytest.mark.parametrize(("lines", "counts"), ACCEPTED.values(), ids=ACCEPTED)
def test_what_real_loggers_do_is_handled_and_counted(
    lines: list[str], counts: dict[str, int]
) -> None:
    raw = validated(lines)
    readings, report = clean(raw, CLEANING)
    assert {key: report[key] for key in counts} == counts
    assert sorted(readings.index) == sorted(raw.index), "a reading was lost"
    assert readings["timestamp"].is_monotonic_increasing


def test_the_refusal_shows_the_offending_rows_and_their_lines() -> None:
    with pytest.raises(BadDataError) as refusal:
        validated([*ROWS[:2], "2024-01-01 00:30,hall,warm"])
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
def test_too_much_of_it_stops_the_run(name: str, limit: str, message: str) -> None:
    raw = validated(ACCEPTED[name][0])
    with pytest.raises(BadDataError, match=message) as refusal:
        clean(raw, CLEANING.model_copy(update={limit: 0.01}))
    assert f"cleaning.{limit} = 1.0%" in str(refusal.value)


def test_times_with_an_offset_become_utc() -> None:
    readings, _ = clean(validated(["2024-01-01T00:00+01:00,hall,20"]), CLEANING)
    assert readings["timestamp"].tolist() == [pd.Timestamp("2023-12-31 23:00")]
