"""What a detector is, in a few characters: the same for the same trees, thresholds and profiles."""

import hashlib
import json

import numpy as np

from .detector import Detector


def fingerprint(detector: Detector) -> str:
    """Compute the SHA-256 of all that decides about a detector's scores.

    Unlike the digest of a model folder it is the same for two runs that learn the same, and it can
    be computed from a detector in memory: the gate names with it which model it has judged.
    """
    total = hashlib.sha256()
    for tree, features in zip(
        detector.forest.estimators_, detector.forest.estimators_features_, strict=True
    ):
        nodes = tree.tree_
        for part in (
            features,
            nodes.children_left,
            nodes.children_right,
            nodes.feature,
            nodes.threshold,
            nodes.n_node_samples,
        ):
            total.update(np.ascontiguousarray(part).tobytes())
    rest = {
        "max_samples": int(detector.forest.max_samples_),
        "offset": float(detector.forest.offset_),
        "centre": float(detector.centre),
        "threshold": float(detector.threshold),
        "limits": [float(limit) for limit in detector.limits],
        "features": detector.feature_parameters.model_dump(),
        "sensors": [str(sensor) for sensor in detector.profiles.index],
        "profiles": detector.profiles[["centre", "scale"]].to_numpy(float).tolist(),
    }
    total.update(json.dumps(rest, sort_keys=True).encode())
    return total.hexdigest()
