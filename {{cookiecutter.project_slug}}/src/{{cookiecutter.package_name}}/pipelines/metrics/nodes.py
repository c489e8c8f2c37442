"""Compare detectors on the same held-out rows, decide on the challenger, and say so in words."""

from typing import Any

import numpy as np
import pandas as pd

from ...detector import Detector
from ...evaluation import Events, as_scored, challenger_scores, detection_metrics
from ...features import build_features
from ...models import Champion
from ...parameters import (
    DetectorParameters,
    EvaluationParameters,
    GateParameters,
)

_COLUMNS = {
    "roc_auc": "ROC AUC",
    "average_precision": "avg precision",
    "event_recall": "event recall",
    "false_alarms_per_week": "false alarms/wk",
    "alarms_per_week": "alarms/wk",
    "share_flagged": "flagged",
}


def compare_detectors(
    clean: pd.DataFrame,
    train: pd.DataFrame,
    test: pd.DataFrame,
    scores: pd.DataFrame,
    labels: pd.DataFrame,
    detector: Detector,
    champion: Champion,
    detector_parameters: DetectorParameters,
    parameters: EvaluationParameters,
) -> tuple[pd.DataFrame, dict[str, str | None]]:
    """Measure the challenger, the champion and the one-line methods on the held-out rows.

    Returns
    -------
    One row a detector, a column a metric of ``detection_metrics``; and which champion was compared
    or why none could be. ``challenger`` is the stored model itself, the one that is registered;
    ``challenger_refitted`` is the same with its refits, which is what the scores of this run show.
    """
    p = detector_parameters
    scored = {"challenger": as_scored(test, detector.score_samples(test))}
    if p.refit_every:
        distinct = scores.drop_duplicates(["timestamp", "sensor_id", "temperature"])
        held_out = distinct["timestamp"] >= test["timestamp"].min()
        scored["challenger_refitted"] = distinct[held_out]
    incomparable = _why_incomparable(champion, test)
    if champion.detector and not incomparable:
        rows = _rows_for(champion.detector, detector, clean, test)
        scored["champion"] = as_scored(rows, champion.detector.score_samples(rows))
    scored |= challenger_scores(train, test, p.contamination, p.seed)
    hold = pd.Timedelta(parameters.alarm_hold)
    measured = {
        name: detection_metrics(rows, Events(labels), hold) for name, rows in scored.items()
    }
    compared = {
        "version": champion.version,
        "problem": champion.problem,
        "incomparable": incomparable,
    }
    return pd.DataFrame.from_dict(measured, orient="index").rename_axis("detector"), compared


def collect_metrics(comparison: pd.DataFrame) -> dict[str, float]:
    """Name each number for tracking: the challenger's as they are, others behind their name."""
    return {
        metric if detector == "challenger" else f"{detector}.{metric}": float(value)
        for detector, row in comparison.iterrows()
        for metric, value in row.items()
        if np.isfinite(value)
    }


def decide(
    comparison: pd.DataFrame,
    champion: dict[str, str | None],
    model_name: str,
    parameters: GateParameters,
) -> dict[str, Any]:
    """Let the challenger pass if every rule of the gate holds; every rule gives its reason.

    Returns
    -------
    ``model``, ``passed``, ``champion_version`` and ``rules``, each with ``rule``, ``passed`` and
    ``reason``.
    """
    challenger = comparison.loc["challenger"]
    flagged, most = float(challenger["share_flagged"]), parameters.max_share_flagged
    rules = [_rule("share flagged", flagged <= most, f"{flagged:.2%} flagged, at most {most:.2%}")]
    rules.append(_champion_rule(comparison, champion, parameters))
    if parameters.metric in comparison.columns:
        rules += _ranking_rules(comparison, parameters)
    elif parameters.require_labels:
        reason = "no labelled fault in the held-out rows, nothing to rank by (gate.require_labels)"
        rules.append(_rule("labels", False, reason))
    return {
        "model": model_name,
        "passed": all(rule["passed"] for rule in rules),
        "champion_version": champion["version"],
        "rules": rules,
    }


def _champion_rule(
    comparison: pd.DataFrame, champion: dict[str, str | None], parameters: GateParameters
) -> dict[str, Any]:
    """Hold the challenger against the champion; what cannot be compared is not beaten."""
    if champion["problem"]:
        return _rule("champion", False, f"champion not compared: {champion['problem']}")
    if champion["incomparable"]:
        replace = parameters.on_incomparable == "replace"
        hint = "replaced as configured" if replace else "gate.on_incomparable=replace lets it go"
        reason = f"champion not compared: {champion['incomparable']} ({hint})"
        return _rule("champion", replace, reason)
    if champion["version"] is None:
        return _rule("champion", True, "there is no champion yet")
    if parameters.metric not in comparison.columns:
        return _rule("champion", True, f"champion (version {champion['version']}) cannot be ranked")
    ours = float(comparison.loc["challenger", parameters.metric])
    theirs = float(comparison.loc["champion", parameters.metric])
    allowed = parameters.champion_tolerance
    whose = f"champion (version {champion['version']}), {allowed:g} worse allowed"
    passed = ours >= theirs - allowed
    return _rule("champion", passed, _than(_COLUMNS[parameters.metric], ours, theirs, whose))


def _ranking_rules(comparison: pd.DataFrame, parameters: GateParameters) -> list[dict[str, Any]]:
    metric = parameters.metric
    ours = float(comparison.loc["challenger", metric])
    name = _COLUMNS[metric]
    least = parameters.minimum
    rules = [_rule("minimum", ours >= least, _than(name, ours, least, "minimum"))]
    for method in parameters.must_beat:
        theirs = float(comparison.loc[method, metric])
        rules.append(_rule(method, ours > theirs, _than(name, ours, theirs, method)))
    return rules


def write_report(
    cleaning: dict[str, Any], held_out: pd.DataFrame, comparison: pd.DataFrame, gate: dict[str, Any]
) -> str:
    """Say in plain text what was read, how well it went and what the gate decided."""
    verdict = "PASSED" if gate["passed"] else "REFUSED"
    return "\n".join(
        [
            f"Read {cleaning['rows']:,} readings of {cleaning['sensors']} sensor(s) from "
            f"{cleaning['source']}, {cleaning['first']} to {cleaning['last']}",
            f"  found: {_found(cleaning)}",
            "",
            f"Held out: {len(held_out):,} readings from {held_out['timestamp'].min()} on",
            _table(comparison),
            "",
            f"Gate: {verdict}",
            *(f"  {'ok' if rule['passed'] else 'NO'}  {rule['reason']}" for rule in gate["rules"]),
            "",
        ]
    )


def _found(cleaning: dict[str, Any]) -> str:
    counted = {
        "repeated": "repeated times",
        "sent_twice": "of them sent twice",
        "unordered": "out of order",
        "jittered": "jittered steps",
    }
    counts = [f"{cleaning[name]:,} {words}" for name, words in counted.items()]
    gaps = f"{cleaning['gaps']} gaps (longest {cleaning['longest_gap_hours']} h)"
    return ", ".join([*counts, gaps])


def _table(comparison: pd.DataFrame) -> str:
    shown = comparison[[name for name in _COLUMNS if name in comparison.columns]]
    shown = shown.rename(index=lambda name: name.replace("_", " "), columns=_COLUMNS)
    return shown.rename_axis(None).to_string(float_format=lambda value: f"{value:.3f}", na_rep="-")


def _why_incomparable(champion: Champion, test: pd.DataFrame) -> str | None:
    if champion.detector is None:
        return champion.incomparable
    if unknown := champion.detector.unknown_sensors(test):
        first = ", ".join(unknown[:5]) + (" ..." if len(unknown) > 5 else "")
        return f"version {champion.version} does not know the sensors {first}"
    return None


def _rows_for(
    champion: Detector, detector: Detector, clean: pd.DataFrame, test: pd.DataFrame
) -> pd.DataFrame:
    """Describe the held-out rows by the champion's own feature parameters."""
    if champion.feature_parameters == detector.feature_parameters:
        return test
    distinct = clean[~clean["repeated"]].drop(columns="repeated")
    return build_features(distinct, champion.feature_parameters).loc[test.index]


def _rule(name: str, passed: bool, reason: str) -> dict[str, Any]:
    return {"rule": name, "passed": bool(passed), "reason": reason}


def _than(metric: str, ours: float, theirs: float, whose: str) -> str:
    return f"{metric} {ours:.3f} against {theirs:.3f}, {whose}"
