"""What raw readings must look like, checked by Kedro's catalog when they are loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from kedro.validation import CheckFailure, DataValidationError

if TYPE_CHECKING:  # pandera takes half a second to import: only commands that load data pay it
    from collections.abc import Callable

    import pandera.pandas as pa

_ROWS_SHOWN = 10
_COLUMNS = ("timestamp", "sensor_id", "temperature")


class BadDataError(DataValidationError):
    """The data was read and refused (exit status 1); the message shows the first offending rows."""

    exit_code = 1

    def __str__(self) -> str:
        # Kedro's own rendering shows examples of values; people look for rows.
        return self.message


class RawTemperatures:
    """Validator of raw readings, for ``validator:`` in the catalog.

    Parameters
    ----------
    minimum, maximum
        Range a sensor can measure, in the unit of the file; readings outside it are error codes.
    stuck_clock_rows
        More readings of one sensor in a row with the same timestamp than this mean that its clock
        stands still.
    """

    def __init__(self, minimum: float, maximum: float, stuck_clock_rows: int) -> None:
        self._schema = _raw_schema(minimum, maximum, stuck_clock_rows)

    def validate(self, raw: pd.DataFrame) -> pd.DataFrame:
        """Return the readings unchanged.

        Raises
        ------
        BadDataError
            With a table of the first offending rows, all kinds of fault together.
        """
        source = raw.attrs.get("source", "the data")
        if missing := [name for name in _COLUMNS if name not in raw.columns]:
            raise BadDataError(
                f"{source}: wrong columns, {', '.join(missing)} missing.\n"
                f"The file has: {', '.join(map(str, raw.columns))}\n"
                f"It needs: {', '.join(_COLUMNS)} (or no header and two columns: time, reading)."
            )
        if raw.empty:
            raise BadDataError(f"{source}: the file is empty, it holds no reading.")
        return refuse_offending_rows(raw, self._schema)


def refuse_offending_rows(frame: pd.DataFrame, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """Return a frame that its schema accepts.

    Raises
    ------
    BadDataError
        With the number of rows each check refuses and a table of the first of them.
    """
    import pandera.errors

    try:
        return schema.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases
        counts = cases.groupby("check", sort=False)["index"].nunique()
        raise BadDataError(
            _offending_table(frame, cases, counts),
            failures=[
                CheckFailure(message=str(check), check=str(check), failure_count=int(count))
                for check, count in counts.items()
            ],
        ) from error


def _offending_table(frame: pd.DataFrame, cases: pd.DataFrame, counts: pd.Series) -> str:
    why = cases.groupby("index")["check"].agg(lambda checks: "; ".join(dict.fromkeys(checks)))
    first = why.sort_index().head(_ROWS_SHOWN)
    table = frame.loc[first.index, list(_COLUMNS)].assign(why=first)
    shown = table.rename_axis("line").reset_index().fillna("").to_string(index=False)
    more = f"\n... and {len(why) - len(first):,} more" if len(why) > len(first) else ""
    summary = "\n".join(f"  {count:,} x {check}" for check, count in counts.items())
    return (
        f"{frame.attrs.get('source', 'the data')}: {len(why):,} of {len(frame):,} readings "
        f"cannot be used:\n{summary}\n\n"
        f"The first offending rows:\n{shown}{more}"
    )


def _raw_schema(minimum: float, maximum: float, stuck_clock_rows: int) -> pa.DataFrameSchema:
    import pandera.pandas as pa

    outside = f"temperature is outside {minimum:g} to {maximum:g}"
    return pa.DataFrameSchema(
        {
            "timestamp": pa.Column(
                nullable=True,
                checks=[
                    _check(pd.Series.notna, "timestamp is missing"),
                    _check(_is_time, "timestamp is not a date and time such as 2024-01-31 13:00"),
                ],
            ),
            "sensor_id": pa.Column(
                nullable=True, checks=_check(pd.Series.notna, "sensor_id is missing")
            ),
            "temperature": pa.Column(
                nullable=True,
                checks=[
                    _check(pd.Series.notna, "temperature is missing"),
                    _check(_is_number, "temperature is not a number"),
                    _check(lambda column: _is_within(column, minimum, maximum), outside),
                ],
            ),
        },
        checks=_check(
            lambda frame: ~_clock_stands_still(frame, stuck_clock_rows),
            f"clock stands still for more than {stuck_clock_rows} readings",
        ),
    )


def _check(accepts: Callable[..., pd.Series], refusal: str) -> pa.Check:
    import pandera.pandas as pa

    # ignore_na: each fault is reported by one check, missing values by their own.
    return pa.Check(accepts, name=refusal, error=refusal, ignore_na=False)


def parse_times(column: pd.Series) -> pd.Series:
    """Read ISO 8601 times; offsets are turned into UTC, what cannot be read becomes NaT."""
    times = pd.to_datetime(column, format="ISO8601", errors="coerce", utc=True)
    return times.dt.tz_localize(None)


def _is_time(column: pd.Series) -> pd.Series:
    return parse_times(column).notna() | column.isna()


def _number(column: pd.Series) -> pd.Series:
    if pd.api.types.is_bool_dtype(column):
        return pd.Series(float("nan"), column.index)
    return pd.to_numeric(column, errors="coerce")


def _is_number(column: pd.Series) -> pd.Series:
    return _number(column).notna() | column.isna()


def _is_within(column: pd.Series, minimum: float, maximum: float) -> pd.Series:
    number = _number(column)
    return number.between(minimum, maximum) | number.isna()


def _clock_stands_still(frame: pd.DataFrame, rows: int) -> pd.Series:
    by_sensor = frame.sort_values("sensor_id", kind="stable")
    same = by_sensor["timestamp"].eq(by_sensor["timestamp"].shift()) & by_sensor["sensor_id"].eq(
        by_sensor["sensor_id"].shift()
    )
    stretch = (~same).cumsum()
    return (stretch.map(stretch.value_counts()) > rows).reindex(frame.index)
