"""Cleaning sorts the rows, counts the faults of loggers and rejects data with too many."""

import numpy as np
import pandas as pd
import pytest

from kedro_azure_mlops.tables.cleaning import CleaningParameters, clean_series, list_findings
from kedro_azure_mlops.validation import BadDataError

COLUMNS = ["time", "machine", "load", "speed"]
LENIENT = CleaningParameters(
    max_repeated=1.0,
    max_unordered=1.0,
    max_in_gaps=1.0,
    max_jittered=1.0,
    max_error_codes=1.0,
    gap_steps=6,
)


def table(rows: int = 16) -> pd.DataFrame:
    """Return quarter-hourly rows of one machine, as read from a file."""
    times = pd.date_range("2024-01-01", periods=rows, freq="15min").astype(str)
    columns = {"time": times, "machine": "a", "load": np.arange(rows) / 10, "speed": 7.0}
    return pd.DataFrame(columns, range(2, rows + 2))


def with_row(**values: object) -> pd.DataFrame:
    """Return the table with its last row repeated, except for the given values."""
    rows = table()
    return pd.concat([rows, rows.iloc[-1:].assign(**values).set_axis([99])])


CASES = {
    "in order": (table(), {"repeated": 0, "sent_twice": 0, "unordered": 0, "gaps": 0}),
    "newest first": (table()[::-1], {"repeated": 0, "unordered": 0, "gaps": 0, "jittered": 0}),
    "one late": (with_row(time="2024-01-01 00:20"), {"unordered": 1, "jittered": 1}),
    "sent twice": (with_row(), {"repeated": 1, "sent_twice": 1}),
    "same time, different load": (with_row(load=99.5), {"repeated": 1, "sent_twice": 0}),
    "same time, different speed": (with_row(speed=8.0), {"repeated": 1, "sent_twice": 0}),
    "a gap": (with_row(time="2024-01-02"), {"gaps": 1, "longest_gap_hours": 20.25}),
    "a jittered step": (with_row(time="2024-01-01 03:50"), {"gaps": 0, "jittered": 1}),
    "second series": (with_row(machine=" b "), {"series": 2, "repeated": 0}),
}


@pytest.mark.parametrize(("raw", "counts"), CASES.values(), ids=CASES)
def test_logger_faults_are_counted_and_no_row_is_lost(
    raw: pd.DataFrame, counts: dict[str, int]
) -> None:
    clean, report = clean_series(raw, COLUMNS, LENIENT)
    assert {name: report[name] for name in counts} == counts
    assert report["rows"] == len(raw)
    assert clean["repeated"].sum() == report["sent_twice"]
    assert list(clean.columns) == [*COLUMNS, "repeated"]
    ordered = raw.assign(
        machine=raw["machine"].str.strip(), time=pd.to_datetime(raw["time"], format="ISO8601")
    )
    ordered = ordered.sort_values(["machine", "time"], kind="stable").rename_axis("line")
    pd.testing.assert_frame_equal(clean[COLUMNS], ordered, check_dtype=False)


@pytest.mark.parametrize(
    ("name", "maximum", "message"),
    [
        ("sent twice", "max_repeated", r"5\.9% of the rows repeat a time of their series"),
        ("one late", "max_unordered", r"5\.9% of the rows are older than the one before"),
        ("a gap", "max_in_gaps", r"84\.4% of the time is in gaps"),
        ("a jittered step", "max_jittered", r"5\.9% of the steps differ from the usual one"),
    ],
)
def test_too_many_faults_are_rejected_naming_the_rows(
    name: str, maximum: str, message: str
) -> None:
    raw = CASES[name][0]
    raw.attrs["source"] = "plant.csv"
    strict = LENIENT.model_copy(update={maximum: 0.01})
    with pytest.raises(BadDataError, match=rf"plant\.csv: {message}") as refusal:
        clean_series(raw, COLUMNS, strict, group="tidy")
    assert f"more than tidy.{maximum} = 1.0%" in str(refusal.value)
    assert "99 2024" in str(refusal.value).split("The first offending rows:\n")[1]
    clean_series(raw, COLUMNS, LENIENT)


def test_messages_use_the_terms_of_the_project() -> None:
    strict = LENIENT.model_copy(update={"max_repeated": 0.01})
    with pytest.raises(BadDataError, match="of the hours repeat a time of their machine"):
        clean_series(with_row(), COLUMNS, strict, rows="hours", series="machine")


def test_error_codes_are_searched_in_the_first_numeric_column() -> None:
    raw = table(200)
    raw["load"] = np.random.default_rng(0).normal(20, 1, 200).round(2)
    raw.loc[[20, 60, 100, 140], "load"] = 85.0
    raw.loc[[30, 70, 110, 150], "speed"] = 6553.5
    _, report = clean_series(raw, COLUMNS, LENIENT)
    assert report["found_codes"] == ["a: 85 4 times, lines 20, 60, 100, 140"]
    strict = LENIENT.model_copy(update={"max_error_codes": 0.01})
    with pytest.raises(BadDataError, match=r"2\.0% of the rows are error codes"):
        clean_series(raw, COLUMNS, strict)


def test_times_with_an_offset_become_utc_and_numbers_may_be_text() -> None:
    raw = table(2).assign(time=["2024-01-01T00:00+01:00", "2024-01-01T00:15+01:00"])
    clean, _ = clean_series(raw.astype(str), COLUMNS, LENIENT)
    assert clean["time"].tolist()[0] == pd.Timestamp("2023-12-31 23:00")
    assert clean["load"].tolist() == [0.0, 0.1]


def test_the_fingerprint_depends_on_the_values_and_their_order() -> None:
    fingerprints = [
        clean_series(raw, COLUMNS, LENIENT)[1]["fingerprint"]
        for raw in (table(), table().astype(str), table()[::-1], table().assign(speed=8.0))
    ]
    assert fingerprints[0] == fingerprints[1]
    assert len({*fingerprints}) == 3


def test_the_report_includes_the_source_and_notes_of_the_reader() -> None:
    raw = table()
    raw.attrs.update(source="plant.csv", notes=["5 rows left out"])
    _, report = clean_series(raw, COLUMNS, LENIENT)
    assert (report["source"], report["notes"]) == ("plant.csv", ["5 rows left out"])


def test_findings_are_formatted_as_lines() -> None:
    raw = with_row(time="2024-01-03")
    raw.attrs["notes"] = ["5 rows left out"]
    _, report = clean_series(raw, COLUMNS, LENIENT)
    summary, note = list_findings(report)
    assert summary.startswith("found: 0 repeated times, 0 of them sent twice, 0 out of order, ")
    assert summary.endswith(", 0 error codes, 1 gaps (longest 44.25 h)")
    assert note == "note: 5 rows left out"
    lines = list_findings(report | {"found_codes": ["a: 85 4 times, lines 2, 3, 4, 5"]})
    assert lines[2:] == ["error code, left out of training: a: 85 4 times, lines 2, 3, 4, 5"]
