"""Compare new data with those of the training, column by column.

The population stability index (Siddiqi, Credit Risk Scorecards, 2006) compares shares of values in
the training deciles: below 0.1 is taken for stable, above 0.25 for drift. Missing values are a
share of their own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kedro_azure_mlops.config import Mlops, bootstrap, read_mlops
from kedro_azure_mlops.contract import CONTRACT, Schema, UnusableModelError, read_contract
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.validation import parse_times

NEWEST = 0.2
"""The share of new rows, where the newest of one entry are compared with the others."""

_BINS = 10
_FEWEST = 0.5  # of a value: an empty bin would make the logarithm infinite


@dataclass(frozen=True)
class Drift:
    """The result of a comparison.

    ``table`` is that of ``compare``, ``limit`` the index above which it is drift.
    """

    table: pd.DataFrame
    before: dict[str, np.ndarray]
    now: dict[str, np.ndarray]
    limit: float

    @property
    def drifted(self) -> list[str]:
        """The names of what drifted: above the limit, or not in the training."""
        index = self.table["stability_index"]
        return list(self.table.index[(index > self.limit) | index.isna()])


def drift(env: str, *, limit: float | None = None, root: Path | None = None) -> Drift:
    """Compare the newest data with those of the training, as ``monitoring`` in mlops.yml says.

    Parameters
    ----------
    env
        The environment whose catalog is read.
    limit
        The stability index above which it is drift; None: ``monitoring.limit``.
    root
        The project; None: the current folder.

    Raises
    ------
    OperationError
        If data, columns or the model that names them are missing: says which.
    """
    root = root or Path.cwd()
    mlops = read_mlops(root, env)
    train, new, schema = _stored(root, env, mlops)
    columns = _columns(mlops, schema, train, new)
    by = mlops.monitoring.by or (schema.history.by if schema and schema.history else None)
    if by:
        _refuse_missing([by], train, new, "monitoring.by")
    before, now = values_of(train, columns, by), values_of(new, columns, by)
    most = mlops.monitoring.limit if limit is None else limit
    return Drift(compare(before, now), before, now, most)


def population_stability(train: np.ndarray, new: np.ndarray) -> float:
    """Compute the index of two samples, shapes ``(n,)`` and ``(m,)``; 0 means the same shares.

    Missing values (NaN) are compared as a share of their own, where there are any.

    Raises
    ------
    ValueError
        If one of the samples is empty.
    """
    if not len(train) or not len(new):
        raise ValueError("drift needs values on both sides")
    known = train[~np.isnan(train)]
    quantiles = np.linspace(0, 1, _BINS + 1)[1:-1]
    edges = np.unique(np.quantile(known, quantiles)) if len(known) else np.zeros(0)
    has_missing = bool(np.isnan(train).any() or np.isnan(new).any())
    shares = []
    for sample in (train, new):
        there = sample[~np.isnan(sample)]
        counts = np.bincount(np.searchsorted(edges, there), minlength=len(edges) + 1)
        if has_missing:
            counts = np.append(counts, len(sample) - len(there))
        shares.append(np.maximum(counts, _FEWEST) / len(sample))
    expected, found = shares
    return float(np.sum((found - expected) * np.log(found / expected)))


def compare(before: dict[str, np.ndarray], now: dict[str, np.ndarray]) -> pd.DataFrame:
    """Measure how far values moved.

    Parameters
    ----------
    before, now
        Values by name, as ``values_of`` returns them.

    Returns
    -------
    A row a name of ``now``: ``stability_index``, the ``median_in_training`` and ``median_now``, and
    the number of ``rows``. What training did not see has no index (NaN).
    """
    rows = {}
    for name, values in now.items():
        known = before.get(name)
        rows[name] = {
            "stability_index": np.nan if known is None else population_stability(known, values),
            "median_in_training": np.nan if known is None else _median(known),
            "median_now": _median(values),
            "rows": len(values),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def values_of(table: pd.DataFrame, columns: Sequence[str], by: str | None) -> dict[str, np.ndarray]:
    """Take the values of columns, of each series by itself, out of a table.

    Returns
    -------
    By name: that of the column, or of the series, or ``series: column`` where there are several of
    both.
    """
    found = {}
    for series, rows in _series(table, by):
        for column in columns:
            values = pd.to_numeric(rows[column], errors="coerce").to_numpy(float, na_value=np.nan)
            found[_name(series, column, alone=len(columns) == 1)] = values
    return found


def _series(table: pd.DataFrame, by: str | None) -> Iterator[tuple[str | None, pd.DataFrame]]:
    if by is None:
        yield None, table
        return
    for series, rows in table.groupby(by, sort=True):
        yield str(series), rows


def _name(series: str | None, column: str, *, alone: bool) -> str:
    if series is None:
        return column
    return series if alone else f"{series}: {column}"


def _median(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else np.nan


def _stored(root: Path, env: str, mlops: Mlops) -> tuple[pd.DataFrame, pd.DataFrame, Schema | None]:
    """Load the data of the training, the new ones, and what the model says of its columns."""
    from kedro.framework.session import KedroSession

    monitoring = mlops.monitoring
    name = monitoring.data or mlops.tracking.data
    if name is None:
        raise OperationError(
            "mlops.yml names no data to compare: set monitoring.data, or tracking.data, to an "
            "entry of the catalog."
        )
    bootstrap(root)
    with KedroSession.create(project_path=root, env=env) as session:
        catalog = session.load_context().catalog
        schema = _schema(catalog, mlops)
        data = _table(catalog, name, env)
        if monitoring.reference:
            return _table(catalog, monitoring.reference, env), data, schema
    time = monitoring.time or (schema.history.order if schema and schema.history else None)
    if time is None:
        raise OperationError(
            f"Nothing says which rows of {name} are the newest: set monitoring.time in mlops.yml "
            "to its column of times, or monitoring.reference to the entry with the data of the "
            "training."
        )
    _refuse_missing([time], data, data, "monitoring.time")
    return *_cut(data, name, time), schema


def _table(catalog: Any, name: str, env: str) -> pd.DataFrame:
    if name not in catalog:
        raise OperationError(f"The catalog has no entry {name}, which mlops.yml names.")
    if not catalog.exists(name):
        run = "kedro run" if env in {"local", "base"} else f"kedro run --env {env}"
        raise OperationError(f"There are no data in {name} to compare yet, type: {run}")
    found = catalog.load(name)
    if not isinstance(found, pd.DataFrame):
        raise OperationError(f"{name} is a {type(found).__name__} and no table (pandas.DataFrame).")
    return found


def _schema(catalog: Any, mlops: Mlops) -> Schema | None:
    """Read what the trained model says of its columns; None where there is no such model."""
    name = mlops.tracking.model
    entry = catalog.get(name) if name and name in catalog else None
    folder = Path(str(getattr(entry, "filepath", None) or ""))
    if entry is None or not (folder / CONTRACT).is_file():
        return None
    try:
        return read_contract(folder).schema
    except UnusableModelError:
        return None


def _columns(
    mlops: Mlops, schema: Schema | None, train: pd.DataFrame, new: pd.DataFrame
) -> list[str]:
    columns = mlops.monitoring.columns
    if columns is not None:
        _refuse_missing(columns, train, new, "monitoring.columns")
    elif schema is None:
        raise OperationError(
            "Nothing says which columns to compare: there is no trained model with a contract.json "
            "(tracking.model of mlops.yml; has it been trained?). Train one, or name "
            "monitoring.columns."
        )
    else:
        columns = [one.name for one in schema.inputs if one.type in {"double", "long"}]
        _refuse_missing(columns, train, new, "the model's schema")
    texts = [
        name
        for name in columns
        for table in (train, new)
        if table[name].notna().any() and pd.to_numeric(table[name], errors="coerce").isna().all()
    ]
    if texts or not columns:
        what = f"{', '.join(dict.fromkeys(texts))} holds no numbers" if texts else "there are none"
        raise OperationError(f"Only columns of numbers can be compared: {what}.")
    return list(columns)


def _refuse_missing(
    columns: Sequence[str], train: pd.DataFrame, new: pd.DataFrame, by: str
) -> None:
    missing = [name for name in columns if name not in train or name not in new]
    if missing:
        there = ", ".join(map(str, new.columns))
        raise OperationError(
            f"The data have no column {', '.join(missing)}, which {by} names; they have {there}."
        )


def _cut(data: pd.DataFrame, name: str, time: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cut a table at the time after which the newest share of its rows comes."""
    times = parse_times(data[time])
    if times.isna().all():
        raise OperationError(f"{name}: {time} holds no dates and times.")
    known = np.sort(times.dropna().to_numpy())
    is_new = times.to_numpy() > known[int((len(known) - 1) * (1 - NEWEST))]
    if not is_new.any() or is_new.all():
        raise OperationError(f"{name} holds too few rows to compare the newest with the others.")
    return data[~is_new], data[is_new]
