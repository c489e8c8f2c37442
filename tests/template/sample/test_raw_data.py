"""Some faults stop a run when the data is read; others are repaired and counted.

Each kind of fault has a readable file in ``fixtures`` or is generated from good readings.
"""

from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DatasetError
from temperature_anomalies.pipelines.pre_processing.nodes import clean
from temperature_anomalies.schemas import RawTemperatures

from kedro_azure_mlops.tables.cleaning import CleaningParameters
from kedro_azure_mlops.validation import BadDataError
from tests.template.sample.helpers import NAME, Project, entry

FIXTURES = Path(__file__).parent / "fixtures"
CLEANING = CleaningParameters(
    max_repeated=0.2, max_unordered=0.2, max_in_gaps=0.5, max_jittered=0.5, gap_steps=6
)
LENIENT = CLEANING.model_copy(update={"max_in_gaps": 1.0, "max_repeated": 0.3})
VALIDATOR = RawTemperatures(minimum=-100, maximum=400, stuck_clock_rows=5)

REFUSED = {
    "wrong_columns": r"wrong columns, timestamp, temperature missing",
    "header_only": r"the file is empty: it has no rows",
    "empty": r"the file is empty",
    "wrong_types": r"1 x temperature is not a number",
    "true_and_false": r"2 x temperature is not a number",
    "unparsable_times": r"2 x timestamp is not a date and time",
    "missing_times": r"1 x timestamp is missing",
    "missing_sensor": r"1 x sensor_id is missing",
    "not_a_number": r"2 x temperature is missing",
    "infinite": r"2 x temperature is outside -100 to 400",
    "absurd": r"2 x temperature is outside -100 to 400",
    "stuck_clock": r"6 x clock stands still for more than 5 readings",
}
ACCEPTED = {
    "good": {"repeated": 0, "sent_twice": 0, "unordered": 0, "gaps": 0, "jittered": 0},
    "no_header": {"repeated": 0, "unordered": 0, "gaps": 0},
    "repeated": {"repeated": 2, "sent_twice": 1, "unordered": 0, "gaps": 0},
    "unordered": {"repeated": 0, "unordered": 1, "gaps": 0},
    "newest_first": {"repeated": 0, "unordered": 0, "gaps": 0},
    "gap_of_days": {"repeated": 0, "unordered": 0, "gaps": 1},
    "jittered": {"repeated": 0, "unordered": 0, "gaps": 0, "jittered": 2},
    "clock_stood_a_little": {"repeated": 4, "unordered": 0, "gaps": 0},
    "with_offsets": {"repeated": 0, "unordered": 0, "gaps": 0},
}


def load(name: str) -> pd.DataFrame:
    return VALIDATOR.validate(
        entry("raw_temperatures", filepath=str(FIXTURES / f"{name}.csv")).load()
    )


def test_every_fixture_is_used() -> None:
    assert {path.stem for path in FIXTURES.glob("*.csv")} == {*REFUSED, *ACCEPTED}


@pytest.mark.parametrize(("name", "message"), REFUSED.items())
def test_an_unusable_file_is_rejected(name: str, message: str) -> None:
    with pytest.raises(BadDataError, match=message) as refusal:
        load(name)
    assert f"{name}.csv" in str(refusal.value)


@pytest.mark.parametrize(("name", "counts"), ACCEPTED.items())
def test_irregularities_of_real_loggers_are_handled_and_counted(
    name: str, counts: dict[str, int]
) -> None:
    raw = load(name)
    readings, report = clean(raw, LENIENT)
    assert {key: report[key] for key in counts} == counts
    assert sorted(readings.index) == sorted(raw.index), "a reading was lost"
    assert readings.groupby("sensor_id")["timestamp"].is_monotonic_increasing.all()


def test_the_error_shows_the_offending_rows_and_their_lines() -> None:
    with pytest.raises(BadDataError) as refusal:
        load("wrong_types")
    table = str(refusal.value).split("The first offending rows:\n")[1].splitlines()
    assert table[0].split() == ["line", "timestamp", "sensor_id", "temperature", "why"]
    assert table[1].split()[:5] == ["4", "2024-01-01", "00:30", "hall", "warm"]


def test_the_error_shows_at_most_ten_rows() -> None:
    raw = load("good")
    raw["temperature"] = 999.0
    with pytest.raises(BadDataError, match=rf"\.\.\. and {len(raw) - 10} more"):
        VALIDATOR.validate(raw)


def test_a_reading_with_two_faults_is_listed_once() -> None:
    raw = load("good").head(3).astype({"timestamp": object, "temperature": object})
    raw.loc[2, ["timestamp", "temperature"]] = ["soon", "warm"]
    with pytest.raises(BadDataError, match=r"1 of 3 rows cannot be used") as refusal:
        VALIDATOR.validate(raw)
    assert "not a date and time such as 2024-01-31 13:00; temperature is not a number" in str(
        refusal.value
    )


@pytest.mark.parametrize(
    ("name", "maximum", "message"),
    [
        ("repeated", "max_repeated", r"% of the readings repeat a time of their sensor"),
        ("unordered", "max_unordered", r"% of the readings are older than the one before"),
        ("gap_of_days", "max_in_gaps", r"% of the time is in gaps"),
        ("jittered", "max_jittered", r"% of the steps differ from the usual one"),
    ],
)
def test_too_many_irregularities_stop_the_run(name: str, maximum: str, message: str) -> None:
    raw = load(name)
    with pytest.raises(BadDataError, match=message) as refusal:
        clean(raw, CLEANING.model_copy(update={maximum: 0.01}))
    assert "The first offending rows:" in str(refusal.value)
    assert f"cleaning.{maximum} = 1.0%" in str(refusal.value)
    clean(raw, LENIENT)


def test_times_with_an_offset_become_utc() -> None:
    readings, _ = clean(load("with_offsets"), CLEANING)
    assert readings["timestamp"].tolist()[:2] == [
        pd.Timestamp("2023-12-31 23:00"),
        pd.Timestamp("2023-12-31 23:15"),
    ]


def test_the_fingerprint_depends_only_on_the_content(tmp_path: Path) -> None:
    text = (FIXTURES / "good.csv").read_text(encoding="utf-8")
    same, other = tmp_path / "same.csv", tmp_path / "other.csv"
    same.write_text(text.replace("\n", "\r\n"), encoding="utf-8", newline="")
    other.write_text(text.replace("20.1", "20.2", 1), encoding="utf-8")
    fingerprints = [
        clean(entry("raw_temperatures", filepath=str(path)).load(), CLEANING)[1]["fingerprint"]
        for path in (FIXTURES / "good.csv", same, other)
    ]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    assert len(fingerprints[0]) == 64


@pytest.mark.parametrize("name", ["wrong_types", "stuck_clock", "header_only", "wrong_columns"])
def test_a_rejected_file_stops_the_run_and_leaves_no_model(project: Project, name: str) -> None:
    path = project.write("bad.csv", (FIXTURES / f"{name}.csv").read_text(encoding="utf-8"))
    with pytest.raises(DatasetError, match=r"bad\.csv"):
        project.run(raw_file=path, validation={"stuck_clock_rows": 5})
    assert not project.processed("model").exists()
    assert not project.processed("scores.csv").exists()
    client = project.client()
    runs = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    assert [run.info.status for run in runs] == ["FAILED"]
