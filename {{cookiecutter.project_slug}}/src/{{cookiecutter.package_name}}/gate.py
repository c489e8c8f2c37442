"""The rules of the gate on plain numbers: a run asks them of its challenger, a promotion again."""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from .parameters import GateParameters, Metric

Rule = dict[str, Any]
Numbers = Mapping[str, float]

COLUMNS: dict[Metric, str] = {
    "roc_auc": "ROC AUC",
    "average_precision": "avg precision",
    "event_recall": "event recall",
    "false_alarms_per_week": "false alarms/wk",
    "alarms_per_week": "alarms/wk",
    "share_flagged": "flagged",
}
# They need a labelled fault in the held-out rows.
LABELLED = ("roc_auc", "average_precision", "event_recall", "false_alarms_per_week")
_SMALLER_IS_BETTER = ("false_alarms_per_week", "alarms_per_week", "share_flagged")


def limit_rules(measured: Numbers, p: GateParameters) -> list[Rule]:
    """Hold what a model costs and flags against its limits.

    A latency is never the same twice, so it is named only where it is the reason to refuse: two
    runs of the same model give the same reasons.
    """
    rules = []
    if missing := _missing("share flagged", "share_flagged", measured):
        rules.append(missing)
    else:
        share, most = measured["share_flagged"], p.max_share_flagged
        reason = f"{share:.2%} flagged, at most {most:.2%}"
        rules.append(rule("share flagged", share <= most, reason))
    if missing := _missing("latency", "latency_ms", measured):
        rules.append(missing)
    else:
        took, most = measured["latency_ms"], p.max_latency_ms
        reason = f"scoring a reading took {took:.1f} ms, at most {most:g} ms"
        if took <= most:
            reason = f"a reading is scored within {most:g} ms"
        rules.append(rule("latency", took <= most, reason))
    if missing := _missing("size", "size_mb", measured):
        rules.append(missing)
    else:
        size, most = measured["size_mb"], p.max_size_mb
        rules.append(rule("size", size <= most, f"{size:.2f} MB to serve, at most {most:g} MB"))
    return rules


def level_rules(measured: Numbers, p: GateParameters) -> list[Rule]:
    """Hold each metric that ``minimum`` names against its level, which for alarms is a maximum."""
    rules = list(_label_rules(measured, p))
    for name, level in _named(p.minimum, measured):
        if missing := _missing("minimum", name, measured):
            rules.append(missing)
            continue
        whose = "maximum" if name in _SMALLER_IS_BETTER else "minimum"
        passed = not _is_worse(name, measured[name], level)
        rules.append(rule("minimum", passed, than(name, measured[name], level, whose)))
    return rules


def champion_rules(ours: Numbers, theirs: Numbers, version: str, p: GateParameters) -> list[Rule]:
    """Let the challenger be worse than the champion by what ``champion_tolerance`` allows.

    What only the champion lacks, because it was measured before, is not compared. A number of the
    champion that is none, NaN or infinite, is a fault, and nothing passes beside it.
    """
    rules = []
    for name, allowed in _named(p.champion_tolerance, ours):
        if missing := _missing("champion", name, ours):
            rules.append(missing)
        elif name not in theirs:
            reason = f"champion (version {version}) was not measured by {COLUMNS[name]}"
            rules.append(rule("champion", True, reason))
        else:
            limit = theirs[name] + (allowed if name in _SMALLER_IS_BETTER else -allowed)
            whose = f"champion (version {version}), {allowed:g} worse allowed"
            reason = than(name, ours[name], theirs[name], whose)
            passed = isfinite(theirs[name]) and not _is_worse(name, ours[name], limit)
            rules.append(rule("champion", passed, reason))
    return rules


def has_labels(measured: Numbers) -> bool:
    """Say whether anything was measured that needs a labelled fault."""
    return any(name in measured for name in LABELLED)


def rule(name: str, passed: bool, reason: str) -> Rule:
    """Write down what one rule has decided."""
    return {"rule": name, "passed": bool(passed), "reason": reason}


def marked(one: Rule) -> str:
    """Write what a rule has decided on one line, the verdict first."""
    return f"{'ok' if one['passed'] else 'NO'}  {one['reason']}"


def than(metric: Metric, ours: float, theirs: float, whose: str) -> str:
    """Put two numbers side by side."""
    return f"{COLUMNS[metric]} {ours:.3f} against {theirs:.3f}, {whose}"


def missing_metric(name: str, metric: str) -> Rule:
    """Refuse because a number is not there to be judged."""
    return rule(name, False, f"missing metric: {metric}")


def _missing(name: str, metric: str, measured: Numbers) -> Rule | None:
    is_there = metric in measured and isfinite(measured[metric])
    return None if is_there else missing_metric(name, metric)


def _label_rules(measured: Numbers, p: GateParameters) -> Iterator[Rule]:
    if p.require_labels and not has_labels(measured):
        reason = "no labelled fault in the held-out rows, nothing to rank by (gate.require_labels)"
        yield rule("labels", False, reason)


def _named(
    wanted: Mapping[Metric, float | None], measured: Numbers
) -> Iterator[tuple[Metric, float]]:
    """List the metrics to look at: without labels only those that need none."""
    labelled = has_labels(measured)
    for name, number in wanted.items():
        if number is not None and (labelled or name not in LABELLED):
            yield name, number


def _is_worse(metric: Metric, ours: float, limit: float) -> bool:
    # asked this way round, for NaN is neither more nor less than anything
    return not (ours <= limit if metric in _SMALLER_IS_BETTER else ours >= limit)
