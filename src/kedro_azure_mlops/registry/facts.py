"""The tags of a registered version, which are copied with it between registries."""

import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from math import isfinite, nan
from typing import Any, TypeVar

from pydantic import BaseModel

from kedro_azure_mlops.config import FORBIDDEN
from kedro_azure_mlops.safety import redacted

T = TypeVar("T")

DIGEST, GATE, PARAMETERS = "digest", "gate", "parameters"
REASONS, JUDGED, FINGERPRINT = "gate.reasons", "gate.digest", "data.fingerprint"
REFIT = "refit.of"  # tag of a refit on all data: digest of the model that was measured
METRICS = "metrics."  # prefix of each metric's name
LONGEST = 5_000  # bytes of a tag that every server can store
PASSED, REFUSED = "passed", "refused"


def model_facts(
    digest: str, origin: Mapping[str, str], parameters: Mapping[str, Any]
) -> dict[str, str]:
    """Return the tags of a model: its digest, and the data, code and parameters of its training.

    Parameters
    ----------
    origin
        Tags about code and data: ``git.commit``, ``git.dirty``, ``data.fingerprint``,
        ``data.file.<entry>``.
    """
    return {DIGEST: digest} | dict(origin) | _as_tag(PARAMETERS, _compact(parameters))


def about_model(origin: Mapping[str, str]) -> dict[str, str]:
    """Select the tags that name the code and training data of a model."""
    return {k: v for k, v in origin.items() if k.startswith("git.") or k == FINGERPRINT}


def verdict_facts(
    gate: Mapping[str, Any], metrics: Mapping[str, float], limited: Collection[str] = ()
) -> dict[str, str]:
    """Return the tags of a verdict, with the challenger's metrics that it is based on.

    Parameters
    ----------
    gate
        The decision; ``digest`` is that of the judged model, ``judged`` that of the model that was
        measured, if the judged model is its refit.
    metrics, limited
        As for ``metric_facts``.
    """
    numbers = metric_facts(metrics, limited) | _as_numbers(gate.get("worst", {}))
    reasons = "; ".join(format_rule(rule) for rule in gate["rules"])
    verdict = PASSED if gate["passed"] else REFUSED
    about = {JUDGED: gate["digest"]} if gate.get("digest") else {}
    about |= {REFIT: gate["judged"]} if gate.get("judged") else {}
    return {GATE: verdict} | about | _as_tag(REASONS, reasons) | numbers


def metric_facts(metrics: Mapping[str, float], limited: Collection[str] = ()) -> dict[str, str]:
    """Return the metrics of a model as tags.

    Parameters
    ----------
    metrics
        Those of other models and of slices, ``champion.r2``, have a dot in their names and are left
        out, as are NaN and infinite ones.
    limited
        The metrics that the gate limits, which are kept whatever their names.
    """
    kept = {name: one for name, one in metrics.items() if "." not in name or name in limited}
    return _as_numbers(kept)


def verdict_of(tags: Mapping[str, str]) -> str | None:
    """Return the gate's verdict on a version; None if it judged another model or none."""
    digest = tags.get(DIGEST)
    return tags.get(GATE) if tags.get(JUDGED, digest) == digest else None


def format_rule(rule: Mapping[str, Any]) -> str:
    """Format the result of a rule as one line that begins with the verdict."""
    return f"{'ok' if rule['passed'] else 'NO'}  {rule['reason']}"


def claimed_numbers(tags: Mapping[str, str]) -> dict[str, float]:
    """Read the metrics from the tags of a version; values that are not finite become NaN."""
    return {
        name.removeprefix(METRICS): _number(text)
        for name, text in tags.items()
        if name.startswith(METRICS)
    }


def failed_reasons(tags: Mapping[str, str]) -> str:
    """Return the reasons of the rules that failed; all reasons if none is marked."""
    reasons = tags.get(REASONS, "no reason is recorded")
    clauses = re.split(r"; (?=(?:ok|NO)  )", reasons)
    failed = [one.removeprefix("NO  ") for one in clauses if one.startswith("NO  ")]
    return "; ".join(failed) or reasons


def untyped(parameters: Any) -> Any:
    """Return parameters as JSON values, regardless of whether a run has converted them.

    Kedro converts the parameters that the nodes of a run use: 6 may become 6.0 in one step of a
    job, and remain 6 in the next.
    """
    if isinstance(parameters, BaseModel):
        return untyped(parameters.model_dump(mode="json"))
    if isinstance(parameters, Mapping):
        return {name: untyped(value) for name, value in parameters.items()}
    if isinstance(parameters, list | tuple):
        return [untyped(value) for value in parameters]
    if isinstance(parameters, float) and parameters.is_integer():
        return int(parameters)
    return parameters


def allowed_names(values: Mapping[str, T]) -> dict[str, T]:
    """Replace characters that MLflow forbids in names, and keep the names different."""
    found: dict[str, T] = {}
    for name, value in values.items():
        allowed = FORBIDDEN.sub("_", name)
        while allowed != name and (allowed in found or allowed in values):
            allowed += "_"
        found[allowed] = value
    return found


def _as_numbers(metrics: Mapping[str, float]) -> dict[str, str]:
    finite = {name: value for name, value in metrics.items() if isfinite(value)}
    return {f"{METRICS}{k}": repr(float(v)) for k, v in allowed_names(finite).items()}


def _number(text: str) -> float:
    with suppress(ValueError):
        if isfinite(number := float(text)):
            return number
    return nan


def _compact(parameters: Mapping[str, Any]) -> str:
    values = redacted(untyped(parameters))
    return json.dumps(
        values, separators=(",", ":"), sort_keys=True, ensure_ascii=False, default=str
    )


def _as_tag(name: str, text: str) -> dict[str, str]:
    """Return a text as a tag, or only its length if it is too long."""
    if len(text.encode()) <= LONGEST:
        return {name: text}
    return {name: f"left out: {len(text):,} characters, see the files of the run"}
