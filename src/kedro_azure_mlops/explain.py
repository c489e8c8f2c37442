"""Explain why a row got its score: exact Shapley values against a single baseline row.

The score of a row is split into the contribution of each feature to its difference from the
baseline's score. The model scores all ``2^d`` mixtures of the row's features and the baseline's, so
nothing is estimated. Sundararajan and Najmi call this baseline Shapley ("The many Shapley values
for model explanation", ICML 2020): the values add up to the difference of the two scores, features
with the same effect get the same value, and a feature without effect gets exactly 0.

A scorer declares the features of its scores, see ``contract.ExplainableScorer``. Runs on
servers and devices too, so it needs only numpy.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kedro_azure_mlops.contract import (
    CannotExplainError,
    Columns,
    Explainable,
    Schema,
    Scorer,
    columns_of_rows,
)
from kedro_azure_mlops.serve.stream import Stream

__all__ = [
    "EXPLANATION",
    "MOST_FEATURES",
    "MOST_ROWS",
    "Explaining",
    "Explanation",
    "explain_rows",
    "flagged_rows",
    "newest_and_flagged_rows",
    "reason_not_explained",
    "shapley_values",
]

logger = logging.getLogger(__name__)

EXPLANATION = "explanation"
"""The column of an answer, or of a file of scores, that explains it."""
MOST_FEATURES = 12  # 4,096 scores a row
MOST_ROWS = 1_000  # of a request: each costs as much as 2^d rows
_BATCH_ROWS = 2**16  # rows of mixed features in one call of the model
_MOST_SHOWN = 3  # features in a description
_WORTH_SHOWING = 0.2  # of the largest contribution
_SAME = 1e-6  # largest relative difference between the explained and the answered score
_PICKED = "\0picked"  # name of a column that marks the rows to explain
_NO_ANSWER = "the model has no answer for this row"
_NOT_FINITE = (
    "not explained: with some of its features at their usual values the score is not a number"
)

Picker = Callable[[Schema, Columns, Columns, np.ndarray], np.ndarray]
"""Takes the schema, all rows, the answers and the numbers of the answered rows; returns booleans,
one per answer: whether to explain it."""


@dataclass(frozen=True)
class Explanation:
    """The explanation of a row's score.

    ``words`` is one line with the largest contributions. ``contributions`` has the amount that each
    feature adds to ``baseline_score`` to reach ``score``, in the unit of the score. For rows
    without a score, ``words`` gives the reason, and the other fields are empty or None.
    """

    words: str
    contributions: dict[str, float] = field(default_factory=dict)
    score: float | None = None
    baseline_score: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the explanation as part of an answer, without the score, which the row has."""
        return {
            "words": self.words,
            "contributions": self.contributions,
            "baseline_score": self.baseline_score,
        }


def shapley_values(
    function: Callable[[np.ndarray, np.ndarray], np.ndarray],
    values: np.ndarray,
    baseline: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split scores into exact Shapley values.

    Parameters
    ----------
    function, values, baseline
        See ``contract.Explainable``.

    Returns
    -------
    The values, shape ``(n, d)``, which add up to the difference of the two scores; the scores of
    the rows and those of the baselines, shape ``(n,)``.

    Raises
    ------
    CannotExplainError
        If there are more than ``MOST_FEATURES`` features.

    References
    ----------
    Sundararajan and Najmi, "The many Shapley values for model explanation", ICML 2020, section 2.
    """
    rows, features = values.shape
    refuse_too_many(features)
    subsets = np.arange(2**features)
    members = (subsets[:, None] >> np.arange(features) & 1).astype(bool)  # (2^d, d)
    contributions, ends = np.empty((rows, features)), np.empty((rows, 2))
    at_once = max(1, _BATCH_ROWS // len(subsets))  # whole rows
    for first in range(0, rows, at_once):
        some = np.arange(first, min(first + at_once, rows))
        mixed = np.where(members, values[some, None], baseline[some, None])
        flat_scores = function(mixed.reshape(-1, features), some.repeat(len(subsets)))
        scores = np.reshape(flat_scores, (len(some), -1))
        ends[some] = scores[:, [-1, 0]]
        for feature in range(features):
            without = subsets[~members[:, feature]]
            weights = _weights(features)[members[without].sum(1)]
            # differences first: a feature without effect has exactly 0
            added = scores[:, without | 1 << feature] - scores[:, without]
            # not with BLAS: its last bit depends on the number of rows
            contributions[some, feature] = (weights * added).sum(1)
    return contributions, ends[:, 0], ends[:, 1]


def _weights(features: int) -> np.ndarray:
    """Return the share of all orders in which exactly 0, 1, ... given features precede another."""
    return np.array(
        [1 / (features * math.comb(features - 1, before)) for before in range(features)]
    )


def refuse_too_many(features: int) -> None:
    """Refuse a number of features that would take too long.

    Raises
    ------
    CannotExplainError
        If there are more than ``MOST_FEATURES``.
    """
    if features > MOST_FEATURES:
        raise CannotExplainError(
            f"its score is computed from {features} features, and exact Shapley values need "
            f"2^{features} scores per row: at most {MOST_FEATURES} features can be explained"
        )


def reason_not_explained(scorer: Scorer) -> str | None:
    """Return why a scorer cannot explain its answers, as a sentence; None if it can."""
    explained = getattr(scorer, "explained", None)
    if explained is None:
        return "the scorer of this model does not declare the features of its score"
    schema = scorer.schema
    if EXPLANATION in {*schema.echo, *(one.name for one in (*schema.inputs, *schema.outputs))}:
        return f"this model already has a column called {EXPLANATION}"
    try:
        refuse_too_many(len(explained(columns_of_rows([], schema.inputs)).names))
    except CannotExplainError as error:
        return str(error)
    return None


class Explaining:
    """A scorer whose answers have a column ``EXPLANATION`` of ``Explanation`` objects.

    Any code that uses a scorer, such as ``serve.stream.Stream``, then explains the rows that it
    scores. The column is None for rows that are not picked.

    Parameters
    ----------
    scorer
        The wrapped scorer; see ``contract.ExplainableScorer``.
    picked
        Selects the rows to explain.
    most
        The largest number of rows to explain at once; None: unlimited.

    Raises
    ------
    CannotExplainError
        If the scorer cannot explain; while scoring, if more than ``most`` rows are picked, or the
        explained scores differ from the answered ones.
    """

    def __init__(self, scorer: Scorer, picked: "Picker", most: int | None = None) -> None:
        if why := reason_not_explained(scorer):
            raise CannotExplainError(why)
        self.schema = scorer.schema
        self._scorer: Any = scorer
        self._picked, self._most = picked, most

    def score(self, columns: Columns, wanted: np.ndarray | None = None) -> Columns:
        """Score rows, see ``contract.Scorer.score``, and explain the picked ones."""
        known = {name: values for name, values in columns.items() if name != _PICKED}
        answers = self._scorer.score(known, wanted)
        length = len(next(iter(columns.values())))
        rows = np.arange(length) if wanted is None else np.flatnonzero(wanted)
        picked = np.flatnonzero(self._picked(self.schema, columns, answers, rows))
        if self._most is not None and len(picked) > self._most:
            raise CannotExplainError(
                f"{len(picked):,} rows need explanations, more than the limit of {self._most:,}: "
                "send fewer rows"
            )
        explanations = np.full(len(rows), None, object)
        if len(picked):
            explanations[picked] = self._explain(known, answers, rows, picked)
        return {**answers, EXPLANATION: explanations}

    def _explain(
        self, columns: Columns, answers: Columns, rows: np.ndarray, picked: np.ndarray
    ) -> np.ndarray:
        explanations = np.empty(len(picked), object)
        labels = self._labels(columns, rows[picked])
        reasons = self._reasons(answers, picked)
        answered = [number for number, reason in enumerate(reasons) if reason is None]
        for number, (label, reason) in enumerate(zip(labels, reasons, strict=True)):
            explanations[number] = Explanation(f"{label}{reason}")
        if answered:
            wanted = np.zeros(len(next(iter(columns.values()))), bool)
            wanted[rows[picked[answered]]] = True
            explained = self._scorer.explained(columns, wanted)
            scores = np.asarray(answers[explained.output][picked[answered]], float)
            explanations[answered] = _explanations(explained, scores, [labels[n] for n in answered])
        return explanations

    def _labels(self, columns: Columns, rows: np.ndarray) -> list[str]:
        """Return the name of each row's series as a prefix; empty for a single series."""
        by = self.schema.history.by if self.schema.history else None
        return [""] * len(rows) if by is None else [f"{name}: " for name in columns[by][rows]]

    def _reasons(self, answers: Columns, rows: np.ndarray) -> list[str | None]:
        """Return why rows have no answer; None for those that have one."""
        why = self.schema.reason
        names = [one.name for one in self.schema.outputs if one.name != why]
        missing = np.all([_is_missing(answers[name][rows]) for name in names], axis=0)
        reasons = answers[why][rows] if why else [None] * len(rows)
        return [
            (reason or _NO_ANSWER) if is_missing else None
            for reason, is_missing in zip(reasons, missing, strict=True)
        ]


def newest_and_flagged_rows(
    schema: Schema, columns: Columns, answers: Columns, rows: np.ndarray
) -> np.ndarray:
    """Pick the rows of a request to explain: the flagged ones, and the newest of each series.

    The others are their history. Without a history every row is picked.
    """
    history = schema.history
    if history is None:
        return np.ones(len(rows), bool)
    names = [None] * len(rows) if history.by is None else columns[history.by][rows].tolist()
    newest: dict[Any, int] = {}
    for position in np.argsort(columns[history.order][rows], kind="stable").tolist():
        newest[names[position]] = position
    picked = np.zeros(len(rows), bool)
    picked[[*newest.values()]] = True
    return picked | _is_true(answers[schema.flag]) if schema.flag else picked


def flagged_rows(
    schema: Schema, columns: Columns, answers: Columns, rows: np.ndarray
) -> np.ndarray:
    """Pick the rows of a file to explain: the flagged ones, or all if the model has no flag."""
    return _is_true(answers[schema.flag]) if schema.flag else np.ones(len(rows), bool)


def explain_rows(
    scorer: Scorer, columns: Columns, rows: np.ndarray | None = None
) -> list[Explanation] | None:
    """Explain some rows of a table, for a report.

    Parameters
    ----------
    scorer
        See ``contract.ExplainableScorer``.
    columns
        As for ``Scorer.score``, in any order: the rows to explain and their history.
    rows
        Their indices, shape ``(k,)``, or booleans, shape ``(n,)``; None: all.

    Returns
    -------
    An explanation per row, in the order of ``rows``. None if the model cannot explain its answers;
    a warning then gives the reason, see ``reason_not_explained``.
    """
    length = len(next(iter(columns.values())))
    numbers = np.arange(length)[slice(None) if rows is None else rows]
    try:
        explaining = Explaining(scorer, _marked_rows)
        explanations = _explain_in_time_order(explaining, columns, numbers) if len(numbers) else []
    except CannotExplainError as error:
        logger.warning("Not explained: %s", error)
        return None
    return [explanations[number] for number in numbers.tolist()] if len(numbers) else []


def _explain_in_time_order(scorer: Explaining, columns: Columns, numbers: np.ndarray) -> Any:
    """Score rows in the order of time, and repeated ones once, as on arrival."""
    history = scorer.schema.history
    # mark every copy of a repeated row, or the copies would differ
    values = [*zip(*(column.tolist() for column in columns.values()), strict=True)]
    requested = {values[number] for number in numbers.tolist()}
    marks = np.array([row in requested for row in values], bool)
    order = np.arange(len(values))
    if history is not None:
        order = np.argsort(columns[history.order], kind="stable")
    if history is not None and history.by is not None:
        by = columns[history.by]
        series = set(by[numbers].tolist())
        order = order[[name in series for name in by[order].tolist()]]
    table = {name: column[order] for name, column in columns.items()} | {_PICKED: marks[order]}
    explanations = np.full(len(values), None, object)
    explanations[order] = Stream(scorer).score(table, remember=False)[EXPLANATION]
    return explanations


def _marked_rows(
    schema: Schema, columns: Columns, answers: Columns, rows: np.ndarray
) -> np.ndarray:
    return columns[_PICKED][rows]


def _is_true(flags: np.ndarray) -> np.ndarray:
    return np.array([flag is not None and bool(flag) for flag in flags], bool)


def _is_missing(values: np.ndarray) -> np.ndarray:
    return np.array([value is None or value != value for value in values], bool)  # noqa: PLR0124


def _explanations(
    explained: Explainable, answered: np.ndarray, labels: list[str]
) -> list[Explanation]:
    contributions, scores, baselines = shapley_values(
        explained.function, explained.values, explained.baseline
    )
    if not np.allclose(scores, answered, rtol=_SAME, atol=_SAME, equal_nan=True):
        other = int(np.argmax(~np.isclose(scores, answered, rtol=_SAME, atol=_SAME)))
        raise CannotExplainError(
            f"its scorer explains the {explained.output} {scores[other]:g} but answers "
            f"{answered[other]:g}"
        )
    explanations = []
    for row, (label, values) in enumerate(zip(labels, contributions, strict=True)):
        if not np.isfinite(values).all():
            explanations.append(Explanation(f"{label}{_NOT_FINITE}"))
            continue
        named = dict(zip(explained.names, values.tolist(), strict=True))
        words = label + _format_largest(explained, row, values)
        explanations.append(Explanation(words, named, float(scores[row]), float(baselines[row])))
    return explanations


def _format_largest(explained: Explainable, row: int, contributions: np.ndarray) -> str:
    """Describe the features that contribute most to the score's difference, in its direction."""
    towards = contributions if contributions.sum() >= 0 else -contributions
    largest = np.argsort(-towards, kind="stable")[:_MOST_SHOWN].tolist()
    least = _WORTH_SHOWING * towards[largest[0]]
    words = explained.words or _default_words(explained)
    shown = [words(row, one) for one in largest if towards[one] > 0 and towards[one] >= least]
    return ", ".join(shown) or "no feature differs from its usual value"


def _default_words(explained: Explainable) -> Callable[[int, int], str]:
    names, values, usual = explained.names, explained.values, explained.baseline
    return lambda row, one: f"{names[one]} {values[row, one]:.4g} (usual {usual[row, one]:.4g})"
