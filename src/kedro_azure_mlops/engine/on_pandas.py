"""The engine on pandas: groups and blocks in threads, results in a defined order."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import numpy as np
import pandas as pd

from kedro_azure_mlops.engine import exact
from kedro_azure_mlops.engine.rows import (
    HASH,
    Function,
    OneGroup,
    Types,
    call,
    grouped,
    hashes,
    in_order,
    settle,
    type_of,
)
from kedro_azure_mlops.errors import OperationError

_BLOCK = 100_000  # rows that a function gets at once
_BATCHES = 64  # of groups: with a task per group, threads would cost more than the work


def types_of(frame: pd.DataFrame) -> dict[str, str]:
    """Return the types of a table's columns; text for a column without values."""
    if not frame.columns.is_unique:
        raise OperationError(f"columns have the same name: {', '.join(map(str, frame.columns))}")
    found = {name: type_of(frame[name]) for name in frame.columns}
    return {name: "string" if kind == "missing" else kind for name, kind in found.items()}


def map_groups(
    frame: pd.DataFrame, types: Types, apply_to_group: OneGroup, most_rows: int
) -> pd.DataFrame:
    """Apply a function to groups of any size."""
    rows, starts = grouped(settle(frame, types), apply_to_group.by)
    return _in_threads(apply_to_group, rows, starts, apply_to_group.schema)


def map_rows(frame: pd.DataFrame, types: Types, function: Function, schema: Types) -> pd.DataFrame:
    """Apply a function to blocks of rows."""
    starts = np.arange(0, len(frame), _BLOCK)
    rows = settle(frame, types)
    return _in_threads(lambda block: call(function, block, schema), rows, starts, schema)


def sample(
    frame: pd.DataFrame, types: Types, rows: int, key: Sequence[str], seed: int
) -> pd.DataFrame:
    """Choose the rows with the smallest hashes, in the order of the key."""
    table = settle(frame, types)
    if rows < len(table):
        found = hashes(table[[*key]], seed)
        candidates = found <= np.partition(found, rows - 1)[rows - 1]  # too many if hashes are tied
        table = in_order(table[candidates].assign(**{HASH: found[candidates]}), [HASH]).drop(
            columns=HASH
        )
    return settle(in_order(table.head(rows), key), types)


def aggregate(
    frame: pd.DataFrame, types: Types, by: Sequence[str], wanted: exact.Wanted
) -> pd.DataFrame:
    """Aggregate a table as one block."""
    compute_partials = partial(exact.partials, by=by, wanted=wanted)
    compute_totals = partial(exact.totals, by=by, types=types, wanted=wanted)
    block = call(compute_partials, settle(frame, types), exact.partial_types(types, by, wanted))
    return call(compute_totals, block, exact.result_types(types, by, wanted))


def to_pandas(frame: pd.DataFrame, types: Types) -> pd.DataFrame:
    """Return a table with the arrays that functions receive."""
    return settle(frame, types)


def newest_rows(frame: pd.DataFrame, column: str, span: timedelta) -> pd.DataFrame:
    """Keep the rows that are less than a span older than the newest."""
    times = settle(frame[[column]], {column: "datetime"})[column]
    return frame[(times > times.max() - span).to_numpy()]


def _in_threads(
    function: Function, rows: pd.DataFrame, starts: np.ndarray, schema: Types
) -> pd.DataFrame:
    """Apply a function to slices of rows, which begin at ``starts``."""
    nullable = [n for n, dtype in rows.dtypes.items() if isinstance(dtype, pd.BooleanDtype)]

    def run_slice(start: int, end: int) -> pd.DataFrame:
        found = rows.iloc[start:end].reset_index(drop=True)
        if plain := [name for name in nullable if not found[name].hasnans]:
            found = found.astype(dict.fromkeys(plain, bool))  # as Spark settles it alone
        return function(found)

    def run_batch(batch: np.ndarray) -> list[pd.DataFrame]:
        return [run_slice(start, end) for start, end in batch]

    slices = np.column_stack([starts, np.append(starts, len(rows))[1:]])
    with ThreadPoolExecutor() as pool:
        batches = pool.map(run_batch, np.array_split(slices, min(_BATCHES, max(len(slices), 1))))
        found = [piece for batch in batches for piece in batch if len(piece)]
    return settle(pd.concat(found) if found else pd.DataFrame(columns=[*schema]), schema)
