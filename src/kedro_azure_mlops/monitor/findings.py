"""Findings of monitoring, and the removal of those that follow from others."""

from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
import pandas as pd

__all__ = [
    "KINDS",
    "NEVER",
    "WINDOW_COLUMNS",
    "Comparison",
    "Finding",
    "Kind",
    "badness",
    "of_no_rows",
    "without_consequences",
]

Kind = Literal["drift", "quality", "traffic"]

KINDS: dict[str, Kind] = {
    "missing": "quality",
    "out_of_range": "quality",
    "stuck": "quality",
    "unit": "quality",
    "clock": "quality",
    "silent_key": "traffic",
    "volume": "traffic",
    "freshness": "traffic",
    "no_rows": "traffic",
}
NEVER = cast("pd.Timestamp", pd.NaT)
WINDOW_COLUMNS = ["start", "end", "key", "column", "check", "value", "limit", "alarm"]


@dataclass(frozen=True)
class Finding:
    """One alarm of the newest window.

    ``kind`` is ``drift`` if the world has changed, ``quality`` if the data is wrong and must not
    be learned, and ``traffic`` if rows are missing or late. ``column`` and ``key`` are None if the
    finding concerns all of them. ``since`` is the start of the unbroken run of windows in alarm,
    ``words`` a one-line description.
    """

    kind: Kind
    check: str
    column: str | None
    key: str | None
    value: float
    limit: float
    since: pd.Timestamp
    words: str


@dataclass(frozen=True)
class Comparison:
    """The result of ``compare_rows``.

    ``findings`` are the alarms of the newest window, worst first (by value / limit), with only the
    worst drift check of each key and column. ``windows`` has one row per window, key, column and
    check: ``start``, ``end``, ``key``, ``column``, ``check``, ``value``, ``limit``, ``alarm``.
    ``rows``, ``start`` and ``end`` describe the judged rows (NaT if there are none); ``notes``
    list what could not be judged, and why.
    """

    findings: list[Finding]
    windows: pd.DataFrame
    rows: int
    start: pd.Timestamp
    end: pd.Timestamp
    notes: list[str] = field(default_factory=list)

    @property
    def drifted(self) -> bool:
        """Return whether the world has changed."""
        return any(one.kind == "drift" for one in self.findings)

    @property
    def quality(self) -> bool:
        """Return whether the data is wrong, so that a model must not learn from it."""
        return any(one.kind == "quality" for one in self.findings)

    @property
    def retrain(self) -> bool:
        """Return whether training on the newest data would help."""
        return self.drifted and not self.quality


def of_no_rows(words: str, since: pd.Timestamp) -> Comparison:
    """Return the result for a table without rows, which is itself an alarm."""
    finding = Finding("traffic", "no_rows", None, None, 0.0, 1.0, since, words)
    return Comparison([finding], pd.DataFrame(columns=WINDOW_COLUMNS), 0, NEVER, NEVER)


def without_consequences(found: list[Finding]) -> list[Finding]:
    """Drop drift caused by wrong data, and all but the worst drift of each key and column.

    An alarm for all keys together is dropped if single keys are in alarm.
    """
    wrong = {(one.key, one.column) for one in found if one.kind == "quality"}
    keys = {key for key, _ in wrong}
    by_key = {one.column for one in found if one.key is not None and one.kind != "traffic"}
    kept: dict[Any, Finding] = {}
    for number, one in enumerate(found):
        if one.kind != "drift" or one.check == "new_key":
            kept[number] = one
            continue
        is_output = one.check in ("score_psi", "flagged")
        if one.check == "common" and one.column in by_key:
            continue
        is_caused = (one.key, one.column) in wrong or (None, one.column) in wrong
        if is_caused or (is_output and (one.key in keys or (wrong and one.key is None))):
            continue
        group = (one.key, one.column)
        if group not in kept or badness(one) < badness(kept[group]):
            kept[group] = one
    return [*kept.values()]


def badness(one: Finding) -> float:
    """Return a sort key for findings, the worst first."""
    if one.check == "no_rows":
        return -np.inf
    return -one.value / max(one.limit, 1e-9)
