"""A small model of two sensors, and requests about them."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from {{ cookiecutter.package_name }}.detector import Detector, fit_detector
from {{ cookiecutter.package_name }}.features import build_features
from {{ cookiecutter.package_name }}.models import save_detector
from {{ cookiecutter.package_name }}.parameters import (
    DetectorParameters,
    FeatureParameters,
)

from operation.tests.helpers import series

FEATURE_PARAMETERS = FeatureParameters(gap_steps=6, std_floor=0.02, seasonal_halflife_days=3)
DETECTOR_PARAMETERS = DetectorParameters(
    n_estimators=10, max_samples=64, contamination=0.01, refit_every=None, seed=0
)
LIMITS = (-100.0, 400.0)


def readings(rows: int = 600) -> pd.DataFrame:
    """Readings of the sensors ``hall`` and ``7``, taken in turn; two of them are faults."""
    hall, seven = series(rows), series(rows, sensor="7", seed=1)
    hall.loc[rows - 40, "temperature"] += 15
    seven.loc[rows - 20, "temperature"] -= 15
    both = pd.concat([hall, seven]).sort_values("timestamp", kind="stable")
    return both.reset_index(drop=True)


def small_detector() -> Detector:
    """Fit a forest of ten trees on the oldest readings."""
    train = readings().head(800).sort_values(["sensor_id", "timestamp"], kind="stable")
    features = build_features(train, FEATURE_PARAMETERS)
    detector = fit_detector(features, DETECTOR_PARAMETERS, FEATURE_PARAMETERS)
    return Detector(**{**vars(detector), "limits": LIMITS})


def save_small_model(folder: Path) -> Path:
    """Write that model as a run does."""
    save_detector(small_detector(), folder)
    return folder


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Write readings as the rows of a request."""
    times = table["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S")
    return table.assign(timestamp=times).to_dict("records")


def body_of(table: pd.DataFrame) -> bytes:
    """Write readings as the body of a request."""
    return json.dumps({"data": rows_of(table)}).encode()
