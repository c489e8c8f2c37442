"""Compare detectors on the same held-out rows, decide on the challenger, and report it in words."""

from typing import Any

import numpy as np
import pandas as pd
from kedro_azure_mlops.models import Champion, measure_cost

from ...detector import Detector
from ...evaluation import Events, as_scored, baseline_scores, detection_metrics
from ...features import FEATURES, build_features
from ...parameters import DetectorParameters, EvaluationParameters, FeatureParameters

_COLUMNS = {
    "roc_auc": "ROC AUC",
    "average_precision": "avg precision",
    "event_recall": "event recall",
    "false_alarms_per_week": "false alarms/wk",
    "alarms_per_week": "alarms/wk",
    "share_flagged": "flagged",
}
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
    champion: Champion,
    detector_parameters: DetectorParameters,
    parameters: EvaluationParameters,
) -> tuple[pd.DataFrame, dict[str, str | None]]:
    """Measure the challenger, the champion and the baselines on the held-out rows.

    Returns
    -------
    One row a detector, a column a metric of ``detection_metrics``; and which champion was compared
    or why none could be. ``challenger`` is the stored model itself, the one that is registered;
    ``challenger_refitted`` is the same with its refits, which is what the scores of this run show.
    """
    p = detector_parameters
    scored = {"challenger": held_out}
    if p.refit_every:
        scored["challenger_refitted"] = as_scored(test, held_out["refitted"].to_numpy())
    why = _why_incomparable(champion, test)
    if champion.model is not None and not why:
        rows = _features_for(champion.model, detector, clean, test)
        scored["champion"] = as_scored(rows, champion.model.score_samples(rows))
    scored |= baseline_scores(train, test, p.contamination, p.seed)
    events, hold = Events(labels), pd.Timedelta(parameters.alarm_hold)
    measured = {name: detection_metrics(rows, events, hold) for name, rows in scored.items()}
    compared = {"version": champion.version, "problem": champion.problem, "incomparable": why}
    return pd.DataFrame.from_dict(measured, orient="index").rename_axis("detector"), compared


def collect_metrics(comparison: pd.DataFrame) -> dict[str, float]:
    """Name each number for tracking: the challenger's as they are, others behind their name."""
    return {
        metric if detector == "challenger" else f"{detector}.{metric}": float(value)
        for detector, row in comparison.iterrows()
        for metric, value in row.items()
        if np.isfinite(value)
    }


def cost_of_serving(detector: Detector, test: pd.DataFrame) -> dict[str, float]:
    """Measure the milliseconds for one reading with scikit-learn, and the size that is served."""
    reading = test.iloc[[0]]
    return measure_cost(detector, lambda: detector.score_samples(reading))


def write_report(
    cleaning: dict[str, Any], held_out: pd.DataFrame, comparison: pd.DataFrame, gate: dict[str, Any]
) -> str:
    """Report in plain text what was read, how well it went and what the gate decided."""
    verdict = "PASSED" if gate["passed"] else "REFUSED"
    counts = [f"{cleaning[name]:,} {words}" for name, words in _COUNTED.items()]
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
            f"Gate: {verdict}",
            *(f"  {'ok' if rule['passed'] else 'NO'}  {rule['reason']}" for rule in gate["rules"]),
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


def _features_for(
    champion: Detector, detector: Detector, clean: pd.DataFrame, test: pd.DataFrame
) -> pd.DataFrame:
    """Describe the held-out rows by the champion's own feature parameters."""
    if champion.settings == detector.settings:
        return test
    distinct = clean[~clean["repeated"]].drop(columns="repeated")
    return build_features(distinct, FeatureParameters(**champion.settings)).loc[test.index]
