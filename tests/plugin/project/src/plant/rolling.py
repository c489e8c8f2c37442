"""A scorer with history: compares the load of a unit with its load in the hours before."""

from pathlib import Path
from typing import Any

import numpy as np

from kedro_azure_mlops.contract import Column, Columns, History, Schema, UnusableModelError

WEIGHTS = "rolling.json"
ROWS = 3  # in a mean at most, if they are of the last day
_DAY = np.timedelta64(1, "D")


class RollingLoad:
    """Computes the deviation from the mean load of the last three rows of a day, and flags it.

    Unknown units have no answer.
    """

    engine = "the rolling mean"

    def __init__(self, limit: float, units: list[str], lowest: float = 0.0) -> None:
        self.limit, self.units = limit, set(units)
        self.schema = Schema(
            inputs=(
                Column("time", "datetime"),
                Column("unit", "string"),
                Column("load", "double", minimum=lowest, maximum=200.0),
            ),
            outputs=(
                Column("deviation", "double", nullable=True, decimals=6),
                Column("is_far", "boolean", nullable=True),
            ),
            history=History(order="time", by="unit", days=1, rows=ROWS - 1),
            echo=("time", "unit"),
            flag="is_far",
        )

    def score(self, columns: Columns, wanted: np.ndarray | None = None) -> dict[str, np.ndarray]:
        times, units, load = (columns[name] for name in ("time", "unit", "load"))
        deviation = np.full(len(load), np.nan)
        before: dict[str, list[int]] = {}
        for row, unit in enumerate(units.tolist()):
            rows = before.setdefault(unit, [])
            rows.append(row)
            last = [other for other in rows[-ROWS:] if times[row] - times[other] <= _DAY]
            if unit in self.units:
                deviation[row] = load[row] - load[last].mean()
        if len(load) and load.max() > 190:
            raise ValueError("the loads are too large for a mean")
        flags = np.array([None if np.isnan(v) else abs(v) > self.limit for v in deviation], object)
        outputs: dict[str, Any] = {"deviation": deviation, "is_far": flags}
        return outputs if wanted is None else {name: part[wanted] for name, part in outputs.items()}


def load(folder: Path) -> RollingLoad:
    """Load the scorer of a model folder."""
    from .weights import read_weights  # imported late, like heavy modules

    try:
        return RollingLoad(**read_weights(folder / WEIGHTS))
    except (OSError, ValueError) as error:
        raise UnusableModelError(f"{WEIGHTS} cannot be read: {error}") from error
