"""Model folders store any estimator, keep its answers and run no code when loaded."""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from kedro.io import DatasetError
from mlflow.utils import environment
from mlflow.utils.environment import _PythonEnv
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import OneClassSVM

from kedro_azure_mlops import models
from kedro_azure_mlops.cli import status_of
from kedro_azure_mlops.contract import (
    Column,
    Schema,
    UnusableModelError,
    columns_of_rows,
    digest,
    load_proven_scorer,
    read_contract,
)
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.models import (
    ModelDataset,
    leave_answers_to_scorer,
    load_model,
    save_model,
)

ROWS = 60


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame({"load": random.uniform(0, 9, ROWS), "pressure": random.normal(5, 1, ROWS)})


@pytest.fixture(scope="module")
def model(rows: pd.DataFrame) -> LinearRegression:
    fitted = LinearRegression().fit(rows, rows["load"] * 2 + rows["pressure"])
    fitted.input_example = rows.head(3)
    return fitted


@pytest.fixture
def folder(tmp_path: Path, model: LinearRegression) -> Path:
    ModelDataset(filepath=str(tmp_path / "model")).save(model)
    return tmp_path / "model"


class Doubling(mlflow.pyfunc.PythonModel):
    """A model without a library."""

    def __init__(self) -> None:
        self.factor = 2.0
        self.input_example = pd.DataFrame({"x": [1.0, 2.0]})

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.Series:
        return model_input["x"] * self.factor


class Flagging(BaseEstimator):
    """A project's estimator with text and datetime inputs, a table as output, and a schema."""

    def fit(self, rows: pd.DataFrame) -> "Flagging":
        self.limit_ = float(rows["load"].max())
        self.schema = Schema(
            inputs=(
                Column("time", "datetime"),
                Column("unit", "string"),
                Column("load", "double", minimum=0, nullable=True),
            ),
            outputs=(Column("score", "double", nullable=True), Column("is_high", "boolean")),
            echo=("unit", "time"),
            flag="is_high",
        )
        self.input_example = pd.DataFrame(
            {
                "time": pd.to_datetime(["2026-01-01", "2026-01-02"]),
                "unit": ["a", "b"],
                "load": [1.0, np.nan],
            }
        )
        return self

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        score = rows["load"] / self.limit_
        return pd.DataFrame({"score": score, "is_high": score > self.schema.inputs[2].minimum})

    def export(self, folder: Path) -> None:
        (folder / "limit.json").write_text(json.dumps(self.limit_), encoding="utf-8")


TRUSTED = [f"{__name__}.Flagging"]


ESTIMATORS: dict[str, Callable[[], Any]] = {
    "IsolationForest": lambda: IsolationForest(n_estimators=5, random_state=0),
    "OneClassSVM": OneClassSVM,
    "LocalOutlierFactor": lambda: LocalOutlierFactor(n_neighbors=5, novelty=True),
    "Pipeline": lambda: make_pipeline(StandardScaler(), LinearRegression()),
    "RandomForestClassifier": lambda: RandomForestClassifier(n_estimators=3, random_state=0),
    "HistGradientBoostingClassifier": lambda: HistGradientBoostingClassifier(max_iter=3),
    "imputed and selected": lambda: make_pipeline(
        SimpleImputer(), SelectKBest(k=1), LogisticRegression()
    ),
    "GridSearchCV": lambda: GridSearchCV(LogisticRegression(), {"C": [0.5, 1.0]}, cv=2),
    "CalibratedClassifierCV": lambda: CalibratedClassifierCV(LogisticRegression(), cv=2),
    "VotingClassifier": lambda: VotingClassifier([("only", LogisticRegression())]),
}


# LocalOutlierFactor itself drops the column names internally
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("name", ESTIMATORS)
def test_any_estimator_gives_the_same_answers_after_loading(
    rows: pd.DataFrame, tmp_path: Path, name: str
) -> None:
    model = ESTIMATORS[name]().fit(rows, (rows["load"] > 4).astype(int))
    model.input_example = rows.head(4)
    dataset = ModelDataset(filepath=str(tmp_path / "model"))
    dataset.save(model)
    loaded = dataset.load()
    np.testing.assert_array_equal(loaded.predict(rows), model.predict(rows))
    scorer, contract = load_proven_scorer(tmp_path / "model", None)
    assert [column.name for column in contract.schema.inputs] == ["load", "pressure"]
    answer = scorer.score({name: rows[name].to_numpy() for name in rows.columns})
    np.testing.assert_array_equal(answer["prediction"], model.predict(rows))


def test_a_model_with_text_inputs_needs_an_input_example(tmp_path: Path) -> None:
    table = pd.DataFrame({"metal": ["iron", "zinc", "iron", "zinc"], "load": [1.0, 2.0, np.nan, 4]})
    columns = make_column_transformer((OneHotEncoder(), ["metal"]), (SimpleImputer(), ["load"]))
    model = make_pipeline(columns, LogisticRegression()).fit(table, [0, 1, 0, 1])
    with pytest.raises(DatasetError, match=r"cannot answer a row of zeros .*input_example"):
        save_model(model, tmp_path / "model")
    model.input_example = table
    save_model(model, tmp_path / "model")
    inputs = read_contract(tmp_path / "model").schema.inputs
    assert [(one.name, one.type, one.nullable) for one in inputs] == [
        ("metal", "string", False),
        ("load", "double", True),
    ]


def test_a_python_model_is_stored_without_a_pickle(tmp_path: Path) -> None:
    trusted = [f"{__name__}.Doubling"]
    with pytest.raises(DatasetError, match=r"not trusted: .*Doubling.*list them under trusted"):
        save_model(Doubling(), tmp_path / "refused")
    save_model(Doubling(), tmp_path / "model", trusted)
    assert not list((tmp_path / "model").rglob("*.pkl"))
    assert load_model(tmp_path / "model", trusted).predict(None, pd.DataFrame({"x": [3.0]}))[0] == 6
    scorer, _ = load_proven_scorer(tmp_path / "model", None, trusted=trusted)
    assert scorer.score({"x": np.array([4.0])})["prediction"].tolist() == [8.0]


def test_a_type_of_the_project_is_stored_if_the_catalog_entry_trusts_it(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    model, path = Flagging().fit(rows), str(tmp_path / "model")
    with pytest.raises(DatasetError, match=r"not trusted: .*Flagging.*list them under trusted"):
        ModelDataset(filepath=path).save(model)
    assert not ModelDataset(filepath=path).exists()
    ModelDataset(filepath=path, trusted=TRUSTED).save(model)
    with pytest.raises(DatasetError, match="Untrusted types"):
        ModelDataset(filepath=path).load()
    loaded = ModelDataset(filepath=path, trusted=TRUSTED).load()
    assert loaded.limit_ == model.limit_
    assert loaded.schema == model.schema
    pd.testing.assert_frame_equal(loaded.input_example, model.input_example, check_dtype=False)


def test_the_contract_contains_the_models_schema_and_example(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    model = Flagging().fit(rows)
    save_model(model, tmp_path / "model", TRUSTED)
    contract = read_contract(tmp_path / "model")
    assert contract.schema == model.schema
    assert contract.example[1] == {"time": "2026-01-02T00:00:00", "unit": "b", "load": None}
    assert contract.answer[0] == {"score": 1.0 / model.limit_, "is_high": True}
    assert contract.answer[1] == {"score": None, "is_high": False}
    assert json.loads((tmp_path / "model" / "limit.json").read_text()) == model.limit_
    scorer, _ = load_proven_scorer(tmp_path / "model", None, trusted=TRUSTED)
    columns = columns_of_rows(contract.example, contract.schema.inputs)
    assert scorer.score(columns, np.array([False, True]))["is_high"].tolist() == [False]
    with pytest.raises(UnusableModelError, match="Untrusted types"):
        load_proven_scorer(tmp_path / "model", None)


def test_a_loaded_model_can_be_saved_again(folder: Path, rows: pd.DataFrame) -> None:
    loaded = load_model(folder)
    assert loaded.input_example["load"].tolist() == rows["load"].head(3).tolist()
    save_model(loaded, folder.with_name("again"))
    assert digest(folder.with_name("again")) == digest(folder)


def test_a_model_without_an_example_needs_column_names(rows: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="train it on a DataFrame, or set its attribute"):
        save_model(LinearRegression().fit(rows.to_numpy(), rows["load"]), tmp_path / "refused")
    save_model(LinearRegression().fit(rows, rows["load"]), tmp_path / "model")
    assert read_contract(tmp_path / "model").example == [{"load": 0.0, "pressure": 0.0}]


def test_a_model_trained_on_an_array_may_have_an_array_as_its_example(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    model = LinearRegression().fit(rows.to_numpy(), rows["load"])
    model.input_example = rows.to_numpy()[:2]
    save_model(model, tmp_path / "model")
    scorer, contract = load_proven_scorer(tmp_path / "model", None)
    assert [column.name for column in contract.schema.inputs] == ["0", "1"]
    answer = scorer.score({"0": np.array([3.0]), "1": np.array([5.0])})["prediction"]
    assert answer == pytest.approx([3.0])


def test_a_function_without_a_name_is_rejected_with_what_to_do(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    """Trusting it would not help: the model could not be loaded."""
    steps = FunctionTransformer(lambda table: table * 2), LinearRegression()
    with pytest.raises(DatasetError, match=r"<lambda>, which no other process can import"):
        save_model(make_pipeline(*steps).fit(rows, rows["load"]), tmp_path / "model")
    steps = FunctionTransformer(np.sqrt), LinearRegression()
    save_model(make_pipeline(*steps).fit(rows.abs(), rows["load"]), tmp_path / "model")


def test_an_example_that_the_model_cannot_answer_is_rejected_by_its_name(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    """The reason alone, such as `feature names should match`, does not say what to change."""
    model = LinearRegression().fit(rows, rows["load"])
    model.input_example = rows.head(2).assign(target=1.0)
    with pytest.raises(DatasetError, match=r"cannot answer its input_example: .*feature names"):
        save_model(model, tmp_path / "model")
    model.input_example = rows.head(2)
    save_model(model, tmp_path / "model")


def test_the_columns_of_an_answer_may_have_numbers_as_names(tmp_path: Path) -> None:
    model = Numbering().fit()
    model.input_example = pd.DataFrame({"x": [1.0, 2.0]})
    save_model(model, tmp_path / "model", [f"{__name__}.Numbering"])
    scorer, contract = load_proven_scorer(tmp_path / "model", None, None, [f"{__name__}.Numbering"])
    assert [column.name for column in contract.schema.outputs] == ["0", "1"]
    assert scorer.score({"x": np.array([3.0])})["1"] == pytest.approx([6.0])


class Numbering(BaseEstimator):
    """Answers with columns that have numbers as names."""

    def fit(self) -> "Numbering":
        return self

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({0: rows["x"], 1: 2 * rows["x"]})


def test_the_columns_of_an_example_may_have_numbers_as_names(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    model = LinearRegression().fit(pd.DataFrame(rows.to_numpy()), rows["load"])
    model.input_example = pd.DataFrame(rows.to_numpy()[:2])
    save_model(model, tmp_path / "model")
    scorer, contract = load_proven_scorer(tmp_path / "model", None)
    assert [column.name for column in contract.schema.inputs] == ["0", "1"]
    answer = scorer.score({"0": np.array([3.0]), "1": np.array([5.0])})["prediction"]
    assert answer == pytest.approx([3.0])


class Choosing(BaseEstimator):
    """Answers -1, 0 or 1 for false, missing or true."""

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        return np.array([{True: 1, False: -1}.get(one, 0) for one in rows["is_new"]])


@pytest.mark.parametrize(
    ("values", "kind", "answers"),
    [
        ([True, None, False], "boolean", [1, 0, -1]),
        ([True, True, False], "boolean", [1, 1, -1]),
        (["true", None, "false"], "string", [0, 0, 0]),
        ([None, None, None], "string", [0, 0, 0]),
    ],
    ids=str,
)
def test_true_and_false_next_to_missing_values_are_booleans(
    tmp_path: Path, values: list[Any], kind: str, answers: list[int]
) -> None:
    model, trusted = Choosing(), [f"{__name__}.Choosing"]
    model.input_example = pd.DataFrame({"is_new": pd.Series(values, dtype=object)})
    save_model(model, tmp_path / "model", trusted)
    scorer, contract = load_proven_scorer(tmp_path / "model", None, trusted=trusted)
    (column,) = contract.schema.inputs
    assert (column.type, column.nullable) == (kind, None in values)
    assert [row["prediction"] for row in contract.answer] == answers
    assert scorer.schema == contract.schema


# What a served model gets is what it was trained on


METALS = pd.DataFrame({"metal": ["iron", "zinc", None, "iron", "zinc", None], "load": range(6)})


@pytest.mark.parametrize("missing", [np.nan, None], ids=repr)
def test_a_missing_text_reaches_a_served_model_as_in_its_example(
    tmp_path: Path, missing: float | None
) -> None:
    """pandas reads a missing text as NaN, which encoders distinguish from None."""
    table = METALS.assign(metal=METALS["metal"].map(lambda one: one or missing).astype(object))
    columns = make_column_transformer((OneHotEncoder(), ["metal"]))
    model = make_pipeline(columns, RandomForestClassifier(5, random_state=0))
    model.fit(table, table["metal"].isna())
    model.input_example = table.head(3)
    save_model(model, tmp_path / "model")
    scorer, contract = load_proven_scorer(tmp_path / "model", None)
    assert contract.missing_as_nan == (() if missing is None else ("metal",))
    sent = {"metal": np.array([None, "iron"], object), "load": np.array([0, 0])}
    assert scorer.score(sent)["prediction"].tolist() == [True, False]
    save_model(load_model(tmp_path / "model"), tmp_path / "again")
    assert read_contract(tmp_path / "again").missing_as_nan == contract.missing_as_nan


class Repeating(BaseEstimator):
    """Answers with the Python form of its input."""

    def __init__(self, column: str = "x") -> None:
        self.column = column

    def predict(self, rows: pd.DataFrame) -> list[str]:
        return [repr(value) for value in rows[self.column].tolist()]


REPEATING = [f"{__name__}.Repeating"]


def test_a_model_saved_by_an_earlier_version_gets_none_for_a_missing_text(tmp_path: Path) -> None:
    """Its contract has no key about missing values; neither has that of any such model."""
    model = Repeating()
    model.input_example = pd.DataFrame({"x": ["a", None]})
    save_model(model, tmp_path / "model", REPEATING)
    content = json.loads((tmp_path / "model" / "contract.json").read_text(encoding="utf-8"))
    assert not {"missing_as_nan", "takes_series"} & content.keys(), "all digests would change"
    scorer, _ = load_proven_scorer(tmp_path / "model", None, trusted=REPEATING)
    assert scorer.score({"x": np.array([None], object)})["prediction"].tolist() == ["None"]


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("table", [True, False], ids=["a table", "a Series"])
def test_a_text_model_gets_the_texts_of_all_rows(tmp_path: Path, rows: int, table: bool) -> None:
    """Of a table, a vectorizer would read only the names of the columns."""
    texts = pd.Series(["good fine", "bad poor", "bad awful", "good great"], name="text")
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 0, 1])
    model.input_example = (texts.to_frame() if table else texts).head(rows)
    save_model(model, tmp_path / "model")
    scorer, contract = load_proven_scorer(tmp_path / "model", None)
    assert [one["prediction"] for one in contract.answer] == [1, 0, 0][:rows]
    (column,) = contract.schema.inputs
    sent = {column.name: np.array(["awful", "great", "fine"], object)}
    assert scorer.score(sent)["prediction"].tolist() == [0, 1, 1]
    named = make_column_transformer((TfidfVectorizer(), "text"))  # selects from a table
    model = make_pipeline(named, LogisticRegression()).fit(texts.to_frame(), [1, 0, 0, 1])
    model.input_example = texts.to_frame().head(rows)
    save_model(model, tmp_path / "named")
    scorer, contract = load_proven_scorer(tmp_path / "named", None)
    assert not contract.takes_series
    assert scorer.score({"text": sent[column.name]})["prediction"].tolist() == [0, 1, 1]


class Answering(BaseEstimator):
    """Answers with a function of its input."""

    def __init__(self, answer: Callable[[pd.Series], Any]) -> None:
        self.answer = answer

    def predict(self, rows: pd.DataFrame) -> Any:
        return self.answer(rows["x"])


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda x: [x.sum(), 0.0][:1], "returns 1 answers for"),
        (lambda x: [x.sum(), 0.0], "returns 2 answers for"),
        (lambda x: {"y": x.to_numpy()}, "returns a dict"),
        (lambda x: float(x.sum()), "returns a float"),
    ],
    ids=["one", "two", "a dictionary", "a number"],
)
def test_a_model_that_does_not_answer_each_row_is_rejected(
    tmp_path: Path, answer: Callable[[pd.Series], Any], reason: str, rows: int
) -> None:
    model = Answering(answer)
    model.input_example = pd.DataFrame({"x": [1.0] * rows})
    with pytest.raises(DatasetError, match=reason):
        save_model(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("kind", ["category", "object"])
def test_categories_that_are_numbers_stay_numbers(tmp_path: Path, kind: str) -> None:
    """As texts, the encoder would ignore them as unknown."""
    shops = [1, 2, 3, 1, 2, 3]
    table = pd.DataFrame({"shop": pd.Series(shops).astype(kind)})
    encoder = OneHotEncoder(handle_unknown="ignore")
    model = make_pipeline(encoder, LogisticRegression(C=100)).fit(table, shops)
    model.input_example = table.head(2)
    if kind == "object":  # scikit-learn's encoders compare objects in their own way
        with pytest.raises(DatasetError, match=r"shop \(object in input_example, int64 in service"):
            save_model(model, tmp_path / "model")
        return
    save_model(model, tmp_path / "model")
    scorer, contract = load_proven_scorer(tmp_path / "model", None)
    assert [one.type for one in contract.schema.inputs] == ["long"]
    assert scorer.score({"shop": np.array([3, 1])})["prediction"].tolist() == [3, 1]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pd.date_range("2026-01-01", periods=2, tz="Europe/Berlin"), "with a time zone"),
        (pd.Series([pd.Timestamp("2026-01-01T00:00Z")] * 2, dtype=object), "with a time zone"),
        (pd.Series([pd.Timestamp("2026-01-01").date()] * 2), r"x \(object\) holds date values"),
        (pd.to_timedelta([1, 2], unit="h"), "holds timedelta64 values"),
        (pd.period_range("2026-01", periods=2, freq="M"), "holds period values"),
        (pd.Series([[1, 2], [3]]), "holds mixed values"),
        (pd.Series(pd.Categorical([1, "a"])), "holds mixed-integer values"),
        (pd.array([1, None], "Int64"), r"x \(Int64 in input_example, float64 in service\)"),
        (pd.array([True, None], "boolean"), r"x \(boolean in input_example, object in service\)"),
        (pd.array(["a", None], "string"), r"x \(string in input_example, object in service\)"),
        (pd.Series(["a", None]), None),
        (pd.Series([True, np.nan], dtype=object), None),
        (pd.date_range("2026-01-01", periods=2), None),
        ([1.5, np.nan], None),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_an_example_that_a_request_would_change_is_rejected_with_its_column(
    tmp_path: Path, values: Any, reason: str | None
) -> None:
    model, path = Repeating(), tmp_path / "model"
    model.input_example = pd.DataFrame({"x": values})
    dataset = ModelDataset(filepath=str(path), trusted=REPEATING)
    if reason is None:
        dataset.save(model)
        load_proven_scorer(path, None, trusted=REPEATING)
        return
    with pytest.raises(DatasetError, match=rf"(?s){reason}.*where: {path}") as refusal:
        dataset.save(model)
    assert status_of(refusal.value) == 1
    assert not list(tmp_path.iterdir())
    if "in service" in reason:
        leave_answers_to_scorer(["model"], {"model": dataset})  # which may convert the column
        dataset.save(model)
        assert read_contract(path).schema.inputs[0].name == "x"


def test_a_missing_text_is_none_unless_the_example_shows_another_form(tmp_path: Path) -> None:
    model = Repeating()
    model.schema = Schema((Column("x", "string", nullable=True),), (Column("y", "string"),))
    model.input_example = pd.DataFrame({"x": ["a"]})
    save_model(model, tmp_path / "model", REPEATING)
    scorer, _ = load_proven_scorer(tmp_path / "model", None, trusted=REPEATING)
    assert scorer.score({"x": np.array([None], object)})["y"].tolist() == ["None"]


class Guessing(BaseEstimator):
    """Answers by chance."""

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        return np.random.default_rng().random(len(rows))


def test_a_model_that_answers_by_chance_is_rejected(tmp_path: Path) -> None:
    model = Guessing()
    model.input_example = pd.DataFrame({"x": [1.0]})
    with pytest.raises(DatasetError, match=r"the example's row 0 has prediction .*not on chance"):
        save_model(model, tmp_path / "model", [f"{__name__}.Guessing"])


def test_an_example_that_does_not_fit_the_schema_is_rejected(tmp_path: Path) -> None:
    model, trusted = Doubling(), [f"{__name__}.Doubling"]
    model.schema = Schema((Column("x", "long"),), (Column("y", "double"),))
    save_model(model, tmp_path / "model", trusted)
    model.input_example = pd.DataFrame({"x": [1.5]})
    with pytest.raises(DatasetError, match="does not fit its schema: x holds a number that is not"):
        save_model(model, tmp_path / "refused", trusted)


@pytest.mark.parametrize("output", ["x", "y"])
def test_an_input_and_an_output_of_the_same_name_are_rejected(tmp_path: Path, output: str) -> None:
    model, trusted = Doubling(), [f"{__name__}.Doubling"]
    model.schema = Schema((Column("x", "double"),), (Column(output, "double"),))
    if output == "y":
        save_model(model, tmp_path / "model", trusted)
        return
    with pytest.raises(DatasetError, match=r"of the same name, x: .*Rename one"):
        save_model(model, tmp_path / "model", trusted)
    assert not (tmp_path / "model").exists()


def test_an_example_that_json_cannot_store_is_rejected(tmp_path: Path) -> None:
    model = Doubling()
    model.input_example = pd.DataFrame({"x": [1.0, np.inf]})
    with pytest.raises(DatasetError, match="holds infinite numbers: set its attribute"):
        save_model(model, tmp_path / "model", [f"{__name__}.Doubling"])


class Plain(mlflow.pyfunc.PythonModel):
    """A model whose ``predict`` omits the context, as MLflow allows."""

    input_example = pd.DataFrame({"x": [1.0]})

    def predict(self, model_input: pd.DataFrame) -> pd.Series:
        return model_input["x"] + 1


# MLflow recommends its type hints
@pytest.mark.filterwarnings("ignore:.*type hint.*")
def test_a_python_model_may_omit_the_context(tmp_path: Path) -> None:
    trusted = [f"{__name__}.Plain"]
    save_model(Plain(), tmp_path / "model", trusted)
    scorer, _ = load_proven_scorer(tmp_path / "model", None, trusted=trusted)
    assert scorer.score({"x": np.array([4.0])})["prediction"].tolist() == [5.0]


@pytest.mark.parametrize("value", [{"a": 1}, "text", None], ids=repr)
def test_an_object_without_predict_is_rejected_as_a_model(tmp_path: Path, value: Any) -> None:
    with pytest.raises(DatasetError, match="is not a model: it has no predict"):
        save_model(value, tmp_path / "model")


def test_a_model_that_needs_a_pickle_is_rejected(tmp_path: Path) -> None:
    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])  # on an array, without names
    model.input_example, model.opened = pd.DataFrame({"x": [1.0]}), (n for n in range(3))
    with pytest.raises(DatasetError, match="a LinearRegression"):
        save_model(model, tmp_path / "model")
    assert not any((tmp_path / "model").glob("*"))
    del model.opened
    save_model(model, tmp_path / "model")


def test_a_single_file_is_not_loaded_as_a_model(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(DatasetError, match="contains no loadable model"):
        ModelDataset(filepath=str(tmp_path / "model.pkl")).load()
    assert not ModelDataset(filepath=str(tmp_path / "model.pkl")).exists()


def test_the_folder_is_an_mlflow_model_without_a_pickle(folder: Path, rows: pd.DataFrame) -> None:
    model = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    assert model["flavors"]["sklearn"]["serialization_format"] == "skops"
    names = [column["name"] for column in json.loads(model["signature"]["inputs"])]
    assert names == ["load", "pressure"]
    assert model["saved_input_example_info"]["artifact_path"] == "input_example.json"
    assert not list(folder.rglob("*.pkl"))
    answer = mlflow.pyfunc.load_model(str(folder)).predict(rows.head(2))
    assert answer == pytest.approx(load_model(folder).predict(rows.head(2)))


def test_the_requirements_pin_the_installed_versions(folder: Path) -> None:
    pins = [f"{one}=={version(one)}" for one in ("mlflow", "numpy", "scikit-learn", "skops")]
    assert (folder / "requirements.txt").read_text(encoding="utf-8").splitlines() == pins
    conda = yaml.safe_load((folder / "conda.yaml").read_text(encoding="utf-8"))
    assert conda["dependencies"] == [f"python={platform.python_version()}", "pip", {"pip": pins}]
    assert Path(mlflow.pyfunc.get_model_dependencies(str(folder))).read_text().split() == pins


def test_the_files_equal_those_that_mlflow_writes(
    tmp_path: Path, model: LinearRegression, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow then checks the pins against the installed packages."""
    save_model(model, tmp_path / "ours")
    monkeypatch.setattr(models, "_UNCHECKED", "")
    monkeypatch.setattr(models, "_write_requirements", lambda _: None)
    save_model(model, tmp_path / "theirs")
    assert digest(tmp_path / "ours") == digest(tmp_path / "theirs")


def test_each_node_of_a_run_gets_its_own_copy_of_the_model(
    folder: Path, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    load = models.load_model
    monkeypatch.setattr(models, "load_model", lambda *a: (read.append(a), load(*a))[1])
    dataset = ModelDataset(filepath=str(folder))
    before = dataset.load().predict(rows)
    changed = dataset.load()
    changed.coef_[:] = 0
    np.testing.assert_array_equal(dataset.load().predict(rows), before)
    assert len(read) == 1  # the files are read once
    dataset.release()
    np.testing.assert_array_equal(dataset.load().predict(rows), before)
    assert len(read) == 2
    dataset.release()
    monkeypatch.setattr(models, "_CACHED_BYTES", 100)  # too few for this model
    dataset.load()
    dataset.load()
    assert len(read) == 4


def test_a_model_that_cannot_be_copied_is_read_for_each_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = [f"{__name__}.Doubling"]
    save_model(Doubling(), tmp_path / "model", trusted)

    def fail(*_: Any) -> None:
        raise TypeError("cannot be copied")

    monkeypatch.setattr(Doubling, "__deepcopy__", fail, raising=False)
    dataset = ModelDataset(filepath=str(tmp_path / "model"), trusted=trusted)
    for _ in range(2):
        assert dataset.load().predict(None, pd.DataFrame({"x": [3.0]}))[0] == 6


def test_a_model_whose_files_change_during_a_run_is_read_again(
    folder: Path, rows: pd.DataFrame
) -> None:
    dataset = ModelDataset(filepath=str(folder))
    before = dataset.load().predict(rows)
    ModelDataset(filepath=str(folder)).save(LinearRegression().fit(rows, rows["pressure"]))
    assert not np.allclose(dataset.load().predict(rows), before)
    (folder / "model.skops").write_bytes(b"broken")
    with pytest.raises(DatasetError, match="contains no loadable model"):
        dataset.load()


_TRAINING = """
import sys
import numpy as np, pandas as pd
from pathlib import Path
from sklearn.ensemble import IsolationForest
from kedro_azure_mlops.contract import digest
from kedro_azure_mlops.models import save_model
rows = pd.DataFrame({"x": np.arange(40.0), "y": np.arange(40.0) ** 2})
model = IsolationForest(n_estimators=4, random_state=int(sys.argv[2])).fit(rows)
save_model(model, Path(sys.argv[1]))
print(digest(Path(sys.argv[1])))
"""


def test_the_same_code_data_and_parameters_give_the_same_digest(tmp_path: Path) -> None:
    """Each model is trained in a new process with other object addresses."""
    digests = []
    for number, (seed, hash_seed) in enumerate([(0, "1"), (0, "2"), (1, "1")]):
        command = [sys.executable, "-c", _TRAINING, str(tmp_path / str(number)), str(seed)]
        result = subprocess.run(
            command, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": hash_seed}
        )
        digests.append(result.stdout.split()[-1])
    assert digests[0] == digests[1]
    assert digests[2] != digests[0]


@pytest.mark.parametrize("installed", [None, "1.2.3"], ids=["no build tools", "other versions"])
def test_the_digest_does_not_depend_on_the_installed_build_tools(
    folder: Path,
    tmp_path: Path,
    model: LinearRegression,
    monkeypatch: pytest.MonkeyPatch,
    installed: str | None,
) -> None:
    def lookup(package: str) -> str | None:
        return installed if package in _PythonEnv.BUILD_PACKAGES else version(package)

    monkeypatch.setattr(environment, "_get_package_version", lookup)
    save_model(model, tmp_path / "elsewhere")
    assert digest(tmp_path / "elsewhere") == digest(folder)
    env = _PythonEnv.from_yaml(tmp_path / "elsewhere" / "python_env.yaml")
    assert env.build_dependencies == ["pip", "setuptools", "wheel"]
    assert env.python == platform.python_version()
    assert env.dependencies == ["-r requirements.txt"]


def test_the_digest_depends_on_the_models_package_versions(
    folder: Path, tmp_path: Path, model: LinearRegression, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        models, "version", lambda name: "0.1" if name == "scikit-learn" else version(name)
    )
    save_model(model, tmp_path / "elsewhere")
    assert digest(tmp_path / "elsewhere") != digest(folder)


def test_a_failed_save_keeps_the_previous_model(
    folder: Path, model: LinearRegression, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest(folder)

    def half_write(_: Any, target: Path, *__: Any, **___: Any) -> None:
        target.mkdir()
        (target / "model.skops").write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(models, "save_model", half_write)
    with pytest.raises(DatasetError, match="disk full"):
        ModelDataset(filepath=str(folder)).save(model)
    assert digest(folder) == before


def test_a_save_replaces_the_previous_model(folder: Path, rows: pd.DataFrame) -> None:
    before = digest(folder)
    ModelDataset(filepath=str(folder)).save(LinearRegression().fit(rows, rows["load"]))
    assert digest(folder) != before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["model"]


@pytest.mark.parametrize("exists", [True, False], ids=["an older model", "nothing yet"])
def test_a_model_is_saved_through_a_symbolic_link(
    tmp_path: Path, model: LinearRegression, exists: bool
) -> None:
    target, link = tmp_path / "disk" / "model", tmp_path / "model"
    if exists:
        ModelDataset(filepath=str(target)).save(model)
        (target / "old").touch()
    link.symlink_to(target)
    dataset = ModelDataset(filepath=str(link))
    dataset.save(model)
    assert link.is_symlink()
    assert load_model(target).coef_.tolist() == dataset.load().coef_.tolist()
    assert [path.name for path in target.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("change", ["a byte", "a name", "a new file", "a missing file"])
def test_any_change_of_a_file_changes_the_digest(folder: Path, change: str) -> None:
    before = digest(folder)
    file = folder / "model.skops"
    if change == "a byte":
        file.write_bytes(file.read_bytes()[:-1] + b"!")
    elif change == "a name":
        file.rename(folder / "other.skops")
    elif change == "a new file":
        (folder / "new").touch()
    else:
        file.unlink()
    assert digest(folder) != before


def test_copies_of_a_model_have_the_same_digest(folder: Path) -> None:
    before = digest(folder)
    copy = shutil.copytree(folder, folder.with_name("copy"))
    (copy / "registered_model_meta").touch()  # MLflow adds it to downloads
    assert before == digest(folder) == digest(copy)


@pytest.mark.parametrize("missing", ["MLmodel", "contract.json", "model.skops"])
def test_an_incomplete_folder_is_rejected(folder: Path, missing: str) -> None:
    assert load_model(folder)
    (folder / missing).unlink()
    with pytest.raises(DatasetError, match="contains no loadable model"):
        load_model(folder)


def test_a_failed_save_after_an_interrupted_one_keeps_the_only_copy(
    folder: Path, model: LinearRegression, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = folder.rename(folder.with_name("model.old"))  # interrupted between its two renames

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(models, "save_model", fail)
    with pytest.raises(DatasetError, match="disk full"):
        ModelDataset(filepath=str(folder)).save(model)
    assert not old.exists()
    assert load_model(folder).coef_.tolist() == model.coef_.tolist()


def test_an_existing_empty_folder_is_filled_but_not_replaced(
    tmp_path: Path, model: LinearRegression
) -> None:
    output = tmp_path / "output"
    output.mkdir()
    before = output.stat().st_ino
    ModelDataset(filepath=str(output)).save(model)
    assert output.stat().st_ino == before, "a mount point cannot be renamed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["output"]
    assert ModelDataset(filepath=str(output)).load().coef_.tolist() == model.coef_.tolist()


def test_a_failed_save_leaves_an_empty_folder_empty(
    tmp_path: Path, model: LinearRegression, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_write(_: Any, target: Path, *__: Any, **___: Any) -> None:
        (target / "code").mkdir()
        (target / "MLmodel").write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(models, "save_model", half_write)
    with pytest.raises(DatasetError, match="disk full"):
        ModelDataset(filepath=str(tmp_path)).save(model)
    assert not list(tmp_path.iterdir())
    assert not ModelDataset(filepath=str(tmp_path)).exists()


class Exporting(LinearRegression):
    """Served from the files that it exports, if there are any."""

    texts: tuple[str, ...] = ("1234", "56")

    def export(self, folder: Path) -> None:
        for number, text in enumerate(self.texts):
            (folder / f"{number}.txt").write_text(text, encoding="utf-8")


def test_the_cost_of_serving_is_measured_on_the_served_files(
    rows: pd.DataFrame, model: LinearRegression, folder: Path
) -> None:
    row_counts: list[int] = []
    cost = models.measure_cost(model, lambda: row_counts.append(len(model.predict(rows.head(1)))))
    assert set(row_counts) == {1}
    assert 0 <= cost["latency_ms"] < 1000
    stored = (folder / models.MODEL_FILE).stat().st_size
    assert cost["size_mb"] * 1e6 == pytest.approx(stored, rel=0.05)
    exporting = Exporting().fit(rows, rows["load"])
    assert models.measure_cost(exporting, lambda: None)["size_mb"] == 6e-6
    exporting.texts = ()  # nothing can be exported: the stored model is served
    assert models.measure_cost(exporting, lambda: None)["size_mb"] > 1e-4


def test_choose_model_returns_the_requested_model_or_fails() -> None:
    champion, trained = models.Champion("a", "1"), models.Champion("b", "2")
    missing, broken = models.Champion(), models.Champion(problem="it is torn")
    assert models.choose_model(champion, trained, "champion") is champion
    assert models.choose_model(champion, trained, "trained") is trained
    with pytest.raises(OperationError, match="the champion cannot be used: it is torn"):
        models.choose_model(broken, trained, "champion")
    with pytest.raises(OperationError, match="the model of the last run does not exist"):
        models.choose_model(champion, missing, "trained")
