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
    """

    engine = "the stored model"

    def __init__(
        self, model: Any, schema: Schema, medians: Mapping[str, float] | None = None
    ) -> None:
        self._model = model
        self.schema = schema
        self._medians = medians or {}

    def score(self, columns: Columns, wanted: np.ndarray | None = None) -> Columns:
        """Score rows; see ``Scorer.score``."""
        import pandas as pd

        table = pd.DataFrame({one.name: columns[one.name] for one in self.schema.inputs})
        for column in self.schema.inputs:
            if column.type == "boolean" and not column.nullable:
                table[column.name] = table[column.name].astype(bool)
        answer = arrays_of(predict(self._model, table), self.schema.outputs)
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
    return StoredScorer(model, contract.schema, _medians(folder))


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
    import pandas as pd
    import skops.io

    # a PythonModel's file has the same name, in MLflow's folder for its data
    places = (folder / MODEL_FILE, folder / "data" / MODEL_FILE)
    file = next((place for place in places if place.is_file()), places[0])
    model = skops.io.load(file, trusted=[*TRUSTED_TYPES, *trusted])
    if "schema" in contract.attributes:
        model.schema = contract.schema
    if "input_example" in contract.attributes:
        columns = columns_of_rows(contract.example, contract.schema.inputs)
        model.input_example = pd.DataFrame(columns)
    return model


def predict(model: Any, table: Any) -> Any:
    """Call ``predict`` of an estimator or an ``mlflow.pyfunc.PythonModel``."""
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
        If a column is missing or has values of the wrong type.
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

    if column.type == "double" or (column.type == "long" and column.nullable):
        return np.asarray(pd.to_numeric(values).to_numpy(float, na_value=np.nan))
    if column.type == "long":
        return np.asarray(values.astype("int64"))
    if column.type == "datetime":
        times = read_times(values).values
        if (np.isnat(times) & values.notna().to_numpy()).any():
            raise ValueError(f"{column.name} holds a value that is not a date and time")
        return times
    convert = bool if column.type == "boolean" else str
    converted = np.empty(len(values), object)
    converted[:] = [None if pd.isna(value) else convert(value) for value in values.tolist()]
    return converted
