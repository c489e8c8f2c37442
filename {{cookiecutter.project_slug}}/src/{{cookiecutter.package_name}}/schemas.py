"""The schema of raw readings, checked by Kedro's catalog when they are loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro_azure_mlops.validation import (
    BadDataError,
    check,
    column,
    is_held,
    is_number,
    is_time,
    is_within,
    refuse_offending_rows,
)

from .features import READING

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa


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
        if missing := [name for name in READING if name not in raw.columns]:
            raise BadDataError(
                f"{source}: wrong columns, {', '.join(missing)} missing.\n"
                f"The file has: {', '.join(map(str, raw.columns))}\n"
                f"It needs: {', '.join(READING)} (or no header and two columns: time, reading)."
            )
        if raw.empty:
            raise BadDataError(f"{source}: the file is empty, it holds no reading.")
        return refuse_offending_rows(raw, self._schema, READING)


def _raw_schema(minimum: float, maximum: float, stuck_clock_rows: int) -> pa.DataFrameSchema:
    import pandera.pandas as pa  # takes half a second: only commands that load data pay it

    time = check(is_time, "timestamp is not a date and time such as 2024-01-31 13:00")
    number = check(is_number, "temperature is not a number")
    within = check(
        lambda column: is_within(column, minimum, maximum),
        f"temperature is outside {minimum:g} to {maximum:g}",
    )
    clock = check(
        lambda frame: ~is_held(frame["timestamp"], frame["sensor_id"], stuck_clock_rows),
        f"clock stands still for more than {stuck_clock_rows} readings",
    )
    columns = {
        "timestamp": column("timestamp", time),
        "sensor_id": column("sensor_id"),
        "temperature": column("temperature", number, within),
    }
    return pa.DataFrameSchema(columns, checks=clock)
