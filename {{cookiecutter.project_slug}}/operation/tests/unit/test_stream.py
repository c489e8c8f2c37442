import numpy as np
import pandas as pd
import pytest

from {{ cookiecutter.package_name }}.detector import Detector
from {{ cookiecutter.package_name }}.features import build_features
from {{ cookiecutter.package_name }}.scoring.features import look_back_days
from {{ cookiecutter.package_name }}.scoring.stream import Stream

from operation.tests.trained import FEATURE_PARAMETERS, readings, small_detector

LOOK_BACK = pd.Timedelta(days=look_back_days(FEATURE_PARAMETERS.seasonal_halflife_days))


@pytest.fixture(scope="module")
def detector() -> Detector:
    return small_detector()


def batch(detector: Detector, table: pd.DataFrame) -> pd.Series:
    """Score a table as the pipelines do."""
    ordered = table.sort_values(["sensor_id", "timestamp"], kind="stable")
    distinct = ordered[~ordered.duplicated(["sensor_id", "timestamp", "temperature"])]
    scores = detector.score_samples(build_features(distinct, FEATURE_PARAMETERS))
    return pd.Series(scores, distinct.index)


def in_pieces(stream: Stream, table: pd.DataFrame, size: int) -> np.ndarray:
    pieces = [table.iloc[start : start + size] for start in range(0, len(table), size)]
    return np.concatenate([score(stream, piece) for piece in pieces])


def score(stream: Stream, piece: pd.DataFrame) -> np.ndarray:
    return stream.score(
        piece["sensor_id"].tolist(), piece["timestamp"].to_numpy(), piece["temperature"].to_numpy()
    )


def long_history() -> pd.DataFrame:
    """More than a sensor's features look back on, with a gap, a jump and readings sent twice."""
    table = readings(1500)
    late_half = table["timestamp"] > table["timestamp"].median()
    table.loc[late_half, "timestamp"] += pd.Timedelta("3D 7min")
    twice = table.iloc[[700, 701, 1400]]
    return pd.concat([table, twice]).sort_values("timestamp", kind="stable", ignore_index=True)


@pytest.mark.parametrize("size", [1, 7, 400, 10_000])
def test_pieces_score_as_the_whole_does_in_the_pipelines(detector: Detector, size: int) -> None:
    table = long_history() if size > 1 else long_history().head(300)
    found = in_pieces(Stream(detector.scorer()), table, size)
    expected = batch(detector, table).reindex(table.index)
    is_twin = expected.isna().to_numpy()
    np.testing.assert_array_equal(found[~is_twin], expected[~is_twin])
    assert (found > 1).any()


def test_a_reading_that_is_sent_twice_gets_the_score_of_its_twin(detector: Detector) -> None:
    table = long_history()
    twins = table.duplicated(["sensor_id", "timestamp", "temperature"], keep=False)
    assert twins.sum() == 6
    for size in (1_000_000, 5):
        scores = pd.Series(in_pieces(Stream(detector.scorer()), table, size))[twins]
        assert scores.groupby([table["sensor_id"], table["timestamp"]]).nunique().max() == 1


def test_recent_weeks_score_as_the_whole_history_does(detector: Detector) -> None:
    """An endpoint that is sent the last 17 days answers what a file of years would give."""
    table = long_history()
    recent = table[table["timestamp"] > table["timestamp"].max() - LOOK_BACK]
    assert len(recent) < len(table)
    whole = in_pieces(Stream(detector.scorer()), table, 10_000)
    found = score(Stream(detector.scorer()), recent)
    last = recent.groupby("sensor_id").tail(1).index
    of_recent = pd.Series(found, recent.index)
    assert of_recent[last].tolist() == whole[last].tolist()
    early = recent.groupby("sensor_id").head(1).index
    assert of_recent[early].tolist() != whole[early].tolist()


def test_memory_does_not_grow_with_the_readings(detector: Detector) -> None:
    stream, most = Stream(detector.scorer()), []
    for rows in (readings(2000).iloc[start : start + 100] for start in range(0, 4000, 100)):
        score(stream, rows)
        most.append(max(len(past.times) for past in stream._past.values()))
    days = np.array(most) / 48
    assert 15 <= days[-1] <= days.max() <= 18 < 2000 / 48


def test_a_sensor_that_training_did_not_know_has_no_score(detector: Detector) -> None:
    table = readings(100)
    table.loc[table["sensor_id"] == "7", "sensor_id"] = "attic"
    stream = Stream(detector.scorer())
    scores = score(stream, table)
    assert stream.unknown == {"attic"}
    assert np.isnan(scores[table["sensor_id"] == "attic"]).all()
    assert np.isfinite(scores[table["sensor_id"] == "hall"]).all()


def test_late_readings_are_counted_and_scored_by_what_was_before_them(detector: Detector) -> None:
    table = readings(200)
    hall = table[table["sensor_id"] == "hall"].reset_index(drop=True)
    late = hall.iloc[[150, 151]]
    in_order, stream = Stream(detector.scorer()), Stream(detector.scorer())
    expected = score(in_order, hall)
    score(stream, hall.drop(late.index))
    found = score(stream, late)
    assert (in_order.late, stream.late) == (0, 2)
    assert found.tolist() == expected[late.index].tolist()


def test_nothing_is_scored_to_nothing(detector: Detector) -> None:
    nothing = readings().head(0)
    assert score(Stream(detector.scorer()), nothing).shape == (0,)
