"""Comparison of new rows with a profile: kind and start of each finding, and no false alarms."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from kedro_azure_mlops.contract import Column, Schema
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.monitor.comparison import Comparison, Finding, compare_rows
from kedro_azure_mlops.monitor.profile import Profile, reference_profile
from kedro_azure_mlops.monitor.statistics import (
    Cut,
    ewma,
    kolmogorov_smirnov,
    population_stability,
    runs_so_far,
)
from tests.plugin.waves import DAY, KEYS, SCHEMA, START, waves

TRAINED = 70  # days
END = START + TRAINED * DAY
INPUTS = ["time", "key", "value"]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return waves(TRAINED + 70)


@pytest.fixture(scope="module")
def profile(rows: pd.DataFrame) -> Profile:
    return Profile.from_dict(reference_profile(rows[rows["time"] < END], SCHEMA))


@pytest.fixture(scope="module")
def new(rows: pd.DataFrame) -> pd.DataFrame:
    """Return two ordinary weeks after the training."""
    return rows[(rows["time"] >= END) & (rows["time"] < END + 14 * DAY)].reset_index(drop=True)


def last_days(new: pd.DataFrame, key: str | None = None, days: float = 1) -> pd.Series:
    """Return a mask of the rows of the last days, of one key or of all keys."""
    is_last = new["time"] >= END + (14 - days) * DAY
    return is_last if key is None else is_last & (new["key"] == key)


def with_value(new: pd.DataFrame, rows: pd.Series, values: object) -> pd.DataFrame:
    return new.assign(value=new["value"].where(~rows, values))


def kinds(comparison: Comparison) -> set[tuple[str, str | None]]:
    return {(one.kind, one.key) for one in comparison.findings}


def test_ordinary_rows_have_no_findings(new: pd.DataFrame, profile: Profile) -> None:
    comparison = compare_rows(new, profile, SCHEMA, now=END + 14 * DAY)
    assert comparison.findings == []
    assert not (comparison.drifted or comparison.quality or comparison.retrain)
    assert (comparison.rows, comparison.start, comparison.end) == (
        len(new),
        END,
        END + 14 * DAY - pd.Timedelta("30min"),
    )
    assert list(comparison.windows.columns) == [
        *("start", "end", "key", "column", "check", "value", "limit", "alarm")
    ]
    assert not comparison.windows["alarm"].any()
    assert comparison.windows["start"].nunique() == 14
    assert {"level", "ks", "psi", "missing", "stuck"} <= set(comparison.windows["check"])


def test_ten_ordinary_weeks_raise_at_most_one_alarm(rows: pd.DataFrame, profile: Profile) -> None:
    windows = compare_rows(rows[rows["time"] >= END], profile, SCHEMA).windows
    assert windows["start"].nunique() == 70
    assert windows.loc[windows["alarm"], "start"].nunique() <= 1


@pytest.mark.parametrize("by", [-1.0, 1.0])
def test_a_shift_by_a_spread_is_found_within_a_day(
    new: pd.DataFrame, profile: Profile, by: float
) -> None:
    spread = profile.content["series"][2]["columns"]["value"]["spread"]
    moved = with_value(new, last_days(new, "hall"), new["value"] + by * spread)
    comparison = compare_rows(moved, profile, SCHEMA)
    assert kinds(comparison) == {("drift", "hall")}
    assert comparison.retrain
    (one,) = comparison.findings
    assert one.since == END + 13 * DAY - pd.Timedelta("30min")
    assert one.value > one.limit
    assert one.words.startswith("hall: value shifted, median 60")


def test_a_lasting_shift_of_one_series_is_drift(new: pd.DataFrame, profile: Profile) -> None:
    moved = with_value(new, last_days(new, "yard", days=3), new["value"] + 12)
    comparison = compare_rows(moved, profile, SCHEMA)
    assert kinds(comparison) == {("drift", "yard")}
    assert comparison.findings[0].since.floor("D") == END + 10 * DAY
    assert comparison.windows.query("check == 'level' and alarm")["start"].nunique() == 3


def test_a_shift_of_all_series_is_drift_even_within_six_hours(
    new: pd.DataFrame, profile: Profile
) -> None:
    higher = new.assign(value=new["value"] + 20)
    for part in (higher, higher[last_days(new)], higher[last_days(new, days=0.25)]):
        comparison = compare_rows(part, profile, SCHEMA)
        assert {("drift", key) for key in KEYS} <= kinds(comparison)
        assert comparison.retrain
    assert compare_rows(new[last_days(new, days=0.25)], profile, SCHEMA).findings == []


def test_a_shift_that_looks_like_a_conversion_is_drift(new: pd.DataFrame, profile: Profile) -> None:
    moved = with_value(new, last_days(new, "hall"), new["value"] + (60 * 1.8 + 32 - 60))
    assert kinds(compare_rows(moved, profile, SCHEMA)) == {("drift", "hall")}


def test_a_small_shift_of_all_series_is_drift(new: pd.DataFrame, profile: Profile) -> None:
    slightly = with_value(new, last_days(new, days=5), new["value"] + 0.8)
    assert compare_rows(slightly, profile, SCHEMA).drifted


def test_a_shift_in_the_last_two_days_of_a_long_file_is_drift(
    rows: pd.DataFrame, profile: Profile
) -> None:
    is_last = rows["time"] >= rows["time"].max() - 2 * DAY
    comparison = compare_rows(rows.assign(value=rows["value"] + 3 * is_last), profile, SCHEMA)
    assert {("drift", key) for key in KEYS} <= kinds(comparison)


def test_a_wider_spread_is_drift(new: pd.DataFrame, profile: Profile) -> None:
    wider = with_value(new, last_days(new, "hall", days=7), 60 + 2.5 * (new["value"] - 60))
    comparison = compare_rows(wider, profile, SCHEMA)
    assert kinds(comparison) == {("drift", "hall")}


def test_the_alarm_clears_after_training_on_the_new_level(
    new: pd.DataFrame, rows: pd.DataFrame
) -> None:
    later = rows["value"] + 12 * ((rows["key"] == "hall") & (rows["time"] >= END + 6 * DAY))
    rows = rows.assign(value=later)
    retrained_at = END + 7 * DAY
    before = Profile.from_dict(reference_profile(rows[rows["time"] < END], SCHEMA))
    assert compare_rows(rows[rows["time"] < retrained_at], before, SCHEMA).retrain
    again = Profile.from_dict(reference_profile(rows[rows["time"] < retrained_at], SCHEMA))
    for days in (0, 1, 3, 7):
        part = rows[(rows["time"] < retrained_at + days * DAY) & (rows["time"] >= END)]
        assert not compare_rows(part, again, SCHEMA).drifted
    back = rows[(rows["time"] >= retrained_at) & (rows["time"] < retrained_at + DAY)]
    back = back.assign(value=back["value"] - 12 * (back["key"] == "hall"))
    assert kinds(compare_rows(back, again, SCHEMA)) == {("drift", "hall")}


FAULTS: dict[str, tuple[str, Callable[[pd.Series], pd.Series]]] = {
    "stuck": ("stuck", lambda values: values * 0 + 63.5),
    "dead": ("stuck", lambda values: values * 0),
    "missing": ("missing", lambda values: values.where(values.index % 3 > 0)),
    "text": ("missing", lambda values: values.astype(object).where(values.index % 3 > 0, "E7")),
    "out of range": ("out_of_range", lambda values: values.where(values.index % 9 > 0, -999.0)),
    "Fahrenheit": ("unit", lambda values: values * 1.8 + 32),
    "Kelvin": ("unit", lambda values: values + 273.15),
    "millis": ("unit", lambda values: values * 0.001),
    "tenfold": ("unit", lambda values: values / 10),
}


@pytest.mark.parametrize("hours", [10, 24, 60])
@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_data_is_a_quality_finding_and_never_retrained_on(
    new: pd.DataFrame, profile: Profile, fault: str, hours: int
) -> None:
    check, wrong = FAULTS[fault]
    comparison = compare_rows(
        with_value(new, last_days(new, "hall", hours / 24), wrong(new["value"])), profile, SCHEMA
    )
    assert [(one.kind, one.check, one.key) for one in comparison.findings] == [
        ("quality", check, "hall")
    ]
    assert comparison.quality and not comparison.retrain
    assert "hall" in comparison.findings[0].words


def test_a_key_without_training_values_is_not_compared(
    rows: pd.DataFrame, new: pd.DataFrame
) -> None:
    known = rows["value"].where(rows["key"] != "yard")
    trained = rows.assign(value=known)[rows["time"] < START + 30 * DAY]
    comparison = compare_rows(new, Profile.from_dict(reference_profile(trained, SCHEMA)), SCHEMA)
    assert not comparison.windows.query("key == 'yard' and check in ['level', 'ks', 'psi']").size
    assert not any(one.key == "yard" for one in comparison.findings)


def test_a_fault_of_one_key_does_not_hide_drift_of_another(
    new: pd.DataFrame, profile: Profile
) -> None:
    both = with_value(new, last_days(new, "hall"), 63.5)
    both = with_value(both, last_days(new, "yard"), both["value"] + 12)
    comparison = compare_rows(both, profile, SCHEMA)
    assert kinds(comparison) == {("quality", "hall"), ("drift", "yard")}
    assert comparison.drifted and comparison.quality and not comparison.retrain


def test_an_unknown_key_is_named(new: pd.DataFrame, profile: Profile) -> None:
    other = pd.concat([new, new[new["key"] == "hall"].assign(key="loft")])
    comparison = compare_rows(other, profile, SCHEMA)
    assert [(one.kind, one.check, one.key) for one in comparison.findings] == [
        ("drift", "new_key", "loft")
    ]
    assert "key not seen in training, 48 rows" in comparison.findings[0].words
    one_row = pd.concat([new, new.tail(1).assign(key="typo")])
    comparison = compare_rows(one_row, profile, SCHEMA)
    assert kinds(comparison) == {("traffic", "typo")}
    assert not comparison.retrain


def test_a_silent_key_is_a_traffic_finding(new: pd.DataFrame, profile: Profile) -> None:
    comparison = compare_rows(new[~last_days(new, "hall", days=0.5)], profile, SCHEMA)
    assert [(one.kind, one.check, one.key) for one in comparison.findings] == [
        ("traffic", "silent_key", "hall")
    ]
    gone = compare_rows(new[new["key"] != "hall"], profile, SCHEMA)
    assert ("traffic", "hall") in kinds(gone)


def test_fewer_rows_than_usual_are_a_traffic_finding(new: pd.DataFrame, profile: Profile) -> None:
    thin = new[~last_days(new) | (new["time"].dt.hour % 4 == 3)]
    comparison = compare_rows(thin, profile, SCHEMA)
    assert ("traffic", None) in kinds(comparison)
    assert not comparison.drifted
    assert any("usually 192" in one.words for one in comparison.findings)


def test_no_rows_are_a_traffic_finding(new: pd.DataFrame, profile: Profile) -> None:
    comparison = compare_rows(new.head(0), profile, SCHEMA, now=END)
    assert [(one.kind, one.check, one.since) for one in comparison.findings] == [
        ("traffic", "no_rows", END)
    ]
    assert (comparison.rows, len(comparison.windows)) == (0, 0)
    assert pd.isna(comparison.start)
    nothing = new.assign(time="never")
    assert ("traffic", "no_rows") in {
        (one.kind, one.check) for one in compare_rows(nothing, profile, SCHEMA).findings
    }


def test_freshness_is_measured_against_now(new: pd.DataFrame, profile: Profile) -> None:
    end = new["time"].max()
    assert not compare_rows(new, profile, SCHEMA, now=end + pd.Timedelta("20h")).findings
    late = compare_rows(new, profile, SCHEMA, now=(end + 3 * DAY).tz_localize("UTC"))
    assert [(one.kind, one.check) for one in late.findings] == [("traffic", "freshness")]
    assert "72 hours old" in late.findings[0].words


def test_rows_from_the_future_are_a_clock_finding(new: pd.DataFrame, profile: Profile) -> None:
    shifted = new["time"].where(new["key"] != "hall", new["time"] + 365 * DAY)
    comparison = compare_rows(new.assign(time=shifted), profile, SCHEMA, now=END + 14 * DAY)
    assert ("quality", "clock") in {(one.kind, one.check) for one in comparison.findings}
    assert comparison.end == new["time"].max()
    assert not comparison.retrain
    slightly_early = compare_rows(new, profile, SCHEMA, now=END + 14 * DAY - pd.Timedelta("2h"))
    assert {one.check for one in slightly_early.findings} == {"clock"}


def test_rows_without_key_or_time_are_reported(new: pd.DataFrame, profile: Profile) -> None:
    comparison = compare_rows(
        new.assign(
            key=new["key"].where(new.index % 20 > 0, None),
            time=new["time"].where(new.index % 20 != 1, pd.NaT),
        ),
        profile,
        SCHEMA,
    )
    assert {(one.check, one.column) for one in comparison.findings} == {
        ("missing", "key"),
        ("missing", "time"),
    }


def test_columns_that_the_profile_lacks_are_rejected(new: pd.DataFrame, profile: Profile) -> None:
    with pytest.raises(
        OperationError, match=r"no column value(.|\n)*profile has: key, time, value"
    ):
        compare_rows(new.rename(columns={"value": "amount"}), profile, SCHEMA)
    other = Schema(inputs=(Column("time", "datetime"), Column("key", "string")), outputs=())
    with pytest.raises(OperationError, match=r"schema has no column value"):
        compare_rows(new, profile, other)
    assert not compare_rows(new[INPUTS].assign(more=1), profile, SCHEMA).findings


def test_scores_and_flags_are_compared_if_the_rows_have_them(
    new: pd.DataFrame, profile: Profile
) -> None:
    odd = last_days(new, "hall")
    scored = new.assign(
        score=new["score"].where(~odd, new["score"] + 1), is_odd=new["is_odd"] | odd
    )
    comparison = compare_rows(scored, profile, SCHEMA)
    checks = {(one.check, one.key) for one in comparison.findings}
    assert ("flagged", None) in checks
    assert {("flagged", "hall"), ("score_psi", "hall")} <= {
        (row.check, row.key) for row in comparison.windows[comparison.windows["alarm"]].itertuples()
    }
    assert any("is_odd flags 100.0% of the rows" in one.words for one in comparison.findings)
    assert not compare_rows(scored[INPUTS], profile, SCHEMA).findings


def test_times_may_be_text_in_any_order_and_time_zone(new: pd.DataFrame, profile: Profile) -> None:
    mixed = with_value(new, last_days(new, "hall"), new["value"] + 12).sample(
        frac=1, random_state=0
    )
    local = mixed["time"].dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")
    texts = local.map(lambda time: time.isoformat())
    comparison = compare_rows(mixed.assign(time=texts), profile, SCHEMA)
    assert kinds(comparison) == {("drift", "hall")}
    assert comparison.end == new["time"].max()


CATEGORIES = Schema(
    inputs=(Column("colour", "string"), Column("size", "long"), Column("new", "boolean")),
    outputs=(Column("price", "double"),),
)


def wares(rows: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    size = random.integers(0, 9, rows)
    return pd.DataFrame(
        {
            "colour": random.choice(["blue", "green", "red"], rows, p=[0.6, 0.3, 0.1]),
            "size": size,
            "new": random.random(rows) < 0.3,
            "price": size * 2.0 + random.normal(size=rows),
        }
    )


@pytest.mark.parametrize("rows", [30, 300, 3_000])
def test_rows_without_times_are_one_window(rows: int) -> None:
    profile = Profile.from_dict(reference_profile(wares(4_000, 0), CATEGORIES))
    new = wares(rows, 1)
    assert compare_rows(new, profile, CATEGORIES).findings == []
    larger = compare_rows(new.assign(size=new["size"] + 6), profile, CATEGORIES)
    assert ("drift", "size") in {(one.kind, one.column) for one in larger.findings}
    pink = new.assign(colour=new["colour"].where(new.index % 3 > 0, "pink"))
    comparison = compare_rows(pink, profile, CATEGORIES)
    assert [(one.kind, one.column) for one in comparison.findings] == [("drift", "colour")]
    assert comparison.windows.query("alarm")["check"].isin(["new_category", "psi"]).all()
    assert any("in new categories: pink" in one.words for one in comparison.findings)
    gone = compare_rows(new.assign(colour=None), profile, CATEGORIES)
    assert [(one.kind, one.check) for one in gone.findings] == [("quality", "missing")]
    dearer = compare_rows(new.assign(price=new["price"] + 20), profile, CATEGORIES)
    assert [one.check for one in dearer.findings] == ["score_psi"]


def test_recorded_rows_without_a_time_use_the_time_of_the_answer() -> None:
    profile = Profile.from_dict(reference_profile(wares(4_000, 0), CATEGORIES))
    served = wares(400, 1)
    served["served_at"] = pd.date_range(START, periods=len(served), freq="1h")
    served.loc[300:, "size"] += 6
    comparison = compare_rows(served, profile, CATEGORIES, now=START + 400 * pd.Timedelta("1h"))
    assert [(one.kind, one.column) for one in comparison.findings] == [("drift", "size")]
    assert comparison.findings[0].since < START + 305 * pd.Timedelta("1h")


def test_findings_are_sorted_by_their_excess_over_the_limit(
    new: pd.DataFrame, profile: Profile
) -> None:
    moved = with_value(new, last_days(new, "hall"), new["value"] + 3)
    moved = with_value(moved, last_days(new, "yard"), moved["value"] + 12)
    comparison = compare_rows(moved, profile, SCHEMA)
    assert [one.key for one in comparison.findings][:2] == ["yard", "hall"]
    ratios = [one.value / one.limit for one in comparison.findings]
    assert ratios == sorted(ratios, reverse=True)
    assert all(isinstance(one, Finding) and "\n" not in one.words for one in comparison.findings)


def test_drift_statistics_match_values_computed_manually() -> None:
    counts, shares = np.array([[5.0, 0, 0, 5]]), np.full(4, 0.25)
    expected = 2 * (0.5 - 0.25) * np.log(0.5 / 0.25) + 2 * (0.05 - 0.25) * np.log(0.05 / 0.25)
    assert population_stability(counts, shares) == pytest.approx(expected)
    assert kolmogorov_smirnov(counts, shares) == pytest.approx(0.25)
    assert population_stability(counts * 0 + 2, shares) == pytest.approx(0)
    # twenty bins are compared as deciles
    fine = np.arange(20.0) + 1
    by_two = fine.reshape(10, 2).sum(axis=1)
    twenty, ten = np.full(20, 0.05), np.full(10, 0.1)
    assert population_stability(fine, twenty) == pytest.approx(population_stability(by_two, ten))
    # but not twenty categories, whose neighbours have nothing in common
    swapped, equal = np.tile([2.0, 0.0], 10), np.full(20, 0.05)
    assert population_stability(swapped, equal) == pytest.approx(0)
    assert population_stability(swapped, equal, ordered=False) > 0.5


@pytest.mark.parametrize("number", [18, 19, 29])
def test_a_category_that_becomes_its_neighbour_is_drift(number: int) -> None:
    schema = Schema(inputs=(Column("kind", "string"),), outputs=())
    names = np.array([f"kind{one:02}" for one in range(number)], object)
    random = np.random.default_rng(0)
    frequency = np.where(names == "kind00", 10, 1) / (number + 9)
    kinds = random.choice(names, 8_000, p=frequency)
    profile = Profile.from_dict(reference_profile(pd.DataFrame({"kind": kinds}), schema))
    new = pd.DataFrame({"kind": random.choice(names, 2_000, p=frequency)})
    assert not compare_rows(new, profile, schema).findings
    renamed = compare_rows(new.replace("kind00", "kind01"), profile, schema)
    assert [(one.check, one.column) for one in renamed.findings] == [("psi", "kind")]


def test_windows_are_counted_back_from_the_newest_row() -> None:
    key, time = np.array([0, 0, 1, 0, -1]), np.array([0, 9, 10, 20, 99])
    cut = Cut.of(key, time, 2, 10)
    assert (cut.windows, cut.ends.tolist()) == (3, [0, 10, 20])
    assert cut.total().tolist() == [[1, 0], [1, 1], [1, 0]]
    assert runs_so_far(cut, np.array([5, 5, 5, 5])).tolist() == [1, 2, 3, 1]
    assert cut.largest(np.array([3, 1, 2, 4])).tolist() == [[3, 0], [1, 4], [2, 0]]
    assert ewma(np.array([[4.0], [np.nan], [8.0]])).ravel().tolist()[::2] == [1.0, 2.75]


def test_old_windows_without_rows_are_left_out_of_dense_tables() -> None:
    key, time = np.array([0, 0, 0, 0]), np.array([0, 10**15, 10**15 + 1, 10**15 + 20])
    cut = Cut.of(key, time, 1, 10, dense=4)
    assert cut.ends.tolist() == [0, *(10**15 + np.array([-10, 0, 10, 20]))]
    assert cut.window.tolist() == [0, 2, 3, 4]
    assert cut.total().ravel().tolist() == [1, 0, 1, 1, 1]
    few = [Cut.of(key[1:], time[1:], 1, 10, dense) for dense in (3, 4, None)]
    assert [one.ends.tolist() for one in few] == [few[0].ends.tolist()] * 3
