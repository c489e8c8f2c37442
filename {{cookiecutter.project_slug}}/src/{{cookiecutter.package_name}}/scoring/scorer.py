"""A model that scores: its forest, what is usual for each sensor, and the threshold."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .digest import digest
from .features import FEATURES
from .forest import MODEL, Forest, load_forest

logger = logging.getLogger(__name__)

DESCRIPTION = "detector.json"
LARGEST_DIFFERENCE = 1e-9  # of raw scores, between the trained and the exported forest


class UnusableModelError(ValueError):
    """A folder holds no model that this code can score with."""


class OtherFeaturesError(UnusableModelError):
    """A model was trained on features that this code does not make."""


class Profile(NamedTuple):
    """The usual value and the usual spread of a sensor's features, each of shape ``(7,)``."""

    centre: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class Scorer:
    """Scores standardised features: 0 is usual, above 1 is an anomaly, NaN is not known.

    ``centre`` and ``threshold`` are raw forest scores: what becomes 0 and what becomes 1.
    ``limits`` are the readings between which a sensor can measure.
    """

    forest: Forest
    centre: float
    threshold: float
    profiles: Mapping[str, Profile]
    settings: Mapping[str, float]
    limits: tuple[float, float]
    digest: str = ""

    def standardise(self, sensor: str, features: np.ndarray) -> np.ndarray:
        """Express features of a sensor that training knew in its usual spreads."""
        profile = self.profiles[sensor]
        return (features - profile.centre) / profile.scale

    def judge(self, standard: np.ndarray) -> np.ndarray:
        """Score standardised features, shape ``(n, 7)``; NaN for rows that have no profile."""
        unknown = np.isnan(standard[:, 0])
        if not unknown.any():
            return self._scores(standard)
        scores = np.full(len(standard), np.nan)
        if not unknown.all():
            scores[~unknown] = self._scores(standard[~unknown])
        return scores

    def _scores(self, standard: np.ndarray) -> np.ndarray:
        if len(standard) == 0:
            return np.zeros(0)
        return (self.forest(standard) - self.centre) / (self.threshold - self.centre)


def load_scorer(folder: Path, wanted: str | None = None) -> Scorer:
    """Load the exported model of a folder and let its forest pass its own test.

    Parameters
    ----------
    wanted
        The digest that the folder must have, looked at before anything of it is used.

    Raises
    ------
    OtherFeaturesError
        If the model was trained on other features.
    UnusableModelError
        If the folder is not whole or not the one that is wanted, or its forest does not give the
        scores of the trained one.
    """
    found = digest(folder)
    if wanted and found != wanted:
        raise UnusableModelError(
            f"the model has the digest {found}, but {wanted} is asked for: its files are not those "
            "that were registered"
        )
    if not (folder / MODEL).is_file():
        raise UnusableModelError(
            f"{folder} has no {MODEL}: the model could not be exported when it was trained, the "
            "log of its run says why."
        )
    description = read_description(folder)
    try:
        forest = load_forest(folder, description["expected_path_length"])
        refuse_other_scores(forest, description["self_test"])
        return Scorer(
            forest=forest,
            centre=description["centre"],
            threshold=description["threshold"],
            profiles={name: _profile(p) for name, p in description["profiles"].items()},
            settings=description["feature_parameters"],
            limits=(description["limits"][0], description["limits"][1]),
            digest=found,
        )
    except UnusableModelError:
        raise
    except Exception as error:  # those of ONNX Runtime have no name in common
        raise UnusableModelError(f"{folder} holds no model that can be used: {error!r}") from error


def read_description(folder: Path) -> dict[str, Any]:
    """Read what a model folder says of its detector, besides the forest.

    Raises
    ------
    OtherFeaturesError
        If the model was trained on other features.
    UnusableModelError
        If the file is not there or cannot be read.
    """
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        features = description["features"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnusableModelError(f"{folder}/{DESCRIPTION} cannot be read: {error!r}") from error
    if features != FEATURES:
        raise OtherFeaturesError(f"was trained on other features: {features}")
    return description


def refuse_other_scores(forest: Forest, self_test: Mapping[str, Any]) -> None:
    """Refuse a forest that does not give the raw scores which the trained one gave.

    Raises
    ------
    UnusableModelError
        If they differ by more than ``LARGEST_DIFFERENCE``.
    """
    found = forest(np.array(self_test["standard"]))
    difference = float(np.abs(found - np.array(self_test["raw"])).max())
    logger.info(
        "The exported forest differs from the trained one by %.1e at most, on %d rows",
        *(difference, len(found)),
    )
    if not difference <= LARGEST_DIFFERENCE:
        raise UnusableModelError(
            f"the exported forest differs from the trained one by {difference:.1e}, more than "
            f"{LARGEST_DIFFERENCE:.0e}: export the model again, with this machine's versions"
        )


def _profile(parts: Mapping[str, list[float]]) -> Profile:
    return Profile(np.array(parts["centre"]), np.array(parts["scale"]))
