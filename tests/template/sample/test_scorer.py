"""The served detector gives the same scores for single rows, pieces and whole files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from temperature_anomalies.detector import Detector, _exported
from temperature_anomalies.features import FEATURES, build_features
from temperature_anomalies.parameters import DetectorParameters, FeatureParameters
from temperature_anomalies.score import load
from temperature_anomalies.training import fit_detector

from kedro_azure_mlops.contract import (
    UnusableModelError,
    digest,
    load_proven_scorer,
    write_manifest,
)
from kedro_azure_mlops.models import load_model, save_model
from kedro_azure_mlops.serve.stream import Stream
from tests.template.sample.helpers import FOREST, series

FEATURE_PARAMETERS = FeatureParameters(gap_steps=6, std_floor=0.02, seasonal_halflife_days=3)
LIMITS = (-100.0, 400.0)
TRUSTED = ["temperature_anomalies.detector.Detector"]
SCORER = "temperature_anomalies.score:load"
OTHERS = {
    "sklearn.svm.OneClassSVM": {},
    "sklearn.neighbors.LocalOutlierFactor": {"novelty": True},
    "sklearn.covariance.EllipticEnvelope": {},
    "sklearn.mixture.GaussianMixture": {"n_components": 2},
}


def readings(rows: int = 600) -> pd.DataFrame:
    """Generate alternating readings of the sensors ``hall`` and ``7`` with two faults."""
    hall, seven = series(rows), series(rows, sensor="7", seed=1)
    hall.loc[rows - 40, "temperature"] += 15
    seven.loc[rows - 20, "temperature"] -= 15
    both = pd.concat([hall, seven]).sort_values("timestamp", kind="stable")
    return both.reset_index(drop=True)


def small_detector(estimator: str = FOREST, arguments: dict[str, object] | None = None) -> Detector:
    parameters = DetectorParameters(
        estimator=estimator,
        arguments={"n_estimators": 10, "max_samples": 64} if arguments is None else arguments,
        contamination=0.01,
        refit_every=None,
        seed=0,
    )
    train = readings().head(800).sort_values(["sensor_id", "timestamp"], kind="stable")
    features = build_features(train, FEATURE_PARAMETERS)
    return fit_detector(features, parameters, FEATURE_PARAMETERS, limits=LIMITS)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return small_detector()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, detector: Detector) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    save_model(detector, folder, TRUSTED)
    return folder


def batch(detector: Detector, table: pd.DataFrame) -> pd.Series:
    """Score a table as the pipelines do."""
    ordered = table.sort_values(["sensor_id", "timestamp"], kind="stable")
    distinct = ordered[~ordered.duplicated(["sensor_id", "timestamp", "temperature"])]
    scores = detector.score_samples(build_features(distinct, FEATURE_PARAMETERS))
    return pd.Series(scores, distinct.index)


def columns(table: pd.DataFrame) -> dict[str, np.ndarray]:
    return {
        "timestamp": table["timestamp"].to_numpy("datetime64[ns]"),
        "sensor_id": table["sensor_id"].to_numpy(object),
        "temperature": table["temperature"].to_numpy(float),
    }


def in_pieces(stream: Stream, table: pd.DataFrame, size: int) -> np.ndarray:
    pieces = [table.iloc[start : start + size] for start in range(0, len(table), size)]
    return np.concatenate([stream.score(columns(piece))["score"] for piece in pieces])


def long_history() -> pd.DataFrame:
    """Generate more history than the features use, with a gap and repeated readings."""
    table = readings(1500)
    late_half = table["timestamp"] > table["timestamp"].median()
    table.loc[late_half, "timestamp"] += pd.Timedelta("3D 7min")
    repeated = table.iloc[[700, 701, 1400]]
    return pd.concat([table, repeated]).sort_values("timestamp", kind="stable", ignore_index=True)


@pytest.mark.parametrize("size", [1, 7, 400, 10_000])
def test_pieces_score_like_the_whole_file_in_the_pipelines(detector: Detector, size: int) -> None:
    table = long_history() if size > 1 else long_history().head(300)
    scores = in_pieces(Stream(detector), table, size)
    expected = batch(detector, table).reindex(table.index)
    is_twin = expected.isna().to_numpy()
    np.testing.assert_array_equal(scores[~is_twin], expected[~is_twin])
    assert (scores > 1).any()


def test_the_exported_forest_gives_the_scores_of_the_trained_one(
    detector: Detector, folder: Path
) -> None:
    scorer, contract = load_proven_scorer(folder, SCORER)
    table = long_history()
    from_export, from_detector = scorer.score(columns(table)), detector.score(columns(table))
    assert from_export["score"].tobytes() == from_detector["score"].tobytes()
    assert from_export["is_anomaly"].tolist() == from_detector["is_anomaly"].tolist()
    assert "ONNX" in scorer.engine
    *unjudged, usual, far = contract.answer
    assert far["is_anomaly"] is True
    assert far["score"] > usual["score"]
    assert (usual["is_anomaly"], usual["reason"]) == (False, None)
    assert unjudged[0]["score"] is unjudged[0]["is_anomaly"] is None
    assert "30 hours" in unjudged[0]["reason"]


@pytest.mark.parametrize(
    ("estimator", "faster"),
    [(FOREST, "ExportedForest"), ("sklearn.svm.OneClassSVM", "OneClassSVM")],
)
def test_many_rows_get_the_same_scores_as_few(
    estimator: str, faster: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A forest scores many rows with its ONNX export, and its stored files do not change."""
    known = small_detector(estimator, None if estimator == FOREST else OTHERS[estimator])
    save_model(known, tmp_path / "before", TRUSTED)
    rows = build_features(long_history().drop_duplicates(), FEATURE_PARAMETERS)
    expected = known.score_samples(rows)
    monkeypatch.setattr("temperature_anomalies.detector._MANY", 10)
    assert known.score_samples(rows).tobytes() == expected.tobytes()
    assert type(_exported(known.estimator)).__name__ == faster
    save_model(known, tmp_path / "after", TRUSTED)
    assert digest(tmp_path / "after") == digest(tmp_path / "before")


def test_predict_accepts_readings_in_any_order(detector: Detector) -> None:
    table = readings(200)
    mixed = table.sample(frac=1, random_state=0).astype({"timestamp": str})
    expected = batch(detector, table)
    predictions = detector.predict(mixed)
    assert list(predictions.columns) == ["score", "is_anomaly", "reason"]
    pd.testing.assert_series_equal(
        predictions["score"].sort_index(), expected.sort_index(), check_names=False
    )
    judged = predictions[predictions["score"].notna()]
    assert 0 < len(judged) < len(predictions)
    assert judged["is_anomaly"].eq(judged["score"] > 1).all()
    assert judged["reason"].isna().all()
    assert predictions.drop(judged.index)["reason"].str.contains("earlier readings").all()


def test_a_repeated_reading_gets_the_same_score(detector: Detector) -> None:
    table = long_history()
    twins = table.duplicated(["sensor_id", "timestamp", "temperature"], keep=False)
    assert twins.sum() == 6
    for size in (1_000_000, 5):
        scores = in_pieces(Stream(detector), table, size)
        by_reading = pd.Series(scores)[twins].groupby([table["sensor_id"], table["timestamp"]])
        assert by_reading.nunique().max() == 1


@pytest.mark.parametrize("rows", [[0], [3, 5, 1399], [1402]])
def test_only_wanted_rows_are_returned_with_the_same_scores(
    detector: Detector, rows: list[int]
) -> None:
    table = long_history()
    wanted = np.zeros(len(table), bool)
    wanted[rows] = True
    partial = detector.score(columns(table), wanted)
    np.testing.assert_array_equal(partial["score"], detector.score(columns(table))["score"][wanted])
    assert len(partial["is_anomaly"]) == len(rows)


def test_the_declared_history_gives_the_score_of_the_full_history(detector: Detector) -> None:
    """A request with the last weeks gets the same scores as a file of years."""
    table = long_history()
    history = detector.schema.history
    look_back = pd.Timedelta(days=history.days)
    recent = table[table["timestamp"] > table["timestamp"].max() - look_back]
    assert history.rows < len(recent) < len(table)
    whole = detector.score(columns(table))["score"]
    scores = pd.Series(detector.score(columns(recent))["score"], recent.index)
    last = recent.groupby("sensor_id").tail(1).index
    assert scores[last].tolist() == whole[last].tolist()
    early = recent.groupby("sensor_id").head(1).index
    assert scores[early].tolist() != whole[early].tolist()


def test_a_sensor_missing_from_training_has_no_score(detector: Detector) -> None:
    table = readings(100)
    table.loc[table["sensor_id"] == "7", "sensor_id"] = "attic"
    answers = detector.score(columns(table))
    is_attic = (table["sensor_id"] == "attic").to_numpy()
    assert np.isnan(answers["score"][is_attic]).all()
    assert set(answers["is_anomaly"][is_attic]) == {None}
    assert set(answers["reason"][is_attic]) == {"the model does not know this sensor"}
    assert np.isfinite(answers["score"][~is_attic][60:]).all()


def test_an_empty_table_gives_no_scores(detector: Detector) -> None:
    assert detector.score(columns(readings().head(0)))["score"].shape == (0,)


def test_the_schema_describes_a_request(detector: Detector) -> None:
    schema = detector.schema
    temperature = schema.input("temperature")
    assert (temperature.minimum, temperature.maximum) == LIMITS
    assert schema.echo == ("timestamp", "sensor_id")
    assert schema.history.by == "sensor_id"


@pytest.mark.parametrize(("estimator", "arguments"), OTHERS.items())
def test_another_estimator_is_stored_and_served(
    tmp_path: Path, estimator: str, arguments: dict[str, object]
) -> None:
    detector = small_detector(estimator, arguments)
    save_model(detector, tmp_path / "model", TRUSTED)
    assert not (tmp_path / "model" / "model.onnx").exists()
    scorer, _ = load_proven_scorer(tmp_path / "model", SCORER)
    assert "scikit-learn" in scorer.engine
    table = readings()
    scores = scorer.score(columns(table))["score"]
    np.testing.assert_allclose(scores, detector.score(columns(table))["score"], rtol=1e-12)
    is_fault = table.index.isin(table["temperature"].sub(20).abs().nlargest(2).index)
    assert scores[is_fault].min() > np.nanquantile(scores[~is_fault], 0.95)


def test_a_stored_detector_scores_as_before(detector: Detector, folder: Path) -> None:
    loaded = load_model(folder, TRUSTED)
    features = build_features(series(200), FEATURE_PARAMETERS)
    np.testing.assert_array_equal(loaded.score_samples(features), detector.score_samples(features))
    assert loaded.features == FEATURES


def test_a_model_of_other_features_is_not_served(folder: Path, tmp_path: Path) -> None:
    other = small_detector()
    other.features = [*FEATURES[:-1], "other"]
    save_model(other, tmp_path / "model", TRUSTED)
    with pytest.raises(UnusableModelError, match="different features"):
        load(tmp_path / "model")
    load(folder)


@pytest.mark.parametrize("name", ["detector.json", "model.onnx"])
def test_damaged_files_are_not_served(tmp_path: Path, detector: Detector, name: str) -> None:
    save_model(detector, tmp_path / "model", TRUSTED)
    (tmp_path / "model" / name).write_bytes(b"{}")
    write_manifest(tmp_path / "model")
    with pytest.raises(UnusableModelError):
        load_proven_scorer(tmp_path / "model", SCORER)


@pytest.mark.parametrize(
    ("estimator", "arguments", "why"),
    [
        ("no.such.Thing", {}, "cannot be imported"),
        ("Thing", {}, "cannot be imported"),
        ("sklearn.ensemble.Thing", {}, "cannot be imported"),
        ("collections.Counter", {}, r"has no fit\(\)"),
        ("sklearn.linear_model.Ridge", {}, "no score_samples or decision_function"),
        ("sklearn.neighbors.LocalOutlierFactor", {}, "novelty"),
        (FOREST, {"trees": 5}, "unexpected keyword argument 'trees'"),
        (FOREST, {"n_estimators": -1}, "n_estimators"),
        ("tests.template.sample.test_scorer.Unsaveable", {}, "cannot be stored safely"),
    ],
)
def test_an_unusable_estimator_is_rejected(
    estimator: str, arguments: dict[str, object], why: str
) -> None:
    with pytest.raises(ValueError, match=why) as refusal:
        small_detector(estimator, arguments)
    assert estimator in str(refusal.value)


class Unsaveable:
    """An estimator whose type is not listed as trusted."""

    def fit(self, rows: np.ndarray) -> "Unsaveable":
        self.rows_ = rows
        return self

    def score_samples(self, rows: np.ndarray) -> np.ndarray:
        return rows[:, 0]
