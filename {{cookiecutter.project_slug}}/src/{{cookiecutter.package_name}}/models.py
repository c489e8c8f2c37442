"""Detectors on disk and in the registry: MLflow model folders in skops format, no pickle.

A folder holds the forest twice, for scikit-learn and exported to ONNX; ``detector.json`` holds the
threshold, the profiles of the sensors and the feature parameters, so a model is one folder and
nothing else.
"""

import json
import logging
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.io import AbstractDataset, DatasetError

from .detector import Detector
from .errors import first_line
from .features import FEATURES
from .onnx_export import ExportError, expected_path_length, to_onnx
from .parameters import FeatureParameters
from .scoring.digest import digest
from .scoring.forest import MODEL
from .scoring.scorer import (
    DESCRIPTION,
    OtherFeaturesError,
    UnusableModelError,
    read_description,
)
from .tracking.registry import CHAMPION, find_champion

__all__ = [
    "TRUSTED_TYPES",
    "Champion",
    "ModelFolder",
    "RegisteredChampion",
    "digest",
    "load_detector",
    "save_detector",
]

logger = logging.getLogger(__name__)

# The only type of the forest that skops does not know; never the list stored in the model itself.
TRUSTED_TYPES = ["sklearn.tree._tree.Tree"]
_REQUIREMENTS = ("mlflow", "numpy", "scikit-learn", "skops")
_TEST_ROWS = 64  # standardised features whose scores a loaded model must give again


class ModelFolder(AbstractDataset[Detector, Detector]):
    """A detector as an MLflow model folder that is either whole or not there."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self.filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> Detector:
        """Read the detector."""
        return load_detector(self.filepath)

    def save(self, data: Detector) -> None:
        """Write the folder beside its place, then put it there; fill a folder that is given."""
        if self.filepath.is_dir() and not any(self.filepath.iterdir()):
            self._fill(data)
        else:
            self._replace(data)

    def _fill(self, data: Detector) -> None:
        """Write into an empty folder: a job's output, perhaps a mount that cannot be renamed."""
        try:
            save_detector(data, self.filepath)
        except BaseException:
            for half_written in self.filepath.iterdir():
                if half_written.is_dir():
                    shutil.rmtree(half_written, ignore_errors=True)
                else:
                    half_written.unlink()
            raise

    def _replace(self, data: Detector) -> None:
        new = self.filepath.with_name(f"{self.filepath.name}.new")
        old = self.filepath.with_name(f"{self.filepath.name}.old")
        shutil.rmtree(new, ignore_errors=True)
        save_detector(data, new)
        if self.filepath.exists():  # else an earlier save died half-way, and `old` is all there is
            shutil.rmtree(old, ignore_errors=True)
            self.filepath.rename(old)
        new.rename(self.filepath)
        shutil.rmtree(old, ignore_errors=True)

    def _exists(self) -> bool:
        return (self.filepath / "MLmodel").is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self.filepath}


@dataclass(frozen=True)
class Champion:
    """The model in service: none yet, a detector with its version, or why it could not be had.

    ``problem`` is a fault to be mended; ``incomparable`` says that the champion is sound, but that
    this code or these readings are too different to compare it with.
    """

    detector: Detector | None = None
    version: str | None = None
    problem: str | None = None
    incomparable: str | None = None


class RegisteredChampion(AbstractDataset[None, Champion]):
    """The registered model in service, from the tracking server of the run."""

    def __init__(self, *, name: str, metadata: dict[str, Any] | None = None) -> None:
        self._name = name
        self.metadata = metadata

    def load(self) -> Champion:
        """Fetch the champion; a server that fails or changed files are its ``problem``."""
        import mlflow

        try:
            found = find_champion(mlflow.MlflowClient(), self._name)
        except (mlflow.MlflowException, OSError) as error:
            return Champion(problem=f"the tracking server did not answer: {first_line(error)}")
        return Champion() if found is None else self._fetch(found)

    def _fetch(self, found: Any) -> Champion:
        import mlflow

        version, uri = str(found.version), f"models:/{self._name}/{found.version}"
        try:
            folder = Path(mlflow.artifacts.download_artifacts(uri))
        except (mlflow.MlflowException, OSError) as error:
            problem = f"the files of version {version} cannot be fetched: {first_line(error)}"
            return Champion(version=version, problem=problem)
        if digest(folder) != found.tags.get("digest"):
            problem = f"the files of version {version} are not those that were registered"
            return Champion(version=version, problem=problem)
        try:
            return Champion(load_detector(folder), version)
        except OtherFeaturesError as error:
            return Champion(version=version, incomparable=f"version {version} {error}")
        except DatasetError as error:
            return Champion(version=version, problem=first_line(error))

    def save(self, data: None) -> None:
        """Refuse: the alias is moved by the gate, not by a node."""
        raise DatasetError(
            "The champion is set by the gate at the end of a run; it cannot be saved."
        )

    def _describe(self) -> dict[str, Any]:
        return {"name": self._name, "alias": CHAMPION}


def save_detector(detector: Detector, folder: Path) -> None:
    """Write a detector as an MLflow model folder with signature and input example."""
    import mlflow.sklearn
    from mlflow.models import infer_signature

    usual_reading = pd.DataFrame([[0.0] * len(FEATURES)], columns=FEATURES)
    mlflow.sklearn.save_model(
        detector.forest,
        folder,
        signature=infer_signature(usual_reading, detector.forest.predict(usual_reading)),
        input_example=usual_reading,
        serialization_format="skops",
        skops_trusted_types=TRUSTED_TYPES,
        conda_env=_conda_env(),
    )
    description = json.dumps(_describe(detector), indent=1, allow_nan=False)
    (folder / DESCRIPTION).write_text(description + "\n", encoding="utf-8", newline="\n")
    try:
        (folder / MODEL).write_bytes(to_onnx(detector.forest))
    except ExportError as error:
        logger.warning("This model is not exported to ONNX and cannot be served: %s", error)


def load_detector(folder: Path) -> Detector:
    """Read a folder of ``save_detector``.

    Raises
    ------
    OtherFeaturesError
        If the model was trained on other features.
    DatasetError
        If the folder holds no detector of this project, or types that we do not trust.
    """
    import skops.io

    try:
        description = read_description(folder)
        if not (folder / "MLmodel").is_file():
            raise UnusableModelError("there is no MLmodel")
        forest = skops.io.load(folder / "model.skops", trusted=TRUSTED_TYPES)
        return _from_description(forest, description)
    except OtherFeaturesError:
        raise
    except Exception as error:
        raise DatasetError(f"{folder} holds no detector that can be loaded: {error}") from error


def _conda_env() -> dict[str, Any]:
    """Name what the model needs; to infer it MLflow would take ten seconds."""
    pins = [f"{name}=={version(name)}" for name in _REQUIREMENTS]
    return {
        "channels": ["conda-forge"],
        "dependencies": [f"python={platform.python_version()}", "pip", {"pip": pins}],
    }


def _describe(detector: Detector) -> dict[str, Any]:
    """Say all but the forest in JSON, with rows on which a loaded forest is tried."""
    standard = np.random.default_rng(0).normal(0, 3, (_TEST_ROWS, len(FEATURES))).round(3)
    raw = -detector.forest.score_samples(pd.DataFrame(standard, columns=FEATURES))
    return {
        "features": FEATURES,
        "centre": detector.centre,
        "threshold": detector.threshold,
        "limits": list(detector.limits),
        "feature_parameters": detector.feature_parameters.model_dump(),
        "expected_path_length": expected_path_length(detector.forest),
        "profiles": {
            str(sensor): {part: profile[part].tolist() for part in ("centre", "scale")}
            for sensor, profile in detector.profiles.iterrows()
        },
        "self_test": {"standard": standard.tolist(), "raw": raw.tolist()},
    }


def _from_description(forest: Any, description: dict[str, Any]) -> Detector:
    profiles = pd.concat(
        {
            part: pd.DataFrame.from_dict(
                {sensor: profile[part] for sensor, profile in description["profiles"].items()},
                orient="index",
                columns=FEATURES,
            )
            for part in ("centre", "scale")
        },
        axis=1,
    )
    low, high = description["limits"]
    return Detector(
        forest=forest,
        centre=description["centre"],
        threshold=description["threshold"],
        profiles=profiles,
        feature_parameters=FeatureParameters(**description["feature_parameters"]),
        limits=(low, high),
    )
