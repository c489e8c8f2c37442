"""Compare detectors on the same held-out rows, decide on the challenger, and say so in words."""

import time
from contextlib import suppress
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from ...detector import Detector
from ...evaluation import Events, as_scored, challenger_scores, detection_metrics
from ...features import build_features
from ...fingerprint import fingerprint
from ...gate import (
    COLUMNS,
    Rule,
    champion_rules,
    has_labels,
    level_rules,
    limit_rules,
    marked,
    missing_metric,
    rule,
    than,
)
from ...models import Champion
from ...onnx_export import ExportError, to_onnx
from ...parameters import (
    DetectorParameters,
    EvaluationParameters,
    GateParameters,
)
from ...tracking.facts import plain

_TRIES = 9  # of which the median counts
_MILLISECONDS, _MEGABYTE = 1000, 1_000_000


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
    One row a detector, a column a metric of ``detection_metrics``; and the fingerprint of the
    challenger, with which champion was compared or why none could be. ``challenger`` is the stored
    model itself, the one that is registered; ``challenger_refitted`` is the same with its refits,
    which is what the scores of this run show.
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
        "challenger": fingerprint(detector),
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


def measure_cost(detector: Detector, test: pd.DataFrame) -> dict[str, float]:
    """Measure what it costs to serve a detector.

    Returns
    -------
    ``latency_ms``: median processor time to score one reading with scikit-learn, which is slower
    than serving, and as long whatever else the machine does; ``size_mb``: size of the forest as it
    is served, left out if it cannot be.
    """
    reading = test.iloc[[0]]
    took = []
    for _ in range(_TRIES):
        start = time.process_time()
        detector.score_samples(reading)
        took.append((time.process_time() - start) * _MILLISECONDS)
    cost = {"latency_ms": median(took)}
    with suppress(ExportError):  # the gate refuses what has no size
        cost["size_mb"] = len(to_onnx(detector.forest)) / _MEGABYTE
    return cost


def decide(
    comparison: pd.DataFrame,
    compared: dict[str, str | None],
    cost: dict[str, float],
    model_name: str,
    parameters: GateParameters,
    of_the_run: dict[str, Any],
) -> dict[str, Any]:
    """Let the challenger pass if every rule of the gate holds; every rule gives its reason.

    Returns
    -------
    ``model``, ``fingerprint`` of the detector that was judged, ``passed``, ``champion_version``,
    ``rules``, each with ``rule``, ``passed`` and ``reason``, and all ``parameters`` of the run.
    """
    measured = _numbers(comparison, "challenger") | cost
    rules = limit_rules(measured, parameters)
    rules += _rules_on_champion(comparison, compared, parameters)
    rules += level_rules(measured, parameters)
    rules += _ranking_rules(comparison, parameters)
    return {
        "model": model_name,
        "fingerprint": compared["challenger"],
        "passed": all(rule["passed"] for rule in rules),
        "champion_version": compared["version"],
        "rules": rules,
        "parameters": plain(of_the_run),
    }


def _rules_on_champion(
    comparison: pd.DataFrame, compared: dict[str, str | None], parameters: GateParameters
) -> list[Rule]:
    """Hold the challenger against the champion; what cannot be compared is not beaten."""
    if compared["problem"]:
        return [rule("champion", False, f"champion not compared: {compared['problem']}")]
    if compared["incomparable"]:
        replace = parameters.on_incomparable == "replace"
        hint = "replaced as configured" if replace else "gate.on_incomparable=replace lets it go"
        reason = f"champion not compared: {compared['incomparable']} ({hint})"
        return [rule("champion", replace, reason)]
    if compared["version"] is None:
        return [rule("champion", True, "there is no champion yet")]
    ours, theirs = _numbers(comparison, "challenger"), _champions_numbers(comparison)
    rules = champion_rules(ours, theirs, compared["version"], parameters)
    nothing = f"champion (version {compared['version']}) cannot be ranked"
    return rules or [rule("champion", True, nothing)]


def _ranking_rules(comparison: pd.DataFrame, parameters: GateParameters) -> list[Rule]:
    """Let methods of one line be beaten, where labels say what is better."""
    metric = parameters.metric
    ours = _numbers(comparison, "challenger")
    rules = []
    for method in parameters.must_beat if has_labels(ours) else []:
        theirs = _numbers(comparison, method)
        if metric in ours and metric in theirs:
            reason = than(metric, ours[metric], theirs[metric], method)
            rules.append(rule(method, ours[metric] > theirs[metric], reason))
        else:
            rules.append(missing_metric(method, metric))
    return rules


def _numbers(comparison: pd.DataFrame, detector: str) -> dict[str, float]:
    """Return the metrics of a detector that were measured."""
    if detector not in comparison.index:
        return {}
    row = comparison.loc[detector]
    return {str(name): float(value) for name, value in row.items() if np.isfinite(value)}


def _champions_numbers(comparison: pd.DataFrame) -> dict[str, float]:
    """Return all that the champion was asked for: NaN is then a fault, and no reason to pass."""
    if "champion" not in comparison.index:
        return {}
    return {str(name): float(value) for name, value in comparison.loc["champion"].items()}


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
            *(f"  {marked(rule)}" for rule in gate["rules"]),
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
    shown = comparison[[name for name in COLUMNS if name in comparison.columns]]
    shown = shown.rename(index=lambda name: name.replace("_", " "), columns=COLUMNS)
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
