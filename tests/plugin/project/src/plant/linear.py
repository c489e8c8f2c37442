"""A light scorer for models whose folder has their coefficients, in ``linear.json``."""

import json
from pathlib import Path

import numpy as np

from kedro_azure_mlops.contract import Columns, Schema, read_contract


class Linear:
    """Predicts the energy of each row, and flags rows above the threshold."""

    def __init__(self, schema: Schema, numbers: dict[str, float]) -> None:
        self.schema, self.numbers = schema, numbers

    def score(self, columns: Columns, wanted: np.ndarray | None = None) -> Columns:
        numbers = self.numbers
        energy = (
            numbers["load"] * columns["load"]
            + numbers["pressure"] * columns["pressure"]
            + numbers["base"]
        )
        high = (energy > numbers["threshold"]).astype(object)
        rows = slice(None) if wanted is None else wanted
        return {"energy": energy[rows], "is_high": high[rows]}


def load(folder: Path) -> Linear:
    """Load the scorer of a model folder."""
    numbers = json.loads((folder / "linear.json").read_text(encoding="utf-8"))
    return Linear(read_contract(folder).schema, numbers)
