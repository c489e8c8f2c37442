"""The stored model itself as a scorer: what serves where a project names no scorer of its own.

It needs skops, pandas and what the model was trained with, but neither Kedro nor MLflow (unless the
model is an ``mlflow.pyfunc.PythonModel``): a server can run it.
"""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kedro_azure_mlops.contract import (
    Column,
    Columns,
    Contract,
    Schema,
    UnusableModelError,
    columns_of_rows,
    read_contract,
)
from kedro_azure_mlops.values import read_times

MODEL_FILE = "model.skops"
# Compiled types of scikit-learn that skops does not know; a catalog entry may list more. The list
# that MLflow stores in the model itself is never used.
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
)


class StoredScorer:
    """A stored model behind the interface of a ``Scorer``."""

    engine = "the stored model"

    def __init__(self, model: Any, schema: Schema) -> None:
        self._model = model
        self.schema = schema

    def score(self, columns: Columns, wanted: np.ndarray | None = None) -> Columns:
        """Score rows, as ``Scorer.score`` says."""
        import pandas as pd

        table = pd.DataFrame({one.name: columns[one.name] for one in self.schema.inputs})
        for column in self.schema.inputs:
            if column.type == "boolean" and not column.nullable:
                table[column.name] = table[column.name].astype(bool)
        answer = arrays_of(predict(self._model, table), self.schema.outputs)
        return answer if wanted is None else {name: part[wanted] for name, part in answer.items()}


def load_stored_scorer(folder: Path, trusted: Sequence[str] = ()) -> StoredScorer:
    """Load the stored model of a folder as a scorer.

    Parameters
    ----------
    trusted
        Types that may be loaded besides ``TRUSTED_TYPES``.

    Raises
    ------
    UnusableModelError
        If the folder holds no model that can be loaded, or what loads it is not installed.
    """
    contract = read_contract(folder)
    try:
        import pandas  # noqa: F401, a server without it must not start
        import skops.io  # noqa: F401
    except ImportError as error:
        raise UnusableModelError(
            f"the stored model itself is served, which needs {error.name}: it is not installed "
            "here. Name a scorer in mlops.yml that needs less, or serve in an environment that has "
            "what the model was trained with"
        ) from error
    try:
        model = load_stored(folder, contract, trusted)
    except Exception as error:  # those of skops and of a model's own code have nothing in common
        raise UnusableModelError(f"{MODEL_FILE} cannot be loaded: {error}") from error
    return StoredScorer(model, contract.schema)


def load_stored(folder: Path, contract: Contract, trusted: Sequence[str]) -> Any:
    """Load the model of a folder, with what its contract keeps of its attributes."""
    import pandas as pd
    import skops.io

    # that of a PythonModel has the same name, in MLflow's folder for its data
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
    """Call ``predict`` of an estimator or of an ``mlflow.pyfunc.PythonModel``."""
    if is_python_model(model):
        # MLflow lets a model leave the context out
        takes_context = "context" in inspect.signature(model.predict).parameters
        return model.predict(None, table) if takes_context else model.predict(table)
    if hasattr(model, "n_features_in_") and not hasattr(model, "feature_names_in_"):
        return model.predict(table.to_numpy())  # it was trained on an array and knows no names
    return model.predict(table)


def is_python_model(model: Any) -> bool:
    """Return whether a model is an ``mlflow.pyfunc.PythonModel``, without importing MLflow."""
    return any(
        kind.__name__ == "PythonModel" and kind.__module__.startswith("mlflow.")
        for kind in type(model).__mro__
    )


def arrays_of(table: Any, columns: Sequence[Column]) -> dict[str, np.ndarray]:
    """Take columns out of a DataFrame, a Series, an array or a list of predictions.

    Returns
    -------
    Arrays of the types that ``Scorer.score`` answers with, by name.

    Raises
    ------
    ValueError
        If a column is missing or has values of another type.
    """
    import pandas as pd

    if isinstance(table, pd.DataFrame):
        if missing := [column.name for column in columns if column.name not in table]:
            raise ValueError(f"there is no column {', '.join(missing)}")
        return {column.name: _array(table[column.name], column) for column in columns}
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
            raise ValueError(f"{column.name} holds what is no date and time")
        return times
    convert = bool if column.type == "boolean" else str
    found = np.empty(len(values), object)
    found[:] = [None if pd.isna(value) else convert(value) for value in values.tolist()]
    return found
