"""The reference profile: its content, its size and its reproducibility."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline

from kedro_azure_mlops.contract import Column, Schema, digest, refuse_changed_files
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.hooks.profile import add_profile
from kedro_azure_mlops.models import UnloadableModelError, load_model, save_model
from kedro_azure_mlops.monitor.comparison import compare_rows
from kedro_azure_mlops.monitor.limits import BUDGET, FLOORS, Calibration, upper_limits
from kedro_azure_mlops.monitor.profile import (
    MOST_BYTES,
    PROFILE,
    Profile,
    as_json,
    read_profile,
    reference_profile,
)
from tests.plugin.unit.test_models import TRUSTED, Flagging
from tests.plugin.waves import DAY, KEYS, SCHEMA, START, waves


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return waves(42)


@pytest.fixture(scope="module")
def content(rows: pd.DataFrame) -> dict:
    return reference_profile(rows, SCHEMA)


def test_the_profile_describes_each_key_and_column(rows: pd.DataFrame, content: dict) -> None:
    profile = Profile.from_dict(content)
    assert (profile.keys, profile.columns) == ([*KEYS], ["value", "score", "is_odd"])
    assert (profile.rows, profile.start, profile.end) == (
        len(rows),
        START,
        START + 42 * DAY - pd.Timedelta("30min"),
    )
    assert profile.limits == {"how": "calibrated", "why": "42 whole windows of 1 days 00:00:00"}
    hall = content["series"][2]
    hall_values = rows.loc[rows["key"] == "hall", "value"]
    value = hall["columns"]["value"]
    assert (hall["rows"], hall["rows_per_window"], hall["gap_hours"]) == (42 * 48, 48, 0.5)
    assert value["quantiles"] == pytest.approx(hall_values.quantile(np.linspace(0, 1, 11)).tolist())
    assert value["spread"] == pytest.approx(hall_values.std(), rel=1e-3)
    assert sum(value["shares"]) == pytest.approx(1, abs=1e-3)
    assert len(value["course"]) == 168
    assert hall["columns"]["is_odd"]["share"] == rows.loc[rows["key"] == "hall", "is_odd"].mean()
    assert content["rows_per_hour"] == pytest.approx(8, rel=0.01)


def test_the_weekly_course_is_learned(content: dict) -> None:
    course = np.array(content["series"][0]["columns"]["value"]["course"]).reshape(7, 24)
    weekday, weekend = np.ptp(course[:5].mean(axis=0)), np.ptp(course[5:].mean(axis=0))
    assert weekday == pytest.approx(4, abs=0.6)
    assert weekend < 0.8 * weekday


def test_the_same_rows_give_the_same_bytes_and_other_rows_other_bytes(
    rows: pd.DataFrame, content: dict
) -> None:
    assert as_json(reference_profile(rows.copy(), SCHEMA)) == as_json(content)
    by_key = rows.sort_values("key", kind="stable", ignore_index=True)
    assert as_json(reference_profile(by_key, SCHEMA)) == as_json(content)
    other = rows.assign(value=rows["value"] + 0.1)
    assert as_json(reference_profile(other, SCHEMA)) != as_json(content)


def test_few_rows_give_fixed_limits_and_a_reason(rows: pd.DataFrame) -> None:
    profile = reference_profile(rows[rows["time"] < START + 5 * DAY], SCHEMA)
    assert profile["limits"]["how"] == "fixed"
    assert "5 whole windows" in profile["limits"]["why"]
    assert "level" not in profile["series"][0]["columns"]["value"].get("limits", {})
    schema = Schema(inputs=(Column("value", "double"),), outputs=())
    assert reference_profile(rows, schema)["limits"] == {
        "how": "fixed",
        "why": "the rows have no times",
    }


def test_times_may_be_the_index_instead_of_a_column(rows: pd.DataFrame) -> None:
    schema = Schema(inputs=(Column("value", "double"),), outputs=())
    hall = rows[rows["key"] == "hall"].set_index("time")[["value"]]
    content = reference_profile(hall, schema)
    assert (content["limits"]["how"], content["time"], content["by"]) == ("calibrated", None, None)
    profile = Profile.from_dict(content)
    moved = hall.tail(96) + 10
    assert compare_rows(moved, profile, schema).drifted
    assert not compare_rows(hall.tail(96), profile, schema).findings


@pytest.mark.parametrize("suffix", ["", "-of-a-place-with-a-very-long-name"])
def test_a_profile_of_5000_keys_stays_small_and_knows_each_key(suffix: str) -> None:
    random = np.random.default_rng(0)
    time = pd.date_range(START, periods=20, freq="1D")
    keys = [f"key{number:04}{suffix}" for number in range(5_000)]
    rows = pd.DataFrame(
        {
            "time": np.tile(time, len(keys)),
            "key": np.repeat(keys, len(time)),
            "value": random.normal(size=len(keys) * len(time)),
        }
    )
    rows = rows[(rows["key"] != keys[0]) | (rows["time"] > time[9])]
    more = pd.DataFrame({"time": time + pd.Timedelta("1h"), "key": keys[1], "value": 0.5})
    content = reference_profile(pd.concat([rows, more]), SCHEMA)
    assert len(as_json(content)) <= MOST_BYTES
    assert content["keys"] == 5_000
    separate = [one["key"] for one in content["series"] if one["key"] is not None]
    assert content["keys_together"] == 5_000 - len(separate) > 4_000
    assert keys[1] in separate  # it has the most rows
    assert keys[0] not in separate
    profile = Profile.from_dict(content)
    assert all(profile.knows(key) for key in keys)
    assert not profile.knows("another")
    new = rows[rows["time"] == time[-1]].assign(time=time[-1] + DAY)
    assert not compare_rows(new, profile, SCHEMA).findings
    renamed = new.assign(key=new["key"].where(new["key"] != keys[7], "another"))
    assert [one.key for one in compare_rows(renamed, profile, SCHEMA).findings] == ["another"]


def test_an_error_names_missing_columns(rows: pd.DataFrame) -> None:
    with pytest.raises(OperationError, match=r"no column value.*they have time, key"):
        reference_profile(rows.drop(columns="value"), SCHEMA)
    with pytest.raises(OperationError, match="no training rows"):
        reference_profile(rows.head(0), SCHEMA)


@pytest.mark.parametrize("wrong", ["1970-01-01", "2099-01-01"])
def test_a_training_row_with_a_wrong_time_is_left_out_with_a_warning(
    rows: pd.DataFrame, content: dict, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    more = pd.concat([rows.head(1).assign(time=pd.Timestamp(wrong)), rows])
    assert as_json(reference_profile(more, SCHEMA)) == as_json(content)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"Training rows with a wrong time in time, such as {wrong}T00:00:00, left out of the "
        "profile of the model: 1. Correct their times."
    )


@pytest.mark.parametrize(("share", "years"), [(1.0, 100), (0.6, 100), (0.1, -1)])
def test_many_training_rows_at_an_unusual_time_are_kept(
    rows: pd.DataFrame, share: float, years: int, caplog: pytest.LogCaptureFixture
) -> None:
    is_other = np.arange(len(rows)) < share * len(rows)
    other = rows["time"] + years * 365 * DAY
    content = reference_profile(rows.assign(time=rows["time"].mask(is_other, other)), SCHEMA)
    assert content["rows"] == len(rows) and content["limits"]["how"] == "calibrated"
    assert not caplog.records


@pytest.mark.parametrize(("value", "missing"), [(1e100, 0), (1.7e308, 1), (-1e200, 1)])
def test_a_number_too_large_to_compute_with_counts_as_missing(
    rows: pd.DataFrame, value: float, missing: int
) -> None:
    extreme = rows.assign(value=rows["value"].where(rows.index != 5, value))
    found = reference_profile(extreme, SCHEMA)["columns"]["value"]["missing"]
    assert found == pytest.approx(missing / len(rows), rel=1e-4)


def test_a_lasting_change_becomes_the_new_reference(rows: pd.DataFrame) -> None:
    at = START + 40 * DAY
    is_new = (rows["time"] >= at) & (rows["key"] == "hall")
    moved = rows.assign(value=rows["value"].where(~is_new, rows["value"] + 12))
    content = reference_profile(moved, SCHEMA)
    hall = content["series"][2]["columns"]["value"]
    assert pd.Timestamp(hall["moved"]["at"]) == at
    assert hall["moved"]["by"] == pytest.approx(12, abs=1)
    assert hall["quantiles"][5] == pytest.approx(72, abs=1)
    assert "moved" not in content["series"][0]["columns"]["value"]
    # and the limits stay narrow: another change of this size raises an alarm
    limits = reference_profile(rows, SCHEMA)["series"][2]["columns"]["value"]["limits"]
    assert hall["limits"]["level"] < 1.5 * limits["level"]


def test_few_ordinary_windows_exceed_the_limits() -> None:
    how = Calibration(pd.Timedelta("24h"), 7, 0)
    random = np.random.default_rng(1)
    limit = upper_limits(random.normal(size=(70, 4)), "level", how, centred=True)
    exceeds = np.abs(random.normal(size=(91 * 200, 4))) > limit
    assert exceeds.any(axis=1).sum() / 200 <= BUDGET["level"]
    assert (limit < 6).all()
    assert sum(BUDGET.values()) < 1
    assert BUDGET.keys() == FLOORS.keys()


def test_only_recent_or_frequent_training_faults_widen_the_limits() -> None:
    how = Calibration(pd.Timedelta("24h"), 7, 0)
    ordinary = np.random.default_rng(1).normal(size=(70, 4))
    usual = upper_limits(ordinary, "level", how, centred=True)
    faulty = ordinary.copy()
    faulty[[20, 45], 0] = 40
    assert upper_limits(faulty, "level", how, centred=True) == pytest.approx(usual, rel=0.2)
    last = ordinary.copy()
    last[-2:, 0] = 40
    limits = upper_limits(last, "level", how, centred=True)
    assert limits[0] > 40
    assert limits[1:] == pytest.approx(usual[1:], rel=0.2)
    often = ordinary.copy()
    often[::7, 0] = 40  # every week, so it is usual
    assert upper_limits(often, "level", how, centred=True)[0] > 40


def test_a_profile_is_saved_and_loaded_with_its_model(tmp_path: Path, content: dict) -> None:
    model = Flagging().fit(pd.DataFrame({"load": [1.0, 2.0]}))
    save_model(model, tmp_path / "bare", TRUSTED)
    assert not (tmp_path / "bare" / PROFILE).exists()
    model.profile = content
    save_model(model, tmp_path / "model", TRUSTED)
    refuse_changed_files(tmp_path / "model")
    assert read_profile(tmp_path / "model").content == json.loads(as_json(content))
    assert b"quantiles" not in (tmp_path / "model/model.skops").read_bytes()
    loaded = load_model(tmp_path / "model", TRUSTED)
    assert loaded.profile == json.loads(as_json(content))
    save_model(loaded, tmp_path / "again", TRUSTED)
    assert digest(tmp_path / "again") == digest(tmp_path / "model") != digest(tmp_path / "bare")
    assert not hasattr(load_model(tmp_path / "bare", TRUSTED), "profile")


def test_an_attribute_named_profile_that_is_no_profile_is_kept(tmp_path: Path) -> None:
    model = Flagging().fit(pd.DataFrame({"load": [1.0, 2.0]}))
    model.profile = {"of": "the estimator's own"}
    save_model(model, tmp_path / "model", TRUSTED)
    assert not (tmp_path / "model" / PROFILE).exists()
    assert load_model(tmp_path / "model", TRUSTED).profile == {"of": "the estimator's own"}


def test_an_unreadable_or_missing_profile_is_an_error(tmp_path: Path, content: dict) -> None:
    with pytest.raises(OperationError, match=r"no profile.json.*Train the model again"):
        read_profile(tmp_path)
    (tmp_path / PROFILE).write_text("{}", encoding="utf-8")
    with pytest.raises(OperationError, match="cannot be read"):
        read_profile(tmp_path)
    (tmp_path / PROFILE).write_bytes(as_json(content | {"version": 99}))
    with pytest.raises(OperationError, match="another version"):
        read_profile(tmp_path)
    (tmp_path / PROFILE).write_bytes(as_json(content))
    assert read_profile(tmp_path).keys == [*KEYS]


def test_a_model_with_a_changed_profile_is_not_loaded(tmp_path: Path, content: dict) -> None:
    model = Flagging().fit(pd.DataFrame({"load": [1.0, 2.0]}))
    model.profile = content
    save_model(model, tmp_path / "model", TRUSTED)
    (tmp_path / "model" / PROFILE).write_bytes(as_json(content | {"rows": 1}))
    with pytest.raises(UnloadableModelError, match=r"profile.json was changed"):
        load_model(tmp_path / "model", TRUSTED)


def test_a_model_without_a_profile_gets_one_from_its_training_table(
    content: dict, caplog: pytest.LogCaptureFixture
) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"load": random.uniform(0, 9, 200), "other": 1.0})
    target = 2 * table["load"]
    fitted = LinearRegression().fit(table[["load"]], target)
    add_profile(fitted, {"names": ["load"], "other": table[["other"]], "train": table})
    assert (fitted.profile["rows"], list(fitted.profile["columns"])) == (
        200,
        ["load", "prediction"],
    )
    profiled = LinearRegression().fit(table[["load"]], target)
    profiled.profile = content
    add_profile(profiled, {"train": table})
    assert profiled.profile is content
    assert "no reference profile" not in caplog.text


def test_the_profile_of_a_text_model_counts_its_answers() -> None:
    table = pd.DataFrame({"text": ["good fine", "bad poor"] * 50})
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(table["text"], [1, 0] * 50)
    model.input_example = table.head(2)
    add_profile(model, {"train": table})
    assert model.profile["rows"] == 100


@pytest.mark.parametrize("inputs", [{}, {"rows": pd.DataFrame({"pressure": [1.0]})}, {"n": 3}])
def test_without_a_training_table_no_profile_is_added_and_a_reason_is_logged(
    inputs: dict, caplog: pytest.LogCaptureFixture
) -> None:
    table = pd.DataFrame({"load": [1.0, 2.0, 3.0]})
    model = LinearRegression().fit(table, table["load"])
    add_profile(model, inputs)
    assert not hasattr(model, "profile")
    assert "cannot be monitored: none of the inputs of its node" in caplog.text


def test_a_model_that_fails_on_its_training_table_gets_no_profile(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = LinearRegression()  # not fitted
    model.input_example = pd.DataFrame({"load": [1.0]})
    add_profile(model, {"train": pd.DataFrame({"load": [1.0, 2.0]})})
    assert not hasattr(model, "profile")
    assert "cannot be monitored: This LinearRegression instance is not fitted" in caplog.text
    add_profile("no model", {})
