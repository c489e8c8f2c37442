"""Train the detector and score readings with it."""

import logging

import numpy as np
import pandas as pd
from kedro_azure_mlops.error_codes import find_error_codes
from kedro_azure_mlops.history import scores_of_twins

from ...detector import Detector
from ...evaluation import Events, as_scored
from ...features import READING
from ...parameters import DetectorParameters, FeatureParameters, ValidationParameters
from ...training import fit_detector, judge_forward

logger = logging.getLogger(__name__)


def train_detector(
    train: pd.DataFrame,
    labels: pd.DataFrame,
    parameters: DetectorParameters,
    feature_parameters: FeatureParameters,
    validation: ValidationParameters,
) -> Detector:
    """Fit the detector on the training rows that are not labelled as faults.

    Its requests have the limits of the training data.
    """
    limits = (validation.minimum, validation.maximum)
    usual = Events(labels).leave_out(train)
    return fit_detector(usual, parameters, feature_parameters, limits=limits)


def score_readings(
    clean: pd.DataFrame,
    features: pd.DataFrame,
    test: pd.DataFrame,
    detector: Detector,
    parameters: DetectorParameters,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score every reading by a detector that knew only earlier ones, refitted as configured.

    Returns
    -------
    Two frames of ``timestamp, sensor_id, temperature, score, is_anomaly``. The first has every line
    of the input in its order, scored as described; the second the held-out readings, scored by
    this detector alone, beside their score in the first, ``refitted``, and what refits learn from,
    ``judged``. The score is 0 for a usual reading and above 1 for an anomaly, as of the error codes
    that were kept out of training; it is missing where nothing could be known yet.
    """
    if unknown := detector.unknown_sensors(test):
        logger.warning("Not in the training rows, not scored until a refit: %s", ", ".join(unknown))
    split = test["timestamp"].min()
    forward = judge_forward(features, split, detector, parameters)
    scores = forward["score"]
    train = features[features["timestamp"] < split]
    codes = find_error_codes(train["temperature"], train["sensor_id"])
    scores[train.index[codes]] = np.fmax(scores[train.index[codes]], detector.outside(train[codes]))
    if unscored := int(scores.isna().sum()):
        logger.warning("%s readings have too little history to be scored", f"{unscored:,}")
    every_line = as_scored(clean, scores_of_twins(scores, clean, READING, clean["repeated"]))
    held_out = as_scored(test, detector.score_samples(test))
    seen = {"refitted": scores.loc[test.index], "judged": forward.loc[test.index, "judged"]}
    return every_line.sort_index(), held_out.assign(**seen)
