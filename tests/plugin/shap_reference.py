"""Shapley values computed by the package shap, for comparison with those of the plugin.

    python -m venv /tmp/shap && /tmp/shap/bin/pip install shap==0.51.0
    /tmp/shap/bin/python tests/plugin/shap_reference.py

updates ``shap_reference.json`` in this folder and records the package versions in it. shap and
numba need some 600 MB, so no lock contains them: the tests read the file, and call shap only if it
is installed.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_suffix(".json")
ROWS = 4


def interactions(x: np.ndarray) -> np.ndarray:
    """Compute a function with interactions of six features; the seventh has no effect."""
    return x[:, 0] * x[:, 1] + np.maximum(x[:, 2], x[:, 3]) * x[:, 4] - 2.0 * (x[:, 5] > x[:, 0])


def steps(x: np.ndarray) -> np.ndarray:
    """Compute a sum of two small trees on five features."""
    first = np.where(x[:, 0] > 0.2, np.where(x[:, 1] > -0.3, 3.0, 1.0), -1.0)
    second = np.where(x[:, 2] + x[:, 3] > 0, 0.5, np.where(x[:, 4] > 0.1, 2.0, -2.0))
    return first + second


def smooth(x: np.ndarray) -> np.ndarray:
    """Compute a smooth function of twelve features, the most that can be explained."""
    return np.tanh(x[:, :4].sum(1)) + np.exp(-(x[:, 4:8] ** 2).sum(1)) + x[:, 8:].prod(1)


GAMES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "interactions": (interactions, 7),
    "steps": (steps, 5),
    "smooth": (smooth, 12),
}


def rows_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Draw rows of a game and a baseline for each."""
    draw = np.random.default_rng([len(name), GAMES[name][1]])
    values, baseline = draw.normal(size=(2, ROWS, GAMES[name][1]))
    return values.round(3), baseline.round(3)


def shap_values(
    function: Callable[[np.ndarray], np.ndarray], values: np.ndarray, baseline: np.ndarray
) -> np.ndarray:
    """Call shap's exact explainer, with each row's baseline as the only background row."""
    import shap

    return np.concatenate(
        [
            shap.explainers.Exact(function, shap.maskers.Independent(usual[None]))(row[None]).values
            for row, usual in zip(values, baseline, strict=True)
        ]
    )


def main() -> None:
    """Write the reference file."""
    import shap

    reference: dict[str, Any] = {"made_by": {"shap": shap.__version__, "numpy": np.__version__}}
    for name, (function, _) in GAMES.items():
        values, baseline = rows_of(name)
        reference[name] = {
            "values": values.tolist(),
            "baseline": baseline.tolist(),
            "shapley_values": shap_values(function, values, baseline).tolist(),
        }
    FILE.write_text(json.dumps(reference, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
