"""Refuse rows of a table with a message: their number, the reasons and the first ones.

A ``RowValidator`` is built from ``column``, ``time_column``, ``number_column`` and ``check``;
``is_number``, ``is_within`` and ``is_time`` check columns as read from a file, often text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from kedro.validation import CheckFailure, DataValidationError

from kedro_azure_mlops.values import Times, read_numbers, read_times
from kedro_azure_mlops.windows import by_series

if TYPE_CHECKING:  # pandera takes half a second to import: only commands that load data need it
    import pandera.pandas as pa

ROWS_SHOWN = 10  # of a table, in messages


class BadDataError(DataValidationError):
    """The data was refused (exit status 1); the message shows the first offending rows."""

    exit_code = 1

    def __str__(self) -> str:
        # Kedro's own rendering shows examples of values; users need rows.
        return str(self.message)


class RowValidator:
    """A schema of rows, for ``validator:`` in the catalog.

    ::

        class RawHours(RowValidator):
            def __init__(self, most: float) -> None:
                columns = {"time": time_column("time"), "load": number_column("load", 0, most)}
                super().__init__(columns)

    Parameters
    ----------
    columns
        The columns that rows must have; others are ignored.
    checks
        Rules about several columns.
    """

    def __init__(self, columns: Mapping[str, pa.Column], *checks: pa.Check) -> None:
        import pandera.pandas as pa

        self._columns = list(columns)
        self._schema = pa.DataFrameSchema(dict(columns), checks=list(checks))

    def validate(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows unchanged.

        Raises
        ------
        BadDataError
            If rows are refused; the message has one table of the first ones for all checks.
        """
        return refuse_offending_rows(rows, self._schema, self._columns)


class NoRowsError(BadDataError):
    """A file has no rows."""


def refuse_offending_rows(
    frame: pd.DataFrame, schema: pa.DataFrameSchema, columns: Sequence[str]
) -> pd.DataFrame:
    """Return a frame if its schema accepts it.

    Parameters
    ----------
    frame
        Indexed by the line of its file; ``attrs["source"]`` is the name of the file in messages.
    columns
        The columns that the table of offending rows shows.

    Raises
    ------
    BadDataError
        If there are no rows, a column is missing or a check refuses rows; the message then has the
        number of rows per check and a table of the first ones.
    """
    import pandera.errors

    source = frame.attrs.get("source", "the data")
    if missing := [name for name in columns if name not in frame.columns]:
        raise BadDataError(
            f"{source}: wrong columns, {', '.join(missing)} missing.\n"
            f"The file has: {', '.join(map(str, frame.columns))}\n"
            f"It needs: {', '.join(columns)}."
        )
    if frame.empty:
        raise NoRowsError(f"{source}: the file is empty: it has no rows.")
    try:
        accepted = schema.validate(frame, lazy=True)
        for table in (frame, accepted):  # pandera's reference cycle would keep it alive
            vars(table).pop("pandera", None)
        return accepted
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases
        counts = cases.groupby("check", sort=False)["index"].nunique()
        raise BadDataError(
            _offending_table(frame, cases, counts, list(columns)),
            failures=[
                CheckFailure(message=str(check), check=str(check), failure_count=int(count))
                for check, count in counts.items()
            ],
        ) from error


def column(name: str, *checks: pa.Check) -> pa.Column:
    """Return a column of a schema without missing values."""
    import pandera.pandas as pa

    return pa.Column(nullable=True, checks=[check(pd.Series.notna, f"{name} is missing"), *checks])


def time_column(name: str) -> pa.Column:
    """Return a column of a schema that holds ISO 8601 times, as text or as datetimes."""
    return column(name, check(is_time, f"{name} is not a date and time such as 2024-01-31 13:00"))


def number_column(name: str, minimum: float = -np.inf, maximum: float = np.inf) -> pa.Column:
    """Return a column of a schema that holds finite numbers from ``minimum`` to ``maximum``."""
    within = check(
        lambda values: is_within(values, minimum, maximum),
        f"{name} is outside {minimum:g} to {maximum:g}",
    )
    # only an infinite limit lets infinite numbers through
    infinite = [limit for limit in (minimum, maximum) if np.isinf(limit)]
    finite = check(lambda values: ~parse_numbers(values).isin(infinite), f"{name} is not finite")
    checks = [within, finite] if infinite else [within]
    return column(name, check(is_number, f"{name} is not a number"), *checks)


def check(accepts: Callable[..., pd.Series], refusal: str) -> pa.Check:
    """Return a check that reports the rows that a function refuses.

    Parameters
    ----------
    accepts
        Takes the column, or the frame if it checks a whole schema; returns booleans. It must accept
        missing values, so that each fault is reported by one check.
    refusal
        The reason for refusing a row.
    """
    import pandera.pandas as pa

    return pa.Check(accepts, name=refusal, error=refusal, ignore_na=False)


def parse_times(column: pd.Series, zone: str | None = None) -> pd.Series:
    """Read ISO 8601 times; offsets are converted to UTC, unreadable values become NaT.

    Parameters
    ----------
    zone
        The zone of times without an offset, such as ``Europe/Berlin``; None keeps them unchanged.
        A time that occurs twice is read as the first, one that the clocks skip as NaT.
    """
    times = read_times(column)
    parsed = pd.Series(times.values, column.index, name=column.name)
    if zone is None:
        return parsed
    from kedro_azure_mlops.tables.local_time import zone_of

    is_first = np.ones(len(parsed), bool)
    local = parsed.dt.tz_localize(zone_of(zone), ambiguous=is_first, nonexistent="NaT")
    return parsed.where(times.has_offset, local.dt.tz_convert("UTC").dt.tz_localize(None))


def parse_numbers(column: pd.Series) -> pd.Series:
    """Read decimal numbers as in files and requests; unreadable values become NaN."""
    return pd.Series(read_numbers(column), column.index, name=column.name)


def refuse_mixed_offsets(seen: list[Any], times: Times, texts: pd.Series, source: str) -> None:
    """Refuse a file in which some times have an offset and others have none.

    Parameters
    ----------
    seen
        The first row without an offset and the first with one, or None, in earlier pieces of the
        file. It is updated.
    times
        The times that were read.
    texts
        The column that they were read from, indexed by the line of the file.

    Raises
    ------
    BadDataError
        If they are mixed; the message has a line of each.
    """
    is_time = ~np.isnat(times.values)
    for kind, wanted in enumerate((is_time & ~times.has_offset, is_time & times.has_offset)):
        if seen[kind] is None and wanted.any():
            row = int(np.argmax(wanted))
            seen[kind] = f"line {texts.index[row]}: {texts.iloc[row]}"
    if seen[0] and seen[1]:
        raise BadDataError(
            f"{source}: times with and without an offset are mixed, so the meaning of those "
            f"without is unknown.\n  without an offset, {seen[0]}\n  with an offset, {seen[1]}\n"
            "Write all of them with an offset (or Z), or all without."
        )


def is_time(column: pd.Series) -> pd.Series:
    """Return where a column has an ISO 8601 time or is missing."""
    flags = parse_times(column).notna()
    return flags if flags.all() else flags | column.isna()


def is_held(column: pd.Series, series: pd.Series, rows: int) -> pd.Series:
    """Return where a series has the same value in more than ``rows`` consecutive rows.

    Parameters
    ----------
    column
        In the order of the file; rows of other series may come between those of one.
    series
        The name of each row's series. A missing value, or a row without a name, equals no other.
    """
    order, _, starts = _find_runs(column, series)
    lengths = np.diff(starts, append=len(column))
    flags = np.empty(len(column), bool)
    flags[order] = np.repeat(lengths > rows, lengths)
    return pd.Series(flags, column.index)


def is_last(column: pd.Series, series: pd.Series) -> pd.Series:
    """Return which rows are in the last run of equal values of their series; see ``is_held``."""
    order, numbers, starts = _find_runs(column, series)
    is_end = np.append(numbers[starts][1:] != numbers[starts][:-1], True)
    flags = np.empty(len(column), bool)
    flags[order] = np.repeat(is_end, np.diff(starts, append=len(column)))
    return pd.Series(flags, column.index)


def _find_runs(
    column: pd.Series, series: pd.Series
) -> tuple[np.ndarray | slice, np.ndarray, np.ndarray]:
    """Return the order by series, the series of each row, and the start of each run of a value."""
    numbers, _ = pd.factorize(series)
    order, _ = by_series(numbers)
    numbers, values = numbers[order], column.to_numpy()[order]
    is_new = np.ones(len(values), bool)
    is_new[1:] = (numbers[1:] != numbers[:-1]) | (numbers[1:] < 0) | (values[1:] != values[:-1])
    return order, numbers, np.flatnonzero(is_new)


def is_number(column: pd.Series) -> pd.Series:
    """Return where a column has a number or is missing; true and false are not numbers."""
    return parse_numbers(column).notna() | column.isna()


def is_within(column: pd.Series, minimum: float, maximum: float) -> pd.Series:
    """Return where a column is between ``minimum`` and ``maximum``, or not a number."""
    number = parse_numbers(column)
    return number.between(minimum, maximum) | number.isna()


def fingerprint(rows: pd.DataFrame) -> str:
    """Compute a SHA-256 of rows in their order, independent of their file format."""
    hashed = pd.util.hash_pandas_object(rows, index=False)
    return hashlib.sha256(hashed.to_numpy().tobytes()).hexdigest()


def first_rows(rows: pd.DataFrame) -> str:
    """Format the first rows of a table with their index."""
    shown = rows.head(ROWS_SHOWN).reset_index().astype(object)
    return shown.where(shown.notna(), "").to_string(index=False)


def _offending_table(
    frame: pd.DataFrame, cases: pd.DataFrame, counts: pd.Series, columns: list[str]
) -> str:
    why = cases.groupby("index")["check"].agg(lambda checks: "; ".join(dict.fromkeys(checks)))
    first = why.sort_index().head(ROWS_SHOWN)
    table = frame.loc[first.index, columns].assign(why=first).rename_axis("line")
    more = f"\n... and {len(why) - len(first):,} more" if len(why) > len(first) else ""
    summary = "\n".join(f"  {count:,} x {check}" for check, count in counts.items())
    return (
        f"{frame.attrs.get('source', 'the data')}: {len(why):,} of {len(frame):,} rows "
        f"cannot be used:\n{summary}\n\nThe first offending rows:\n{first_rows(table)}{more}"
    )
