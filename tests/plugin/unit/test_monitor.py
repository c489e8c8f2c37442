"""The monitor's parts: plots, metrics from labels, the table, Prometheus text, the page."""

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kedro_azure_mlops.ci import annotate
from kedro_azure_mlops.config import Mlops, Monitoring, Rule
from kedro_azure_mlops.contract import Column, History, Schema
from kedro_azure_mlops.monitor.comparison import Comparison, Finding, compare_rows
from kedro_azure_mlops.monitor.exports import json_report, table, textfile
from kedro_azure_mlops.monitor.labels import measure, missed_levels, slices_of
from kedro_azure_mlops.monitor.plots import (
    course_svg,
    distribution_svg,
    shares_svg,
    visible_rows,
    windows_svg,
)
from kedro_azure_mlops.monitor.profile import Profile, reference_profile
from kedro_azure_mlops.monitor.report import html_report
from kedro_azure_mlops.monitor.result import MonitorReport, history_of, in_words
from kedro_azure_mlops.monitor.rows import Rows, _Newest, scored_rows
from kedro_azure_mlops.serve.batches import CsvPieces

SVG = "{http://www.w3.org/2000/svg}"
START = pd.Timestamp("2024-01-01")


def shapes(svg: str, kind: str) -> list[dict[str, str]]:
    """Return the attributes of a plot's shapes of one class."""
    root = ET.fromstring(svg)  # noqa: S314, our own text
    return [one.attrib for one in root.iter() if one.get("class") == kind]


# Plots


def test_a_plot_is_well_formed_and_has_a_title() -> None:
    values = np.random.default_rng(0).normal(20, 2, 500)
    reference = (np.linspace(0, 1, 11), np.quantile(values, np.linspace(0, 1, 11)))
    svg = distribution_svg(reference, values + 5, 'a <b> & "c"')
    root = ET.fromstring(svg)  # noqa: S314
    assert root.get("aria-label") == root.findtext("title") == 'a <b> & "c"'
    assert root.get("role") == "img"
    assert len(shapes(svg, "then fill")) == len(shapes(svg, "now line")) == 1


def test_a_higher_distribution_is_drawn_further_right() -> None:
    reference = (np.linspace(0, 1, 11), np.linspace(0, 10, 11))
    svg = distribution_svg(reference, np.linspace(20, 30, 100), "risen")

    def middle(kind: str) -> float:
        points = shapes(svg, kind)[0]["d"].removeprefix("M").split("L")
        x, y = np.array([point.split() for point in points], float).T
        height = y.max() - y
        return float((x * height).sum() / height.sum())

    assert middle("then fill") < middle("now line") - 100


@pytest.mark.parametrize("values", [[], [np.nan, np.inf]])
def test_without_finite_values_there_is_no_plot(values: list[float]) -> None:
    array = np.array(values, float)
    times = pd.Series(pd.date_range(START, periods=len(array)))
    assert distribution_svg(None, array, "none") == ""
    assert course_svg(times, array, "none") == ""
    assert windows_svg(times[:0], array[:0], array[:0].astype(bool), "none") == ""


def test_constant_values_are_drawn() -> None:
    constant, times = np.full(50, 3.0), pd.Series(pd.date_range(START, periods=50, freq="h"))
    reference = (np.linspace(0, 1, 11), np.full(11, 3.0))
    for svg in (
        distribution_svg(reference, constant, "constant"),
        course_svg(times, constant, "constant"),
        windows_svg(times[:1], np.zeros(1), np.zeros(1, bool), "one window"),
    ):
        assert "nan" not in svg and "inf" not in svg
        assert ET.fromstring(svg) is not None  # noqa: S314


def test_the_plot_of_a_long_series_keeps_extremes_and_stays_small() -> None:
    values = np.sin(np.arange(200_000) / 500)
    values[123_456] = 9.0
    times = pd.Series(pd.date_range(START, periods=len(values), freq="min"))
    flags = values > 0.99
    svg = course_svg(
        times,
        values,
        "long",
        usual=(-1.0, 0.0, 1.0),
        marked=flags,
        alarm=(times.iloc[150_000], times.iloc[-1]),
        end_of_training=times.iloc[100_000],
    )
    assert len(svg) < 60_000
    heights = [float(one.split()[1]) for one in shapes(svg, "now line")[0]["d"][1:].split("L")]
    assert min(heights) == pytest.approx(15, abs=10), "the only outlier is drawn"
    assert 0 < len(shapes(svg, "alarm fill")) <= 400
    assert len(shapes(svg, "shade")) == len(shapes(svg, "axis dashed")) == 1


def test_visible_rows_are_all_rows_or_the_extremes_of_many() -> None:
    assert len(visible_rows(np.arange(100.0))) == 100
    values = np.zeros(10_000)
    values[7_777] = 1
    assert 7_777 in visible_rows(values) and len(visible_rows(values)) < 5_000


def test_windows_with_an_alarm_have_another_colour() -> None:
    ends = pd.Series(pd.date_range(START, periods=4))
    values, alarms = np.array([1.0, np.nan, -2.0, 5.0]), np.array([False, False, False, True])
    svg = windows_svg(ends, values, alarms, "windows", limit=3.0)
    assert len(shapes(svg, "now fill")) == 3 and len(shapes(svg, "alarm fill")) == 1
    assert len(shapes(svg, "alarm line dashed")) == 1


def test_large_numbers_are_abbreviated() -> None:
    ends = pd.Series(pd.date_range(START, periods=3))
    svg = windows_svg(ends, np.array([9e6, 25e6, 1.0]), np.zeros(3, bool), "many")
    assert ">20M<" in svg and "20000000" not in svg


def test_shares_of_categories_are_drawn_as_labelled_bars() -> None:
    svg = shares_svg(
        ["a", "<a very long name of a category>"],
        np.array([0.9, 0.1]),
        np.array([0.5, 0.5]),
        "shares",
    )
    bars = [float(one["width"]) for one in shapes(svg, "then fill")]
    assert bars[0] == pytest.approx(9 * bars[1], rel=0.01)
    assert "&lt;a very long" in svg and "…" in svg


# Labels


HISTORY = Schema(
    inputs=(Column("time", "datetime"), Column("unit", "string"), Column("load", "double")),
    outputs=(Column("score", "double"), Column("is_far", "boolean")),
    history=History("time", "unit"),
    flag="is_far",
)


def rows_of(*units: str) -> pd.DataFrame:
    times = pd.date_range(START, periods=4, freq="h")
    rows = pd.concat([pd.DataFrame({"time": times, "unit": unit}) for unit in units])
    return rows.assign(load=1.0, score=0.5, is_far=[1.0, 0.0, 0.0, 0.0] * len(units))


def count(rows: pd.DataFrame, labels: pd.DataFrame) -> dict[str, float]:
    return {"rows": len(rows), "labels": len(labels), "none": math.nan}


def test_slices_count_rows_and_flags_of_each_key() -> None:
    slices = slices_of(rows_of("a", "b"), HISTORY)
    assert slices["rows"].to_dict() == {"a": 4, "b": 4}
    assert slices["flagged"].to_dict() == {"a": 0.25, "b": 0.25}
    assert slices_of(rows_of("a"), Schema(HISTORY.inputs, HISTORY.outputs)).empty


def test_labels_are_counted_by_key_and_unmatched_ones_are_noted() -> None:
    labels = pd.DataFrame(
        {"unit": ["a", "a", "c", "a"], "time": [START, START, START, START - pd.Timedelta("9D")]}
    )
    numbers, by_key, notes = measure(count, rows_of("a", "b"), labels, HISTORY)
    assert numbers == {"rows": 8.0, "labels": 2.0}
    assert by_key["labels"].to_dict() == {"a": 2.0, "b": 0.0}
    assert notes == [
        "Labels of rows that were never served, left out: 1.",
        "Labels outside the time range of the rows, left out: 1.",
    ]


def test_labels_without_times_or_keys_apply_to_all_rows() -> None:
    labels = pd.DataFrame({"truth": [1, 0]})
    numbers, by_key, notes = measure(count, rows_of("a"), labels, HISTORY)
    assert (numbers["labels"], by_key["labels"].to_dict(), notes) == (2.0, {"a": 2.0}, [])
    labels = pd.DataFrame({"unit": ["a", "c"]})
    numbers, _, notes = measure(count, rows_of("a"), labels, HISTORY)
    assert numbers["labels"] == 1.0 and len(notes) == 1


def test_only_missed_levels_of_the_gate_are_findings() -> None:
    rules = [
        Rule(metric="recall", minimum=0.5, label="share found"),
        Rule(metric="alarms", better="lower", maximum=3),
        Rule(metric="alarms", slice="worst", better="lower", maximum=5),
        Rule(metric="unknown", minimum=1),
    ]
    slices = pd.DataFrame({"alarms": [6.0, 2.0, math.nan]}, index=["a", "b", "c"])
    findings = missed_levels(rules, {"recall": 0.4, "alarms": 4.0}, slices, START)
    assert [one.words for one in findings] == [
        "share found 0.4, minimum 0.5",
        "alarms 4, maximum 3",
        "a: alarms 6, maximum 5",
    ]
    assert [one.key for one in findings] == [None, None, "a"]
    assert missed_levels(rules, {"recall": 0.5, "alarms": 3.0}, slices.head(0), START) == []


# The result


def report_of(
    schema: Schema, training: pd.DataFrame, rows: pd.DataFrame, **changes: Any
) -> MonitorReport:
    """Compare rows with training rows and build the report, as the monitor does."""
    profile = Profile.from_dict(reference_profile(training, schema))
    order = schema.history.order if schema.history else None
    rows = rows.reset_index(drop=True)
    fields: dict[str, Any] = {
        "env": "prod",
        "model": "plant",
        "version": "3",
        "digest": "a" * 64,
        "at": pd.Timestamp("2024-03-10"),
        "source": "a test",
        "comparison": compare_rows(rows, profile, schema),
        "metrics": {},
        "slices": slices_of(rows, schema),
        "missed": [],
        "flagged": pd.DataFrame(),
        "rows": rows,
        "order": order,
        "notes": [],
        "profile": profile,
        "schema": schema,
        "config": Mlops(monitoring=Monitoring()),
        "root": Path(),
    }
    return MonitorReport(**fields | changes)


def hours(days: int, shift: float = 0.0, seed: int = 0, kinds: str = "aab") -> pd.DataFrame:
    random = np.random.default_rng(seed)
    n = days * 24
    load = random.normal(10, 1, n) + shift
    return pd.DataFrame(
        {
            "time": pd.date_range(START, periods=n, freq="h"),
            "load": load,
            "kind": random.choice(list(kinds), n),
            "score": random.normal(0, 1, n) + shift,
        }
    )


WITHOUT_KEYS = Schema(
    inputs=(
        Column("time", "datetime"),
        Column("load", "double", nullable=True),
        Column("kind", "string", nullable=True),
    ),
    outputs=(Column("score", "double"),),
    history=History("time"),
)


def test_the_page_without_keys_shows_numbers_categories_and_scores() -> None:
    rows = hours(7, shift=4, seed=1, kinds="bbc")
    rows.loc[rows.index[-20:], "load"] = np.nan
    missed = Finding("drift", "score_psi", "score", None, 2.0, 1.0, START, "score shifted")
    report = report_of(WITHOUT_KEYS, hours(42), rows, notes=["a <note>"], missed=[missed])
    assert {one.column for one in report.findings} >= {"load", "kind", "score"}
    page = html_report(report)
    assert "a &lt;note&gt;" in page and "By series" not in page
    for text in (
        "Distribution of load of all: median",
        "Shares of the values of kind, in training and now",
        "Shares of score of all between the training deciles",
        "Rows in each window of 24 h: 24 in the newest",
    ):
        assert text in page


def test_the_page_without_times_has_no_plots_over_time() -> None:
    schema = Schema((Column("load", "double"),), (Column("score", "double"),))
    training, rows = hours(42)[["load", "score"]], hours(7, shift=9)[["load", "score"]]
    report = report_of(schema, training, rows)
    assert report.drifted
    page = html_report(report)
    assert "Distribution of load" in page and "over time" not in page and "Volume" not in page


def test_all_of_many_findings_are_listed_but_only_the_first_are_drawn() -> None:
    one = Finding("drift", "level", "load", None, 2.0, 1.0, START, "load shifted <far>")
    many = [
        one,
        *[
            Finding("traffic", "volume", None, f"k{n}", 2.0, 1.0, START, f"k{n}: few rows")
            for n in range(20)
        ],
    ]
    plain = report_of(WITHOUT_KEYS, hours(42), hours(7))
    compared = plain.comparison
    report = report_of(
        WITHOUT_KEYS,
        hours(42),
        hours(7),
        comparison=Comparison(many, compared.windows, compared.rows, compared.start, compared.end),
    )
    page = html_report(report)
    assert page.count("<article") == 12 and "And 9 more" in page
    assert "load shifted &lt;far&gt;" in page and "k19: few rows" in page
    assert (
        "The data has changed and the number of rows is unusual since 2024-01-01 00:00: "
        "k0, k1, k2 and 17 more" in page
    )


def test_the_table_is_at_most_80_characters_wide() -> None:
    schema = Schema(
        (Column("time", "datetime"), Column("unit", "string"), Column("load" * 9, "double")),
        (Column("score", "double"),),
        History("time", "unit"),
    )

    def unit_rows(name: str, shift: float) -> pd.DataFrame:
        one = hours(30, shift).rename(columns={"load": "load" * 9})
        return one.assign(unit=name * 30).drop(columns="kind")

    training = pd.concat([unit_rows("x", 0), unit_rows("y", 0)])
    report = report_of(schema, training, pd.concat([unit_rows("x", 5), unit_rows("y", 0)]))
    lines = list(table(report))
    rows = lines[2 : lines.index("", 4)]
    assert report.alarm and all(len(line) <= 80 for line in rows)
    assert any("…" in line for line in rows)
    assert lines[-len(report.reasons) - 1].endswith(f"alarm{'s' * (len(report.reasons) > 1)}:")


def test_the_json_and_prometheus_exports_contain_no_nan() -> None:
    report = report_of(WITHOUT_KEYS, hours(42), hours(2), metrics={"recall": 0.5})
    content = json_report(report)
    text = textfile(report)
    assert "nan" not in text.lower() and 'metric="recall"} 0.5' in text
    assert all(math.isfinite(one["value"]) for one in content["newest_window"] if one["value"])
    assert content["judged"]["rows"] == 48 and content["findings"] == []


@pytest.mark.parametrize(
    ("span", "words"),
    [
        ("24h", "24 h"),
        ("14D", "14 days"),
        ("30min", "30 min"),
        ("90min", "90 min"),
        ("45s", "45 s"),
    ],
)
def test_durations_are_formatted_for_people(span: str, words: str) -> None:
    assert in_words(pd.Timedelta(span)) == words


@pytest.mark.parametrize(
    ("experiment", "history"),
    [("plant", "plant-monitor-prod"), ("plant-prod", "plant-prod-monitor")],
)
def test_the_history_of_an_environment_has_a_fixed_name(experiment: str, history: str) -> None:
    config = Mlops.model_validate({"tracking": {"experiment": experiment}})
    assert history_of(config, "prod") == history


def test_annotations_contain_no_commands_that_ci_would_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "100 % of\n::error::x ##vso[task.complete]"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    annotate([hostile])
    assert capsys.readouterr().out.count("\n") == 1
    monkeypatch.setenv("TF_BUILD", "True")
    annotate([hostile], kind="error")
    out = capsys.readouterr().out
    assert out.startswith("##vso[task.logissue type=error]100 %AZP25 of%0A")
    assert out.count("\n") == 1


class _Fees:
    """A scorer of independent rows, with a date among them; like many models, it needs a row."""

    schema = Schema(
        (Column("joined", "datetime"), Column("fee", "double")), (Column("p", "double"),)
    )

    def score(self, columns: dict[str, np.ndarray], wanted: Any = None) -> dict[str, np.ndarray]:
        if not len(columns["fee"]):
            raise ValueError("Found array with 0 sample(s)")
        return {"p": columns["fee"] / 100}


def fees(rows: int) -> pd.DataFrame:
    joined = pd.date_range("2024-01-01", periods=rows, freq="D")
    return pd.DataFrame({"joined": joined, "fee": 10.0})


NOW = pd.Timestamp("2024-02-01")


def in_pieces(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    return (table[start : start + 5] for start in range(0, len(table), 5))


def read_fees(table: Any, days: int) -> Rows:
    return scored_rows([("new.csv", table)], _Fees.schema, _Fees, pd.Timedelta(days=days), NOW)


def test_rows_left_out_by_a_date_among_the_inputs_are_noted() -> None:
    assert read_fees(fees(30), 40).notes == []
    read = read_fees(fees(30), 14)
    assert len(read.table) == 14
    (note,) = read.notes
    assert note.startswith("Judged by the times in joined: the newest 14 of 30 rows.")


def test_rows_of_which_none_fits_are_judged_without_scores() -> None:
    read = read_fees(fees(3).assign(fee="none"), 40)
    assert read.table["p"].isna().all()
    assert read.notes == ["Rows that do not fit the model's schema, judged without a score: 3."]


def test_a_row_with_a_wrong_year_does_not_hide_the_others() -> None:
    table = fees(30)
    table.loc[3, "joined"] = pd.Timestamp("2036-01-04")
    reads = (read_fees(table, 14), read_fees(in_pieces(table), 14))
    expected = read_fees(fees(30), 14).table.reset_index(drop=True)
    for read in reads:
        pd.testing.assert_frame_equal(read.table.reset_index(drop=True), expected)
        assert read.notes == [
            "Rows whose joined is in the future, up to 2036-01-04 00:00, not judged: 1. Correct "
            "their times.",
            "Judged by the times in joined: the newest 14 of 29 rows. --since looks further back.",
        ]


@pytest.mark.parametrize("years", [1, 10])
def test_rows_of_which_most_are_in_the_future_are_judged(years: int) -> None:
    table = fees(30)
    table.loc[10:, "joined"] += pd.DateOffset(years=years)
    for loaded in (table, in_pieces(table)):
        assert read_fees(loaded, 14).table["joined"].tolist() == table["joined"].tolist()[-14:]


def test_rows_read_in_pieces_are_dropped_once_they_are_too_old() -> None:
    newest = _Newest("joined", pd.Timedelta(days=14))
    for piece in in_pieces(fees(300)):
        newest.add(piece)
    assert (newest.read, sum(map(len, newest.parts))) == (300, 15)


def test_keys_of_a_file_are_read_as_they_are_written(tmp_path: Path) -> None:
    """As in scoring: pandas would merge 1.1 and 1.10 into one series."""
    file = tmp_path / "new.csv"
    file.write_text("machine,fee\n1.1,10\n1.10,20\n", encoding="utf-8")
    schema = Schema((Column("machine", "string"), *_Fees.schema.inputs[1:]), _Fees.schema.outputs)
    pieces = CsvPieces(filepath=str(file)).load()
    read = scored_rows([("new.csv", pieces)], schema, _Fees, pd.Timedelta("1D"), START)
    assert read.table["machine"].tolist() == ["1.1", "1.10"]
