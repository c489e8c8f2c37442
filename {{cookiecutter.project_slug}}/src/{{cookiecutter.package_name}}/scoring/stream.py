"""Scores of readings as they come, piece by piece, the same as all at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .features import FEATURES, describe, rows_to_remember
from .scorer import Scorer


@dataclass(frozen=True)
class _Past:
    """The newest readings of a sensor, ascending in time, and what they scored."""

    times: np.ndarray
    values: np.ndarray
    scores: np.ndarray


_NOTHING = _Past(np.zeros(0, "datetime64[ns]"), np.zeros(0), np.zeros(0))


class Stream:
    """Scores readings and remembers of each sensor what the features of the next ones need.

    A reading that repeats sensor, time and value of an earlier one gets its score. ``late`` counts
    the readings that came after a later one of their sensor: they are scored by what is remembered
    from before their time. ``unknown`` names the sensors that the model does not know.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._past: dict[str, _Past] = {}
        self.late = 0
        self.unknown: set[str] = set()

    def score(
        self,
        sensors: Sequence[str],
        times: np.ndarray,
        values: np.ndarray,
        *,
        remember: bool = True,
    ) -> np.ndarray:
        """Score the next readings.

        Parameters
        ----------
        sensors
            The sensor of each reading, length ``n``.
        times
            Shape ``(n,)``, ``datetime64``.
        values
            Shape ``(n,)``, temperatures in the unit of training.
        remember
            Whether more are to come.

        Returns
        -------
        Shape ``(n,)``: 0 is usual, above 1 an anomaly, NaN of a sensor the model does not know.
        """
        times = times.astype("datetime64[ns]")
        by_sensor = _by_sensor(sensors)
        known = by_sensor.keys() & self._scorer.profiles.keys()
        self.unknown |= by_sensor.keys() - known
        pieces = [
            _Piece(sensor, np.array(rows), self._past.get(sensor, _NOTHING), times, values)
            for sensor, rows in by_sensor.items()
            if sensor in known
        ]
        standard = [
            self._scorer.standardise(p.sensor, p.features(self._scorer.settings)) for p in pieces
        ]
        judged = self._scorer.judge(np.concatenate([*standard, np.empty((0, len(FEATURES)))]))
        scores, done = np.full(len(values), np.nan), 0
        for piece in pieces:
            piece.take(judged[done : done + piece.fresh])
            done += piece.fresh
            scores[piece.rows] = piece.scores_in_order()
            if remember:
                self._remember(piece)
        return scores

    def _remember(self, piece: "_Piece") -> None:
        self.late += piece.late
        halflife = self._scorer.settings["seasonal_halflife_days"]
        keep = slice(len(piece.times) - rows_to_remember(piece.times, halflife), None)
        past = _Past(piece.times[keep], piece.values[keep], piece.scores[keep])
        self._past[piece.sensor] = past


class _Piece:
    """The next readings of one sensor, set into the order of time among those before them."""

    def __init__(
        self, sensor: str, rows: np.ndarray, past: _Past, times: np.ndarray, values: np.ndarray
    ) -> None:
        self.sensor, self.rows = sensor, rows
        self._remembered = len(past.times)
        self.times = np.concatenate([past.times, times[rows]])
        self.values = np.concatenate([past.values, values[rows]])
        self.scores = np.concatenate([past.scores, np.zeros(len(rows))])
        self.late = 0
        self._is_fresh: slice | np.ndarray = slice(self._remembered, None)
        self._place: slice | np.ndarray = self._is_fresh  # of each reading, or of its twin
        # What is remembered is in order and has no twins; most often the next readings only go on.
        if not (self.times[1:] > self.times[:-1]).all():
            self._put_in_order()
        self.fresh = len(self.scores[self._is_fresh])

    def _put_in_order(self) -> None:
        remembered, times = self._remembered, self.times
        self.late = int((times < np.maximum.accumulate(times))[remembered:].sum())
        order = np.argsort(times, kind="stable")
        twin = _twins(times, self.values)
        distinct = order[twin[order] == order]
        place = np.empty(len(times), np.int64)
        place[distinct] = np.arange(len(distinct))
        self._place = place[twin][remembered:]
        self._is_fresh = distinct >= remembered
        self.times, self.values = times[distinct], self.values[distinct]
        self.scores = self.scores[distinct]

    def features(self, settings: Mapping[str, float]) -> np.ndarray:
        """Describe the readings that have no score yet."""
        return describe(self.times, self.values, **settings)[self._is_fresh]

    def take(self, scores: np.ndarray) -> None:
        """Keep the scores of those readings."""
        self.scores[self._is_fresh] = scores

    def scores_in_order(self) -> np.ndarray:
        """Return the score of each reading in the order it came."""
        return self.scores[self._place]


def _by_sensor(sensors: Sequence[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row, sensor in enumerate(sensors):
        found.setdefault(sensor, []).append(row)
    return found


def _twins(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Find for each reading the first one of the same time and value: itself, most often."""
    rows = np.arange(len(times))
    order = np.lexsort((rows, values, times))
    same = (np.diff(times[order]) == np.timedelta64(0)) & (np.diff(values[order]) == 0)
    first = np.concatenate([[True], ~same])[: len(rows)]
    twin = np.empty(len(rows), np.int64)
    twin[order] = order[np.maximum.accumulate(np.where(first, rows, 0))]
    return twin
