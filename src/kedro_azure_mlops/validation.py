"""Refuse rows of a table in words: how many, why, and the first of them with their lines.

A schema is made of ``column`` and ``check``; ``is_number``, ``is_within`` and ``is_time`` look at
columns as they were read, often text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pandas as pd
from kedro.validation import CheckFailure, DataValidationError

if TYPE_CHECKING:  # pandera takes half a second to import: only commands that load data pay it
    import pandera.pandas as pa

_ROWS_SHOWN = 10


class BadDataError(DataValidationError):
    """The data was read and refused (exit status 1); the message shows the first offending rows."""

    exit_code = 1

    def __str__(self) -> str:
        # Kedro's own rendering shows examples of values; people look for rows.
        return str(self.message)


def refuse_offending_rows(
    frame: pd.DataFrame, schema: pa.DataFrameSchema, columns: Sequence[str]
) -> pd.DataFrame:
    """Return a frame that its schema accepts.

    Parameters
    ----------
    frame
        Indexed by the line of its file; ``attrs["source"]`` is what messages call the file.
    columns
        Those that the table of offending rows shows.

    Raises
    ------
    BadDataError
        With the number of rows that each check refuses and a table of the first of them.
    """
    import pandera.errors

    try:
        return schema.validate(frame, lazy=True)
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
    """Return a column of a schema in which nothing may be missing."""
    import pandera.pandas as pa

    return pa.Column(nullable=True, checks=[check(pd.Series.notna, f"{name} is missing"), *checks])


def check(accepts: Callable[..., pd.Series], refusal: str) -> pa.Check:
    """Return a check that reports the rows which a function refuses.

    Parameters
    ----------
    accepts
        Takes the column, or the frame if it checks a whole schema; returns booleans. It has to
        accept what is missing, so that each fault is reported by one check.
    refusal
        Why a row is refused.
    """
    import pandera.pandas as pa

    return pa.Check(accepts, name=refusal, error=refusal, ignore_na=False)


def parse_times(column: pd.Series) -> pd.Series:
    """Read ISO 8601 times; offsets are turned into UTC, what cannot be read becomes NaT."""
    times = pd.to_datetime(column, format="ISO8601", errors="coerce", utc=True)
    return times.dt.tz_localize(None)


def is_time(column: pd.Series) -> pd.Series:
    """Return where a column holds an ISO 8601 time, or nothing."""
    return parse_times(column).notna() | column.isna()


def is_number(column: pd.Series) -> pd.Series:
    """Return where a column holds a number, or nothing; true and false are no numbers."""
    return _number(column).notna() | column.isna()


def is_within(column: pd.Series, minimum: float, maximum: float) -> pd.Series:
    """Return where a column is from ``minimum`` to ``maximum``, or no number."""
    number = _number(column)
    return number.between(minimum, maximum) | number.isna()


def first_rows(rows: pd.DataFrame) -> str:
    """Write the first rows of a table with their index."""
    shown = rows.head(_ROWS_SHOWN).reset_index().astype(object)
    return shown.where(shown.notna(), "").to_string(index=False)


def _number(column: pd.Series) -> pd.Series:
    if pd.api.types.is_bool_dtype(column):
        return pd.Series(float("nan"), column.index)
    return pd.to_numeric(column, errors="coerce")


def _offending_table(
    frame: pd.DataFrame, cases: pd.DataFrame, counts: pd.Series, columns: list[str]
) -> str:
    why = cases.groupby("index")["check"].agg(lambda checks: "; ".join(dict.fromkeys(checks)))
    first = why.sort_index().head(_ROWS_SHOWN)
    table = frame.loc[first.index, columns].assign(why=first).rename_axis("line")
    more = f"\n... and {len(why) - len(first):,} more" if len(why) > len(first) else ""
    summary = "\n".join(f"  {count:,} x {check}" for check, count in counts.items())
    return (
        f"{frame.attrs.get('source', 'the data')}: {len(why):,} of {len(frame):,} rows "
        f"cannot be used:\n{summary}\n\nThe first offending rows:\n{first_rows(table)}{more}"
    )
