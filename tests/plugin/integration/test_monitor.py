"""``kedro mlops monitor`` in a project with a champion: verdicts, messages, files and records."""

import functools
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient

from kedro_azure_mlops.cli import main
from kedro_azure_mlops.contract import digest, write_manifest
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.monitor.look import monitor_model
from kedro_azure_mlops.monitor.profile import PROFILE
from kedro_azure_mlops.monitor.result import MonitorReport
from kedro_azure_mlops.serve.record import Recorder, Settings
from tests.plugin.helpers import CONFIGURATION, Project, outputs_reader
from tests.plugin.mlflow_server import free_port
from tests.plugin.registered import set_keys
from tests.plugin.trained import arrays_of, save_small_model, small_scorer
from tests.plugin.watched import (
    CHANGED,
    HOSTILE,
    changed,
    loads,
    save_watched_model,
    watched_project,
    with_answers,
    with_outliers,
    write_rows,
)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
Look = Callable[..., MonitorReport]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_watched_model(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture(scope="module")
def _watched(model: Path, tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    return watched_project(tmp_path_factory.mktemp("watched") / "project", model, database)


@pytest.fixture
def watched(_watched: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of a project whose prod has a champion, as the current folder."""
    target = tmp_path / "project"
    shutil.copytree(_watched.path, target, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(target)
    return Project(target)


@pytest.fixture
def look(watched: Project) -> Look:
    """Return a function that monitors rows in a file, as the command does."""

    def monitor_rows(rows: pd.DataFrame, **options: object) -> MonitorReport:
        file = write_rows(watched, rows, "new.csv")
        return monitor_model("prod", inputs=[file], root=watched.path, **options)

    return monitor_rows


def stored(project: Project, name: str) -> str:
    return (project.path / "build/monitor/prod" / name).read_text(encoding="utf-8")


# Alarms


def test_ordinary_rows_raise_no_alarm(
    watched: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = outputs_reader(monkeypatch, watched.path / "reported")
    assert main(["monitor", "--env", "prod"]) == 0
    printed = capsys.readouterr().out
    assert "\nNo alarm\n" in printed
    assert printed.endswith("monitor: see build/monitor/prod/report.html\n")
    findings = {"drifted": "false", "quality": "false", "retrain": "false"}
    assert outputs() == {"report": "build/monitor/prod"} | findings
    report = json.loads(stored(watched, "report.json"))
    assert not report["alarm"] and report["findings"] == []
    assert "No alarm: the rows look like the training data" in stored(watched, "report.html")
    assert "mlops_monitor_alarm{" not in stored(watched, "monitor.prom")


def test_a_shift_of_all_rows_raises_an_alarm(
    watched: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = outputs_reader(monkeypatch, watched.path / "reported")
    write_rows(watched, loads(21).assign(load=lambda rows: rows["load"] + 20))
    assert main(["monitor", "--env", "prod"]) == 1
    printed = capsys.readouterr().out
    assert re.search(r"\n\d alarms:\n- ", printed) and "- north: load shifted" in printed
    table = printed.partition("plant-prod, version 1 (")[2].partition("alarms:")[0].splitlines()
    assert len(table) > 10 and all(len(line) <= 80 for line in table)
    findings = {"drifted": "true", "quality": "false", "retrain": "true"}
    assert outputs() == {"report": "build/monitor/prod"} | findings
    assert main(["monitor", "--env", "prod", "--answer"]) == 0
    assert outputs()["drifted"] == "true"
    assert {one["key"] for one in json.loads(stored(watched, "report.json"))["findings"]} >= {
        "north",
        "7",
    }


def test_a_shifted_key_is_reported_with_the_time_of_the_change(look: Look) -> None:
    report = look(changed(by=12, unit="north"))
    worst = report.findings[0]
    assert (worst.kind, worst.column, worst.key) == ("drift", "load", "north")
    assert abs(worst.since - CHANGED) < pd.Timedelta("1D")
    assert report.reasons[0].startswith("north: load shifted")
    assert not any(one.key == "7" for one in report.findings)


def test_a_stuck_value_is_a_quality_alarm_that_prevents_retraining(
    look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outputs = outputs_reader(monkeypatch, tmp_path / "reported")
    report = look(changed(unit="7", value=60.0))
    assert (report.quality, report.retrain) == (True, False)
    assert report.reasons[0].startswith("7: load is stuck")
    report.announce()
    assert outputs() == {
        "drifted": str(report.drifted).lower(),
        "quality": "true",
        "retrain": "false",
    }


@pytest.mark.parametrize("source", ["file", "entry", "recorded"])
def test_missing_rows_raise_the_no_traffic_alarm(
    watched: Project, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(watched, changed().head(0))
    set_keys(watched, "base", monitoring={"labels": "raw_hours", "metrics": "builtins:len"})
    arguments = ["--input", "data/raw/hours.csv"] if source == "file" else []
    if source == "recorded":
        (watched.path / "data/served").mkdir()
        set_keys(watched, "prod", monitoring={"source": "served"})
    assert main(["monitor", "--env", "prod", *arguments]) == 1
    assert "1 alarm:\n- no traffic: no row in the last 14 days" in capsys.readouterr().out
    assert 'check="no_rows"' in stored(watched, "monitor.prom")
    assert "No traffic" in stored(watched, "report.html")


# Judged rows


def test_only_rows_without_answers_are_scored_by_the_champion(
    look: Look,
) -> None:
    rows = with_outliers(changed())
    scored = look(rows)
    assert int((scored.rows["is_far"] == 1).sum()) > 5
    answered = look(with_answers(rows))
    pd.testing.assert_frame_equal(answered.rows, scored.rows)
    not_flagged = with_answers(rows).assign(is_far=False)
    assert int((look(not_flagged).rows["is_far"] == 1).sum()) == 0


def test_csv_and_parquet_files_are_combined(watched: Project) -> None:
    rows = changed()
    first = write_rows(watched, rows[rows["time"] < CHANGED], "first.csv")
    second = watched.path / "data/raw/second.parquet"
    rows[rows["time"] >= CHANGED].to_parquet(second, index=False)
    both = monitor_model("prod", inputs=[first, second], root=watched.path)
    whole = monitor_model("prod", root=watched.path)
    pd.testing.assert_frame_equal(both.rows, whole.rows)
    assert "first.csv" in both.source and "second.parquet" in both.source


@pytest.mark.parametrize("path", ["memory://bucket/hours.csv", "data/raw/hours.csv"])
def test_a_file_is_read_like_a_versioned_entry_without_its_credentials(
    watched: Project, path: str
) -> None:
    entry = {
        "type": "pandas.CSVDataset",
        "filepath": path,
        "versioned": True,
        "credentials": {"key": "a", "secret": "b"},
        "load_args": {"sep": ";"},
    }
    catalog = watched.path / CONFIGURATION / "prod/catalog.yml"
    catalog.write_text(yaml.safe_dump({"raw_hours": entry}), encoding="utf-8")
    file = watched.path / "data/raw/new.csv"
    changed().to_csv(file, index=False, sep=";")
    report = monitor_model("prod", inputs=[file], root=watched.path)
    assert report.comparison.rows == 14 * 48 * 2


def test_since_limits_the_judged_rows(look: Look) -> None:
    whole, week = look(changed()), look(changed(), since="7D")
    assert whole.comparison.rows == 14 * 48 * 2
    assert week.comparison.rows == 7 * 48 * 2
    assert week.rows["time"].min() > whole.rows["time"].min()


def test_a_row_outside_the_schema_is_judged_without_a_score(look: Look) -> None:
    rows = changed()
    rows.loc[rows.index[-1], "load"] = 5_000.0  # above what the schema allows
    report = look(rows)
    assert report.rows["load"].max() == 5_000
    assert np.isnan(report.rows["deviation"].iloc[-1])
    assert "Rows that do not fit the model's schema, judged without a score: 1." in report.notes


def test_rows_without_a_time_or_a_key_are_counted_and_left_out(look: Look) -> None:
    rows = changed().astype({"time": str})
    rows.loc[rows.index[-11], "time"] = "soon"
    rows.loc[rows.index[-14], "unit"] = None
    report = look(rows)
    assert "Rows without a readable time or unit, not judged: 2." in report.notes
    assert report.comparison.rows == 14 * 48 * 2 - 2


def test_a_model_without_times_is_judged_in_one_window(
    ran: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model has no profile of its own: the hook made one from its training table."""
    monkeypatch.chdir(ran.path)
    hours = pd.read_csv(ran.path / "data/raw/hours.csv")
    file = tmp_path / "hours.csv"
    for shift, is_alarm in ((0, False), (60, True)):
        hours.assign(load=hours["load"] + shift).to_csv(file, index=False)
        report = monitor_model("local", inputs=[file], root=ran.path)
        assert report.order is None and report.comparison.rows == len(hours)
        assert report.alarm == is_alarm, report.reasons
        assert report.rows["prediction"].notna().all()
    with pytest.raises(OperationError, match="--since 7D needs times"):
        monitor_model("local", since="7D", inputs=[file], root=ran.path)


def test_a_model_folder_replaces_the_champion(
    watched: Project, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["monitor", "--env", "dev"]) == 2
    assert "dev has no champion" in capsys.readouterr().err
    assert main(["monitor", "--env", "dev", "--model", str(model)]) == 0
    assert f"digest {digest(model)[:12]}, in dev" in capsys.readouterr().out


def record_answers(
    project: Project, rows: pd.DataFrame, digest: str, at: pd.Timestamp, *leave_out: str
) -> None:
    """Record answers to rows as a server does, all of them at one time."""
    recorder = Recorder(
        Settings(project.path / "data/served", leave_out=leave_out),
        small_scorer().schema,
        digest,
        clock=lambda: at.value,
    )
    answers = with_answers(rows)
    outputs = [answers["deviation"].tolist(), answers["is_far"].map(bool).tolist()]
    recorder.write("test", arrays_of(rows), outputs)
    recorder.close()


@pytest.mark.parametrize("always", [True, False], ids=["always", "by serve --record"])
def test_recorded_answers_are_judged_if_there_are_any(
    watched: Project, model: Path, always: bool
) -> None:
    set_keys(watched, "prod", recording={"enabled": always})
    at = pd.Timestamp("2024-03-18 06:00")
    rows = changed(by=12, unit="north")
    record_answers(watched, rows[rows["time"] > "2024-03-10"], digest(model), at)
    report = monitor_model("prod", root=watched.path, now=at)
    assert report.source == "answers recorded in data/served"
    assert report.findings[0].key == "north"
    assert report.rows["deviation"].notna().any()
    later = monitor_model("prod", root=watched.path, now=at + pd.Timedelta("60D"))
    assert [one.check for one in later.findings] == ["no_rows"]


def test_an_answer_to_a_row_with_a_wrong_year_does_not_hide_the_others(
    watched: Project, model: Path
) -> None:
    set_keys(watched, "prod", recording={"enabled": True})
    at = pd.Timestamp("2024-03-18 06:00")
    rows = changed(by=12, unit="north").query("time > '2024-03-10'")
    wrong = rows.tail(1).assign(time=at + pd.DateOffset(years=12))
    record_answers(watched, pd.concat([rows, wrong]), digest(model), at)
    report = monitor_model("prod", root=watched.path, now=at)
    assert {(one.check, one.key) for one in report.findings} >= {
        ("clock", None),
        ("level", "north"),
    }
    assert report.rows["time"].max() == report.comparison.end == rows["time"].max()
    page = report.write().read_text(encoding="utf-8")
    assert "1 rows are in the future, by up to 105,1" in page


def test_answers_of_another_model_are_not_judged_but_reported(
    watched: Project, model: Path
) -> None:
    set_keys(watched, "prod", recording={"enabled": True})
    at = pd.Timestamp("2024-03-18 06:00")
    record_answers(watched, changed().query("time > '2024-03-10'"), "0" * 64, at)
    report = monitor_model("prod", root=watched.path, now=at)
    assert report.rows["load"].notna().all() and report.rows["deviation"].isna().all()
    assert any("answered by other models (000000000000): " in note for note in report.notes)
    assert not report.alarm


def test_a_column_that_is_not_recorded_is_not_missing(watched: Project, model: Path) -> None:
    set_keys(watched, "prod", recording={"enabled": True})
    at = pd.Timestamp("2024-03-18 06:00")
    record_answers(watched, changed().query("time > '2024-03-10'"), digest(model), at, "load")
    report = monitor_model("prod", root=watched.path, now=at)
    assert not report.alarm
    assert any("load: not recorded" in note for note in report.notes)
    assert "not recorded" in report.write().read_text(encoding="utf-8")


def test_a_server_whose_clock_is_ahead_is_reported(watched: Project, model: Path) -> None:
    set_keys(watched, "prod", recording={"enabled": True})
    at = pd.Timestamp("2024-03-18 06:00")
    record_answers(watched, changed().query("time > '2024-03-10'"), digest(model), at)
    report = monitor_model("prod", root=watched.path, now=at - pd.Timedelta("2h"))
    assert any("was recorded 02:00:00 in the future" in note for note in report.notes)
    assert report.comparison.rows


# Labels


LABELS = pd.DataFrame(
    {
        "unit": ["north", "north", "attic", "7"],
        "start": ["2024-03-12 00:00", "2024-03-15 00:00", "2024-03-12 00:00", "2024-01-02 00:00"],
        "end": ["2024-03-12 06:00", "2024-03-15 06:00", "2024-03-12 06:00", "2024-01-02 06:00"],
    }
)
MEASURE = '''

def measure(rows, labels):
    """Return the share of labelled events with a flagged row."""
    hits = [
        bool(rows[(rows["unit"] == one.unit) & rows["time"].between(one.start, one.end)]
        ["is_far"].eq(1).any())
        for one in labels.itertuples()
    ]
    return {"labels": float(len(labels)), **({"recall": sum(hits) / len(hits)} if hits else {})}
'''


@pytest.fixture
def labelled(watched: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project with labels, and with a metrics function that uses them."""
    (watched.path / "src/worth.py").write_text(MEASURE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(watched.path / "src"))
    monkeypatch.delitem(__import__("sys").modules, "worth", raising=False)
    set_keys(watched, "base", monitoring={"metrics": "worth:measure"})
    LABELS.to_csv(watched.path / "data/raw/labels.csv", index=False)
    return watched


def test_metrics_of_labels_are_computed_by_key_and_checked_against_the_gate(
    labelled: Project, look: Look
) -> None:
    rows = changed()
    hit = (rows["unit"] == "north") & (rows["time"] == "2024-03-12 03:00")
    rows.loc[hit, "load"] += 40
    set_keys(labelled, "base", gate={"rules": [{"metric": "recall", "minimum": 0.6}]})
    labels = labelled.path / "data/raw/labels.csv"
    report = look(rows, labels=labels)
    assert report.metrics == {"labels": 2.0, "recall": 0.5}
    assert report.slices["labels"].to_dict() == {"7": 0.0, "north": 2.0}
    assert report.slices.loc["north", "recall"] == 0.5 and np.isnan(
        report.slices.loc["7", "recall"]
    )
    assert "recall 0.5, minimum 0.6" in report.reasons
    assert report.drifted and report.retrain
    set_keys(labelled, "base", gate={"rules": [{"metric": "recall", "minimum": 0.5}]})
    assert look(rows, labels=labels).reasons == []


def test_labels_of_rows_that_were_never_served_are_counted(labelled: Project, look: Look) -> None:
    report = look(changed(), labels=labelled.path / "data/raw/labels.csv")
    assert [note for note in report.notes if "Labels" in note] == [
        "Labels of rows that were never served, left out: 1.",
        "Labels outside the time range of the rows, left out: 1.",
    ]


def test_a_rule_for_the_worst_slice_applies_to_each_key(labelled: Project, look: Look) -> None:
    rule = {"metric": "recall", "slice": "worst", "minimum": 0.6}
    set_keys(labelled, "base", gate={"rules": [rule]})
    report = look(changed(), labels=labelled.path / "data/raw/labels.csv")
    assert report.reasons == ["north: recall 0, minimum 0.6"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (None, "but no metrics: set monitoring.metrics"),
        ("worth", "worth cannot be imported: write package.module:function"),
        ("worth:nothing", "worth:nothing cannot be imported"),
        ("builtins:len", "len failed on"),
    ],
)
def test_labels_without_a_working_metrics_function_are_refused(
    labelled: Project, look: Look, function: str | None, message: str
) -> None:
    set_keys(labelled, "base", monitoring={"metrics": function})
    with pytest.raises(OperationError, match=re.escape(message)):
        look(changed(), labels=labelled.path / "data/raw/labels.csv")


# Invalid options and sources


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--since", "12h"], "shorter than the windows that the model's profile compares, 24 h"),
        (["--since", "soon"], "--since soon is not a time span such as 24h or 7D"),
        (["--input", "nowhere.csv"], "There is no file nowhere.csv"),
        (["--input", "data/raw/other.csv"], "wrong columns, time, unit, load missing"),
        (["--input", "data/raw/noise.parquet"], "not a Parquet table"),
        (["--input", "data/raw/unsorted.csv"], "Sort the rows by time"),
        (["--input", "data/raw/high.csv"], "the loads are too large for a mean"),
        (["--labels", "nowhere.csv"], "There is no file nowhere.csv"),
    ],
)
def test_invalid_options_and_files_exit_with_2(
    watched: Project, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (watched.path / "data/raw/other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    (watched.path / "data/raw/noise.parquet").write_bytes(b"no parquet")
    write_rows(watched, changed().assign(load=195), "high.csv")
    # in one file a row may be late by half a day; the entry raw_hours is sorted first
    write_rows(watched, changed().iloc[::-1], "unsorted.csv")
    set_keys(
        watched, "base", monitoring={"data": None if "unsorted" in arguments[1] else "raw_hours"}
    )
    assert main(["monitor", "--env", "prod", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (watched.path / "build/monitor").exists()


@pytest.mark.parametrize(
    ("monitoring", "message"),
    [
        ({"data": None}, "There is nothing to judge.\n  next: Record the answers"),
        ({"data": "none"}, "monitoring.data of mlops.yml: the catalog has no entry none"),
        ({"data": "predictions"}, "predictions has no data yet"),
        ({"data": "compared"}, "compared is a dict, not a table"),
        ({"labels": "compared", "metrics": "builtins:len"}, "is a dict, not a label table"),
        ({"data": "clean_hours"}, "Nothing was judged: clean_hours cannot be read"),
        ({"source": "served"}, "There is no folder data/served"),
        ({"labels": "none", "metrics": "builtins:len"}, "monitoring.labels of mlops.yml"),
    ],
)
def test_a_missing_source_is_reported(
    watched: Project,
    monitoring: dict[str, str | None],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (watched.path / "data/compared.json").write_text("{}", encoding="utf-8")
    (watched.path / "data/clean_hours.parquet").write_bytes(b"no parquet")
    set_keys(watched, "base", monitoring=monitoring)
    assert main(["monitor", "--env", "prod"]) == 2
    assert message in capsys.readouterr().err


def test_without_a_champion_there_is_nothing_to_monitor_in_ci(
    watched: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = outputs_reader(monkeypatch, watched.path / "reported")
    assert main(["monitor", "--env", "dev"]) == 2
    refused = "monitor: dev has no champion yet\n  next: kedro run --env dev\n"
    assert capsys.readouterr().err == refused
    assert outputs() == {}
    assert main(["monitor", "--env", "dev", "--answer"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line == "monitor: dev has no champion yet, so there is nothing to monitor"
    assert outputs() == {"drifted": "false", "quality": "false", "retrain": "false"}
    assert not (watched.path / "build/monitor").exists()
    set_keys(watched, "base", tracking={"model": None})
    assert main(["monitor", "--env", "dev", "--answer"]) == 2
    assert "mlops.yml names no tracking.model" in capsys.readouterr().err


def test_a_model_without_a_profile_is_refused_with_advice(
    watched: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_small_model(tmp_path / "bare")
    assert main(["monitor", "--env", "prod", "--model", str(folder)]) == 2
    assert f"has no {PROFILE}" in capsys.readouterr().err


def test_a_profile_of_other_columns_is_refused(
    watched: Project, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(model, folder)
    text = (folder / PROFILE).read_text(encoding="utf-8").replace('"load"', '"pressure"')
    (folder / PROFILE).write_text(text, encoding="utf-8")
    write_manifest(folder)
    assert main(["monitor", "--env", "prod", "--model", str(folder)]) == 2
    assert "pressure" in capsys.readouterr().err


# Records and files


def test_reports_on_an_environment_are_runs_of_one_experiment(watched: Project) -> None:
    assert main(["monitor", "--env", "prod"]) == 0
    write_rows(watched, changed(by=20))
    assert main(["monitor", "--env", "prod"]) == 1
    client = watched.client()
    experiment = client.get_experiment_by_name("plant-prod-monitor")
    newer, older = client.search_runs([experiment.experiment_id])
    assert [run.data.tags["monitor.alarm"] for run in (older, newer)] == ["false", "true"]
    assert "load shifted" in newer.data.tags["monitor.reasons"]
    metrics = newer.data.metrics
    assert metrics["alarms"] >= 2 and metrics["rows"] == 14 * 48 * 2
    assert metrics["north/load/level"] > 1 and metrics["north/flagged"] >= 0
    files = {file.path for file in client.list_artifacts(newer.info.run_id)}
    assert files == {"report.html", "report.json"}
    assert newer.info.status == "FINISHED"


def test_a_database_that_ends_with_the_ci_run_gets_no_record(
    watched: Project,
    look: Look,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    report = look(changed())
    caplog.clear()
    monkeypatch.setenv("CI", "true")
    report.record()
    (line,) = caplog.messages
    assert line.startswith("Not recorded in MLflow: mlruns.db would be lost after the CI run.")
    assert watched.client().get_experiment_by_name("plant-prod-monitor") is None
    caplog.clear()
    kept = tmp_path / "kept.db"  # outside of the checkout
    shutil.copy(watched.path / "mlruns.db", kept)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{kept}")
    report.record()
    assert not caplog.messages
    client = MlflowClient(f"sqlite:///{kept}")
    assert client.get_experiment_by_name("plant-prod-monitor") is not None


def test_an_unreachable_server_can_be_a_warning(
    watched: Project,
    monkeypatch: pytest.MonkeyPatch,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    command = ["monitor", "--env", "prod", "--model", str(model)]
    assert main(command) == 2
    assert "MLflow has no record of it" in capsys.readouterr().err
    assert "No alarm" in stored(watched, "report.html"), "the report itself was written"
    set_keys(watched, "base", tracking={"when_unreachable": "warn"})
    assert main(command) == 0
    assert "MLflow has no record of it" in caplog.text
    set_keys(watched, "base", tracking={"enabled": False})
    caplog.clear()
    assert main(command) == 0
    assert not caplog.text


def test_each_reason_is_an_annotation_in_ci(
    look: Look, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = look(changed(by=12, unit="north"))
    capsys.readouterr()
    report.announce()
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    report.announce()
    assert capsys.readouterr().out.startswith("::warning::prod: north: load shifted")
    monkeypatch.setenv("GITHUB_ACTIONS", "")
    monkeypatch.setenv("TF_BUILD", "True")
    report.announce()
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("##vso[task.logissue type=warning]prod: north: load shifted")
    assert last == "##vso[task.setvariable variable=retrain;isOutput=true]true"


def test_a_second_report_replaces_the_files_of_the_first(watched: Project, look: Look) -> None:
    look(changed(by=20)).write()
    assert "mlops_monitor_alarm{" in stored(watched, "monitor.prom")
    look(changed()).write()
    assert "mlops_monitor_alarm{" not in stored(watched, "monitor.prom")
    files = {file.name for file in (watched.path / "build/monitor/prod").iterdir()}
    assert files == {"report.html", "report.json", "monitor.prom"}


def hostile_rows() -> pd.DataFrame:
    """Return rows of which some have a malicious key, and some are flagged."""
    rows = with_outliers(changed(by=12, unit="north"))
    own = rows[(rows["unit"] == "7") & (rows["time"] >= CHANGED)]
    return pd.concat([rows, own.assign(unit=HOSTILE)]).sort_values("time", kind="stable")


def test_malicious_names_are_harmless_in_browsers_terminals_and_ci(
    watched: Project,
    look: Look,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = look(hostile_rows())
    assert any(one.key == HOSTILE for one in report.findings)
    assert all("\n" not in reason for reason in report.reasons)
    assert "##vso" not in report.summary()
    assert not re.search(r"^\s*::", report.summary(), re.MULTILINE)
    monkeypatch.setenv("TF_BUILD", "True")
    report.announce()
    commands = [line for line in capsys.readouterr().out.splitlines() if "##vso" in line]
    assert all(re.match(r"##vso\[task\.(logissue|setvariable)", line) for line in commands)
    report.write()
    page = stored(watched, "report.html")
    tags = Tags(page)
    assert "script" not in tags.names and "iframe" not in tags.names
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert json.loads(stored(watched, "report.json"))["findings"]


def test_prometheus_can_parse_the_text_file(watched: Project, look: Look) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    look(hostile_rows()).write()
    text = stored(watched, "monitor.prom")
    families = {one.name: one for one in parser.text_string_to_metric_families(text)}
    alarms = families["mlops_monitor_alarm"].samples
    assert {one.labels["key"] for one in alarms} >= {HOSTILE, "north"}
    assert {*alarms[0].labels} == {"env", "model", "kind", "check", "column", "key"}
    names = [
        (one.name, *sorted(one.labels.items())) for f in families.values() for one in f.samples
    ]
    assert len(names) == len({*names}), "a duplicate series makes the file invalid"
    assert families["mlops_monitor_rows"].samples[0].value > 1_000
    by_kind = {one.labels["kind"]: one.value for one in families["mlops_monitor_alarms"].samples}
    assert by_kind["traffic"] == 0 and by_kind["drift"] >= 1


# The report page


class Tags(HTMLParser):
    """The names of a page's tags, and the attributes that could load something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.loads: list[str] = []
        self.headings: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        if re.fullmatch(r"h\d", tag):
            self.headings.append(tag)
        self.loads += [str(v) for k, v in attrs if k in {"src", "href", "srcset", "action"}]
        assert not any(name.startswith("on") for name, _ in attrs)


@pytest.fixture(scope="module")
def page(_watched: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on rows with drift, flags and a malicious key."""
    folder = tmp_path_factory.mktemp("page")
    file = write_rows(_watched, hostile_rows(), "hostile.csv")
    report = monitor_model("prod", inputs=[file], root=_watched.path)
    report.write(folder)
    return folder / "report.html"


def test_the_page_needs_no_network_and_contains_its_charts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    tags = Tags(text)
    assert tags.loads == ["data:,"], "the icon, so that browsers request none"
    assert "url(" not in text and "@import" not in text and "http" not in text
    assert tags.names.count("svg") == text.count('role="img" aria-label="') > 3
    assert tags.headings[0] == "h1" and tags.headings.count("h1") == 1
    assert len(page.read_bytes()) < 1_000_000


def test_the_page_reports_drift_and_shows_flagged_rows(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.search(r"<h1>The data has changed since 2024-03-1\d \d\d:\d\d: ", text)
    for part in (
        "What shifted",
        "By unit",
        "Data quality",
        "Volume",
        "Flagged rows",
        "What was judged",
    ):
        assert part in text
    assert "Distribution of load of north: median" in text
    assert "Flagged rows are not explained: the scorer of this model does not declare" in text
    assert 10 < text.count('data-of="deviation"') <= 20


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed: apt-get install chromium")
def test_a_browser_shows_the_page_without_errors_requests_or_wide_content(
    page: Path, tmp_path: Path
) -> None:
    """The report is in an iframe of 400 pixels, which returns its width and its requests."""
    frame = tmp_path / "frame.html"
    shutil.copy(page, tmp_path / "report.html")
    content = json.dumps(page.read_text(encoding="utf-8")).replace("</", "<\\/")
    frame.write_text(
        f"""<!doctype html><body style="margin:0"><iframe id=f style="width:400px;height:6000px;
        border:0"></iframe><pre id=result></pre><script>
        const frame = document.getElementById("f"), errors = [];
        frame.onload = () => {{
          const inner = frame.contentDocument.documentElement;
          document.getElementById("result").textContent = JSON.stringify({{
            width: inner.scrollWidth,
            shown: frame.contentDocument.querySelectorAll("svg").length,
            blank: [...frame.contentDocument.querySelectorAll("svg")]
              .filter(one => one.getBoundingClientRect().width < 200).length,
            loaded: frame.contentWindow.performance.getEntriesByType("resource").map(e => e.name),
          }});
        }};
        frame.srcdoc = {content};
        </script>""",
        encoding="utf-8",
    )
    chromium = functools.partial(run_chromium, tmp_path)
    dom, log = chromium("--window-size=1200,6000", "--dump-dom", frame)
    measures = json.loads(re.search(r'<pre id="result">(.*?)</pre>', dom)[1])
    assert measures["width"] == 400 and measures["shown"] > 3 and measures["blank"] == 0
    assert measures["loaded"] == []
    assert "CONSOLE" not in log, log
    report = tmp_path / "report.html"
    chromium("--window-size=1200,3600", f"--screenshot={tmp_path}/wide.png", report)
    chromium("--window-size=400,6000", f"--screenshot={tmp_path}/narrow.png", frame)
    chromium("--no-pdf-header-footer", f"--print-to-pdf={tmp_path}/report.pdf", report)
    for name in ("wide.png", "narrow.png", "report.pdf"):
        assert (tmp_path / name).stat().st_size > 20_000


def run_chromium(profile: Path, *arguments: object) -> tuple[str, str]:
    options = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--hide-scrollbars", "--enable-logging=stderr", f"--user-data-dir={profile}/chromium"),
    ]
    process = subprocess.run(
        [str(CHROMIUM), *options, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    return process.stdout, process.stderr
