"""The scorer that is served: ``load`` makes it from a model folder.

Endpoints, the local server, bundles and jobs all score by it. It is light to import: an exported
model needs numpy and ONNX Runtime, another one what it was trained with.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from kedro_azure_mlops.contract import UnusableModelError
from kedro_azure_mlops.onnx_trees import TreeSum

from .detector import Detector
from .features import FEATURES

MODEL, DESCRIPTION, STORED = "model.onnx", "detector.json", "model.skops"
# Types of other packages that your estimator holds, as `trusted` in the catalog has them.
TRUSTED: tuple[str, ...] = ()


def load(folder: Path) -> Detector:
    """Load the scorer of a model folder: the exported forest, else the stored model itself.

    Raises
    ------
    UnusableModelError
        If files are missing or the model was trained on other features.
    """
    detector = _exported(folder) if (folder / MODEL).is_file() else _stored(folder)
    if detector.features != FEATURES:
        raise UnusableModelError(f"it was trained on other features: {detector.features}")
    return detector


class ExportedForest:
    """An isolation forest as a sum of trees, run by ONNX Runtime: its scores are scikit-learn's."""

    def __init__(self, model: bytes, expected_path_length: float) -> None:
        self._path_length = TreeSum(model)
        self._expected = expected_path_length

    def score_samples(self, standard: np.ndarray) -> np.ndarray:
        """Score standardised features, shape ``(n, 7)``, as the trained forest does."""
        # equation 2 of Liu, Ting and Zhou, "Isolation Forest", ICDM 2008
        return -(2 ** (-self._path_length(standard) / self._expected))


def average_path_length(n: np.ndarray) -> np.ndarray:
    """Return the mean path length of a search in a random tree of ``n`` rows (their equation 1)."""
    rows = np.asarray(n, float)
    many = np.maximum(rows, 3.0)
    of_many = 2.0 * (np.log(many - 1.0) + np.euler_gamma) - 2.0 * (many - 1.0) / many
    return np.where(rows <= 1, 0.0, np.where(rows == 2, 1.0, of_many))


def _exported(folder: Path) -> Detector:
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        model = (folder / MODEL).read_bytes()
        detector = Detector(
            estimator=ExportedForest(model, description["expected_path_length"]),
            centre=description["centre"],
            threshold=description["threshold"],
            profiles={name: np.array(p) for name, p in description["profiles"].items()},
            ranges=description["ranges"],
            settings=description["settings"],
            limits=description["limits"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnusableModelError(f"{DESCRIPTION} or {MODEL} cannot be read: {error!r}") from error
    detector.features = description["features"]
    detector.engine = "the exported forest, by ONNX Runtime"
    return detector


def _stored(folder: Path) -> Detector:
    import skops.io
    from kedro_azure_mlops.serve.stored import TRUSTED_TYPES

    ours = f"{Detector.__module__}.{Detector.__name__}"
    try:
        found: Any = skops.io.load(folder / STORED, trusted=[*TRUSTED_TYPES, *TRUSTED, ours])
    except (OSError, TypeError, skops.io.exceptions.UntrustedTypesFoundException) as error:
        raise UnusableModelError(f"{STORED} cannot be read: {error}") from error
    if not isinstance(found, Detector):
        raise UnusableModelError(f"it is a {type(found).__name__}, and no detector of this project")
    return found
