"""Fit detectors, and score a history as it would have been scored when it came.

The estimator of ``parameters.yml`` learns causal features in the usual spreads of each sensor; by
default it is an isolation forest (Liu, Ting and Zhou, ICDM 2008). The threshold is a quantile of
the training scores. Refits leave out the rows flagged since training: no fault is taken for usual.
No fit sees error codes that look like readings, as `kedro_azure_mlops.error_codes` finds them.

A fit looks at samples of bounded size, so a refit costs the same however long the history is.
"""

import logging
from itertools import pairwise

import numpy as np
import pandas as pd
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.estimators import fit
from kedro_azure_mlops.history import (
    ScoredPast,
    refit_cuts,
    robust_profiles,
    without_strong_alarms,
)
from kedro_azure_mlops.judging import beyond, outside_range
from kedro_azure_mlops.monitor.profile import reference_profile
from kedro_azure_mlops.progress import Progress

from .detector import LIMITS, Detector, raw_scores
from .evaluation import as_scored
from .features import ENOUGH, FEATURES, READING, can_be_judged, describe
from .parameters import DetectorParameters, FeatureParameters

logger = logging.getLogger(__name__)

_FIRST_HISTORY = "7D"  # before it, a weekend or a time of day may be new and look like a fault
_FIRST_ROWS = 256
_USUAL_REFIT = "7D"  # where there are no refits: the span in which a sensor has changed or failed
_FEWEST_ROWS = 50  # of a sensor; with fewer its median and spread say little
_MOST_ROWS = 50_000  # that estimator and threshold are fitted on; quantiles of the rest are close
_MOST_OF_SENSOR = 300  # rows that its profile is made of, at least, where it has as many
_SMALLEST_MARGIN = 0.01  # of raw scores between median and threshold; readings all alike have none
_SMALLEST_SCALE = 1e-3  # keeps a sensor that never changed in training from dividing by zero
_MOST_SCORED = 100_000  # rows whose scores the reference profile describes
_BLOCK = 500_000  # rows that are scored at a time


def fit_detector(
    train: pd.DataFrame,
    parameters: DetectorParameters,
    feature_parameters: FeatureParameters,
    limits: tuple[float, float] = LIMITS,
) -> Detector:
    """Fit the estimator and set the threshold at the ``1 - contamination`` quantile of its scores.

    Parameters
    ----------
    train
        Rows of ``build_features``, at least 50 of one sensor. Of more than 50,000 the estimator and
        the threshold see a seeded sample.
    limits
        The temperatures between which a sensor can measure, for the schema of requests.

    Raises
    ------
    OperationError
        If no sensor has enough rows to learn from, or the estimator cannot be fitted.
    """
    past = _Past(train, parameters, feature_parameters.model_dump(), limits)
    return _with_profile(past.fit(past.ends), past, train)


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
    return judge_forward(features, train_until, detector, parameters)["score"]


def judge_forward(
    features: pd.DataFrame,
    train_until: pd.Timestamp,
    detector: Detector,
    parameters: DetectorParameters,
) -> pd.DataFrame:
    """Score every row as ``score_forward``, and keep what a refit has to know of each.

    Returns
    -------
    ``score``, and ``judged``: above 1 where a fit would leave the row out by itself; missing before
    ``train_until``.
    """
    past = _Past(features, parameters, detector.settings, detector.limits)
    times = np.sort(past.times)
    split = int(np.searchsorted(times, train_until.to_datetime64()))
    cuts = refit_cuts(times, split, parameters.refit_every, _FIRST_HISTORY, _FIRST_ROWS)
    bounds = np.column_stack([past.bounds(times[cuts]), past.ends])
    scores = np.full(len(times), np.nan)
    progress = Progress("Scored", len(times) - cuts[0] if cuts else None, logger)
    for number, cut in enumerate(cuts):
        until, stops = bounds[:, number], bounds[:, number + 1]
        if cut == split:
            past.go_on_from_detector(detector, until)
            current = detector
        elif (until - past.starts).max() < _FEWEST_ROWS:
            continue  # nothing can be known yet of sensors that are read this seldom
        else:
            # before the split each fit is on its own; refits after it go on from the one before
            current = past.fit(until, current if cut > split else None)
            logger.info("Refitted at %s on %s rows", pd.Timestamp(times[cut]), f"{cut:,}")
        rows = past.between(until, stops)
        by_model, outside = past.score(rows, current, progress)
        scores[rows] = beyond(by_model, outside)
        if cut >= split:
            past.remember(rows, by_model, outside)
    found = {"score": past.as_given(scores), "judged": past.as_given(past.judged)}
    return pd.DataFrame(found, features.index)


def refit_on_all(
    features: pd.DataFrame,
    judged: np.ndarray,
    detector: Detector,
    parameters: DetectorParameters,
) -> Detector:
    """Fit the detector again on all rows, as ``score_forward`` would refit it after the last one.

    Left out are rows that were flagged when they came, unless their sensor was flagged most of the
    time, in a span of ``refit_every`` counted back from the newest row: then it has changed.

    Parameters
    ----------
    judged
        As of ``judge_forward`` with this detector, shape ``(n,)``.
    """
    past = _Past(features, parameters, detector.settings, detector.limits)
    judged = past.in_order(judged)
    span = pd.Timedelta(parameters.refit_every or _USUAL_REFIT).to_timedelta64()
    first, newest = past.times[~np.isnan(judged)].min(), past.times.max()
    cuts = newest - span * np.arange((newest - first) // span + 1, -1, -1)
    bounds = past.bounds(cuts)
    bounds[:, -1] = past.ends
    for start, stop in pairwise(bounds.T):
        rows = past.between(start, stop)
        past.remember(rows, judged[rows], np.zeros(len(rows)))
    return _with_profile(past.fit(past.ends), past, features)


def _with_profile(detector: Detector, past: "_Past", rows: pd.DataFrame) -> Detector:
    """Describe for monitoring what the detector has learned from, and how it scores that."""
    rows = rows[past.as_given(past.is_trusted(np.arange(len(rows))))]
    some = rows.sample(min(len(rows), _MOST_SCORED), random_state=0)
    scored = as_scored(some, detector.score_samples(some))[["score", "is_anomaly"]]
    detector.profile = reference_profile(rows[READING].join(scored), detector.schema)
    return detector


class _Past(ScoredPast):
    """Described readings, and which of them a fit may learn from."""

    def __init__(
        self,
        features: pd.DataFrame,
        parameters: DetectorParameters,
        settings: dict[str, float],
        limits: tuple[float, float],
    ) -> None:
        readings = (features[name].to_numpy() for name in ("sensor_id", "timestamp", "temperature"))
        super().__init__(*readings)
        self._parameters, self._settings, self._limits = parameters, settings, limits
        self._described = self.in_order(features[FEATURES].to_numpy(float))
        self._enough = self.in_order(features[ENOUGH].to_numpy(bool))
        self._learned = self._described, self._enough  # the same without error codes

    def fit(self, stops: np.ndarray, before: Detector | None = None) -> Detector:
        """Fit a detector on the rows before the bounds.

        The estimator does not see rows that were flagged when they came. The threshold looks at the
        weakest of them only, as many as ``contamination`` expects: with all of them one long fault
        would raise it for good, with none of them it would fall at every refit.

        Parameters
        ----------
        before
            The detector that has scored the newest of the rows, None where none has.
        """
        p, random = self._parameters, np.random.default_rng(self._parameters.seed)
        self._leave_out_codes(
            self.look_for_new_codes(stops) if before else self.look_for_codes(stops)
        )
        most = max(_MOST_OF_SENSOR, -(-_MOST_ROWS // max(len(self.names), 1)))
        at, is_row = self.sample_each(stops, most, random)
        is_row &= self.is_trusted(at)
        profiles = robust_profiles(self._learned[0], at, is_row, _FEWEST_ROWS, _SMALLEST_SCALE)
        chosen = self.sample(stops, _MOST_ROWS, random)
        chosen = chosen[~self.is_code[chosen]]
        standard, scores = self._standard(chosen, profiles), self.scores[chosen]
        known = ~np.isnan(standard[:, 0])
        learn = known & (scores <= 1)
        if not learn.any():
            raise OperationError(
                f"No sensor has the {_FEWEST_ROWS} training readings that it takes to learn what "
                "is usual. Give a longer training.window or a smaller training.holdout."
            )
        estimator = fit(p.new_estimator(), standard[learn], f"detector.estimator={p.estimator}")
        trusted = known & without_strong_alarms(scores, p.contamination)
        if (trusted & self._learned[1][chosen]).any():  # no other row will be judged
            trusted &= self._learned[1][chosen]
        raw = raw_scores(estimator, standard[trusted])
        centre, threshold = np.quantile(raw, [0.5, 1 - p.contamination])
        threshold = max(threshold, centre + _SMALLEST_MARGIN)

        def would_be_usual(rows: np.ndarray) -> np.ndarray:
            standard = self._standard(rows, profiles)
            is_usual = self._learned[1][rows] & ~np.isnan(standard[:, 0])
            if is_usual.any():
                is_usual[is_usual] = raw_scores(estimator, standard[is_usual]) <= threshold
            return is_usual

        flagged = chosen[trusted][raw > threshold]
        is_new = np.array([before is None or name not in before.profiles for name in self.names])
        smallest = self._settings["std_floor"]
        ranges = self.ranges(at, is_row, flagged, stops, is_new, would_be_usual, smallest)
        found = ~np.isnan(profiles[:, 0, 0])
        names = np.array(self.names)[found].tolist()
        by_name = (dict(zip(names, values[found], strict=True)) for values in (profiles, ranges))
        return Detector(estimator, centre, threshold, *by_name, self._settings, self._limits)

    def score(
        self, rows: np.ndarray, detector: Detector, progress: Progress
    ) -> tuple[np.ndarray, np.ndarray]:
        """Score rows by the estimator of a detector and by its ranges."""
        sensors = detector.numbers(self.names)
        by_model, outside = np.empty((2, len(rows)))
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            at, numbers = rows[part], sensors[self.series[rows[part]]]
            by_model[part] = detector.scores_of(self._described[at], self._enough[at], numbers)
            outside[part] = outside_range(self.values[at], detector.ranges_of(numbers))
            progress.advance(len(at))
        return by_model, outside

    def go_on_from_detector(self, detector: Detector, stops: np.ndarray) -> None:
        """Refit from now on as from a detector that was fitted on the rows before the bounds."""
        self._leave_out_codes(self.look_for_codes(stops))
        self.go_on_from(detector.ranges_of(detector.numbers(self.names)))

    def _leave_out_codes(self, sensors: list[int]) -> None:
        """Describe the readings of some sensors as if their error codes had not come."""
        if sensors and self._learned[0] is self._described:
            self._learned = self._described.copy(), self._enough.copy()
        for number in sensors:
            rows = np.arange(self.starts[number], self.ends[number])
            rows = rows[~self.is_code[rows]]
            times = self.times[rows]
            self._learned[0][rows] = describe(times, self.values[rows], **self._settings)
            self._learned[1][rows] = can_be_judged(times, self._settings["seasonal_halflife_days"])

    def _standard(self, rows: np.ndarray, profiles: np.ndarray) -> np.ndarray:
        centre, scale = profiles[self.series[rows]].swapaxes(0, 1)
        return np.asarray((self._learned[0][rows] - centre) / scale)
