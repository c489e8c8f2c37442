"""Score a Spark table with a model, as ``batches.score_pieces`` scores files."""

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pandas as pd

from kedro_azure_mlops.contract import Column, ColumnType, Scorer
from kedro_azure_mlops.engine import LINE, Table, map_groups, map_rows
from kedro_azure_mlops.engine.on_spark import quoted
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.explain import EXPLANATION, Explaining
from kedro_azure_mlops.serve.batches import SOURCE, Scoring
from kedro_azure_mlops.tables.on_spark import FILES, LINES_OF_A_FILE

_VERSION = "model_version"
_DTYPES = {"boolean": "boolean", "double": "float64"}  # in files: 0 and 1, and Int64
_ALL = "__all"


def score_on_spark(
    table: Table, scorer: Scorer, version: str | None, most_late: timedelta
) -> Table:
    """Score the rows of a table, with the earlier rows of their series as history.

    Series are scored in parallel; large ones are split by time, each part with the history that
    ``scorer.schema.history`` declares. The model is sent to the executors.

    Parameters
    ----------
    table
        The columns of ``scorer.schema.inputs``, optionally ``LINE``; others are left out.
    scorer, version, most_late
        See ``score_pieces``; the scorer must be picklable.

    Returns
    -------
    ``LINE`` if given, the inputs, and the outputs as from ``score_pieces``, except that booleans
    stay booleans and nullable whole numbers are ``double``.

    Raises
    ------
    OperationError
        If the table lacks a column.
    """
    schema = scorer.schema
    history = schema.history
    if missing := [one.name for one in schema.inputs if one.name not in table.columns]:
        raise OperationError(f"the table lacks the columns {', '.join(missing)} of the model")
    line: dict[str, ColumnType] = {LINE: "long"} if LINE in table.columns else {}
    inputs = {one.name: _spark_type(one) for one in schema.inputs}
    outputs = {one.name: _spark_type(one) for one in schema.outputs}
    words = [EXPLANATION] if isinstance(scorer, Explaining) else []
    types: dict[str, ColumnType] = {
        **line,
        **inputs,
        **outputs,
        **dict.fromkeys([*words, _VERSION], "string"),
    }
    casts = {name: _DTYPES[kind] for name, kind in types.items() if kind in _DTYPES}
    files = vars(table).get("attrs", {}).get(FILES)

    def score(rows: pd.DataFrame) -> pd.DataFrame:
        scoring = Scoring(scorer, version, most_late, time.monotonic, None)
        if not line:
            return scoring.score(rows[[*inputs]].set_axis(["?"] * len(rows))).astype(casts)
        rows = rows.sort_values(LINE)  # of arrival: late rows do not change earlier answers
        pieces = _by_file(rows[[*inputs]], rows[LINE], files)
        scored = pd.concat(map(scoring.score, pieces)).astype(casts)
        # in the order of the given rows, by which the engine recognizes those of the history
        return scored.assign(**{LINE: rows[LINE].to_numpy()}).set_axis(rows.index).sort_index()

    table = table.select(*map(quoted, [*line, *inputs]))
    if history is None:
        return map_rows(table, score, types)
    if history.by is None:  # all rows are one series
        from pyspark.sql import functions as f

        table = table.withColumn(_ALL, f.lit("all"))
    by, order = history.by or _ALL, [history.order, *line]
    return map_groups(table, by, score, types, order_by=order, history=history)


def _by_file(
    rows: pd.DataFrame, lines: pd.Series, files: Sequence[str] | None
) -> Iterator[pd.DataFrame]:
    """Yield the rows of each file, indexed by its own lines, for messages."""
    if files is None:
        yield rows.set_axis(lines)
        return
    numbers = lines // LINES_OF_A_FILE
    for number in numbers.unique():
        piece = rows.set_axis(lines % LINES_OF_A_FILE)[(numbers == number).to_numpy()]
        piece.attrs = {SOURCE: files[number]}
        yield piece


def _spark_type(column: Column) -> ColumnType:
    """Return the type of a column in Spark: nullable whole numbers become ``double``."""
    return "double" if column.type == "long" and column.nullable else column.type
