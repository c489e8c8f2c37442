"""Fit detectors, and score a history as it would have been scored when it came.

The estimator of ``parameters.yml`` learns causal features in the usual spreads of each sensor; by
default it is an isolation forest (Liu, Ting and Zhou, ICDM 2008). The threshold is a quantile of
the training scores. Refits leave out the rows flagged since training: no fault is taken for usual.
No fit sees error codes that look like readings, as `kedro_azure_mlops.error_codes` finds them.
"""

import logging
import warnings
from typing import Any

import numpy as np
import pandas as pd
from kedro_azure_mlops.error_codes import find_error_codes
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.judging import beyond, usual_range

from .detector import LIMITS, Detector, raw_scores, standardise
from .features import ENOUGH, FEATURES, READING, build_features
from .parameters import DetectorParameters, FeatureParameters

logger = logging.getLogger(__name__)

_FIRST_HISTORY = "7D"  # before it, a weekend or a time of day may be new and look like a fault
_FIRST_ROWS = 256
_FEWEST_ROWS = 50  # of a sensor; with fewer its median and spread say little
_MOSTLY = 0.5  # a sensor flagged more than this since the last refit has changed, not failed
_SMALLEST_MARGIN = 0.01  # of raw scores between median and threshold; readings all alike have none
_ABSURD = 1.7  # so far outside the range, no refit takes a reading for usual
_SMALLEST_SCALE = 1e-3  # keeps a sensor that never changed in training from dividing by zero


def fit_detector(
    train: pd.DataFrame,
    parameters: DetectorParameters,
    feature_parameters: FeatureParameters,
    earlier_scores: np.ndarray | None = None,
    limits: tuple[float, float] = LIMITS,
) -> Detector:
    """Fit the estimator and set the threshold at the ``1 - contamination`` quantile of its scores.

    Parameters
    ----------
    train
        Rows of ``build_features``, at least 50 of one sensor.
    earlier_scores
        For a refit: what these rows scored when they came, shape ``(n,)``, 0 for rows to be
        trusted. The estimator does not see rows that were flagged. The threshold looks at the
        weakest of them only, as many as ``contamination`` expects: with all of them one long fault
        would raise it for good, with none of them it would fall at every refit.
    limits
        The temperatures between which a sensor can measure, for the schema of requests.

    Raises
    ------
    OperationError
        If no sensor has enough rows to learn from, or the estimator cannot be fitted.
    """
    scores = np.zeros(len(train)) if earlier_scores is None else earlier_scores
    codes = find_error_codes(train["temperature"], train["sensor_id"])
    if codes.any():  # nor may they be in what other readings are compared with
        scores = scores[~codes]
        train = build_features(train.loc[~codes, READING], feature_parameters)
    profiles = _profile(train[scores <= 1])
    learn = train[(scores <= 1) & train["sensor_id"].isin(list(profiles))]
    if learn.empty:
        raise OperationError(
            f"No sensor has the {_FEWEST_ROWS} training readings that it takes to learn what is "
            "usual. Give a larger train_rows or train_fraction."
        )
    estimator = _fitted(parameters, standardise(learn, profiles))
    trusted = train[_without_strong_alarms(scores, parameters.contamination)]
    if trusted[ENOUGH].any():  # no other row will be judged
        trusted = trusted[trusted[ENOUGH]]
    judge = standardise(trusted, profiles)
    known = ~np.isnan(judge[:, 0])
    raw = raw_scores(estimator, judge[known])
    centre, threshold = np.quantile(raw, [0.5, 1 - parameters.contamination])
    threshold = max(threshold, centre + _SMALLEST_MARGIN)
    settings = feature_parameters.model_dump()
    ranges = {
        str(sensor): usual_range(rows["temperature"], rows["usual"], settings["std_floor"])
        for sensor, rows in trusted[known].assign(usual=raw <= threshold).groupby("sensor_id")
    }
    return Detector(estimator, centre, threshold, profiles, ranges, settings, limits)


def _fitted(parameters: DetectorParameters, standard: np.ndarray) -> Any:
    """Fit the estimator on rows without labels."""
    # scikit-learn's own contamination would score every row inside fit, nine times as slow
    estimator = parameters.new_estimator()
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            return estimator.fit(standard)
    except (ValueError, TypeError) as error:
        raise OperationError(
            f"detector.estimator={parameters.estimator} cannot be fitted on {len(standard)} "
            f"readings: {error}"
        ) from error


def score_forward(
    features: pd.DataFrame,
    train_until: pd.Timestamp,
    detector: Detector,
    parameters: DetectorParameters,
) -> pd.Series:
    """Score every row by a detector that had seen earlier rows only.

    Rows from ``train_until`` on are scored by ``detector``, which is refitted every
    ``refit_every`` on all that came before, without the rows flagged since training, unless a
    sensor was flagged most of the time: then it has changed, and the change is learned. Rows before
    ``train_until`` are scored by detectors fitted on the history up to then, from the end of the
    first week on and each time it has doubled; rows before that have no history to be judged by and
    no score.

    Parameters
    ----------
    features
        Rows of ``build_features``, any order.

    Returns
    -------
    Scores as of ``Detector.score_samples``, on the index of ``features``.
    """
    feature_parameters = FeatureParameters(**detector.settings)
    ordered = features.sort_values("timestamp", kind="stable")
    times = ordered["timestamp"].to_numpy()
    split = int(np.searchsorted(times, train_until.to_datetime64()))
    cuts = _cuts(times, split, parameters.refit_every)
    scores = np.full(len(ordered), np.nan)
    trusted = np.zeros(len(ordered))  # scores that keep rows out of a refit; 0 lets them in
    for start, stop in zip(cuts, [*cuts[1:], len(ordered)], strict=True):
        if start == split:
            current = detector
        else:
            earlier = ordered.iloc[:start]
            current = fit_detector(earlier, parameters, feature_parameters, trusted[:start])
            logger.info("Refitted at %s on %d rows", ordered["timestamp"].iloc[start], start)
        rows = ordered.iloc[start:stop]
        by_model, outside = current.model_scores(rows), current.outside(rows)
        scores[start:stop] = beyond(by_model, outside)
        if start >= split:
            judged = np.where(outside > _ABSURD, outside, np.nan_to_num(by_model))
            trusted[start:stop] = _forgive_what_changed(rows, judged)
    return pd.Series(scores, ordered.index).reindex(features.index)


def _without_strong_alarms(scores: np.ndarray, contamination: float) -> np.ndarray:
    """Keep unflagged rows and the weakest flagged ones: booleans, shape ``(n,)``."""
    flagged = np.flatnonzero(scores > 1)
    judged_so_far = np.count_nonzero(scores)
    expected = int(np.ceil(contamination * judged_so_far))
    keep = scores <= 1
    keep[flagged[np.argsort(scores[flagged])[:expected]]] = True
    return keep


def _forgive_what_changed(rows: pd.DataFrame, scores: np.ndarray) -> np.ndarray:
    """Set the scores of sensors that were flagged most of the time to 0.

    Left out of all refits, the rows after a lasting change would be flagged for good.
    """
    flagged = pd.Series(scores > 1, rows.index).groupby(rows["sensor_id"]).transform("mean")
    return np.where(flagged > _MOSTLY, 0.0, scores)


def _profile(features: pd.DataFrame) -> dict[str, np.ndarray]:
    """Find median and interquartile range of each feature of each sensor with enough rows."""
    enough = features.groupby("sensor_id")["sensor_id"].transform("size") >= _FEWEST_ROWS
    by_sensor = features[enough].groupby("sensor_id")[FEATURES]
    spread = by_sensor.quantile(0.75) - by_sensor.quantile(0.25)
    centres, scales = by_sensor.median(), spread.clip(lower=_SMALLEST_SCALE)
    both = np.stack([centres.to_numpy(float), scales.to_numpy(float)], axis=1)
    return dict(zip(map(str, centres.index), both, strict=True))


def _cuts(times: np.ndarray, split: int, refit_every: str | None) -> list[int]:
    """List the rows from which on another detector scores.

    Before the split these are where history is long enough, then has doubled; then the split and
    every refit after it.
    """
    cuts = []
    cut = max(_after(times, 0, _FIRST_HISTORY), _at_new_time(times, _FIRST_ROWS))
    while cut < split:
        cuts.append(cut)
        cut = max(_at_new_time(times, 2 * cut), _after(times, cut, refit_every))
    cut = split
    while cut < len(times):
        cuts.append(cut)
        cut = _after(times, cut, refit_every)
    return cuts


def _after(times: np.ndarray, cut: int, span: str | None) -> int:
    """Find the first row at least ``span`` after row ``cut``; the end where nothing is refitted."""
    if span is None:
        return len(times)
    return int(np.searchsorted(times, times[cut] + pd.Timedelta(span).to_timedelta64()))


def _at_new_time(times: np.ndarray, row: int) -> int:
    """Move a cut on to where a new time begins, so that sensors read together stay together."""
    return int(np.searchsorted(times, times[row - 1], "right")) if row < len(times) else row
