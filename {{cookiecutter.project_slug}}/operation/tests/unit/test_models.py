import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from kedro.io import DatasetError

from {{ cookiecutter.package_name }} import models
from {{ cookiecutter.package_name }}.detector import Detector, fit_detector
from {{ cookiecutter.package_name }}.features import FEATURES, build_features
from {{ cookiecutter.package_name }}.models import ModelFolder, digest, load_detector
from {{ cookiecutter.package_name }}.parameters import (
    DetectorParameters,
    FeatureParameters,
)
from {{ cookiecutter.package_name }}.scoring.scorer import OtherFeaturesError

from operation.tests.helpers import series

FEATURE_PARAMETERS = FeatureParameters(gap_steps=6, std_floor=0.02, seasonal_halflife_days=3)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    both = pd.concat([series(300, sensor="7"), series(300, seed=1)], ignore_index=True)
    return build_features(both, FEATURE_PARAMETERS)


@pytest.fixture(scope="module")
def detector(rows: pd.DataFrame) -> Detector:
    parameters = DetectorParameters(
        n_estimators=10, max_samples=64, contamination=0.01, refit_every=None, seed=0
    )
    return fit_detector(rows, parameters, FEATURE_PARAMETERS)


@pytest.fixture
def folder(tmp_path: Path, detector: Detector) -> Path:
    ModelFolder(filepath=str(tmp_path / "model")).save(detector)
    return tmp_path / "model"


def test_a_loaded_detector_gives_the_same_scores(
    folder: Path, detector: Detector, rows: pd.DataFrame
) -> None:
    loaded = ModelFolder(filepath=str(folder)).load()
    np.testing.assert_array_equal(loaded.score_samples(rows), detector.score_samples(rows))
    assert loaded.feature_parameters == FEATURE_PARAMETERS


def test_the_folder_is_an_mlflow_model_without_a_pickle(folder: Path) -> None:
    model = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    assert model["flavors"]["sklearn"]["serialization_format"] == "skops"
    assert [column["name"] for column in json.loads(model["signature"]["inputs"])] == FEATURES
    assert model["saved_input_example_info"]["artifact_path"] == "input_example.json"
    assert not list(folder.rglob("*.pkl"))
    usual = pd.DataFrame([[0.0] * len(FEATURES)], columns=FEATURES)
    assert mlflow.pyfunc.load_model(str(folder)).predict(usual).tolist() == [1]


def test_a_save_that_fails_leaves_the_model_before_it(
    folder: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest(folder)

    def half_write(_: Detector, target: Path) -> None:
        target.mkdir()
        (target / "model.skops").write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(models, "save_detector", half_write)
    with pytest.raises(DatasetError, match="disk full"):
        ModelFolder(filepath=str(folder)).save(detector)
    assert digest(folder) == before


def test_a_save_replaces_the_model_before_it(folder: Path, detector: Detector) -> None:
    before = digest(folder)
    ModelFolder(filepath=str(folder)).save(detector)
    assert digest(folder) != before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["model"]


@pytest.mark.parametrize("change", ["a byte", "a name", "a new file", "a missing file"])
def test_the_digest_sees_every_change(folder: Path, change: str) -> None:
    before = digest(folder)
    model = folder / "model.skops"
    if change == "a byte":
        model.write_bytes(model.read_bytes()[:-1] + b"!")
    elif change == "a name":
        model.rename(folder / "other.skops")
    elif change == "a new file":
        (folder / "new").touch()
    else:
        model.unlink()
    assert digest(folder) != before


def test_the_digest_of_the_same_files_is_the_same(folder: Path) -> None:
    assert digest(folder) == digest(folder)
    assert digest(folder) == digest(folder.rename(folder.with_name("moved")))


def test_a_type_that_is_not_trusted_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "TRUSTED_TYPES", [])
    with pytest.raises(DatasetError, match="Untrusted"):
        load_detector(folder)


@pytest.mark.parametrize("missing", ["MLmodel", "detector.json", "model.skops"])
def test_a_folder_that_is_not_whole_is_refused(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(DatasetError, match="holds no detector that can be loaded"):
        load_detector(folder)


def test_a_save_after_a_save_that_died_keeps_the_only_copy(
    folder: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = folder.rename(folder.with_name("model.old"))  # died between its two renames

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(models, "save_detector", fail)
    with pytest.raises(DatasetError, match="disk full"):
        ModelFolder(filepath=str(folder)).save(detector)
    assert load_detector(old).profiles.index.equals(detector.profiles.index)


def test_a_model_of_other_features_is_refused(folder: Path) -> None:
    text = (folder / "detector.json").read_text(encoding="utf-8")
    (folder / "detector.json").write_text(text.replace("seasonal_6h", "other"), encoding="utf-8")
    with pytest.raises(OtherFeaturesError, match="trained on other features"):
        load_detector(folder)


def test_an_empty_folder_that_is_given_is_filled_and_not_replaced(
    tmp_path: Path, detector: Detector, rows: pd.DataFrame
) -> None:
    given = tmp_path / "output"
    given.mkdir()
    before = given.stat().st_ino
    ModelFolder(filepath=str(given)).save(detector)
    assert given.stat().st_ino == before, "a mount point cannot be renamed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["output"]
    loaded = ModelFolder(filepath=str(given)).load()
    np.testing.assert_array_equal(loaded.score_samples(rows), detector.score_samples(rows))


def test_a_save_into_a_given_folder_that_fails_leaves_it_empty(
    tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_write(_: Detector, target: Path) -> None:
        (target / "code").mkdir()
        (target / "MLmodel").write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(models, "save_detector", half_write)
    with pytest.raises(DatasetError, match="disk full"):
        ModelFolder(filepath=str(tmp_path)).save(detector)
    assert not list(tmp_path.iterdir())
    assert not ModelFolder(filepath=str(tmp_path)).exists()
