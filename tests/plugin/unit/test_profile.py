"""The reference profile: what is in it, how large it is, and that it is the same each time."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

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
from tests.plugin.unit.test_models import OWN, Flagging
from tests.plugin.waves import DAY, KEYS, SCHEMA, START, waves


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return waves(42)


@pytest.fixture(scope="module")
def content(rows: pd.DataFrame) -> dict:
    return reference_profile(rows, SCHEMA)


def test_it_describes_each_key_and_column(rows: pd.DataFrame, content: dict) -> None:
    profile = Profile.from_dict(content)
    assert (profile.keys, profile.columns) == ([*KEYS], ["value", "score", "is_odd"])
    assert (profile.rows, profile.start, profile.end) == (
        len(rows),
        START,
        START + 42 * DAY - pd.Timedelta("30min"),
    )
    assert profile.limits == {"how": "calibrated", "why": "42 whole windows of 1 days 00:00:00"}
    hall = content["series"][2]
    of_hall = rows.loc[rows["key"] == "hall", "value"]
    value = hall["columns"]["value"]
    assert (hall["rows"], hall["rows_per_window"], hall["gap_hours"]) == (42 * 48, 48, 0.5)
    assert value["quantiles"] == pytest.approx(of_hall.quantile(np.linspace(0, 1, 11)).tolist())
    assert value["spread"] == pytest.approx(of_hall.std(), rel=1e-3)
    assert sum(value["shares"]) == pytest.approx(1, abs=1e-3)
    assert len(value["course"]) == 168
    assert hall["columns"]["is_odd"]["share"] == rows.loc[rows["key"] == "hall", "is_odd"].mean()
    assert content["rows_per_hour"] == pytest.approx(8, rel=0.01)


def test_the_course_of_the_week_is_learned(content: dict) -> None:
    course = np.array(content["series"][0]["columns"]["value"]["course"]).reshape(7, 24)
    weekday, weekend = np.ptp(course[:5].mean(axis=0)), np.ptp(course[5:].mean(axis=0))
    assert weekday == pytest.approx(4, abs=0.6)
    assert weekend < 0.8 * weekday


def test_the_same_rows_give_the_same_bytes_and_other_rows_do_not(
    rows: pd.DataFrame, content: dict
) -> None:
    assert as_json(reference_profile(rows.copy(), SCHEMA)) == as_json(content)
    by_key = rows.sort_values("key", kind="stable", ignore_index=True)
    assert as_json(reference_profile(by_key, SCHEMA)) == as_json(content)
    other = rows.assign(value=rows["value"] + 0.1)
    assert as_json(reference_profile(other, SCHEMA)) != as_json(content)


def test_little_data_gives_fixed_limits_and_says_so(rows: pd.DataFrame) -> None:
    few = reference_profile(rows[rows["time"] < START + 5 * DAY], SCHEMA)
    assert few["limits"]["how"] == "fixed"
    assert "5 whole windows" in few["limits"]["why"]
    assert "level" not in few["series"][0]["columns"]["value"].get("limits", {})
    without = Schema(inputs=(Column("value", "double"),), outputs=())
    assert reference_profile(rows, without)["limits"] == {
        "how": "fixed",
        "why": "the rows have no times",
    }


def test_an_index_of_times_is_as_good_as_a_column(rows: pd.DataFrame) -> None:
    schema = Schema(inputs=(Column("value", "double"),), outputs=())
    hall = rows[rows["key"] == "hall"].set_index("time")[["value"]]
    found = reference_profile(hall, schema)
    assert (found["limits"]["how"], found["time"], found["by"]) == ("calibrated", None, None)
    profile = Profile.from_dict(found)
    moved = hall.tail(96) + 10
    assert compare_rows(moved, profile, schema).drifted
    assert not compare_rows(hall.tail(96), profile, schema).findings


@pytest.mark.parametrize("suffix", ["", "-of-a-place-with-a-very-long-name"])
def test_with_5000_keys_it_stays_small_and_still_knows_each(suffix: str) -> None:
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
    by_themselves = [one["key"] for one in content["series"] if one["key"] is not None]
    assert content["keys_together"] == 5_000 - len(by_themselves) > 4_000
    assert keys[1] in by_themselves  # it has most rows
    assert keys[0] not in by_themselves
    profile = Profile.from_dict(content)
    assert all(profile.knows(key) for key in keys)
    assert not profile.knows("another")
    new = rows[rows["time"] == time[-1]].assign(time=time[-1] + DAY)
    assert not compare_rows(new, profile, SCHEMA).findings
    named = new.assign(key=new["key"].where(new["key"] != keys[7], "another"))
    assert [one.key for one in compare_rows(named, profile, SCHEMA).findings] == ["another"]


def test_columns_that_are_missing_are_named(rows: pd.DataFrame) -> None:
    with pytest.raises(OperationError, match=r"no column value.*they have time, key"):
        reference_profile(rows.drop(columns="value"), SCHEMA)
    with pytest.raises(OperationError, match="no training rows"):
        reference_profile(rows.head(0), SCHEMA)


def test_a_change_that_stayed_is_what_is_usual_then(rows: pd.DataFrame) -> None:
    at = START + 40 * DAY
    is_new = (rows["time"] >= at) & (rows["key"] == "hall")
    moved = rows.assign(value=rows["value"].where(~is_new, rows["value"] + 12))
    content = reference_profile(moved, SCHEMA)
    hall = content["series"][2]["columns"]["value"]
    assert pd.Timestamp(hall["moved"]["at"]) == at
    assert hall["moved"]["by"] == pytest.approx(12, abs=1)
    assert hall["quantiles"][5] == pytest.approx(72, abs=1)
    assert "moved" not in content["series"][0]["columns"]["value"]
    # nor is it a reason to see less: a change as large is an alarm again
    limits = reference_profile(rows, SCHEMA)["series"][2]["columns"]["value"]["limits"]
    assert hall["limits"]["level"] < 1.5 * limits["level"]


def test_limits_are_exceeded_by_few_ordinary_windows() -> None:
    how = Calibration(pd.Timedelta("24h"), 7, 0)
    random = np.random.default_rng(1)
    limit = upper_limits(random.normal(size=(70, 4)), "level", how, centred=True)
    looks = np.abs(random.normal(size=(91 * 200, 4))) > limit
    assert looks.any(axis=1).sum() / 200 <= BUDGET["level"]
    assert (limit < 6).all()
    assert sum(BUDGET.values()) < 1
    assert BUDGET.keys() == FLOORS.keys()


def test_faults_of_the_training_do_not_widen_limits_but_what_came_last_does() -> None:
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
    often[::7, 0] = 40  # every week: that is usual
    assert upper_limits(often, "level", how, centred=True)[0] > 40


def test_a_model_takes_its_profile_along(tmp_path: Path, content: dict) -> None:
    model = Flagging().fit(pd.DataFrame({"load": [1.0, 2.0]}))
    save_model(model, tmp_path / "bare", OWN)
    assert not (tmp_path / "bare" / PROFILE).exists()
    model.profile = content
    save_model(model, tmp_path / "model", OWN)
    refuse_changed_files(tmp_path / "model")
    assert read_profile(tmp_path / "model").content == json.loads(as_json(content))
    assert b"quantiles" not in (tmp_path / "model/model.skops").read_bytes()
    loaded = load_model(tmp_path / "model", OWN)
    assert loaded.profile == json.loads(as_json(content))
    save_model(loaded, tmp_path / "again", OWN)
    assert digest(tmp_path / "again") == digest(tmp_path / "model") != digest(tmp_path / "bare")
    assert not hasattr(load_model(tmp_path / "bare", OWN), "profile")


def test_an_attribute_of_that_name_that_is_something_else_stays_one(tmp_path: Path) -> None:
    model = Flagging().fit(pd.DataFrame({"load": [1.0, 2.0]}))
    model.profile = {"of": "the estimator's own"}
    save_model(model, tmp_path / "model", OWN)
    assert not (tmp_path / "model" / PROFILE).exists()
    assert load_model(tmp_path / "model", OWN).profile == {"of": "the estimator's own"}


def test_a_folder_without_a_profile_says_what_to_do(tmp_path: Path, content: dict) -> None:
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


def test_a_profile_that_was_changed_is_refused_with_the_model(
    tmp_path: Path, content: dict
) -> None:
    model = Flagging().fit(pd.DataFrame({"load": [1.0, 2.0]}))
    model.profile = content
    save_model(model, tmp_path / "model", OWN)
    (tmp_path / "model" / PROFILE).write_bytes(as_json(content | {"rows": 1}))
    with pytest.raises(UnloadableModelError, match=r"profile.json was changed"):
        load_model(tmp_path / "model", OWN)


def test_a_model_without_a_profile_gets_one_of_its_training_table(
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
    own = LinearRegression().fit(table[["load"]], target)
    own.profile = content
    add_profile(own, {"train": table})
    assert own.profile is content
    assert "no reference profile" not in caplog.text


@pytest.mark.parametrize("inputs", [{}, {"rows": pd.DataFrame({"pressure": [1.0]})}, {"n": 3}])
def test_a_model_of_no_known_table_is_kept_without_one_and_that_is_said(
    inputs: dict, caplog: pytest.LogCaptureFixture
) -> None:
    table = pd.DataFrame({"load": [1.0, 2.0, 3.0]})
    model = LinearRegression().fit(table, table["load"])
    add_profile(model, inputs)
    assert not hasattr(model, "profile")
    assert "cannot be monitored: none of the inputs of its node" in caplog.text


def test_a_model_that_cannot_answer_its_training_table_is_kept_without_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = LinearRegression()  # not fitted
    model.input_example = pd.DataFrame({"load": [1.0]})
    add_profile(model, {"train": pd.DataFrame({"load": [1.0, 2.0]})})
    assert not hasattr(model, "profile")
    assert "cannot be monitored: This LinearRegression instance is not fitted" in caplog.text
    add_profile("no model", {})
