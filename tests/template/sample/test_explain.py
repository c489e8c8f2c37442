"""Explanations of flagged readings by the exported forest, the trained one and the range."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from temperature_anomalies.detector import Detector
from temperature_anomalies.features import FEATURES, IN_WORDS

from kedro_azure_mlops.contract import load_proven_scorer
from kedro_azure_mlops.explain import Explanation, explain_rows, shapley_values
from kedro_azure_mlops.models import save_model
from kedro_azure_mlops.serve import score
from tests.template.sample.helpers import Project, series
from tests.template.sample.test_scorer import (
    FOREST,
    SCORER,
    TRUSTED,
    columns,
    long_history,
    readings,
    small_detector,
)

IN_SPREADS = re.compile(r"hall: (.+ -?\d+\.\d spreads (above|below) usual)(, .+)*")


@pytest.fixture(scope="module")
def detector() -> Detector:
    return small_detector()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, detector: Detector) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    save_model(detector, folder, TRUSTED)
    return folder


def explained(detector: Detector, table: pd.DataFrame, *rows: int) -> list[Explanation]:
    explanations = explain_rows(detector, columns(table), np.array(rows))
    assert explanations is not None
    return explanations


@pytest.mark.parametrize("estimator", [FOREST, "sklearn.mixture.GaussianMixture"])
def test_contributions_add_up_to_the_difference_of_the_scores(estimator: str) -> None:
    detector = small_detector(estimator, {} if estimator != FOREST else None)
    table = long_history().drop_duplicates(ignore_index=True)
    scores = detector.score(columns(table))["score"]
    judged = np.flatnonzero(~np.isnan(scores))[::9]
    assert (scores[judged] > 1).any()
    assert (scores[judged] < 1).any()
    for row, explanation in zip(judged, explained(detector, table, *judged), strict=True):
        assert [*explanation.contributions] == FEATURES
        assert explanation.score == scores[row]
        added = sum(explanation.contributions.values())
        assert added == pytest.approx(scores[row] - explanation.baseline_score, rel=1e-9, abs=1e-12)


def test_exported_and_trained_forest_give_the_same_explanations(
    detector: Detector, folder: Path
) -> None:
    scorer, _ = load_proven_scorer(folder, SCORER)
    table = readings()
    assert "ONNX" in scorer.engine
    rows = (300, 1120, 1160)
    assert explained(scorer, table, *rows) == explained(detector, table, *rows)


def test_features_are_compared_with_those_of_the_same_sensor(detector: Detector) -> None:
    table = readings()
    explained_rows = detector.explained(columns(table), table.index.isin([700, 701]))
    for row, sensor in enumerate(table["sensor_id"][[700, 701]]):
        np.testing.assert_array_equal(explained_rows.baseline[row], detector.profiles[sensor][0])
    contributions, scores, usual = shapley_values(
        explained_rows.function, explained_rows.baseline, explained_rows.baseline
    )
    assert (contributions == 0).all()
    np.testing.assert_array_equal(scores, usual)
    assert set(IN_WORDS) == set(FEATURES)


def test_a_shifted_level_is_explained_in_spreads(detector: Detector) -> None:
    """In a cold spell within the usual range only the means are unusual."""
    table = series()
    table.loc[560:, "temperature"] = 17.2
    explanation = explained(detector, table, 599)[0]
    assert IN_SPREADS.fullmatch(explanation.words)
    assert "below usual" in explanation.words
    assert explanation.score > explanation.baseline_score


@pytest.mark.parametrize(
    ("value", "words"),
    [(300.0, "above the highest usual reading"), (-60.0, "below the lowest usual reading")],
)
def test_a_far_reading_is_explained_by_the_range(
    detector: Detector, value: float, words: str
) -> None:
    """Both with and without enough history to be scored by the forest."""
    least, most, _ = detector.ranges["hall"]
    beyond = value - most if value > most else least - value
    table = series(rows=400)
    table.loc[[2, 399], "temperature"] = value
    alone, with_history = explained(detector, table, 2, 399)
    for explanation in (alone, with_history):
        assert explanation.words.startswith(f"hall: {value:g} is {beyond:.4g} {words}")
        assert max(explanation.contributions, key=explanation.contributions.get) == "value"
        added = sum(explanation.contributions.values())
        assert added == pytest.approx(explanation.score - explanation.baseline_score, rel=1e-9)
    assert alone.baseline_score == 0.0
    assert [name for name, value in alone.contributions.items() if value] == ["value"]


def test_a_reading_without_a_score_is_explained_by_its_reason(detector: Detector) -> None:
    table = readings(60)
    table.loc[table["sensor_id"] == "7", "sensor_id"] = "attic"
    young, unknown = explained(detector, table, 0, 1)
    assert young.words.startswith("hall: needs 5 earlier readings of this sensor")
    assert unknown.words == "attic: the model does not know this sensor"
    assert (young.contributions, unknown.score) == ({}, None)


def test_a_request_is_explained(folder: Path) -> None:
    table = series()
    table.loc[560:, "temperature"] = 17.2
    table["timestamp"] = table["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S")
    body = {"data": table.to_dict("records"), "explain": True}
    model = score.load_served(folder, SCORER)
    answer = score.answer(model, json.dumps(body))
    assert answer.status == 200
    *_, last = answer.body["data"]
    assert last["is_anomaly"] is True
    assert IN_SPREADS.fullmatch(last["explanation"]["words"])
    for row in answer.body["data"][:-1]:
        assert (row["explanation"] is not None) == (row["is_anomaly"] is True)


def test_a_score_file_explains_its_flags_on_request(ran: Project, tmp_path: Path) -> None:
    copy = Project(Path(shutil.copytree(ran.path, tmp_path / "project")))
    table = series(rows=200)
    table.loc[150, "temperature"] = 300.0
    new = copy.write("new.csv", table.to_csv(index=False))
    for explain in (False, True):
        copy.run("score", score={"input": new, "model": "trained", "explain": explain})
        scores = pd.read_csv(copy.processed("new_scores.csv"))
        assert ("explanation" in scores) == explain
    flagged = scores[scores["is_anomaly"] == 1]
    assert flagged["explanation"].notna().all()
    assert scores["explanation"].notna().sum() == len(flagged)
    assert "above the highest usual reading" in scores["explanation"][150]
