"""Walk forward over the history with each retraining schedule, and measure the results."""

import logging

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from kedro_azure_mlops.errors import OperationError

from ...evaluation import Events, as_scored, baseline_scores
from ...parameters import DetectorParameters, EvaluationParameters, FeatureParameters, Span
from ...training import fit_detector, score_forward

logger = logging.getLogger(__name__)


class BacktestParameters(BaseModel):
    """The retraining schedules to compare, and the gain that is worth more retraining."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start_fraction: float = Field(gt=0, lt=1)
    refit_every: list[Span | None] = Field(min_length=1)
    period: Span
    worthwhile: float = Field(ge=0)


def schedules(
    parameters: BacktestParameters, detector: DetectorParameters
) -> dict[str, str | None]:
    """Return the cadences to compare and the configured one, from least to most frequent.

    Returns
    -------
    The cadence of each schedule, such as ``{"never": None, "every_7_days": "7D"}``; equal
    lengths of time, however written, are one schedule.
    """
    cadences = [*parameters.refit_every, detector.refit_every]
    ordered = sorted(cadences, key=_length, reverse=True)
    return {schedule_name(every): every for every in ordered}


def schedule_name(every: str | None) -> str:
    """Return the name of a schedule, such as ``every_7_days``."""
    if every is None:
        return "never"
    span = pd.Timedelta(every)
    for unit, length in {"days": "1D", "hours": "1h", "minutes": "1min"}.items():
        if span % pd.Timedelta(length) == pd.Timedelta(0):
            return f"every_{span // pd.Timedelta(length)}_{unit}"
    return f"every_{span.total_seconds():g}_seconds"


def _length(every: str | None) -> pd.Timedelta:
    return pd.Timedelta.max if every is None else pd.Timedelta(every)


def score_by_schedule(
    features: pd.DataFrame,
    detector_parameters: DetectorParameters,
    feature_parameters: FeatureParameters,
    parameters: BacktestParameters,
) -> pd.DataFrame:
    """Score the rows after the start of the history, once for each schedule and baseline.

    Every score comes from a detector that has seen earlier rows only.

    Returns
    -------
    ``detector, timestamp, sensor_id, temperature, score, is_anomaly``; the schedules first, from
    the least frequent refits to the most frequent, then the baselines.

    Raises
    ------
    OperationError
        If there is nothing to learn from before the start, or nothing to score after it.
    """
    first, last = features["timestamp"].min(), features["timestamp"].max()
    before = features["timestamp"] < first + parameters.start_fraction * (last - first)
    if not before.any():
        raise OperationError(
            f"All readings have the time {first}: there is no history to walk over."
        )
    train, test = features[before], features[~before]
    start = test["timestamp"].min()
    try:
        detector = fit_detector(train, detector_parameters, feature_parameters)
    except OperationError as error:
        raise OperationError(
            f"Before {start} there are {len(train)} readings, too few of each sensor to learn what "
            "is usual. Give a larger backtest.start_fraction."
        ) from error
    scored = {}
    for name, every in schedules(parameters, detector_parameters).items():
        logger.info("Walking forward from %s, refit: %s", start, name.replace("_", " "))
        schedule = detector_parameters.model_copy(update={"refit_every": every})
        scores = score_forward(features, start, detector, schedule)
        scored[name] = as_scored(test, scores[~before].to_numpy())
    p = detector_parameters
    scored |= baseline_scores(train, test, p.contamination, p.seed)
    return pd.concat(scored, names=["detector"]).reset_index("detector").reset_index(drop=True)


def measure_schedules(
    scores: pd.DataFrame,
    labels: pd.DataFrame,
    detector_parameters: DetectorParameters,
    evaluation: EvaluationParameters,
    parameters: BacktestParameters,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure every schedule and baseline, overall and period by period.

    Returns
    -------
    One row per detector, and one per detector and period (``start``, ``end``): the metrics of
    ``Events.metrics``. The first also counts the ``refits`` of each schedule; in the second, if
    there are any labels, a period without a fault has false alarms too.
    """
    cadences = schedules(parameters, detector_parameters)
    events, hold = Events(labels), pd.Timedelta(evaluation.alarm_hold)
    overall, by_period = {}, []
    for name, rows in scores.groupby("detector", sort=False):
        refits = _count_refits(rows["timestamp"], cadences[name]) if name in cadences else np.nan
        overall[name] = {"refits": refits} | events.metrics(rows, hold)
        for (start, end), part in _periods(rows, parameters.period):
            metrics = events.metrics(part, hold)
            if "roc_auc" in overall[name]:
                metrics["false_alarms_per_week"] = _false_alarms(part, events, hold, metrics)
            by_period.append({"detector": name, "start": start, "end": end} | metrics)
    table = pd.DataFrame.from_dict(overall, orient="index").rename_axis("detector")
    return table, pd.DataFrame(by_period)


def _false_alarms(
    rows: pd.DataFrame, events: Events, hold: pd.Timedelta, metrics: dict[str, float]
) -> float:
    onsets = events.onsets(rows, hold)
    false = ~events.echoing(hold).contain(onsets)
    return metrics["alarms_per_week"] * float(false.mean()) if len(onsets) else 0.0


def _count_refits(times: pd.Series, every: str | None) -> int:
    """Count how often a schedule refits after its start, as ``score_forward`` does."""
    if every is None:
        return 0
    ordered, span = np.sort(times.to_numpy()), pd.Timedelta(every).to_timedelta64()
    refits, row = -1, 0  # the first fit is not a refit
    while row < len(ordered):
        refits += 1
        row = int(np.searchsorted(ordered, ordered[row] + span))
    return refits


def _periods(
    rows: pd.DataFrame, period: str
) -> list[tuple[tuple[pd.Timestamp, pd.Timestamp], pd.DataFrame]]:
    """Split rows into periods; a remainder shorter than half a period joins the last one.

    Periods without rows are left out.
    """
    start, end, span = rows["timestamp"].min(), rows["timestamp"].max(), pd.Timedelta(period)
    count = max(int(np.floor((end - start) / span + 0.5)), 1)
    number = ((rows["timestamp"] - start) // span).clip(upper=count - 1)
    return [
        ((start + at * span, end if at == count - 1 else start + (at + 1) * span), part)
        for at, part in rows.groupby(number)
    ]


def collect_backtest_metrics(backtest: pd.DataFrame) -> dict[str, float]:
    """Return the numbers by name, such as ``backtest.every_7_days.average_precision``."""
    return {
        f"backtest.{detector}.{metric}": float(value)
        for detector, row in backtest.iterrows()
        for metric, value in row.items()
        if np.isfinite(value)
    }
