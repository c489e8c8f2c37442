import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from {{ cookiecutter.package_name }} import models, score
from {{ cookiecutter.package_name }}.features import build_features
from {{ cookiecutter.package_name }}.models import digest, load_detector
from {{ cookiecutter.package_name }}.onnx_export import ExportError
from {{ cookiecutter.package_name }}.scoring.scorer import (
    OtherFeaturesError,
    UnusableModelError,
)

from operation.tests.trained import (
    FEATURE_PARAMETERS,
    body_of,
    readings,
    save_small_model,
    small_detector,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that no test changes."""
    return save_small_model(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    return Path(shutil.copytree(trained, tmp_path / "given" / "model"))


@pytest.fixture(autouse=True)
def _nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AZUREML_MODEL_DIR", "MODEL_DIGEST", "MODEL_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(score, "_loaded", None)
    return


def change(folder: Path, old: str, new: str) -> None:
    file = folder / "detector.json"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_online_and_batch_give_identical_scores(trained: Path) -> None:
    """The pipelines score by scikit-learn and tables, an endpoint by ONNX and JSON."""
    score.init(trained)
    table = readings()
    answer = score.run(body_of(table))
    ordered = table.sort_values(["sensor_id", "timestamp"], kind="stable")
    features = build_features(ordered, FEATURE_PARAMETERS)
    batch = pd.Series(load_detector(trained).score_samples(features), ordered.index).sort_index()
    exact = score.Stream(score.model().scorer).score(
        table["sensor_id"].tolist(), table["timestamp"].to_numpy(), table["temperature"].to_numpy()
    )
    np.testing.assert_array_equal(exact, batch)
    assert [row["score"] for row in answer.body["data"]] == batch.round(6).tolist()
    assert [row["is_anomaly"] for row in answer.body["data"]] == (batch > 1).tolist()
    assert 0 < (batch > 1).sum() < 50


def test_an_answer_has_a_row_for_each_row_and_names_the_model(trained: Path) -> None:
    score.init(trained)
    table = readings().tail(3)
    answer = score.run(body_of(table))
    assert answer.status == 200
    assert answer.body["model"] == {"version": digest(trained)[:12], "digest": digest(trained)}
    assert [row["sensor_id"] for row in answer.body["data"]] == table["sensor_id"].tolist()
    assert list(answer.body["data"][0]) == ["timestamp", "sensor_id", "score", "is_anomaly"]
    assert json.loads(answer.text()) == answer.body


def test_a_request_leaves_nothing_behind_for_the_next(trained: Path) -> None:
    score.init(trained)
    first = score.run(body_of(readings().tail(20)))
    score.run(body_of(readings()))
    assert score.run(body_of(readings().tail(20))) == first


def test_a_sensor_that_training_did_not_know_has_no_score(trained: Path) -> None:
    score.init(trained)
    table = readings().tail(2).assign(sensor_id=["attic", "hall"])
    attic, hall = score.run(body_of(table)).body["data"]
    assert (attic["score"], attic["is_anomaly"]) == (None, None)
    assert hall["score"] is not None


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, "body"),
        (b'{"data": []}', 400, "data"),
        (b" " * (score.MAX_BYTES + 1), 413, "body"),
        (body_of(readings().tail(4).iloc[[2, 1]].assign(sensor_id="7")), 400, "data[1].timestamp"),
        (body_of(readings().tail(1).assign(temperature=999.0)), 400, "data[0].temperature"),
    ],
    ids=["malformed", "empty", "too long", "unsorted", "an error code"],
)
def test_what_is_refused_names_its_field_and_the_next_request_is_answered(
    trained: Path, body: bytes, status: int, field: str
) -> None:
    score.init(trained)
    refused = score.run(body)
    assert (refused.status, refused.body["error"]["field"]) == (status, field)
    assert score.run(body_of(readings().tail(2))).status == 200


def test_without_a_model_nothing_is_answered() -> None:
    with pytest.raises(UnusableModelError, match=r"call init\(\) first"):
        score.run(b"{}")


def test_the_model_is_found_below_the_folder_that_azure_names(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnusableModelError, match="set AZUREML_MODEL_DIR"):
        score.init()
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(model.parent))
    monkeypatch.setenv("MODEL_VERSION", "7")
    score.init()
    assert score.model().version == "7"
    shutil.copytree(model, model.with_name("second"))
    with pytest.raises(UnusableModelError, match="holds: model, second"):
        score.init()
    assert score.model().version == "7"


def test_only_the_model_that_is_asked_for_is_loaded(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_DIGEST", digest(model))
    score.init(model)
    (model / "README").touch()
    with pytest.raises(UnusableModelError, match="not those that were registered"):
        score.init(model)
    (model / "model.onnx").write_bytes(b"nothing that could be loaded")
    with pytest.raises(UnusableModelError, match="not those that were registered"):
        score.init(model)


def test_a_forest_that_scores_otherwise_is_refused(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    score.init(model)
    assert "differs from the trained one by 0.0e+00 at most, on 64 rows" in caplog.text
    first = json.loads((model / "detector.json").read_text(encoding="utf-8"))["self_test"]["raw"][0]
    change(model, str(first), str(first + 1e-6))
    with pytest.raises(UnusableModelError, match=r"differs from the trained one by 1.0e-06"):
        score.init(model)


def test_a_model_of_other_features_is_refused(model: Path) -> None:
    change(model, "seasonal_6h", "seasonal_7h")
    with pytest.raises(OtherFeaturesError, match="trained on other features"):
        score.init(model)


@pytest.mark.parametrize("name", ["model.onnx", "detector.json"])
@pytest.mark.parametrize("content", [None, b"", b"{}"], ids=["missing", "empty", "other"])
def test_a_folder_that_is_not_whole_is_refused(
    model: Path, name: str, content: bytes | None
) -> None:
    (model / name).unlink()
    if content is not None:
        (model / name).write_bytes(content)
    with pytest.raises(UnusableModelError):
        score.init(model)


def test_a_model_that_cannot_be_exported_is_kept_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: object) -> bytes:
        raise ExportError("it is no forest")

    monkeypatch.setattr(models, "to_onnx", refuse)
    models.save_detector(small_detector(), tmp_path / "model")
    assert "cannot be served: it is no forest" in caplog.text
    assert load_detector(tmp_path / "model").profiles.index.tolist() == ["7", "hall"]
    with pytest.raises(UnusableModelError, match=r"has no model.onnx"):
        score.init(tmp_path / "model")
