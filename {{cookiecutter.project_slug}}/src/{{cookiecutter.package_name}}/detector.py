"""The anomaly detector: an isolation forest over causal features, with its threshold.

Method: Liu, Ting and Zhou, "Isolation Forest", ICDM 2008. The threshold is a quantile of the
training scores. Refits leave out the rows flagged since training, so no fault is learnt as usual.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .errors import ProjectError
from .features import FEATURES
from .parameters import DetectorParameters, FeatureParameters
from .scoring.scorer import Profile, Scorer

if TYPE_CHECKING:  # scikit-learn takes a second to import: only commands that fit or score pay it
    from sklearn.ensemble import IsolationForest

logger = logging.getLogger(__name__)

_FIRST_HISTORY = "7D"  # before it, a weekend or a time of day may be new and look like a fault
_FEWEST_ROWS = 50  # of a sensor; with fewer its median and spread say little
_MOSTLY = 0.5  # a sensor flagged more than this since the last refit has changed, not failed
_SMALLEST_MARGIN = 0.01  # of forest scores, which are between 0 and 1; readings all alike have none
_ROWS_A_THREAD = 10_000  # scikit-learn scores with one thread; fewer rows are not worth another
_LIMITS = (-10_000.0, 10_000.0)  # of temperatures, where nobody gives closer ones
_SMALLEST_SCALE = 1e-3  # keeps a sensor that never changed in training from dividing by zero


@dataclass(frozen=True)
class Detector:
    """A fitted forest with what it takes to score any sensor it was trained on.

    ``centre`` and ``threshold`` are raw forest scores: the median of the training scores and the
    score above which a row is an anomaly. ``profiles`` holds a row a sensor with enough history
    and, for each feature, its usual value (``centre``) and spread (``scale``) in training.
    ``limits`` are the readings between which a sensor can measure.
    """

    forest: IsolationForest
    centre: float
    threshold: float
    profiles: pd.DataFrame
    feature_parameters: FeatureParameters
    limits: tuple[float, float] = _LIMITS

    def score_samples(self, features: pd.DataFrame) -> np.ndarray:
        """Score rows of ``build_features``: 0 is usual, above 1 is an anomaly.

        Returns
        -------
        One score a row, shape ``(n,)``, without unit, comparable between fits. A sensor with too
        little training has no usual value to be compared with and scores 0.
        """
        standard = standardise(features, self.profiles).to_numpy()
        return np.nan_to_num(self.scorer().judge(standard))

    def scorer(self) -> Scorer:
        """Return what scores readings without tables, as it is served."""
        return Scorer(
            forest=self._raw_scores,
            centre=self.centre,
            threshold=self.threshold,
            profiles={
                str(sensor): Profile(row["centre"].to_numpy(), row["scale"].to_numpy())
                for sensor, row in self.profiles.iterrows()
            },
            settings=self.feature_parameters.model_dump(),
            limits=self.limits,
        )

    def _raw_scores(self, standard: np.ndarray) -> np.ndarray:
        """Score standardised features by the forest alone, on all cores."""
        rows = pd.DataFrame(standard, columns=FEATURES)
        threads = min(os.cpu_count() or 1, len(rows) // _ROWS_A_THREAD)
        if threads < 2:
            return -self.forest.score_samples(rows)
        size = -(-len(rows) // threads)
        parts = [rows.iloc[start : start + size] for start in range(0, len(rows), size)]
        with ThreadPoolExecutor(threads) as pool:
            return -np.concatenate(list(pool.map(self.forest.score_samples, parts)))

    def unknown_sensors(self, features: pd.DataFrame) -> list[str]:
        """Name the sensors of these rows that training saw too little of to know them."""
        return sorted(set(features["sensor_id"]) - set(self.profiles.index))


def fit_detector(
    train: pd.DataFrame,
    parameters: DetectorParameters,
    feature_parameters: FeatureParameters,
    earlier_scores: np.ndarray | None = None,
) -> Detector:
    """Fit the forest and set its threshold at the ``1 - contamination`` quantile of the scores.

    Parameters
    ----------
    train
        Rows of ``build_features``, at least 50 of one sensor.
    earlier_scores
        For a refit: what these rows scored when they came, shape ``(n,)``, 0 for rows to be
        trusted. The forest does not learn rows that were flagged. The threshold looks at the
        weakest of them only, as many as ``contamination`` expects: with all of them one long fault
        would raise it for good, with none of them it would fall at every refit.

    Raises
    ------
    ProjectError
        If no sensor has enough rows to learn from.
    """
    scores = np.zeros(len(train)) if earlier_scores is None else earlier_scores
    profiles = _profile(train[scores <= 1])
    learn = train[(scores <= 1) & train["sensor_id"].isin(profiles.index)]
    if learn.empty:
        raise ProjectError(
            f"No sensor has the {_FEWEST_ROWS} training readings that it takes to learn what is "
            "usual. Give a larger train_rows or train_fraction."
        )
    from sklearn.ensemble import IsolationForest

    # scikit-learn's own contamination would score every row inside fit, nine times as slow.
    forest = IsolationForest(
        n_estimators=parameters.n_estimators,
        max_samples=min(parameters.max_samples, len(learn)),
        random_state=parameters.seed,
    ).fit(standardise(learn, profiles))
    judge = standardise(train[_without_strong_alarms(scores, parameters.contamination)], profiles)
    raw = -forest.score_samples(judge.dropna())
    centre, threshold = np.quantile(raw, [0.5, 1 - parameters.contamination])
    threshold = max(threshold, centre + _SMALLEST_MARGIN)
    forest.offset_ = -threshold  # so that forest.predict() agrees with score_samples() > 1
    return Detector(forest, float(centre), float(threshold), profiles, feature_parameters)


def _without_strong_alarms(scores: np.ndarray, contamination: float) -> np.ndarray:
    """Keep unflagged rows and the weakest flagged ones: booleans, shape ``(n,)``."""
    flagged = np.flatnonzero(scores > 1)
    judged_so_far = np.count_nonzero(scores)
    expected = int(np.ceil(contamination * judged_so_far))
    keep = scores <= 1
    keep[flagged[np.argsort(scores[flagged])[:expected]]] = True
    return keep


def score_forward(
    features: pd.DataFrame,
    train_until: pd.Timestamp,
    detector: Detector,
    parameters: DetectorParameters,
) -> pd.Series:
    """Score every row by a detector that had seen earlier rows only.

    Rows from ``train_until`` on are scored by ``detector``, which is refitted every
    ``refit_every`` on all that came before, without the rows flagged since training, unless a
    sensor was flagged most of the time: then it has changed and is learnt anew. Rows before
    it are scored by detectors fitted on the history up to then, from the end of the first week on
    and each time it has doubled; the rows before have no history to be judged by and score 0.

    Parameters
    ----------
    features
        Rows of ``build_features``, any order.

    Returns
    -------
    Scores as of ``Detector.score_samples``, on the index of ``features``.
    """
    ordered = features.sort_values("timestamp", kind="stable")
    times = ordered["timestamp"].to_numpy()
    split = int(np.searchsorted(times, train_until.to_datetime64()))
    cuts = _early_cuts(times, split, parameters) + _refit_cuts(times, split, parameters)
    scores = np.zeros(len(ordered))
    trusted = np.zeros(len(ordered))  # scores that keep rows out of a refit; 0 lets them in
    for start, stop in zip(cuts, [*cuts[1:], len(ordered)], strict=True):
        if start == split:
            current = detector
        else:
            current = fit_detector(
                ordered.iloc[:start], parameters, detector.feature_parameters, trusted[:start]
            )
            logger.info("Refitted at %s on %d rows", ordered["timestamp"].iloc[start], start)
        scores[start:stop] = current.score_samples(ordered.iloc[start:stop])
        if start >= split:
            trusted[start:stop] = _forgive_what_changed(
                ordered.iloc[start:stop], scores[start:stop]
            )
    return pd.Series(scores, ordered.index).reindex(features.index)


def _forgive_what_changed(rows: pd.DataFrame, scores: np.ndarray) -> np.ndarray:
    """Set the scores of sensors that were flagged most of the time to 0, to learn them anew.

    Left out for good, the rows after a lasting change would be flagged for good.
    """
    flagged = pd.Series(scores > 1, rows.index).groupby(rows["sensor_id"]).transform("mean")
    return np.where(flagged > _MOSTLY, 0.0, scores)


def standardise(features: pd.DataFrame, profiles: pd.DataFrame) -> pd.DataFrame:
    """Express features as distances from their sensor's usual value, in its usual spreads.

    Returns
    -------
    The columns of ``FEATURES``, without unit; rows of sensors without a profile are NaN.
    """
    profile = profiles.reindex(features["sensor_id"])
    return (features[FEATURES] - profile["centre"].to_numpy()) / profile["scale"].to_numpy()


def _profile(features: pd.DataFrame) -> pd.DataFrame:
    """Find the median and interquartile range of each feature of each sensor with enough rows."""
    enough = features.groupby("sensor_id")["sensor_id"].transform("size") >= _FEWEST_ROWS
    by_sensor = features[enough].groupby("sensor_id")[FEATURES]
    spread = by_sensor.quantile(0.75) - by_sensor.quantile(0.25)
    return pd.concat(
        {"centre": by_sensor.median(), "scale": spread.clip(lower=_SMALLEST_SCALE)}, axis=1
    )


def _early_cuts(times: np.ndarray, split: int, parameters: DetectorParameters) -> list[int]:
    """List the rows before the split at which history is long enough, then has doubled."""
    cuts = []
    cut = max(_after(times, 0, _FIRST_HISTORY), _at_new_time(times, parameters.max_samples))
    while cut < split:
        cuts.append(cut)
        cut = max(_at_new_time(times, 2 * cut), _after(times, cut, parameters.refit_every))
    return cuts


def _refit_cuts(times: np.ndarray, split: int, parameters: DetectorParameters) -> list[int]:
    """List the split and the rows after it at which the detector is refitted."""
    cuts = []
    cut = split
    while cut < len(times):
        cuts.append(cut)
        cut = _after(times, cut, parameters.refit_every)
    return cuts


def _after(times: np.ndarray, cut: int, span: str | None) -> int:
    """Find the first row at least ``span`` after row ``cut``; the end where nothing is refitted."""
    if span is None:
        return len(times)
    return int(np.searchsorted(times, times[cut] + pd.Timedelta(span).to_timedelta64()))


def _at_new_time(times: np.ndarray, row: int) -> int:
    """Move a cut on to where a new time begins, so that sensors read together stay together."""
    return int(np.searchsorted(times, times[row - 1], "right")) if row < len(times) else row
