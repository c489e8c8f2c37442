"""Shapley values as the package shap computes them, to compare ours with.

    python -m venv /tmp/shap && /tmp/shap/bin/pip install shap==0.51.0
    /tmp/shap/bin/python tests/plugin/shap_reference.py

writes ``shap_reference.json`` beside this file again, with the versions that wrote it. shap needs
numba, some 600 MB together, so it is in no lock: the tests read the file, and ask shap itself where
it is installed.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_suffix(".json")
ROWS = 4


def interactions(x: np.ndarray) -> np.ndarray:
    """Seven features that act together; the last one has no effect."""
    return x[:, 0] * x[:, 1] + np.maximum(x[:, 2], x[:, 3]) * x[:, 4] - 2.0 * (x[:, 5] > x[:, 0])


def steps(x: np.ndarray) -> np.ndarray:
    """Five features in small trees, as forests have them."""
    first = np.where(x[:, 0] > 0.2, np.where(x[:, 1] > -0.3, 3.0, 1.0), -1.0)
    second = np.where(x[:, 2] + x[:, 3] > 0, 0.5, np.where(x[:, 4] > 0.1, 2.0, -2.0))
    return first + second


def smooth(x: np.ndarray) -> np.ndarray:
    """As many features as can be explained."""
    return np.tanh(x[:, :4].sum(1)) + np.exp(-(x[:, 4:8] ** 2).sum(1)) + x[:, 8:].prod(1)


GAMES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "interactions": (interactions, 7),
    "steps": (steps, 5),
    "smooth": (smooth, 12),
}


def rows_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Make rows of a game and a baseline for each."""
    draw = np.random.default_rng([len(name), GAMES[name][1]])
    values, baseline = draw.normal(size=(2, ROWS, GAMES[name][1]))
    return values.round(3), baseline.round(3)


def values_of_shap(
    function: Callable[[np.ndarray], np.ndarray], values: np.ndarray, baseline: np.ndarray
) -> np.ndarray:
    """Ask shap's exact explainer, with the baseline of each row as its only background row."""
    import shap

    return np.concatenate(
        [
            shap.explainers.Exact(function, shap.maskers.Independent(usual[None]))(row[None]).values
            for row, usual in zip(values, baseline, strict=True)
        ]
    )


def main() -> None:
    """Write the file."""
    import shap

    found: dict[str, Any] = {"made_by": {"shap": shap.__version__, "numpy": np.__version__}}
    for name, (function, _) in GAMES.items():
        values, baseline = rows_of(name)
        found[name] = {
            "values": values.tolist(),
            "baseline": baseline.tolist(),
            "shapley_values": values_of_shap(function, values, baseline).tolist(),
        }
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
