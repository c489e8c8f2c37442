"""Compare detectors on the same held-out rows, refit what the gate passed, and report in words."""

import re
from typing import Any

import numpy as np
import pandas as pd
from kedro_azure_mlops.models import Champion, measure_cost
from kedro_azure_mlops.monitor.steady import share_agreeing, share_flagged, steady_series

from ...detector import Detector
from ...evaluation import Events, as_scored, baseline_scores
from ...features import FEATURES, build_features
from ...parameters import (
    DetectorParameters,
    EvaluationParameters,
    FeatureParameters,
    TrainingParameters,
)
from ...training import refit_on_all

_COLUMNS = {
    "roc_auc": "ROC AUC",
    "average_precision": "avg precision",
    "event_recall": "event recall",
    "false_alarms_per_week": "false alarms/wk",
    "alarms_per_week": "alarms/wk",
    "share_flagged": "flagged",
}
_MOST_SHOWN, _MOST_TRACKED = 8, 20  # sensors in the report, and as metrics of MLflow
_TRACKED = re.compile(r"[\w.: -]+")
_NEWEST = pd.Timedelta("7D")
_LABELLED = ("average_precision", "event_recall", "false_alarms_per_week")
_COUNTED = {
    "repeated": "repeated times",
    "sent_twice": "of them sent twice",
    "unordered": "out of order",
    "jittered": "jittered steps",
    "error_codes": "error codes",
}


def compare_detectors(
    clean: pd.DataFrame,
    train: pd.DataFrame,
    test: pd.DataFrame,
    held_out: pd.DataFrame,
    labels: pd.DataFrame,
    detector: Detector,
    candidate: Detector,
    champion: Champion,
    detector_parameters: DetectorParameters,
    parameters: EvaluationParameters,
) -> tuple[pd.DataFrame, dict[str, str | None]]:
    """Measure the challenger, the champion and the baselines on the held-out rows.

    Returns
    -------
    One row a detector, a column a metric of ``Events.metrics``; and which champion was compared
    or why none could be. ``challenger`` is the model as it was trained; ``challenger_refitted`` is
    the same with its refits, which is what the scores of this run show. The challenger's
    ``steady_share_flagged`` is of rows outside labelled faults, of sensors that did not drift;
    ``newest_share_flagged`` is what the candidate flags of the newest week. Where no held-out row
    lies in a labelled fault, challenger and champion are also measured on the last period that has
    labels, as long as the held-out one: both may have learned from it.
    """
    p = detector_parameters
    scored = {"challenger": held_out}
    if p.refit_every:
        scored["challenger_refitted"] = as_scored(test, held_out["refitted"].to_numpy())
    why = _why_incomparable(champion, test)
    rival = None if why else champion.model
    if rival is not None:
        rows = _features_for(rival, detector, clean, test)
        scored["champion"] = as_scored(rows, rival.score_samples(rows))
    scored |= baseline_scores(train, test, p.contamination, p.seed)
    events, hold = Events(labels), pd.Timedelta(parameters.alarm_hold)
    measured = {name: events.metrics(rows, hold) for name, rows in scored.items()}
    steady = steady_series(detector, test)
    usual = events.leave_out(held_out[held_out["sensor_id"].isin(steady)])
    measured["challenger"] |= {
        "steady_share_flagged": share_flagged(usual, "is_anomaly"),
        "newest_share_flagged": share_flagged(_newest_week(test, candidate), "is_anomaly"),
    }
    if rival is not None and not events.contain(test).any():
        models = {"challenger": detector, "champion": rival}
        known = sorted({*steady}.intersection(steady_series(rival, test)))
        for name, numbers in _on_last_labels(clean, test, events, hold, models, known).items():
            measured[name] |= numbers
        both, among = (held_out, scored["champion"]), held_out["sensor_id"].isin(known)
        measured["challenger"]["agreement"] = share_agreeing(*both, "is_anomaly", among)
    compared = {"version": champion.version, "problem": champion.problem, "incomparable": why}
    return pd.DataFrame.from_dict(measured, orient="index").rename_axis("detector"), compared


def measure_slices(
    held_out: pd.DataFrame,
    labels: pd.DataFrame,
    test: pd.DataFrame,
    candidate: Detector,
    parameters: EvaluationParameters,
) -> pd.DataFrame:
    """Measure the challenger on each sensor by itself, and the candidate on its newest week."""
    table = Events(labels).metrics_by_series(held_out, pd.Timedelta(parameters.alarm_hold))
    newest = _newest_week(test, candidate).groupby("sensor_id")["is_anomaly"]
    return table.assign(newest_share_flagged=newest.agg(lambda flags: (flags == 1).mean()))


def collect_metrics(comparison: pd.DataFrame, slices: pd.DataFrame) -> dict[str, float]:
    """Name each number for tracking: the challenger's as they are, others behind their name.

    Of few sensors there are also ``slice.<sensor>.<metric>``, if MLflow takes such a name.
    """
    few = slices if len(slices) <= _MOST_TRACKED else slices[:0]
    few = few[few.index.map(lambda name: bool(_TRACKED.fullmatch(name)))]
    return {
        str(metric) if name == "challenger" else f"{name}.{metric}": float(value)
        for name, row in [*comparison.iterrows(), *few.rename("slice.{}".format).iterrows()]
        for metric, value in row.items()
        if np.isfinite(value)
    }


def cost_of_serving(detector: Detector, test: pd.DataFrame) -> dict[str, float]:
    """Measure the milliseconds for one reading with scikit-learn, and the size that is served."""
    reading = test.iloc[[0]]
    return measure_cost(detector, lambda: detector.score_samples(reading))


def refit_challenger(
    challenger: Detector,
    features: pd.DataFrame,
    held_out: pd.DataFrame,
    labels: pd.DataFrame,
    parameters: DetectorParameters,
    training: TrainingParameters,
) -> Detector:
    """Fit the challenger again on all rows: the candidate, registered if the challenger passes."""
    if not training.refit_on_all_after_gate:
        return challenger
    kept = Events(labels).leave_out(features)
    judged = held_out["judged"].reindex(kept.index).to_numpy()
    return refit_on_all(kept, judged, challenger, parameters)


def choose_model(
    verdict: dict[str, Any], challenger: Detector, candidate: Detector
) -> tuple[Detector, dict[str, Any]]:
    """Return the model of this run, and the gate's decision about it."""
    return candidate if verdict["passed"] else challenger, verdict


def write_report(
    cleaning: dict[str, Any],
    held_out: pd.DataFrame,
    comparison: pd.DataFrame,
    slices: pd.DataFrame,
    gate: dict[str, Any],
) -> str:
    """Report in plain text what was read, how well it went and what the gate decided."""
    verdict = "PASSED" if gate["passed"] else "REFUSED"
    counts = [f"{cleaning[name]:,} {words}" for name, words in _COUNTED.items()]
    worst = slices.sort_values("share_flagged", ascending=False, kind="stable")[:_MOST_SHOWN]
    gaps = f"{cleaning['gaps']} gaps (longest {cleaning['longest_gap_hours']} h)"
    return "\n".join(
        [
            f"Read {cleaning['rows']:,} readings of {cleaning['sensors']} sensor(s) from "
            f"{cleaning['source']}, {cleaning['first']} to {cleaning['last']}",
            f"  found: {', '.join([*counts, gaps])}",
            *(f"  note: {note}" for note in cleaning.get("notes", [])),
            *(f"  error code, left out of training: {code}" for code in cleaning["found_codes"]),
            "",
            f"Held out: {len(held_out):,} readings from {held_out['timestamp'].min()} on",
            _table(comparison),
            "",
            f"By sensor, the {len(worst)} of {len(slices)} with most flagged readings:",
            _table(worst),
            "",
            f"Gate: {verdict}",
            *(f"  {'ok' if rule['passed'] else 'NO'}  {rule['reason']}" for rule in gate["rules"]),
            *(["  The model is then fitted again on all readings."] if gate.get("judged") else []),
            "",
        ]
    )


def _table(comparison: pd.DataFrame) -> str:
    shown = comparison[[name for name in _COLUMNS if name in comparison.columns]]
    shown = shown.rename(index=lambda name: name.replace("_", " "), columns=_COLUMNS)
    return shown.rename_axis(None).to_string(float_format=lambda value: f"{value:.3f}", na_rep="-")


def _why_incomparable(champion: Champion, test: pd.DataFrame) -> str | None:
    if champion.model is None:
        return None
    if getattr(champion.model, "features", None) != FEATURES:
        return f"version {champion.version} was trained on other features"
    if not hasattr(champion.model, "ranges"):
        return f"version {champion.version} was trained by an earlier version of this project"
    if unknown := champion.model.unknown_sensors(test):
        first = ", ".join(unknown[:5]) + (" ..." if len(unknown) > 5 else "")
        return f"version {champion.version} does not know the sensors {first}"
    return None


def _newest_week(test: pd.DataFrame, candidate: Detector) -> pd.DataFrame:
    newest = test[test["timestamp"] > test["timestamp"].max() - _NEWEST]
    return as_scored(newest, candidate.score_samples(newest))


def _on_last_labels(
    clean: pd.DataFrame,
    test: pd.DataFrame,
    events: Events,
    hold: pd.Timedelta,
    models: dict[str, Detector],
    steady: list[str],
) -> dict[str, dict[str, float]]:
    """Measure models on the last labelled period, by steady sensors if one has a fault in it."""
    distinct = clean[~clean["repeated"]].drop(columns="repeated")
    known = events.touching(distinct).windows
    if known.empty:
        return {}
    end = known["end"].max() + hold
    start = end - (test["timestamp"].max() - test["timestamp"].min())
    period = distinct[distinct["timestamp"].between(start, end)]
    kept = period[period["sensor_id"].isin(steady)]
    kept = kept if events.contain(kept).any() else period
    found = {}
    for name, model in models.items():
        past = distinct[distinct["timestamp"] <= end]
        rows = build_features(past, FeatureParameters(**model.settings)).loc[kept.index]
        numbers = events.metrics(as_scored(rows, model.score_samples(rows)), hold)
        found[name] = {f"labelled_{key}": numbers[key] for key in _LABELLED if key in numbers}
    return found


def _features_for(
    champion: Detector, detector: Detector, clean: pd.DataFrame, test: pd.DataFrame
) -> pd.DataFrame:
    """Describe the held-out rows by the champion's own feature parameters."""
    if champion.settings == detector.settings:
        return test
    distinct = clean[~clean["repeated"]].drop(columns="repeated")
    return build_features(distinct, FeatureParameters(**champion.settings)).loc[test.index]
