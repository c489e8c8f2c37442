"""An isolation forest as a sum of trees in ONNX, for ``score.load``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from kedro_azure_mlops.onnx_trees import ExportError, Tree, tree_ensemble

from .score import DESCRIPTION, MODEL, average_path_length

if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest

    from .detector import Detector


def export(detector: "Detector", folder: Path) -> None:
    """Write the forest and the rest of a detector for ``score.load``.

    Raises
    ------
    ExportError
        If its estimator is no fitted isolation forest; nothing is written then.
    """
    model = to_onnx(detector.estimator)
    description = {
        "features": detector.features,
        "centre": detector.centre,
        "threshold": detector.threshold,
        "limits": detector.limits,
        "settings": detector.settings,
        "expected_path_length": expected_path_length(detector.estimator),
        "profiles": {sensor: values.tolist() for sensor, values in detector.profiles.items()},
        "ranges": {sensor: values.tolist() for sensor, values in detector.ranges.items()},
    }
    text = json.dumps(description, indent=1, allow_nan=False)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8", newline="\n")
    (folder / MODEL).write_bytes(model)


def to_onnx(forest: "IsolationForest") -> bytes:
    """Write a fitted isolation forest as an ONNX file, which ``ExportedForest`` runs.

    Its output is the sum over the trees of how deep a row falls, the average path length of the
    rows that share its leaf included.

    Raises
    ------
    ExportError
        If it is no fitted isolation forest.
    """
    from sklearn.ensemble import IsolationForest

    if not (isinstance(forest, IsolationForest) and hasattr(forest, "estimators_")):
        raise ExportError(f"this {type(forest).__name__} is not a fitted isolation forest")
    pairs = zip(forest.estimators_, forest.estimators_features_, strict=True)
    trees = [_as_tree(fitted.tree_, columns) for fitted, columns in pairs]
    return tree_ensemble(trees, forest.n_features_in_)


def expected_path_length(forest: "IsolationForest") -> float:
    """Return what the path lengths of a row are divided by: that of all trees, on average."""
    rows = average_path_length(np.array([forest.max_samples_]))[0]
    return float(len(forest.estimators_) * rows)


def _as_tree(tree: Any, columns: np.ndarray) -> Tree:
    features = columns[np.maximum(tree.feature, 0)]  # that of a leaf is negative
    depth = tree.compute_node_depths() + average_path_length(tree.n_node_samples) - 1.0
    return Tree(tree.children_left, tree.children_right, features, tree.threshold, weight=depth)
