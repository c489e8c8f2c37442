"""What monitoring found in new rows, and which of it follows from something else."""

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

    ``kind`` is ``drift`` where the world has changed, ``quality`` where the data are wrong, which
    is not to be learned, and ``traffic`` where rows are missing or late. ``column`` and ``key`` are
    None where it is about all of them. ``since`` begins the unbroken row of windows in alarm.
    ``words`` says it in one line.
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
    """What ``compare_rows`` found.

    ``findings`` are those of the newest window, worst first (value by limit): of the checks for
    drift of one key and column the worst one. ``windows`` has a row a window, key, column and
    check: ``start``, ``end``, ``key``, ``column``, ``check``, ``value``, ``limit``, ``alarm``.
    ``rows``, ``start`` and ``end`` describe what was judged (NaT where there are no rows);
    ``notes`` say what could not be judged and why.
    """

    findings: list[Finding]
    windows: pd.DataFrame
    rows: int
    start: pd.Timestamp
    end: pd.Timestamp
    notes: list[str] = field(default_factory=list)

    @property
    def drifted(self) -> bool:
        """Whether the world has changed."""
        return any(one.kind == "drift" for one in self.findings)

    @property
    def quality(self) -> bool:
        """Whether the data are wrong, so that nothing is to be learned from them."""
        return any(one.kind == "quality" for one in self.findings)

    @property
    def retrain(self) -> bool:
        """Whether a model that is trained on the newest data would be of use."""
        return self.drifted and not self.quality


def of_no_rows(words: str, since: pd.Timestamp) -> Comparison:
    """Return the findings where there was no row at all, which is an alarm of its own."""
    finding = Finding("traffic", "no_rows", None, None, 0.0, 1.0, since, words)
    return Comparison([finding], pd.DataFrame(columns=WINDOW_COLUMNS), 0, NEVER, NEVER)


def without_consequences(found: list[Finding]) -> list[Finding]:
    """Leave out drift that is due to wrong data, and all but the worst of one key and column.

    An alarm of all keys together adds nothing where single keys are in alarm.
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
        due = (one.key, one.column) in wrong or (None, one.column) in wrong
        if due or (is_output and (one.key in keys or (wrong and one.key is None))):
            continue
        place = (one.key, one.column)
        if place not in kept or badness(one) < badness(kept[place]):
            kept[place] = one
    return [*kept.values()]


def badness(one: Finding) -> float:
    """Return what orders findings, the worst first."""
    if one.check == "no_rows":
        return -np.inf
    return -one.value / max(one.limit, 1e-9)
