"""Measure a model with labels that arrived later: metrics overall and by series.

A label applies to a row (the columns of the schema's series and times) or to an event (``start``
and ``end``, both inclusive, and the column of the series if there is one).
"""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd

from kedro_azure_mlops.config import Rule
from kedro_azure_mlops.contract import Schema, import_function
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.monitor.comparison import Finding
from kedro_azure_mlops.values import read_times

Metrics = Callable[[pd.DataFrame, pd.DataFrame], Mapping[str, float]]
_START, _END = "start", "end"


def load_metrics(name: str | None) -> Metrics:
    """Import the function that ``monitoring.metrics`` names.

    Raises
    ------
    OperationError
        If no function is configured, or it cannot be imported.
    """
    if name is None:
        raise OperationError(
            "Labels are given, but no metrics: set monitoring.metrics in mlops.yml to "
            "package.module:function, which takes rows and labels and returns numbers by name."
        )
    try:
        return import_function(name)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise OperationError(
            f"monitoring.metrics of mlops.yml: {name} cannot be imported: {error}"
        ) from error


def slices_of(rows: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Count the rows of each series, and compute the share that the model flagged.

    Returns
    -------
    One row per series, sorted by name: ``rows`` and, if the schema has a flag, ``flagged``.
    """
    by = schema.history.by if schema.history else None
    if by is None or rows.empty:
        return pd.DataFrame(columns=["rows"])
    groups = rows.groupby(by, sort=True)
    found = pd.DataFrame({"rows": groups.size()})
    if schema.flag and schema.flag in rows.columns:
        found["flagged"] = groups[schema.flag].apply(lambda flags: float((flags == 1).mean()))
    return found


def measure(
    metrics: Metrics, rows: pd.DataFrame, labels: pd.DataFrame, schema: Schema
) -> tuple[dict[str, float], pd.DataFrame, list[str]]:
    """Compute the metrics of rows and their labels, overall and by series.

    Returns
    -------
    The overall metrics by name; a table with one row per series and one column per metric; and
    sentences about labels without a row.

    Raises
    ------
    OperationError
        If the function fails, or does not return numbers by name.
    """
    labels, notes = _labels_of_rows(labels, rows, schema)
    by = schema.history.by if schema.history else None
    found = {}
    if by is not None:
        for key, part in rows.groupby(by, sort=True):
            own = labels[labels[by] == key] if by in labels.columns else labels
            found[key] = _numbers(metrics, part, own)
    table = pd.DataFrame.from_dict(found, orient="index")
    return _numbers(metrics, rows, labels), table, notes


def missed_levels(
    rules: list[Rule], metrics: dict[str, float], slices: pd.DataFrame, since: pd.Timestamp
) -> list[Finding]:
    """Find the metrics that miss a level of the gate.

    A rule with ``slice: worst`` applies to each series, any other rule to all rows together.
    """
    found = []
    for rule in rules:
        values: dict[Any, float] = {}
        if rule.slice and rule.metric in slices.columns:
            values = slices[rule.metric].dropna().to_dict()
        elif not rule.slice and rule.metric in metrics:
            values = {None: metrics[rule.metric]}
        for key, value in values.items():
            for limit, is_missed, word in (
                (rule.minimum, value < (rule.minimum or 0), "minimum"),
                (rule.maximum, value > (rule.maximum or 0), "maximum"),
            ):
                if limit is None or not is_missed:
                    continue
                whose = "" if key is None else f"{key}: "
                words = f"{whose}{rule.label or rule.metric} {value:.3g}, {word} {limit:g}"
                name = None if key is None else str(key)
                found.append(Finding("drift", rule.metric, None, name, value, limit, since, words))
    return found


def _numbers(metrics: Metrics, rows: pd.DataFrame, labels: pd.DataFrame) -> dict[str, float]:
    name = getattr(metrics, "__name__", "it")
    try:
        found = metrics(rows.reset_index(drop=True), labels.reset_index(drop=True))
        numbers = {str(key): float(value) for key, value in found.items()}
    except Exception as error:  # the project's own code may raise anything
        raise OperationError(
            f"monitoring.metrics of mlops.yml: {name} failed on {len(rows):,} rows and "
            f"{len(labels):,} labels: {error!r}"
        ) from error
    return {key: value for key, value in numbers.items() if isfinite(value)}


def _labels_of_rows(
    labels: pd.DataFrame, rows: pd.DataFrame, schema: Schema
) -> tuple[pd.DataFrame, list[str]]:
    """Return the labels of judged rows, and notes about the others."""
    history = schema.history
    if history is None or labels.empty:
        return labels, []
    first, last = rows[history.order].min(), rows[history.order].max()
    by = history.by if history.by in labels.columns else None
    starts: np.ndarray | None
    ends: np.ndarray | None
    if _START in labels.columns and _END in labels.columns:
        starts, ends = (read_times(labels[name]).values for name in (_START, _END))
    elif history.order in labels.columns:
        starts = ends = read_times(labels[history.order]).values
    else:
        starts = ends = None
    in_time = np.ones(len(labels), bool)
    if starts is not None and ends is not None:
        in_time = (ends >= first.to_datetime64()) & (starts <= last.to_datetime64())
    served = in_time.copy()
    times = dict(iter(rows.groupby(by)[history.order])) if by else {None: rows[history.order]}
    for row in np.flatnonzero(in_time).tolist():
        own = times.get(labels[by].iloc[row] if by else None)
        if own is None or starts is None or ends is None:
            served[row] = own is not None
            continue
        after = int(np.searchsorted(own.to_numpy(), starts[row]))
        served[row] = after < len(own) and own.iloc[after] <= ends[row]
    notes = []
    if unserved := int((in_time & ~served).sum()):
        notes.append(f"Labels of rows that were never served, left out: {unserved:,}.")
    if outside := int((~in_time).sum()):
        notes.append(f"Labels outside the time range of the rows, left out: {outside:,}.")
    return labels[served], notes
