"""Small models of the project ``plant`` for deployments: saved, with a fast scorer."""

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
from sklearn.linear_model import Ridge

from kedro_azure_mlops.contract import (
    Column,
    Contract,
    History,
    Schema,
    columns_of_rows,
    rows_of_columns,
    write_contract,
    write_manifest,
)
from kedro_azure_mlops.models import save_model
from tests.plugin.helpers import ROOT

SCORER = "plant.linear:load"
FEATURES = ["load", "pressure"]
SCHEMA = Schema(
    inputs=(
        Column("time", "datetime"),
        Column("unit", "string"),
        Column("load", "double", minimum=0, maximum=1000),
        Column("pressure", "double"),
    ),
    outputs=(Column("energy", "double", decimals=6), Column("is_high", "boolean")),
    history=History(order="time", by="unit", days=2),
    echo=("time", "unit"),
    flag="is_high",
)


def hours() -> pd.DataFrame:
    """Return the project's data without incomplete rows."""
    return pd.read_csv(ROOT / "data/raw/hours.csv").dropna().reset_index(drop=True)


def save_linear_model(folder: Path, threshold: float = 400.0) -> Path:
    """Write a model with a schema, an example of six rows, its answer and its coefficients."""
    table = hours()
    model = Ridge(alpha=1.0).fit(table[FEATURES], table["energy"])
    model.input_example = table[FEATURES].head(3)
    save_model(model, folder)
    coefficients = dict(zip(FEATURES, map(float, model.coef_), strict=True))
    return _describe(folder, coefficients | {"base": float(model.intercept_)}, threshold)


def copy_linear_model(model: Path, folder: Path, threshold: float) -> Path:
    """Write the same model with another threshold."""
    numbers = json.loads((model / "linear.json").read_text(encoding="utf-8"))
    return _describe(Path(shutil.copytree(model, folder)), numbers, threshold)


def _describe(folder: Path, coefficients: dict[str, float], threshold: float) -> Path:
    numbers = coefficients | {"threshold": threshold}
    (folder / "linear.json").write_text(json.dumps(numbers), encoding="utf-8")
    rows = hours()[["time", "unit", *FEATURES]].head(6).to_dict("records")
    columns = linear(numbers).score(columns_of_rows(rows, SCHEMA.inputs))
    answer = rows_of_columns(columns, SCHEMA.outputs)
    write_contract(folder, Contract(SCHEMA, rows, answer, tolerance=1e-9))
    write_manifest(folder)
    return folder


def linear(numbers: dict[str, float]):
    """Return the project's scorer, imported as a new process would import it."""
    sys.path.insert(0, str(ROOT / "src"))
    try:
        from plant.linear import Linear
    finally:
        sys.path.pop(0)
    return Linear(SCHEMA, numbers)
