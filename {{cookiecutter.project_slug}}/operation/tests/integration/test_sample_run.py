"""The whole pipeline on readings of the tests' own: relations that hold for every parameter."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
from kedro_azure_mlops.cli import main
from kedro_azure_mlops.config import read_mlops
from kedro_azure_mlops.contract import load_proven_scorer
from kedro_azure_mlops.serve.batches import columns_of_table
from kedro_azure_mlops.testing.projects import ProjectCopy

from {{ cookiecutter.package_name }}.cli import cli

OTHERS = {
    "sklearn.neighbors.LocalOutlierFactor": {"novelty": True},
    "sklearn.covariance.EllipticEnvelope": {},
}


def scores_of(project: ProjectCopy) -> pd.DataFrame:
    return pd.read_csv(project.processed("scores.csv"))


def test_every_reading_has_a_score_once_a_week_is_known(ran, readings: pd.DataFrame) -> None:
    scores = scores_of(ran)
    pd.testing.assert_frame_equal(
        scores[["sensor_id", "temperature"]], readings.drop(columns="timestamp")
    )
    scores = scores[pd.to_datetime(readings["timestamp"]) >= "2024-01-08"]
    assert np.isfinite(scores["score"]).all()
    np.testing.assert_array_equal(scores["is_anomaly"], scores["score"] > 1)


def test_the_fault_is_found(ran, fault: pd.Series) -> None:
    scores = scores_of(ran)["score"]
    assert scores[fault].max() > 1
    assert scores[fault].mean() > scores[~fault].quantile(0.9)


def online_scores(project: ProjectCopy, model: Path, readings: pd.DataFrame) -> pd.DataFrame:
    scorer, _ = load_proven_scorer(model, read_mlops(project.path, "local").scorer)
    scores = scorer.score(columns_of_table(readings, scorer.schema))["score"]
    return readings.assign(online=scores, timestamp=pd.to_datetime(readings["timestamp"]))


def test_online_scores_are_those_of_the_run(ran, readings: pd.DataFrame) -> None:
    interim = ran.path / "data" / "interim"
    held_out = pd.read_parquet(interim / "held_out_scores.parquet")
    online = online_scores(ran, interim / "challenger", readings)
    both = held_out.merge(online, on=["timestamp", "sensor_id"])
    assert len(both) == len(held_out) > 0
    np.testing.assert_allclose(both["online"], both["score"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rows", [100, 5000])
def test_a_new_file_is_scored_as_online_however_it_is_cut(
    ran, readings: pd.DataFrame, rows: int
) -> None:
    """By the model of the run: the gate's decision is another test's."""
    given = {"input": "data/raw/readings.csv", "model": "trained", "rows_per_piece": rows}
    ran.run("score", score=given | {"output": f"data/processed/new_{rows}"})
    found = pd.read_csv(ran.processed(f"new_{rows}.csv"), parse_dates=["timestamp"])
    both = found.merge(online_scores(ran, ran.processed("model"), readings))
    assert len(both) == len(readings)
    np.testing.assert_allclose(both["online"], both["score"], atol=1e-6)


@pytest.mark.parametrize(("estimator", "arguments"), OTHERS.items())
def test_another_estimator_is_trained_compared_registered_and_served(
    with_data: Callable, fault: pd.Series, estimator: str, arguments: dict[str, object]
) -> None:
    project = with_data()
    project.run(detector={"estimator": estimator, "arguments": arguments})
    scores = scores_of(project)["score"]
    assert scores[fault].mean() > scores[~fault].mean()
    assert "challenger" in project.processed("comparison.csv").read_text(encoding="utf-8")
    scorer, contract = load_proven_scorer(
        project.processed("model"), read_mlops(project.path, "local").scorer
    )
    assert len(contract.answer) == len(contract.example)
    assert scorer.schema == contract.schema


def test_no_score_depends_on_later_readings(
    with_data: Callable, ran, readings: pd.DataFrame
) -> None:
    project, kept = with_data(), len(readings) - 100
    split = int(len(readings) * 0.6)
    cut = project.write("cut.csv", readings.head(kept))
    steps = ("pre_processing", "data_engineering", "data_science")
    training = {"window": "all", "holdout": 1 - (split + 0.5) / kept}
    project.run(*steps, raw_file=cut, training=training)
    np.testing.assert_array_equal(scores_of(project)["score"], scores_of(ran)["score"].head(kept))


def test_the_job_for_azure_ml_gives_what_a_run_gives(
    with_data: Callable, ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = with_data()
    monkeypatch.chdir(project.path)
    assert main(["local", "--env", "dev"]) == 0
    (scores,) = project.path.glob("build/**/scores.csv")
    pd.testing.assert_frame_equal(pd.read_csv(scores), scores_of(ran))


@pytest.mark.parametrize(
    ("given", "status", "message"),
    [
        ("raw_file=data/raw/none.csv", 2, "There is no file data/raw/none.csv"),
        ("raw_file=data/raw/bad.csv", 1, "temperature is not a number"),
        ("training.holdout=1.5", 2, "training.holdout"),
        ("training.holdot=0.5", 2, "training.holdout"),
        ("detector.estimator=sklearn.linear_model.Ridge", 2, "score_samples"),
    ],
)
def test_what_cannot_be_run_is_refused_in_words(
    with_data: Callable, monkeypatch: pytest.MonkeyPatch, given: str, status: int, message: str
) -> None:
    project = with_data()
    (project.path / "data/raw/bad.csv").write_text("timestamp,temperature\n2024-01-01,hot\n")
    bootstrap_project(project.path)
    monkeypatch.chdir(project.path)
    result = CliRunner().invoke(cli, ["run", "--params", given])
    assert result.exit_code == status, result.output
    assert message in result.stderr
    assert not project.processed("model").exists()
