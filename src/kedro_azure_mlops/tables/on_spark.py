"""Long tables of series on Spark: executors read the files, and clean and count the rows.

Files are read, checked and cleaned by the same functions as with pandas, so all values and marks
are the same. A table on Spark has no index: the line of the file is its column ``line``. The lines
of a folder's second file begin at 10,000,000,000, those of the third at twice that::

    raw_hours:
      type: kedro_azure_mlops.tables.on_spark.SeriesOnSpark
      filepath: abfss://data@account.dfs.core.windows.net/hours
      columns: {time: time, series: machine, numbers: [load]}
      checks: {class: my_project.schemas.RawHours}
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.framework.project import settings

from kedro_azure_mlops.contract import ColumnType
from kedro_azure_mlops.engine import LINE, map_groups, map_rows, spark_errors, spark_session
from kedro_azure_mlops.engine.on_spark import quoted, schema_of
from kedro_azure_mlops.error_codes import LINES_SHOWN, describe_code
from kedro_azure_mlops.errors import RefusedError
from kedro_azure_mlops.storage import shown
from kedro_azure_mlops.tables.catalog import SeriesPieces
from kedro_azure_mlops.tables.cleaning import (
    CleaningParameters,
    mark,
    parse,
    refuse_too_much,
    report_of,
)
from kedro_azure_mlops.tables.series import NOTES
from kedro_azure_mlops.tables.steps import find_steps
from kedro_azure_mlops.validation import ROWS_SHOWN, BadDataError

__all__ = ["FILES", "LINES_OF_A_FILE", "SeriesOnSpark", "clean_on_spark"]

LINES_OF_A_FILE = 10_000_000_000
"""The offset between the line numbers of one file of a folder and those of the next."""
FILES = "files"
"""The attribute of a table with the names of its files, for messages."""
_MARKS = ("repeated", "sent_twice", "jittered", "in_gaps", "error_codes", "is_older", "is_newer")


class SeriesOnSpark(SeriesPieces):
    """Rows of series as a Spark table: a file, or a folder of files that are read in parallel.

    Loads ``line``, the time (UTC if it has an offset), the name of the series, the numbers, and
    ``notes`` on unused content of a file, in its last row. Nothing is read until the table is used;
    an unusable file then ends the run, as with pandas.

    Parameters
    ----------
    options
        The options of ``SeriesPieces``. Each file is read by one executor, so prefer many
        files to large ones. ``checks`` see the rows of one file at a time.
    """

    def load(self) -> Any:
        """Find the files; Spark reads them when the table is used.

        Raises
        ------
        MissingFileError
            If the file does not exist.
        OperationError
            If a folder holds no file, or Spark is not installed.
        """
        if self.filepath is not None:
            self._file(self.filepath).source()
        files = [
            (number, _absolute(address), shown(address))
            for number, address in enumerate(self.files().values())
        ]
        spark, source = spark_session(), str(settings.CONF_SOURCE)
        columns = [self._names.time, self._names.series, *self._names.numbers]

        def read(blocks: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
            settings.set("CONF_SOURCE", source)  # the driver's, for messages
            for block in blocks:
                for number, address, name in block.itertuples(index=False):
                    yield from self._rows(number * LINES_OF_A_FILE, address, name, columns)

        named = spark.createDataFrame(files, "number bigint, address string, name string")
        spread = named.repartitionByRange(len(files), "number")
        table = spread.mapInPandas(read, schema_of(_types(columns)))
        names = [name for _, _, name in files]
        table.attrs = {"source": shown(str(self.filepath)), FILES: names}
        return table

    def load_here(self) -> Iterator[pd.DataFrame]:
        """Read the files in this process, a piece at a time, like ``SeriesPieces.load``."""
        return super().load()

    def _rows(
        self, before: int, address: str, name: str, columns: Sequence[str]
    ) -> Iterator[pd.DataFrame]:
        try:
            for piece in self._pieces({None: address}):
                rows = parse(piece, columns)[0].reset_index()
                rows[LINE] = np.asarray(piece.index) + before
                rows[NOTES] = None
                if notes := piece.attrs.get(NOTES):
                    rows.loc[rows.index[-1], NOTES] = json.dumps(notes)
                yield rows
        except BadDataError as error:
            # with the driver's file name; indented, as Spark cuts messages at unindented lines
            text = str(error).replace(address, name).replace("\n", "\n  ")
            raise RefusedError(text) from error


def clean_on_spark(
    raw: Any,
    columns: Sequence[str],
    parameters: CleaningParameters,
    *,
    group: str,
    rows: str,
    series: str,
) -> tuple[Any, dict[str, Any]]:
    """Clean a Spark table like ``clean_series`` with pandas, each series separately."""
    from pyspark.sql import functions as f

    source = str(vars(raw).get("attrs", {}).get("source", "the data"))
    names = [quoted(name) for name in columns]
    time, by, number = names[:3]
    marks: dict[str, ColumnType] = dict.fromkeys(_MARKS, "boolean")
    types: dict[str, ColumnType] = {**_types(columns), **marks, "step": "double"}

    def find(rows: pd.DataFrame) -> pd.DataFrame:
        return _marked(rows, columns, parameters.gap_steps)

    # cached, as everything below uses it
    marked = map_groups(raw, columns[1], find, types, order_by=LINE).persist()
    counted = {name: f.sum(f.col(name).cast("bigint")) for name in _MARKS}
    is_gap = f.when(f.col("in_gaps"), f.col("step"))
    with spark_errors():
        found = marked.agg(
            f.count(f.lit(1)).alias("rows"),
            f.countDistinct(by).alias("series"),
            f.min(time).alias("first"),
            f.max(time).alias("last"),
            *(total.alias(name) for name, total in counted.items()),
            f.sum("step").alias("seconds"),
            f.sum(is_gap).alias("seconds_in_gaps"),
            f.max(is_gap).alias("longest_gap"),
        )
        count = found.fillna(0.0).first().asDict()
        # in a file that begins with the newest row, the newer rows are out of order
        older = "is_newer" if count["is_older"] > count["is_newer"] else "is_older"
        count["unordered"] = count[older]

        def offending(name: str) -> pd.DataFrame:
            some = marked.where(older if name == "unordered" else name)
            first = some.orderBy(LINE).limit(ROWS_SHOWN).select(LINE, *names)
            return first.toPandas().set_index(LINE)

        refuse_too_much(count, parameters, offending, source, group, rows, series)
        codes = (
            marked.where("error_codes")
            .groupBy(by, number)
            .agg(f.count(f.lit(1)), f.slice(f.sort_array(f.collect_list(LINE)), 1, LINES_SHOWN))
        )
        codes = [describe_code(*code) for code in codes.orderBy(by, number).collect()]
        notes = _notes(marked.where(f.col(NOTES).isNotNull()).select(NOTES).collect())
        report = report_of(count, source, notes, codes, _fingerprint(marked, columns))
    clean = marked.select(LINE, *names, f.col("sent_twice").alias("repeated"))
    return clean, report


def _marked(rows: pd.DataFrame, columns: Sequence[str], gap_steps: float) -> pd.DataFrame:
    """Mark the rows of one series, which are in the order of their lines."""
    times, series = rows[columns[0]].to_numpy(), np.zeros(len(rows), np.int64)
    found = mark(rows[[*columns]], columns, series, find_steps(series, times), gap_steps)
    back = np.diff(times, prepend=times[:1]).astype(np.int64)
    found = found.drop(columns="unordered").assign(is_older=back < 0, is_newer=back > 0)
    return rows[[LINE, *columns, NOTES]].join(found)


def _fingerprint(table: Any, columns: Sequence[str]) -> str:
    """Compute an order-independent SHA-256 of rows from the sum of their hashes."""

    def total(rows: pd.DataFrame) -> pd.DataFrame:
        hashed = pd.util.hash_pandas_object(rows[[LINE, *columns]], index=False).to_numpy()
        return pd.DataFrame({"total": [hashed.sum(dtype=np.uint64).astype(np.int64)]})

    parts = map_rows(table, total, {"total": "long"}).collect()
    return hashlib.sha256(str(sum(part[0] for part in parts) % 2**64).encode()).hexdigest()


def _notes(rows: Sequence[Any]) -> list[str]:
    """Return the distinct notes on all files."""
    return sorted({note for (text,) in rows for note in json.loads(text)})


def _types(columns: Sequence[str]) -> dict[str, ColumnType]:
    """Return the columns of a table of ``SeriesOnSpark``, and their types."""
    time, by, *numbers = columns
    types: dict[str, ColumnType] = {LINE: "long", time: "datetime", by: "string"}
    return {**types, **dict.fromkeys(numbers, "double"), NOTES: "string"}


def _absolute(address: str) -> str:
    """Return a path that is valid on executors, which have a different working folder."""
    return address if "://" in address else str(Path(address).absolute())
