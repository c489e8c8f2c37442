"""The stored model itself as a scorer, for projects that name no scorer.

It needs skops, pandas and the packages of the model, but neither Kedro nor MLflow (unless the model
is an ``mlflow.pyfunc.PythonModel``), so it can run on a server.
"""

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kedro_azure_mlops.contract import (
    AnswerError,
    CannotExplainError,
    Column,
    Columns,
    Contract,
    Explainable,
    Schema,
    UnusableModelError,
    columns_of_rows,
    read_contract,
)
from kedro_azure_mlops.values import read_times

MODEL_FILE = "model.skops"
_PROFILE = "profile.json"  # of monitor/profile.py, which servers do not have
_NUMBERS = ("double", "long")
_LARGEST = 2.0**63  # bound of whole numbers
# Types in scikit-learn's estimators that skops does not trust by default; none of them runs code
# from the file. A catalog entry may list more. The list that MLflow stores is never used.
TRUSTED_TYPES = (
    "sklearn.tree._tree.Tree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neighbors._kd_tree.KDTree64",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._ball_tree.BallTree64",
    "sklearn.metrics._dist_metrics.EuclideanDistance",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.metrics._dist_metrics.MinkowskiDistance",
    "sklearn.metrics._dist_metrics.MinkowskiDistance64",
    "sklearn.metrics._dist_metrics.newObj",
    "sklearn.neighbors._kd_tree.newObj",
    "sklearn.neighbors._ball_tree.newObj",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.feature_selection._univariate_selection.f_regression",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.utils._bunch.Bunch",
    "numpy.dtype",
)


class StoredScorer:
    """A stored model with the interface of a ``Scorer``.

    Parameters
    ----------
    medians
        The median of each input in training, by name; explanations compare rows with them.
    missing_as_nan, takes_series
        See ``Contract``.
    """

    engine = "the stored model"

    def __init__(
        self,
        model: Any,
        schema: Schema,
        medians: Mapping[str, float] | None = None,
        missing_as_nan: Sequence[str] = (),
        takes_series: bool = False,
    ) -> None:
        self._model = model
        self.schema = schema
        self._medians = medians or {}
        self._missing_as_nan = missing_as_nan
        self._takes_series = takes_series

    def score(self, columns: Columns, wanted: np.ndarray | None = None) -> Columns:
        """Score rows; see ``Scorer.score``.

        Raises
        ------
        AnswerError
            If the model's answer does not fit its schema.
        """
        table = table_of(columns, self.schema.inputs, self._missing_as_nan)
        predicted = predict(self._model, table, self._takes_series)
        try:
            answer = arrays_of(predicted, self.schema.outputs)
        except (ValueError, IndexError) as error:
            raise AnswerError(f"the model's answer does not fit its schema: {error}") from error
        return answer if wanted is None else {name: part[wanted] for name, part in answer.items()}

    def explained(self, columns: Columns, wanted: np.ndarray | None = None) -> Explainable:
        """Return the inputs themselves as features; see ``contract.ExplainableScorer``.

        Raises
        ------
        CannotExplainError
            If rows have a history, an input or the answer is not a number, or the medians of
            training are unknown.
        """
        self._refuse_to_explain()
        inputs, output = self.schema.inputs, self.schema.outputs[0].name
        names = [one.name for one in inputs]
        values = np.column_stack([np.asarray(columns[name], float) for name in names])
        typical = np.array([self._medians[name] for name in names])
        typical = np.where([one.type == "long" for one in inputs], np.rint(typical), typical)

        def score(mixed: np.ndarray, rows: np.ndarray) -> np.ndarray:
            is_whole = [one.type == "long" and not one.nullable for one in inputs]
            mixed_columns = {
                name: part.astype(np.int64) if whole else part
                for name, part, whole in zip(names, mixed.T, is_whole, strict=True)
            }
            return np.asarray(self.score(mixed_columns)[output], float)

        selected = values if wanted is None else values[wanted]
        return Explainable(output, names, selected, np.broadcast_to(typical, selected.shape), score)

    def _refuse_to_explain(self) -> None:
        schema = self.schema
        if schema.history:
            raise CannotExplainError("the stored model handles earlier rows internally")
        if others := [one.name for one in schema.inputs if one.type not in _NUMBERS]:
            raise CannotExplainError(
                f"the stored model has inputs that are not numbers: {', '.join(others)}"
            )
        if len(schema.outputs) != 1 or schema.outputs[0].type not in _NUMBERS:
            raise CannotExplainError("the stored model does not return a single number")
        if missing := [one.name for one in schema.inputs if one.name not in self._medians]:
            raise CannotExplainError(
                f"no {_PROFILE} in the model folder has the median of {', '.join(missing)}: train "
                "the model again"
            )


def load_stored_scorer(folder: Path, trusted: Sequence[str] = ()) -> StoredScorer:
    """Load the stored model of a folder as a scorer.

    Parameters
    ----------
    trusted
        Types that may be loaded in addition to ``TRUSTED_TYPES``.

    Raises
    ------
    UnusableModelError
        If the folder holds no loadable model, or a package that loads it is not installed.
    """
    contract = read_contract(folder)
    try:
        import pandas  # noqa: F401, a server without it must not start
        import skops.io  # noqa: F401
    except ImportError as error:
        raise UnusableModelError(
            f"serving the stored model itself needs {error.name}, which is not installed here. "
            "Name a scorer in mlops.yml that needs less, or serve in an environment with the "
            "packages that the model was trained with"
        ) from error
    try:
        model = load_stored(folder, contract, trusted)
    except Exception as error:  # skops and the model's own code may raise anything
        raise UnusableModelError(f"{MODEL_FILE} cannot be loaded: {error}") from error
    return StoredScorer(
        model, contract.schema, _medians(folder), contract.missing_as_nan, contract.takes_series
    )


def _medians(folder: Path) -> dict[str, float]:
    """Read the median of each numeric input in training, if the folder profiles a single series."""
    file = folder / _PROFILE
    if not file.is_file():
        return {}
    try:
        (series,) = json.loads(file.read_text(encoding="utf-8"))["series"]
        quantiles = {name: one.get("quantiles") for name, one in series["columns"].items()}
        # of the deciles, the middle one
        return {name: float(part[len(part) // 2]) for name, part in quantiles.items() if part}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # several series, or another version: there is no single median


def load_stored(folder: Path, contract: Contract, trusted: Sequence[str]) -> Any:
    """Load the model of a folder, and restore the attributes kept in its contract."""
    import skops.io

    # a PythonModel's file has the same name, in MLflow's folder for its data
    places = (folder / MODEL_FILE, folder / "data" / MODEL_FILE)
    file = next((place for place in places if place.is_file()), places[0])
    model = skops.io.load(file, trusted=[*TRUSTED_TYPES, *trusted])
    if "schema" in contract.attributes:
        model.schema = contract.schema
    if "input_example" in contract.attributes:
        inputs = contract.schema.inputs
        columns = columns_of_rows(contract.example, inputs)
        model.input_example = table_of(columns, inputs, contract.missing_as_nan)
    return model


def table_of(columns: Columns, inputs: Sequence[Column], missing_as_nan: Sequence[str]) -> Any:
    """Return the columns of a request as the table that a model gets; see ``Contract``."""
    import pandas as pd

    given = {one.name: columns[one.name] for one in inputs}
    for name in missing_as_nan:
        values = given[name].tolist()
        if None in values:
            given[name] = np.array([np.nan if one is None else one for one in values], object)
    table = pd.DataFrame(given)
    for column in inputs:
        if column.type == "boolean" and not column.nullable:
            table[column.name] = table[column.name].astype(bool)
    return table


def takes_series(model: Any, table: Any) -> bool:
    """Return whether a model needs its only column, of texts, as a Series.

    Text vectorizers do: of a table they would read the names of the columns, not the rows.
    """
    import pandas as pd

    if table.shape[1] != 1 or hasattr(model, "n_features_in_") or is_python_model(model):
        return False
    texts = pd.concat([table.iloc[:, 0].dropna().head(1)] * 2, ignore_index=True)
    if pd.api.types.infer_dtype(texts) != "string":
        return False

    def answers_each(rows: Any) -> bool:
        try:
            return count_answers(model.predict(rows)) == len(rows)
        except Exception:  # noqa: BLE001, an estimator may raise anything
            return False

    return not answers_each(texts.to_frame()) and answers_each(texts)


def count_answers(answer: Any) -> int | None:
    """Return the number of rows of an answer; None if it is not an array or a table."""
    try:
        return None if isinstance(answer, dict | str) else len(answer)
    except TypeError:
        return None


def predict(model: Any, table: Any, takes_series: bool = False) -> Any:
    """Call ``predict`` of an estimator or an ``mlflow.pyfunc.PythonModel``.

    Parameters
    ----------
    takes_series
        Pass the only column of the table; see ``Contract``.
    """
    if takes_series:
        return model.predict(table.iloc[:, 0])
    if is_python_model(model):
        # in MLflow, the context is optional
        takes_context = "context" in inspect.signature(model.predict).parameters
        return model.predict(None, table) if takes_context else model.predict(table)
    if hasattr(model, "n_features_in_") and not hasattr(model, "feature_names_in_"):
        return model.predict(table.to_numpy())  # trained on an array, without column names
    return model.predict(table)


def is_python_model(model: Any) -> bool:
    """Return whether a model is an ``mlflow.pyfunc.PythonModel``, without importing MLflow."""
    return any(
        kind.__name__ == "PythonModel" and kind.__module__.startswith("mlflow.")
        for kind in type(model).__mro__
    )


def arrays_of(table: Any, columns: Sequence[Column]) -> dict[str, np.ndarray]:
    """Return columns of a DataFrame, a Series, an array or a list of predictions.

    Returns
    -------
    Arrays of the types that ``Scorer.score`` returns, by name.

    Raises
    ------
    ValueError
        If a column is missing or has values of the wrong type, such as a fraction or a missing
        value in a column of whole numbers.
    """
    import pandas as pd

    if isinstance(table, pd.DataFrame):
        names = {str(name): name for name in table.columns}  # numbers, of a model trained on arrays
        if missing := [column.name for column in columns if column.name not in names]:
            raise ValueError(f"there is no column {', '.join(missing)}")
        return {column.name: _array(table[names[column.name]], column) for column in columns}
    if len(columns) == 1:
        return {columns[0].name: _array(pd.Series(np.asarray(table).ravel()), columns[0])}
    array = np.asarray(table)
    return {column.name: _array(pd.Series(array[:, n]), column) for n, column in enumerate(columns)}


def _array(values: Any, column: Column) -> np.ndarray:
    import pandas as pd

    if column.type == "double":
        return np.asarray(_numbers(values, column).to_numpy(float, na_value=np.nan))
    if column.type == "long":
        return _whole(values, column)
    if column.type == "datetime":
        times = read_times(values).values
        if (np.isnat(times) & values.notna().to_numpy()).any():
            raise ValueError(f"{column.name} holds a value that is not a date and time")
        return times
    convert = bool if column.type == "boolean" else str
    converted = np.empty(len(values), object)
    converted[:] = [None if pd.isna(value) else convert(value) for value in values.tolist()]
    return converted


def _numbers(values: Any, column: Column) -> Any:
    import pandas as pd

    try:
        return pd.to_numeric(values)
    except (ValueError, TypeError):  # its message quotes the value
        raise ValueError(f"{column.name} holds a value that is not a number") from None


def _whole(values: Any, column: Column) -> np.ndarray:
    """Return whole numbers as ``int64``, or ``float64`` if some may be missing."""
    if isinstance(values.dtype, np.dtype) and values.dtype.kind == "i" and not column.nullable:
        return np.asarray(values, np.int64)
    numbers = _numbers(values, column)
    floats = np.asarray(numbers.to_numpy(float, na_value=np.nan))
    present = floats[~np.isnan(floats)]
    if len(present) < len(floats) and not column.nullable:
        raise ValueError(f"{column.name} is missing in a row")
    if (
        numbers.dtype.kind != "i"
        and ((present != np.rint(present)) | (np.abs(present) >= _LARGEST)).any()
    ):
        raise ValueError(f"{column.name} holds a number that is not whole, or is too large")
    return floats if column.nullable else np.asarray(numbers.astype("int64"))
