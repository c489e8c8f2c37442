import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from kedro_azure_mlops.contract import (
    AnswerError,
    Column,
    Columns,
    Contract,
    Schema,
    Scorer,
    UnusableModelError,
    digest,
    write_contract,
    write_manifest,
)
from kedro_azure_mlops.models import save_model
from kedro_azure_mlops.serve import score
from kedro_azure_mlops.serve.stored import StoredScorer
from kedro_azure_mlops.serve.stream import Stream
from tests.plugin.trained import (
    SCORER,
    arrays_of,
    body_of,
    measured,
    save_small_model,
    small_scorer,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that no test changes."""
    small_scorer()  # makes its package importable
    return save_small_model(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """A copy of the model folder that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "given" / "model"))


@pytest.fixture(autouse=True)
def _no_model_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AZUREML_MODEL_DIR", "MODEL_DIGEST", "MODEL_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(score, "_loaded", None)
    # as in a code folder, which holds it next to the packages
    served = tmp_path / "served.json"
    served.write_text(json.dumps({"scorer": SCORER, "trusted": []}), encoding="utf-8")
    monkeypatch.setattr(score, "SERVED", str(served))


def change(folder: Path, name: str, old: str, new: str) -> None:
    file = folder / name
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_requests_and_streams_get_the_same_scores(trained: Path) -> None:
    score.init(trained)
    table = measured()
    answer = score.run(body_of(table))
    exact = Stream(small_scorer()).score(arrays_of(table))
    rows = answer.body["data"]
    assert [row["deviation"] for row in rows] == exact["deviation"].round(6).tolist()
    assert [row["is_far"] for row in rows] == exact["is_far"].tolist()
    assert 0 < sum(row["is_far"] for row in rows) < 50


def test_duplicate_rows_get_the_same_answer(trained: Path) -> None:
    score.init(trained)
    rows = json.loads(body_of(measured().tail(60)))["data"]
    twice = [row for row in rows for _ in range(2)]
    once, doubled = (score.run(json.dumps({"data": sent})).body["data"] for sent in (rows, twice))
    assert doubled == [row for row in once for _ in range(2)]


def test_an_answer_has_one_row_per_input_row_and_names_the_model(trained: Path) -> None:
    score.init(trained)
    table = measured().tail(3)
    answer = score.run(body_of(table))
    assert answer.status == 200
    assert answer.body["model"] == {"version": digest(trained)[:12], "digest": digest(trained)}
    assert [row["unit"] for row in answer.body["data"]] == table["unit"].tolist()
    assert list(answer.body["data"][0]) == ["time", "unit", "deviation", "is_far"]
    assert json.loads(answer.text()) == answer.body


def test_a_request_does_not_affect_the_next_one(trained: Path) -> None:
    score.init(trained)
    first = score.run(body_of(measured().tail(20)))
    score.run(body_of(measured()))
    assert score.run(body_of(measured().tail(20))) == first


def test_rows_that_the_model_cannot_score_are_null(trained: Path) -> None:
    score.init(trained)
    table = measured().tail(2).assign(unit=["south", "north"])
    south, north = score.run(body_of(table)).body["data"]
    assert (south["deviation"], south["is_far"]) == (None, None)
    assert north["deviation"] is not None


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, "body"),
        (b'{"data": []}', 400, "data"),
        (b" " * (score.MAX_BYTES + 1), 413, "body"),
        (body_of(measured().tail(4).iloc[[2, 1]].assign(unit="7")), 400, "data[1].time"),
        (body_of(measured().tail(1).assign(load=999.0)), 400, "data[0].load"),
        (body_of(measured().tail(1).assign(load=195.0)), 400, "data"),
    ],
    ids=["malformed", "empty", "too long", "unsorted", "an error code", "rejected by the scorer"],
)
def test_a_rejected_request_names_the_field_and_the_next_one_is_answered(
    trained: Path, body: bytes, status: int, field: str
) -> None:
    score.init(trained)
    rejected = score.run(body)
    assert (rejected.status, rejected.body["error"]["field"]) == (status, field)
    assert score.run(body_of(measured().tail(2))).status == 200


def test_a_request_before_init_raises() -> None:
    with pytest.raises(UnusableModelError, match=r"call init\(\) first"):
        score.run(b"{}")


def test_the_model_is_found_in_azureml_model_dir(
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


def test_a_model_with_another_digest_is_not_loaded(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_DIGEST", digest(model))
    score.init(model)
    (model / "README").touch()
    with pytest.raises(UnusableModelError, match="not those that were registered"):
        score.init(model)
    (model / "rolling.json").write_bytes(b"nothing that could be loaded")
    with pytest.raises(UnusableModelError, match="not those that were registered"):
        score.init(model)


def test_the_loaded_model_and_engine_are_logged(
    trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    score.init(trained)
    assert f"digest {digest(trained)}, by the rolling mean" in caplog.text


def test_a_model_that_answers_its_example_differently_is_rejected(model: Path) -> None:
    change(model, "rolling.json", "10.0", "1.0")
    write_manifest(model)
    with pytest.raises(UnusableModelError, match="training recorded"):
        score.init(model)


@pytest.mark.parametrize("name", ["rolling.json", "contract.json"])
@pytest.mark.parametrize("content", [None, b"", b"[]"], ids=["missing", "empty", "wrong content"])
def test_an_incomplete_or_invalid_model_folder_is_rejected(
    model: Path, name: str, content: bytes | None
) -> None:
    (model / name).unlink()
    if content is not None:
        (model / name).write_bytes(content)
    write_manifest(model)
    with pytest.raises(UnusableModelError):
        score.init(model)


class FixedScorer:
    """Returns fixed columns of every type."""

    schema = Schema(
        inputs=(Column("x", "double"),),
        outputs=(
            Column("text", "string", nullable=True),
            Column("number", "double", nullable=True),
            Column("short", "double", decimals=2),
            Column("count", "long", nullable=True),
            Column("time", "datetime", nullable=True),
        ),
    )

    def __init__(self, **changes: Any) -> None:
        self.columns: dict[str, Any] = {
            "text": np.array(["a", None], object),
            "number": np.array([1e-9, np.inf]),
            "short": np.array([0.123, 7]),
            "count": np.array([3, np.nan]),
            "time": np.array(["2024-01-01T00:00:00.5", "NaT"], "datetime64[ns]"),
        }
        self.columns |= changes

    def score(self, columns: Columns, wanted: np.ndarray | None = None) -> Columns:
        return {name: values for name, values in self.columns.items() if values is not None}


def answer_of(scorer: Scorer) -> score.Answer:
    return score.answer(score.Model(scorer, "d" * 64), '{"data": [{"x": 1}, {"x": 2}]}')


def test_every_type_is_converted_to_json() -> None:
    answer = answer_of(FixedScorer())
    assert answer.body["data"] == [
        {
            **{"text": "a", "number": 1e-9, "short": 0.12, "count": 3},
            "time": "2024-01-01T00:00:00.500000",
        },
        {"text": None, "number": None, "short": 7.0, "count": None, "time": None},
    ]
    assert json.loads(answer.text()) == answer.body


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": None}, "does not return 'text'"),
        ({"short": np.zeros(1)}, "returns 1 of 2 rows"),
        ({"count": np.array([3.5, 1.0])}, "count holds a number that is not whole"),
    ],
    ids=["missing column", "missing row", "not whole"],
)
def test_columns_that_violate_the_schema_raise(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        answer_of(FixedScorer(**changes))


# Projects without a scorer


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear regression in a folder, as a run saves it."""
    table = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [0.0, 1.0, 0.0, 2.0]})
    model = LinearRegression().fit(table, [1.0, 3.0, 5.0, 8.0])
    folder = tmp_path_factory.mktemp("stored") / "model"
    save_model(model, folder)
    return folder


def test_the_stored_model_is_served_if_no_scorer_is_configured(stored: Path) -> None:
    current = score.load_served(stored, None)
    assert current.engine == "the stored model"
    answer = score.answer(current, '{"data": [{"a": 1, "b": 0}, {"a": 4, "b": 2.0}]}')
    assert [list(row) for row in answer.body["data"]] == [["prediction"]] * 2
    assert answer.body["data"][1]["prediction"] == pytest.approx(8, abs=0.5)
    rejected = score.answer(current, '{"data": [{"a": 1, "c": 0}]}')
    assert rejected.body["error"] == {
        "field": "data[0].b",
        "message": "is missing, but c is not known",
    }


def test_a_scorer_that_cannot_be_imported_is_named(stored: Path) -> None:
    for scorer in ("plant.none:load", "plant.rolling:none", "plant.rolling"):
        with pytest.raises(UnusableModelError, match=f"scorer: {scorer} cannot be imported"):
            score.load_served(stored, scorer)


def test_a_stored_model_with_untrusted_types_is_not_loaded(stored: Path, tmp_path: Path) -> None:
    import skops.io

    folder = Path(shutil.copytree(stored, tmp_path / "model"))
    skops.io.dump(small_scorer(), folder / "model.skops")
    write_manifest(folder)
    with pytest.raises(UnusableModelError, match=r"plant\.rolling\.RollingLoad"):
        score.load_served(folder, None)


def test_a_missing_package_of_a_stored_model_is_named(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "skops", None)
    monkeypatch.setitem(sys.modules, "skops.io", None)
    with pytest.raises(UnusableModelError, match=r"needs skops.*not installed here"):
        score.load_served(stored, None)


def test_a_folder_without_its_model_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
    write_contract(tmp_path, Contract(FixedScorer.schema, [{"x": 1.0}], []))
    write_manifest(tmp_path)
    with pytest.raises(UnusableModelError, match=r"model\.skops cannot be loaded"):
        score.load_served(tmp_path, None)


class FixedModel:
    """A model with the interface of an estimator that returns a fixed array or table."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, table: pd.DataFrame) -> Any:
        self.received = table
        return self.answer


MIXED = (
    Column("name", "string", nullable=True),
    Column("count", "long"),
    Column("maybe", "long", nullable=True),
    Column("is_new", "boolean", nullable=True),
    Column("time", "datetime", nullable=True),
)


def test_a_stored_model_may_return_every_type() -> None:
    table = pd.DataFrame(
        {
            "name": ["a", None],
            "count": [1, 2],
            "maybe": pd.array([1, None], "Int64"),
            "is_new": [True, None],
            "time": pd.to_datetime(["2024-01-01T02:00:00+02:00", None]),
        }
    )
    columns = StoredScorer(FixedModel(table), Schema((Column("x", "double"),), MIXED)).score(
        {"x": np.zeros(2)}, np.array([True, True])
    )
    assert columns["name"].tolist() == ["a", None]
    assert columns["count"].dtype == np.int64
    assert np.isnan(columns["maybe"]).tolist() == [False, True]
    assert columns["is_new"].tolist() == [True, None]
    assert columns["time"][0] == np.datetime64("2024-01-01")
    assert np.isnat(columns["time"][1])


@pytest.mark.parametrize(
    ("answer", "nullable", "shown"),
    [
        ([9.0, -2.0], False, [9, -2]),
        (pd.array([9, 2**53 + 1], "Int64"), False, [9, 2**53 + 1]),
        ([9.0, np.nan], True, [9, None]),
        ([9.375, 1.0], False, "holds a number that is not whole"),
        ([9.375, np.nan], True, "holds a number that is not whole"),
        ([np.inf, 1.0], False, "holds a number that is not whole"),
        ([2.0**63, 1.0], False, "or is too large"),
        ([9.0, np.nan], False, "count is missing in a row"),
        (pd.array([9, None], "Int64"), False, "count is missing in a row"),
        (["patient", "17"], False, "count holds a value that is not a number$"),
    ],
    ids=str,
)
def test_an_answer_that_is_not_whole_is_a_fault_of_the_model(
    answer: Any, nullable: bool, shown: list[int | None] | str
) -> None:
    """Neither truncated nor reported as a fault of the request."""
    outputs = (Column("count", "long", nullable=nullable),)
    scorer = StoredScorer(
        FixedModel(pd.DataFrame({"count": answer})), Schema((Column("x", "double"),), outputs)
    )
    if isinstance(shown, str):
        with pytest.raises(AnswerError, match=f"does not fit its schema: .*{shown}"):
            answer_of(scorer)
    else:
        assert [row["count"] for row in answer_of(scorer).body["data"]] == shown


def test_a_stored_model_may_return_an_array_of_several_columns() -> None:
    outputs = (Column("p0", "double"), Column("p1", "double"))
    scorer = StoredScorer(
        FixedModel([[0.1, 0.9], [0.2, 0.8]]), Schema((Column("x", "double"),), outputs)
    )
    wanted = np.array([False, True])
    columns = scorer.score({"x": np.zeros(2)}, wanted)
    assert {name: values.tolist() for name, values in columns.items()} == {"p0": [0.2], "p1": [0.8]}


def test_a_stored_model_receives_the_types_of_its_training() -> None:
    inputs = (Column("is_new", "boolean"), Column("count", "long"), Column("name", "string"))
    model = FixedModel([1.0])
    scorer = StoredScorer(model, Schema(inputs, (Column("y", "double"),)))
    columns = {"is_new": np.array([True], object), "count": np.array([3])}
    scorer.score({**columns, "name": np.array(["a"], object)})
    assert model.received.dtypes.tolist() == [bool, np.int64, object]


def test_a_column_that_a_stored_model_does_not_return_is_named() -> None:
    schema = Schema((Column("x", "double"),), MIXED)
    scorer = StoredScorer(FixedModel(pd.DataFrame({"name": ["a"]})), schema)
    with pytest.raises(AnswerError, match="there is no column count, maybe, is_new, time"):
        scorer.score({"x": np.zeros(1)})


def test_an_mlflow_python_model_is_called_as_mlflow_calls_it() -> None:
    # a stand-in with this name and module: MLflow's own class warns about every test class
    base = type("PythonModel", (), {"__module__": "mlflow.pyfunc.model"})

    class Doubles(base):
        def predict(self, context: Any, model_input: Any) -> Any:
            assert context is None
            return model_input["x"] * 2

    scorer = StoredScorer(Doubles(), Schema((Column("x", "double"),), (Column("y", "double"),)))
    assert scorer.score({"x": np.array([2.0])})["y"].tolist() == [4.0]
