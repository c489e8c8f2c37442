"""Predict the energy of a plant's units from their load and pressure."""

import hashlib
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd

FEATURES = ["load", "pressure"]


def clean(raw: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any]]:
    clean = raw.dropna().reset_index(drop=True)
    digest = hashlib.sha256(clean.to_csv(index=False).encode()).hexdigest()
    return clean, {"rows": len(clean), "fingerprint": digest}


def split(hours: pd.DataFrame, train_fraction: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = int(len(hours) * train_fraction)
    return hours.iloc[:rows], hours.iloc[rows:]


def fit(train: pd.DataFrame, model: dict[str, Any]) -> Any:
    module, name = model["estimator"].rsplit(".", 1)
    estimator = getattr(import_module(module), name)(**model["arguments"])
    estimator.fit(train[FEATURES], train["energy"])
    estimator.input_example = train[FEATURES].head(3).reset_index(drop=True)
    return estimator


def predict(model: Any, test: pd.DataFrame) -> pd.DataFrame:
    # rounded: the last bit of BLAS results depends on the memory address of an array
    return test.assign(prediction=np.round(model.predict(test[FEATURES]), 9))


def compare(
    model: Any, champion: Any, train: pd.DataFrame, test: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, Any]]:
    rows = {"challenger": model.predict(test[FEATURES])}
    if champion.model is not None:
        rows["champion"] = champion.model.predict(test[FEATURES])
    rows["mean"] = np.full(len(test), train["energy"].mean())
    table = {
        name: _measure(test["energy"].to_numpy(), predicted) for name, predicted in rows.items()
    }
    compared = {"version": champion.version, "problem": champion.problem, "incomparable": None}
    return pd.DataFrame.from_dict(table, orient="index").rename_axis("model"), compared


def _measure(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    error = predicted - true
    return {
        "r2": round(float(1 - (error**2).sum() / ((true - true.mean()) ** 2).sum()), 9),
        "rmse": round(float(np.sqrt((error**2).mean())), 9),
    }


def summarise(comparison: pd.DataFrame) -> dict[str, float]:
    return {str(name): float(value) for name, value in comparison.loc["challenger"].items()}


def decide(
    comparison: pd.DataFrame, compared: dict[str, Any], gate: dict[str, Any]
) -> dict[str, Any]:
    from kedro_azure_mlops.registry.gate import decide as decide_by_rules

    return decide_by_rules(comparison, compared, gate)


def report(cleaning: dict[str, Any], metrics: dict[str, float], gate: dict[str, Any]) -> str:
    verdict = "PASSED" if gate["passed"] else "REFUSED"
    return f"{cleaning['rows']} rows\nHeld out: r2 {metrics['r2']:.2f}\nGate: {verdict}"


def score_new(champion: Any, new: pd.DataFrame) -> pd.DataFrame:
    return new.assign(
        prediction=champion.model.predict(new[FEATURES]), model_version=champion.version
    )
