"""Batch scoring by `kedro run`: the model used, the files written and the input rejected."""

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project
from temperature_anomalies.cli import cli

from kedro_azure_mlops.contract import digest
from tests.template.sample.helpers import NAME, Project, series

SMALL = {"arguments": {"n_estimators": 10}, "refit_every": None}
LENIENT = {"rules": [], "require_labels": False}


def score(project: Project, monkeypatch: pytest.MonkeyPatch, *assignments: str) -> Result:
    bootstrap_project(project.path)
    monkeypatch.chdir(project.path)
    params = ["--params", ",".join(assignments)] if assignments else []
    return CliRunner().invoke(cli, ["run", "--pipelines", "score", *params])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    """A project with a champion, which tests must not change."""
    project = Project.copy_to(tmp_path_factory.mktemp("trained") / "project", database)
    as_judged = {"refit_on_all_after_gate": False}
    project.run(detector=SMALL, gate=LENIENT, training=as_judged)
    return project


def new_file(project: Project, rows: int = 200) -> str:
    return project.write("new.csv", series(rows).to_csv(index=False))


def test_a_new_file_is_scored_by_the_champion(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = score(trained, monkeypatch, f"score.input={new_file(trained)}")
    assert result.exit_code == 0, result.output
    scores = pd.read_csv(trained.processed("new_scores.csv"))
    pd.testing.assert_frame_equal(
        scores[["timestamp", "sensor_id", "temperature"]],
        pd.read_csv(trained.path / "data/raw/new.csv"),
    )
    assert set(scores["model_version"]) == {1}
    judged = scores[scores["score"].notna()]
    assert judged["is_anomaly"].eq(judged["score"] > 1).all()
    assert judged.index.tolist() == list(range(60, 200)), "readings after 30 hours of history"
    assert scores.drop(judged.index)["is_anomaly"].isna().all()
    assert scores["reason"].notna().eq(scores["score"].isna()).all()


def test_held_out_readings_get_the_same_scores_as_in_training(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = score(trained, monkeypatch, "score.input=data/raw/temperatures.csv")
    assert result.exit_code == 0, result.output
    now = pd.read_csv(trained.processed("new_scores.csv"), parse_dates=["timestamp"])
    in_training = pd.read_parquet(trained.path / "data/interim/held_out_scores.parquet")
    both = in_training.merge(now, on=["timestamp", "sensor_id"], suffixes=("_then", "_now"))
    assert len(both) == len(in_training) > 5000
    assert (both["score_then"] - both["score_now"]).abs().max() <= 1e-6


def test_a_folder_is_scored_into_a_folder(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained.path / "data" / "raw" / "new"
    folder.mkdir(exist_ok=True)
    rows = series(200)
    for number, start in enumerate((0, 90)):
        rows[start : 90 + 110 * number].to_csv(folder / f"{number}.csv", index=False)
    result = score(trained, monkeypatch, "score.input=data/raw/new", "score.rows_per_piece=50")
    assert result.exit_code == 0, result.output
    parts = [pd.read_csv(trained.processed("new_scores") / f"{n}.csv") for n in (0, 1)]
    assert [len(part) for part in parts] == [90, 110]
    in_parts = pd.concat(parts, ignore_index=True)
    score(trained, monkeypatch, f"score.input={new_file(trained)}")
    pd.testing.assert_frame_equal(pd.read_csv(trained.processed("new_scores.csv")), in_parts)


def test_the_last_trained_model_scores_on_request(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assignments = f"score.input={new_file(trained)}", "score.model=trained"
    result = score(trained, monkeypatch, *assignments)
    assert result.exit_code == 0, result.output
    scores = pd.read_csv(trained.processed("new_scores.csv"), dtype={"model_version": str})
    assert set(scores["model_version"]) == {digest(trained.processed("model"))[:12]}


def test_a_champion_whose_files_were_changed_scores_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.run(detector=SMALL, gate=LENIENT)
    (model,) = (project.path / "mlartifacts").rglob("detector.json")
    model.write_text(model.read_text(encoding="utf-8") + " ", encoding="utf-8")
    result = score(project, monkeypatch, f"score.input={new_file(project)}")
    assert result.exit_code == 2
    assert "the champion cannot be used: the files of version 1 are not those" in result.stderr
    assert not project.processed("new_scores.csv").exists()
    allowed = score(project, monkeypatch, f"score.input={new_file(project)}", "score.model=trained")
    assert allowed.exit_code == 0, allowed.output


def test_without_a_champion_the_error_explains_how_to_get_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = score(project, monkeypatch, f"score.input={new_file(project)}")
    assert result.exit_code == 2
    assert "`kedro run`" in result.stderr
    assert isinstance(result.exception, SystemExit), "an expected error, without a traceback"


@pytest.mark.parametrize(
    ("assignments", "status", "message"),
    [
        ([], 2, "score.input=PATH"),
        (["score.input=data/raw/none.csv"], 2, "There is no file data/raw/none.csv"),
        (["score.input=data/raw/bad.csv"], 1, "temperature is not a number"),
        (["score.input=data/raw/late.csv"], 1, "more than 12 hours older"),
        (["score.input=data/raw/bad.csv", "score.rows_per_piece=0"], 2, "rows_per_piece"),
    ],
    ids=["no input", "missing file", "bad row", "newest first", "no rows"],
)
def test_unusable_input_is_rejected_and_writes_nothing(
    trained: Project,
    monkeypatch: pytest.MonkeyPatch,
    assignments: list[str],
    status: int,
    message: str,
) -> None:
    before = sorted(path.name for path in trained.processed("").iterdir())
    bad = series(200).astype({"temperature": object})
    bad.loc[150, "temperature"] = "hot"
    trained.write("bad.csv", bad.to_csv(index=False))
    trained.write("late.csv", series(200)[::-1].to_csv(index=False))
    result = score(trained, monkeypatch, *assignments)
    assert result.exit_code == status, result.output
    assert message in result.stderr
    if status == 1 and "number" in message:
        assert "152" in result.stderr
    assert sorted(path.name for path in trained.processed("").iterdir()) == before


def test_the_run_is_tracked_with_the_file_that_was_scored(
    trained: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    score(trained, monkeypatch, f"score.input={new_file(trained, 210)}")
    client = trained.client()
    (run, *_) = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["data.path.new_readings"] == "data/raw/new.csv"
    assert run.data.params["score.input"] == "data/raw/new.csv"
    assert len(client.search_model_versions(f"name='{NAME}'")) == 1
