"""The rules of the gate, applied to plain numbers by runs and promotions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from math import inf, isclose, isfinite, isnan, nan
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kedro_azure_mlops.config import Gate
from kedro_azure_mlops.config import Rule as Criterion
from kedro_azure_mlops.errors import OperationError, RefusedError
from kedro_azure_mlops.parameters import explain
from kedro_azure_mlops.registry.facts import (
    PASSED,
    claimed_numbers,
    failed_reasons,
    format_rule,
    verdict_of,
)

if TYPE_CHECKING:
    from kedro_azure_mlops.registry.interface import Registry, Version

__all__ = ["decide", "decide_alone", "entry_rules", "format_rule", "refuse_by"]

Rule = dict[str, Any]
Numbers = Mapping[str, float]
CHALLENGER, CHAMPION = "challenger", "champion"  # rows of the table
_WORST = ".worst"  # ends the key of a rule about slices
_CLOSE = 0.8  # similarity of a misspelled name; precision and average_precision have 0.7
NO_RULES = "no rules are set (gate in mlops.yml): every model passes"


def decide(
    table: Any,
    compared: Mapping[str, Any],
    gate: Gate | Mapping[str, Any],
    measured: Numbers | None = None,
    slices: Any = None,
) -> dict[str, Any]:
    """Decide whether the challenger passes every rule of the gate; each rule gives its reason.

    Parameters
    ----------
    table
        A row for ``challenger``, for ``champion`` if it was compared, and for each baseline; a
        column for each metric. A DataFrame, or a mapping of mappings.
    compared
        ``version`` of the champion, None if there is none; ``problem``, a fault that prevented the
        comparison; ``incomparable``, the reason why a sound champion could not be compared.
    gate
        The section ``gate`` of ``mlops.yml``.
    measured
        Further numbers of the challenger, such as its size or latency.
    slices
        A row for each slice of the data, a column for each metric of the challenger, for the rules
        with ``slice: worst``.

    Returns
    -------
    ``passed``, ``champion_version`` and ``rules``, each with ``rule``, ``passed`` and ``reason``;
    if rules are about slices, also ``worst``, the worst value by ``metric.worst``.

    Raises
    ------
    OperationError
        If ``gate`` is a mapping but not a valid section, or ``table`` or ``slices`` is not a table
        whose rows have different names.
    """
    gate = gate if isinstance(gate, Gate) else _checked(gate)
    rows = _rows(table, "table")
    ours = rows.get(CHALLENGER, {}) | dict(measured or {})
    worst = _worst_slices(gate, _rows(slices, "slices"))
    ours |= {key: value for key, (_, value) in worst.items()}
    if gate.rules:
        rules = level_rules(ours, gate, {key: name for key, (name, _) in worst.items()})
        rules += _rules_on_champion(ours, rows.get(CHAMPION), compared, gate)
        rules += _ranking_rules(ours, rows, gate)
    else:
        rules = [_rule("gate", True, NO_RULES)]
        if compared.get("problem"):
            rules += _rules_on_champion(ours, None, compared, gate)
    decision = {
        "passed": all(rule["passed"] for rule in rules),
        "champion_version": compared.get("version"),
        "rules": rules,
    }
    if worst:
        decision["worst"] = {key: value for key, (_, value) in worst.items()}
    return decision


def _checked(gate: Mapping[str, Any]) -> Gate:
    try:
        return Gate.model_validate(gate)
    except ValidationError as error:
        faults = [f"{'.'.join(['gate', *keys])}: {why}" for keys, why in explain(error, gate)]
        raise OperationError("\n".join(faults)) from error


def decide_alone(
    gate: Gate,
    table: Any,
    numbers: Numbers,
    champion: tuple[str, Mapping[str, str]] | None,
    problem: str | None = None,
    slices: Any = None,
) -> dict[str, Any]:
    """Decide on the metrics of a run, for a project without a decision node.

    Parameters
    ----------
    table
        As for ``decide``; None if the project has none.
    numbers
        The challenger's metrics, used where the table lacks them.
    champion
        Number and tags of the version in service; metrics that the table lacks come from the tags.
    problem
        Why the champion could not be compared.
    slices
        As for ``decide``.
    """
    rows = _rows(table, "table")
    ours = dict(numbers) | rows.get(CHALLENGER, {})
    if champion:
        rows[CHAMPION] = claimed_numbers(champion[1]) | rows.get(CHAMPION, {})
    version = champion[0] if champion else None
    return decide(rows, {"version": version, "problem": problem}, gate, ours, slices)


def entry_rules(version: "Version", champion: "Version | None", gate: Gate) -> list[Rule]:
    """Apply the rules of an environment to a version that another environment's gate has passed.

    Parameters
    ----------
    champion
        The champion of the environment that the version is to enter.
    gate
        The rules of that environment.
    """
    verdict = verdict_of(version.tags)
    texts = {None: "the gate has not judged it", PASSED: "the gate has passed it"}
    reason = texts.get(verdict, f"the gate has {verdict} it: {failed_reasons(version.tags)}")
    ours = claimed_numbers(version.tags)
    rules = [_rule("gate", verdict == PASSED, reason), *level_rules(ours, gate)]
    if champion is None:
        return [*rules, _rule(CHAMPION, True, "there is no champion yet")]
    return rules + champion_rules(ours, claimed_numbers(champion.tags), champion.number, gate)


def refuse_by(
    rules: Sequence[Rule], version: "Version", registry: "Registry", say: Callable[[str], None]
) -> None:
    """Print the result of each rule, and refuse unless all of them hold.

    Raises
    ------
    RefusedError
        If a rule does not hold; the message lists the reasons.
    """
    for one in rules:
        say(f"  {format_rule(one)}")
    reasons = [one["reason"] for one in rules if not one["passed"]]
    if reasons:
        raise RefusedError(
            f"{version} does not become champion of {registry.env}: {'; '.join(reasons)}. The "
            f"rules are under gate in mlops.yml of {registry.env}."
        )


def level_rules(ours: Numbers, gate: Gate, slices: Mapping[str, str] | None = None) -> list[Rule]:
    """Compare each metric with its minimum and maximum; NaN, infinite or missing metrics fail.

    Parameters
    ----------
    slices
        The name of the slice that a number of ``ours`` was measured on, by the key of its rule.
    """
    rules = list(_label_rules(ours, gate))
    for one in _applicable(gate, ours):
        for name, limit in (("minimum", one.minimum), ("maximum", one.maximum)):
            if limit is None:
                continue
            value = ours.get(one.key, nan)
            slice_name = f" ({slices[one.key]})" if slices and one.key in slices else ""
            if not isfinite(value):
                is_infinite = _rule(name, False, f"{_label(one)} is infinite{slice_name}")
                rules.append(is_infinite if slice_name else _unmeasured(name, one, ours, gate))
                continue
            passed = value >= limit if name == "minimum" else value <= limit
            shown, shown_limit = _distinct(value, limit)
            reason = f"{_label(one)} {shown}{slice_name}, {name} {shown_limit}"
            if one.quiet and passed:
                reason = f"{_label(one)} is at {'least' if name == 'minimum' else 'most'} {limit:g}"
            rules.append(_rule(name, passed, reason))
    return rules


def champion_rules(ours: Numbers, theirs: Numbers, version: str, gate: Gate) -> list[Rule]:
    """Compare with the champion; ``champion_tolerance`` is how much worse the challenger may be.

    Metrics never measured on the champion are skipped; a NaN or infinite one blocks the challenger.
    """
    rules = []
    for one in _applicable(gate, ours):
        name, allowed = one.metric, one.champion_tolerance
        if allowed is None:
            continue
        if not isfinite(ours.get(name, nan)):
            rules.append(_unmeasured(CHAMPION, one, ours, gate))
        elif name not in theirs:
            reason = f"{_label(one)} was not measured on the champion (version {version})"
            rules.append(_rule(CHAMPION, True, reason))
        else:
            limit = theirs[name] + (allowed if one.better == "lower" else -allowed)
            passed = isfinite(theirs[name]) and not _is_worse(one, ours[name], limit, allowed)
            mine, other = _distinct(ours[name], theirs[name])
            champion = f"champion (version {version}) {other}"
            reason = f"{_label(one)} {mine}, {champion}, tolerance {allowed:g}"
            if one.quiet and passed:
                reason = (
                    f"{_label(one)} is at most {allowed:g} worse than champion (version {version})"
                )
            rules.append(_rule(CHAMPION, passed, reason))
    return rules


def format_comparison(rule: Criterion, ours: float, theirs: float, whose: str) -> str:
    """Format the comparison of two values of one metric."""
    one, other = _distinct(ours, theirs)
    return f"{_label(rule)} {one} against {other} for {whose}"


def _distinct(ours: float, theirs: float) -> tuple[str, str]:
    """Format two numbers with enough digits to show their difference."""
    one, other = _number(ours), _number(theirs)
    if one == other and ours != theirs:
        return f"{ours:.9g}", f"{theirs:.9g}"
    return one, other


def _rules_on_champion(
    ours: Numbers, theirs: Numbers | None, compared: Mapping[str, Any], gate: Gate
) -> list[Rule]:
    """Compare with the champion; by default, a champion that cannot be compared is kept."""
    version = compared.get("version")
    if compared.get("problem"):
        return [_rule(CHAMPION, False, f"champion not compared: {compared['problem']}")]
    incomparable = compared.get("incomparable")
    if version is None and not incomparable:
        return [_rule(CHAMPION, True, "there is no champion yet")]
    if theirs is None and any(one.champion_tolerance is not None for one in gate.rules):
        incomparable = incomparable or f"version {version} has no row champion in the table"
    if incomparable:
        replace = gate.on_incomparable == "replace"
        hint = "replaced as configured" if replace else "gate.on_incomparable: replace allows it"
        return [_rule(CHAMPION, replace, f"champion not compared: {incomparable} ({hint})")]
    rules = champion_rules(ours, theirs or {}, str(version), gate)
    reason = f"champion (version {version}) is not compared: no rule requires it"
    return rules or [_rule(CHAMPION, True, reason)]


def _ranking_rules(ours: Numbers, rows: Mapping[str, Numbers], gate: Gate) -> list[Rule]:
    """Compare with the baselines that a metric has to beat."""
    rules = []
    for one in _applicable(gate, ours):
        for baseline in one.beats:
            mine, theirs = ours.get(one.metric, nan), rows.get(baseline, {}).get(one.metric, nan)
            if not isfinite(mine):
                rules.append(_missing_metric(baseline, one.metric, ours))
                continue
            if not isfinite(theirs):
                lacks = f"has no {one.metric}" if baseline in rows else "is missing"
                reason = f"{_label(one)} is not compared: row {baseline} of gate.table {lacks}"
                rules.append(_rule(baseline, False, reason))
                continue
            passed = mine < theirs if one.better == "lower" else mine > theirs
            reason = format_comparison(one, mine, theirs, baseline.replace("_", " "))
            if one.quiet and passed:
                reason = f"{_label(one)} is better than that of {baseline}"
            rules.append(_rule(baseline, passed, reason))
    return rules


def _label_rules(ours: Numbers, gate: Gate) -> Iterator[Rule]:
    if not gate.require_labels or _has_labels(gate, ours):
        return
    substitutes = [one for one in gate.rules if one.without_labels] if gate.second_path else []
    if any(one.key in ours for one in substitutes):
        names = ", ".join(_label(one) for one in substitutes)
        yield _rule("labels", True, f"no new labels: judged by {names} instead")
        return
    reason = "no metric that needs labels was measured: nothing to rank by (gate.require_labels)"
    yield _rule("labels", False, reason)


def _applicable(gate: Gate, ours: Numbers) -> Iterator[Criterion]:
    """Yield the rules that apply: without labels, those that need none and their substitutes.

    Substitutes use a champion or earlier labels. Without either, they have no metric, and
    ``gate.require_labels`` decides.
    """
    labelled = _has_labels(gate, ours)
    use_substitutes = gate.second_path and not labelled
    use_substitutes &= any(one.without_labels and one.key in ours for one in gate.rules)
    for one in gate.rules:
        if one.without_labels:
            if use_substitutes:
                yield one
        elif labelled or not one.needs_labels:
            yield one


def _worst_slices(gate: Gate, slices: Mapping[str, Numbers]) -> dict[str, tuple[str, float]]:
    """Find the worst slice for each rule about slices: its name and value, by the rule's key.

    A slice in which the metric could not be measured is left out; an infinite one counts.
    """
    found = {}
    for one in gate.rules:
        if one.slice is None:
            continue
        known = [
            (row[one.metric], name)
            for name, row in slices.items()
            if not isnan(row.get(one.metric, nan))
        ]
        if known:
            value, name = max(known) if one.better == "lower" else min(known)
            found[one.key] = (name, value)
    return found


def _has_labels(gate: Gate, ours: Numbers) -> bool:
    return any(one.needs_labels and one.key in ours for one in gate.rules)


def _is_worse(rule: Criterion, ours: float, limit: float, allowed: float) -> bool:
    """Return whether a value is beyond a limit, by more than the rounding of the limit itself."""
    if allowed and isclose(ours, limit, rel_tol=1e-12, abs_tol=1e-12 * allowed):
        return False  # 0.8 - 0.1 is a little more than 0.7
    # negated, because every comparison with NaN is false
    return not (ours <= limit if rule.better == "lower" else ours >= limit)


def _rule(name: str, passed: bool, reason: str) -> Rule:
    return {"rule": name, "passed": bool(passed), "reason": reason}


def _unmeasured(name: str, one: Criterion, ours: Numbers, gate: Gate) -> Rule:
    """Fail for a missing metric, unless it replaces labels that are not required."""
    if one.without_labels and not gate.require_labels and one.key not in ours:
        return _rule(name, True, f"{_label(one)}: not measured, as nothing is labelled")
    return _missing_metric(name, one.key, ours)


def _missing_metric(name: str, metric: str, ours: Numbers) -> Rule:
    close = None if metric in ours else _closest(metric, ours)
    hint = f". Did you mean {close}?" if close else ""
    return _rule(name, False, f"missing metric: {metric}{hint}")


def _closest(metric: str, ours: Numbers) -> str | None:
    """Find the metric of all data with the closest name; None if a slice lacks such a metric."""
    known = {one.lower(): one for one in ours if not one.endswith(_WORST)}
    name = metric.removesuffix(_WORST)
    found = get_close_matches(name.lower(), known, n=1, cutoff=_CLOSE)
    return known[found[0]] if found and known[found[0]] != name else None


def _label(rule: Criterion) -> str:
    return rule.label or rule.metric


def _number(value: float) -> str:
    is_plain = value == 0 or 0.001 <= abs(value) < 100_000
    return f"{value:.3f}" if is_plain or abs(value) == inf else f"{value:.4g}"


def _rows(table: Any, key: str) -> dict[str, dict[str, float]]:
    """Read a DataFrame or a mapping of mappings; non-numeric values become NaN."""
    if table is None:
        return {}
    found: dict[str, dict[str, float]] = {}
    try:
        for name, row in table.iterrows() if hasattr(table, "iterrows") else table.items():
            if str(name) in found:
                raise OperationError(f"gate.{key} has two rows {name}: give each row its own name.")
            found[str(name)] = {str(metric): _as_float(value) for metric, value in row.items()}
    except AttributeError:
        raise OperationError(
            f"gate.{key} must be a DataFrame or a mapping of mappings, with a row of metrics for "
            f"each {'slice' if key == 'slices' else 'model'}; it is a {type(table).__name__} of "
            "something else."
        ) from None
    return found


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return nan
