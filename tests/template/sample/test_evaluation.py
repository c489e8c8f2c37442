import numpy as np
import pandas as pd
import pytest
from temperature_anomalies.evaluation import Events, as_scored, baseline_scores, measure

from tests.template.sample.helpers import series

HOLD = pd.Timedelta("1D")


def labels(*windows: tuple[str, str, str]) -> Events:
    frame = pd.DataFrame(windows, columns=["sensor_id", "start", "end"])
    return Events(frame.astype({"start": "datetime64[ns]", "end": "datetime64[ns]"}))


def scored(flagged: list[int], rows: int = 48 * 7) -> pd.DataFrame:
    score = np.zeros(rows)
    score[flagged] = 2.0
    return as_scored(series(rows), score)


def test_events_use_the_columns_of_the_sample() -> None:
    rows = scored([3])
    faults = labels(
        ("hall", "2024-01-01 01:00", "2024-01-01 02:00"),
        ("cold", "2024-01-01 01:00", "2024-01-01 02:00"),
    )
    assert np.flatnonzero(faults.contain(rows)).tolist() == [2, 3, 4]
    assert faults.onsets(rows, HOLD)["timestamp"].tolist() == [pd.Timestamp("2024-01-01 01:30")]
    assert faults.metrics(rows, HOLD)["event_recall"] == 1
    assert measure(rows, faults.windows) == faults.metrics(rows, HOLD)


def test_the_baselines_match_their_names() -> None:
    train, test = series(48 * 14), series(48 * 28).tail(48 * 14)
    test.loc[1000, "temperature"] = 60.0
    baselines = baseline_scores(train, test, contamination=0.01, seed=0)
    assert baselines["distance_from_median"]["score"].idxmax() == 1000
    assert baselines["distance_from_median"].loc[1000, "is_anomaly"] == 1
    smooth = baselines["ewma_level"]["score"]
    assert smooth[1000] > smooth[999]
    assert smooth[1012] < smooth[1000]
    assert abs(baselines["random"]["score"].corr(baselines["distance_from_median"]["score"])) < 0.15


def test_the_random_baseline_ranks_by_chance() -> None:
    train, test = series(48 * 14), series(48 * 28).tail(48 * 14)
    faults = labels(("hall", "2024-01-20", "2024-01-22"))
    random = baseline_scores(train, test, contamination=0.01, seed=0)["random"]
    assert faults.metrics(random, HOLD)["roc_auc"] == pytest.approx(0.5, abs=0.1)
