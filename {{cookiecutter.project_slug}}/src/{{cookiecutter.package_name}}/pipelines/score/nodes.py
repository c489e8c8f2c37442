"""Score readings piece by piece, as an endpoint would score them with all their history."""

import logging
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from ...errors import ProjectError
from ...models import Champion
from ...parameters import ScoreParameters
from ...schemas import BadDataError, parse_times
from ...score import DECIMALS
from ...scoring.stream import Stream

logger = logging.getLogger(__name__)

# How much older than the newest reading of its sensor a reading may be: what the features of such
# a one look back on is remembered whole.
MOST_LATE = pd.Timedelta("12h")
_ROWS_BETWEEN_LINES = 500_000  # of the log: some seconds
_ROWS_SHOWN = 10


def choose_model(champion: Champion, trained: Champion, parameters: ScoreParameters) -> Champion:
    """Take the model in service, or the one of the last run if that is asked for.

    Raises
    ------
    ProjectError
        If there is none or it cannot be used: nothing else is scored with instead.
    """
    model, name = champion, "the champion"
    if parameters.model == "trained":
        model, name = trained, "the model of the last run"
    if model.detector is not None:
        return model
    if problem := model.problem or model.incomparable:
        raise ProjectError(f"Nothing was scored, {name} cannot be used: {problem}.")
    raise ProjectError(
        f"Nothing was scored: {name} is not there. Train and register one with `make run` (in this "
        "environment), or score with the model of the last run, whatever the gate said of it: "
        '--params "score.model=trained".'
    )


def score_new_readings(
    pieces: Iterable[pd.DataFrame], champion: Champion
) -> Iterator[pd.DataFrame]:
    """Score readings by a model that is not refitted, each by what its sensor did before it.

    How the readings are cut into pieces makes no difference to any score.

    Parameters
    ----------
    pieces
        Validated ``timestamp`` (text), ``sensor_id`` and ``temperature``, indexed by line. Several
        sensors may be mixed. The readings of a sensor come in the order of time, or at most twelve
        hours late.

    Returns
    -------
    For each piece, when it is asked for, ``timestamp, sensor_id, temperature, score, is_anomaly,
    model_version`` of its readings in their order; score and flag of a sensor that the model does
    not know are missing.

    Raises
    ------
    BadDataError
        If a reading is too late, with the first such rows.
    """
    # Not a generator itself: Kedro would save what those yield piece by piece.
    return _Scoring(champion).run(pieces)


class _Scoring:
    """What is remembered from piece to piece."""

    def __init__(self, champion: Champion) -> None:
        self._version = champion.version
        self._stream = Stream(champion.detector.scorer())
        self._newest = pd.Series(dtype="datetime64[ns]")  # by sensor
        self._rows = self._flagged = self._late = 0

    def run(self, pieces: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for piece in pieces:
            before = self._rows
            yield self._score(piece)
            if self._rows // _ROWS_BETWEEN_LINES > before // _ROWS_BETWEEN_LINES:
                logger.info("Scored %s readings", f"{self._rows:,}")
        logger.info(
            "Scored %s readings with model %s: %s flagged, %s late",
            *(f"{self._rows:,}", self._version, f"{self._flagged:,}", f"{self._late:,}"),
        )
        if unknown := sorted(self._stream.unknown):
            logger.warning("Not known to the model, not scored: %s", ", ".join(unknown))

    def _score(self, piece: pd.DataFrame) -> pd.DataFrame:
        readings = pd.DataFrame(
            {
                "timestamp": piece["timestamp"],
                "sensor_id": piece["sensor_id"].astype(str).str.strip(),
                "temperature": pd.to_numeric(piece["temperature"]).astype(float),
            }
        )
        times = parse_times(readings["timestamp"]).astype("datetime64[ns]")
        sensors, temperatures = (readings[c].to_numpy() for c in ("sensor_id", "temperature"))
        scores = np.full(len(piece), np.nan)
        for rows in self._in_order(piece, readings["sensor_id"], times):
            scores[rows] = self._stream.score(
                sensors[rows].tolist(), times.to_numpy()[rows], temperatures[rows]
            )
        flags = pd.array(scores > 1, dtype="Int64")
        flags[np.isnan(scores)] = pd.NA
        self._rows += len(piece)
        self._flagged += int((scores > 1).sum())
        scored = readings.assign(
            score=scores.round(DECIMALS), is_anomaly=flags, model_version=self._version
        )
        scored.attrs = dict(piece.attrs)
        return scored

    def _in_order(
        self, piece: pd.DataFrame, sensors: pd.Series, times: pd.Series
    ) -> Iterator[np.ndarray]:
        """Cut a piece where a late reading comes, which tells its past nothing: row numbers."""
        earlier = sensors.map(self._newest)
        newest = times.groupby(sensors).cummax().where(lambda own: ~(own < earlier), earlier)
        late = times < newest
        too_late = newest - times > MOST_LATE
        if too_late.any():
            raise BadDataError(_refusal(piece, sensors, newest, too_late))
        self._late += int(late.sum())
        latest = newest.groupby(sensors).last()
        self._newest = latest.combine_first(self._newest)
        if not late.any():
            yield np.arange(len(piece))
            return
        turn = late.groupby(sensors).cumsum().to_numpy()
        for number in range(int(turn.max()) + 1):
            yield np.flatnonzero(turn == number)


def _refusal(
    piece: pd.DataFrame, sensors: pd.Series, newest: pd.Series, too_late: pd.Series
) -> str:
    rows = piece[["timestamp", "sensor_id", "temperature"]].assign(sensor_id=sensors, newest=newest)
    shown = rows[too_late].head(_ROWS_SHOWN).rename_axis("line").reset_index()
    return (
        f"{piece.attrs.get('source', 'the data')}: {too_late.sum():,} of {len(piece):,} readings "
        f"are more than {MOST_LATE / pd.Timedelta('1h'):g} hours older than one of their sensor "
        "that came before (newest): what they should be compared with is no longer remembered. "
        "Sort the readings by time; the files of a folder are read in the order of their names.\n\n"
        f"The first offending rows:\n{shown.to_string(index=False)}"
    )
