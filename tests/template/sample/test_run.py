"""The whole pipeline on the sample: outputs, tracking, registration and rejected input."""

import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project
from temperature_anomalies.cli import cli
from temperature_anomalies.pipelines.metrics.nodes import plot_score_histogram, plot_timeline

from kedro_azure_mlops.contract import digest, load_proven_scorer
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.models import load_model, save_model
from kedro_azure_mlops.monitor.comparison import compare_rows
from kedro_azure_mlops.monitor.profile import PROFILE, read_profile
from tests.template.sample.helpers import NAME, Project, entry, rendered, series

SMALL = {"arguments": {"n_estimators": 20}}
WORSE = {"arguments": {"n_estimators": 1, "max_samples": 2}}
TRUSTED = ["temperature_anomalies.detector.Detector"]


def test_a_run_is_tracked_with_everything_needed_to_repeat_it(ran: Project) -> None:
    client = ran.client()
    experiment = client.get_experiment_by_name(NAME)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["detector.contamination"] == "0.005"
    assert run.data.params["training.holdout"] == "0.4"
    assert run.data.metrics == pytest.approx(ran.read("metrics") | ran.read("cost"))
    report = json.loads((ran.path / "data/interim/cleaning_report.json").read_text())
    assert run.data.tags["data.fingerprint"] == report["fingerprint"]
    assert run.inputs.dataset_inputs[0].dataset.digest == report["fingerprint"][:36]
    logged = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"timeline.png", "score_histogram.png", "precision_recall.png", "gate.json"} <= logged
    assert "model" in logged


def test_the_registered_version_is_the_model_on_disk_and_champion(ran: Project) -> None:
    version = ran.client().get_model_version_by_alias(NAME, "champion")
    assert str(version.version) == "1"
    assert version.tags["gate"] == "passed"
    assert version.tags["digest"] == digest(ran.processed("model"))
    mlflow.set_tracking_uri(ran.client().tracking_uri)
    fetched = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}@champion"))
    features = pd.read_parquet(ran.path / "data/interim/test.parquet")
    np.testing.assert_array_equal(
        load_model(fetched, TRUSTED).score_samples(features),
        load_model(ran.processed("model"), TRUSTED).score_samples(features),
    )


def test_the_same_run_twice_gives_the_same_model(project: Project, ran: Project) -> None:
    project.run()
    second, first = (one.processed("model") for one in (project, ran))
    assert (second / PROFILE).read_bytes() == (first / PROFILE).read_bytes()
    assert digest(second) == digest(first)


def test_the_model_includes_a_profile_of_its_training_data(ran: Project) -> None:
    profile = read_profile(ran.processed("model"))
    assert profile.keys == ["boiler", "cold_room", "hall", "outdoor"]
    assert profile.columns == ["temperature", "score", "is_anomaly"]
    assert profile.limits["how"] == "calibrated"
    assert (ran.processed("model") / PROFILE).stat().st_size < 200_000
    scored = ran.scores()
    latest = scored[scored["timestamp"] > scored["timestamp"].max() - pd.Timedelta("3D")]
    schema = load_model(ran.processed("model"), TRUSTED).schema
    higher = latest.assign(temperature=latest["temperature"] + 20)
    assert not compare_rows(latest, profile, schema).retrain
    assert {one.key for one in compare_rows(higher, profile, schema).findings} >= {*profile.keys}


def test_the_model_beats_chance_and_the_one_line_baseline(ran: Project) -> None:
    metrics = ran.read("metrics")
    assert metrics["roc_auc"] > 0.8
    assert metrics["average_precision"] > metrics["distance_from_median.average_precision"]
    assert metrics["average_precision"] > 3 * metrics["random.average_precision"]
    assert metrics["random.roc_auc"] == pytest.approx(0.5, abs=0.05)
    assert ran.read("gate")["passed"]


def test_every_input_row_has_a_score_after_the_first_week(ran: Project) -> None:
    raw = pd.read_csv(ran.path / "data/raw/temperatures.csv", parse_dates=["timestamp"])
    scores = ran.scores()
    pd.testing.assert_frame_equal(scores[list(raw.columns)], raw)
    assert list(scores.columns) == [*raw.columns, "score", "is_anomaly"]
    is_judged = scores["timestamp"] >= scores["timestamp"].min() + pd.Timedelta("7D")
    np.testing.assert_array_equal(scores["score"].notna(), is_judged)
    np.testing.assert_array_equal(scores["is_anomaly"].isna(), ~is_judged)
    scores = scores[is_judged]
    np.testing.assert_array_equal(scores["is_anomaly"], scores["score"] > 1)
    assert np.isfinite(scores["score"]).all()


def test_the_plots_are_png_files(ran: Project) -> None:
    for name in ("timeline", "score_histogram", "precision_recall"):
        content = ran.processed(f"{name}.png").read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 5_000


def test_the_report_shows_the_gate_decision(ran: Project) -> None:
    report = ran.processed("report.txt").read_text(encoding="utf-8")
    assert "Gate: PASSED" in report
    assert "there is no champion yet" in report
    assert "random" in report


def test_the_default_pipeline_is_all_but_the_one_on_demand() -> None:
    names = {"pre_processing", "data_engineering", "data_science", "metrics"}
    assert set(pipelines) == names | {"__default__", "score"}
    default_nodes = {node.name for name in names for node in pipelines[name].nodes}
    assert {node.name for node in pipelines["__default__"].nodes} == default_nodes


def test_a_worse_model_is_registered_but_does_not_become_champion(project: Project) -> None:
    project.run(detector=SMALL)
    project.run(detector=WORSE)
    assert project.champion() == "1"
    refused = project.client().get_model_version(NAME, "2")
    assert refused.tags["gate"] == "refused"
    assert "champion (version 1)" in refused.tags["gate.reasons"]
    assert "Gate: REFUSED" in project.processed("report.txt").read_text(encoding="utf-8")
    project.run()
    assert project.champion() == "3"
    assert project.read("gate")["champion_version"] == "1"


def test_a_champion_whose_files_were_changed_is_not_loaded(project: Project) -> None:
    project.run()
    (model,) = (project.path / "mlartifacts").rglob("MLmodel")
    model.write_text(model.read_text() + "# changed\n", encoding="utf-8")
    project.run()
    assert project.champion() == "1"
    rule = project.rule("champion")
    assert not rule["passed"]
    assert "version 1 are not those that were registered" in rule["reason"]


def test_a_champion_that_does_not_know_a_sensor_stays(project: Project) -> None:
    project.run()
    for name in ("temperatures.csv", "labels.csv"):
        text = (project.path / "data" / "raw" / name).read_text(encoding="utf-8")
        project.write(f"renamed_{name}", text.replace("hall", "lobby"))
    renamed = {
        "raw_file": "data/raw/renamed_temperatures.csv",
        "labels_file": "data/raw/renamed_labels.csv",
    }
    project.run(**renamed)
    assert project.champion() == "1"
    assert "does not know the sensors lobby" in project.processed("report.txt").read_text()
    project.run(**renamed, gate={"on_incomparable": "replace"})
    assert project.champion() == "3"


def test_a_champion_of_other_features_stays(project: Project) -> None:
    project.run(detector=SMALL)
    (model,) = (project.path / "mlartifacts").rglob("MLmodel")
    other = load_model(model.parent, TRUSTED)
    other.features = [*other.features[:-1], "other"]
    shutil.rmtree(model.parent)
    save_model(other, model.parent, TRUSTED)
    project.client().set_model_version_tag(NAME, "1", "digest", digest(model.parent))
    project.run(detector=SMALL)
    assert project.champion() == "1"
    rule = project.rule("champion")
    assert "version 1 was trained on different features" in rule["reason"]


def test_missing_champion_files_are_reported(project: Project) -> None:
    project.run(detector=SMALL)
    (model,) = (project.path / "mlartifacts").rglob("MLmodel")
    model.parent.rename(project.path / "elsewhere")
    project.run(detector=SMALL)
    assert project.champion() == "1"
    rule = project.rule("champion")
    assert "the files of version 1 cannot be fetched" in rule["reason"]


def test_the_gate_judges_the_model_that_is_stored(project: Project) -> None:
    project.run()
    project.run("data_science", detector=WORSE)  # retrained, not evaluated yet
    assert project.champion() == "1"
    project.run("metrics", detector=WORSE)
    assert project.champion() == "1"
    assert project.client().get_model_version(NAME, "2").tags["gate"] == "refused"


def test_a_model_trained_without_tracking_is_registered_when_evaluated(
    project: Project,
) -> None:
    config = project.path / "operation/configuration/base/mlops.yml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("enabled: true", "enabled: false"), encoding="utf-8")
    project.run()
    assert project.nothing_tracked()
    config.write_text(text, encoding="utf-8")
    project.run("metrics")
    assert project.champion() == "1"


def test_pipelines_can_run_one_at_a_time(project: Project) -> None:
    for name in ("pre_processing", "data_engineering", "data_science"):
        project.run(name)
        assert not project.processed("gate.json").exists()
    project.run("metrics")
    assert project.champion() == "1"
    client = project.client()
    runs = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    assert len(runs) == 4


def test_dev_has_its_own_champion(project: Project) -> None:
    project.run(env="dev", detector=SMALL)
    names = [model.name for model in project.client().search_registered_models()]
    assert names == [f"{NAME}-dev"]
    assert project.champion(f"{NAME}-dev") == "1"


@pytest.mark.parametrize("env", ["stage", "prod"])
def test_a_run_in_stage_or_prod_creates_no_champion(project: Project, env: str) -> None:
    """Champions come by promotion there; the version still records the gate's decision."""
    project.run(env=env, detector=SMALL)
    version = project.client().get_model_version(f"{NAME}-{env}", "1")
    assert version.tags["gate"] == "passed"
    assert project.champion(f"{NAME}-{env}") is None


def test_an_environment_overrides_single_nested_values(project: Project) -> None:
    project.configure("stage", "parameters.yml", "detector: {seed: 7}\n")
    project.run(env="stage")
    client = project.client()
    (run,) = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    assert run.data.params["detector.seed"] == "7"
    assert run.data.params["detector.contamination"] == "0.005"


@pytest.mark.parametrize("name", ["train_row", "detector.trees", "detecto"])
def test_an_unused_parameter_is_rejected(project: Project, name: str) -> None:
    parameters: dict[str, object] = {name: 5}
    if "." in name:
        group, key = name.split(".")
        parameters = {group: {key: 5}}
    with pytest.raises(Exception, match=name.rsplit(".", maxsplit=1)[-1]):
        project.run(**parameters)
    assert not project.processed("model").exists()


@pytest.mark.parametrize(
    "parameters",
    [
        {"holdout": 0},
        {"holdout": 1.0},
        {"holdout": "many"},
        {"holdout": "0D"},
        {"holdout": "36D"},
        {"holdout": 0.9999},
        {"holdout": 0.998},
        {"window": 7},
        {"window": "some"},
        {"window": "1D", "holdout": "1D"},
        {"window": "10min"},
    ],
    ids=str,
)
def test_a_split_with_an_empty_side_is_rejected(
    project: Project, parameters: dict[str, object]
) -> None:
    with pytest.raises(OperationError, match=r"training\.(holdout|window)"):
        project.run(training=parameters)
    assert not project.processed("model").exists()


def test_a_single_reading_is_rejected(project: Project) -> None:
    path = project.write("one.csv", "timestamp,temperature\n2024-01-01,20\n")
    with pytest.raises(OperationError, match="holds a single reading"):
        project.run(raw_file=path)


def test_a_holdout_splits_readings_by_time(project: Project) -> None:
    project.run("pre_processing", "data_engineering", training={"holdout": 0.75})
    train = pd.read_parquet(project.path / "data/interim/train.parquet")
    test = pd.read_parquet(project.path / "data/interim/test.parquet")
    assert len(train) == 3456
    assert train["timestamp"].max() < test["timestamp"].min()


def test_an_external_file_is_scored_row_by_row(project: Project) -> None:
    readings = series(48 * 30, step="30min")
    readings.loc[1200, "temperature"] += 20
    untidy = pd.concat([readings, readings.iloc[[700, 701]]]).sample(frac=0.02, random_state=1)
    untidy = pd.concat([readings.drop(untidy.index), untidy])  # some late, some repeated
    path = project.write("outside.csv", untidy.to_csv(index=False))
    project.run(raw_file=path, training={"holdout": "420h"})
    scores = project.scores()
    pd.testing.assert_frame_equal(
        scores[["timestamp", "sensor_id", "temperature"]], untidy.reset_index(drop=True)
    )
    best = scores.loc[scores["score"].idxmax()]
    assert best["temperature"] == readings.loc[1200, "temperature"]
    assert best["is_anomaly"] == 1
    assert not project.read("gate")["passed"], "without labels there are no metrics to compare"


def test_sensors_may_have_names_that_look_like_missing_values(project: Project) -> None:
    names = ["NA", "None", "hall", "nan", "null"]
    rows = pd.concat([series(48 * 12, sensor=name, seed=n) for n, name in enumerate(names)])
    path = project.write("names.csv", rows.to_csv(index=False))
    project.run(raw_file=path, labels_file=None, detector=SMALL)
    project.run("score", score={"input": path, "model": "trained"})
    slices = pd.read_csv(project.processed("slices.csv"), keep_default_na=False)
    assert slices["sensor_id"].tolist() == names
    assert all(f"\n{name} " in project.processed("report.txt").read_text() for name in names)
    for name, file in (("scores", "scores.csv"), ("new_scores", "new_scores")):
        loaded = entry(name, filepath=str(project.processed(file))).load()
        scores = loaded if name == "scores" else pd.concat(loaded)
        assert sorted(scores["sensor_id"].unique()) == names
        assert 0 < scores["score"].isna().sum() == scores["is_anomaly"].isna().sum()
        assert scores["score"].dtype == float


def test_scores_of_an_external_file_do_not_depend_on_later_rows(project: Project) -> None:
    readings = series(48 * 30, step="30min")
    path = project.write("whole.csv", readings.to_csv(index=False))
    steps = ("pre_processing", "data_engineering", "data_science")
    project.run(*steps, raw_file=path, training={"holdout": "420h"})
    whole = project.scores()
    cut = project.write("cut.csv", readings.head(1000).to_csv(index=False))
    project.run(*steps, raw_file=cut, training={"holdout": "200h"})
    pd.testing.assert_frame_equal(project.scores(), whole.head(1000))


def test_the_project_ships_the_sample() -> None:
    labels = pd.read_csv(rendered() / "data/raw/labels.csv")
    kinds = {"spike", "level_shift", "drift", "stuck", "dropout", "noise"}
    assert set(labels["fault"]) == kinds
    assert (rendered() / "data/raw/temperatures.csv").stat().st_size < 500_000


@pytest.mark.parametrize(
    "assignments",
    [
        "detector.estimator=sklearn.svm.OneClassSVM",
        "detector.estimator=sklearn.neighbors.LocalOutlierFactor,detector.arguments.novelty=true",
    ],
)
def test_a_run_works_with_another_estimator(
    project: Project, monkeypatch: pytest.MonkeyPatch, assignments: str
) -> None:
    path = project.write("outside.csv", series(48 * 30).to_csv(index=False))
    result = run_with_params(
        project, monkeypatch, f"{assignments},raw_file={path},training.holdout=220h"
    )
    assert result.exit_code == 0, result.output
    assert "Gate: " in result.stdout
    version = project.client().get_model_version(NAME, "1")
    assert version.tags["digest"] == digest(project.processed("model"))
    assert project.read("cost")["size_mb"] > 0
    scorer, _ = load_proven_scorer(project.processed("model"), "temperature_anomalies.score:load")
    assert "scikit-learn" in scorer.engine


@pytest.mark.parametrize("estimator", ["sklearn.linear_model.Ridge", "no.such.Thing"])
def test_an_unusable_estimator_stops_the_run_before_any_node(
    project: Project, monkeypatch: pytest.MonkeyPatch, estimator: str
) -> None:
    result = run_with_params(project, monkeypatch, f"detector.estimator={estimator}")
    assert result.exit_code == 2
    assert estimator in result.stderr
    assert not (project.path / "data/interim/clean_temperatures.parquet").exists()


def test_rejected_data_is_reported_without_a_hint_to_resume(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = project.write("bad.csv", "timestamp,temperature\n2024-01-01,hot\n")
    result = run_with_params(project, monkeypatch, f"raw_file={path}")
    assert result.exit_code == 1
    assert "1 x temperature is not a number" in result.stderr
    assert "No nodes ran" not in result.output + caplog.text


def test_plots_show_the_unit_and_mention_labels_only_if_there_are_some(ran: Project) -> None:
    held_out = pd.read_parquet(ran.path / "data/interim/held_out_scores.parquet")
    none = entry("labels", filepath=None).load()
    figure = plot_timeline(ran.scores(), held_out, none, "K")
    assert all(axis.get_ylabel().endswith("[K]") for axis in figure.axes)
    some = entry("labels", filepath=str(ran.path / "data/raw/labels.csv")).load()
    for labels, mentions in ((none, False), (some, True)):
        histogram = plot_score_histogram(held_out, labels)
        words = " ".join(text.get_text() for text in histogram.legends[0].get_texts())
        assert ("labelled" in words) is mentions
        histogram.canvas.draw()
        covered = histogram.legends[0].get_window_extent().y0
        assert covered >= histogram.axes[0].get_window_extent().y1, (
            "the legend must not cover the plot"
        )


def run_with_params(project: Project, monkeypatch: pytest.MonkeyPatch, assignments: str) -> Result:
    bootstrap_project(project.path)
    monkeypatch.chdir(project.path)
    return CliRunner().invoke(cli, ["run", "--params", assignments])
