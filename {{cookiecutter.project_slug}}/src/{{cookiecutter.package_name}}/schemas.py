"""The schema of raw readings, checked by Kedro's catalog when they are loaded."""

from kedro_azure_mlops.validation import (
    RowValidator,
    check,
    column,
    is_held,
    number_column,
    time_column,
)


class RawTemperatures(RowValidator):
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
        columns = {
            "timestamp": time_column("timestamp"),
            "sensor_id": column("sensor_id"),
            "temperature": number_column("temperature", minimum, maximum),
        }
        clock = check(
            lambda rows: ~is_held(rows["timestamp"], rows["sensor_id"], stuck_clock_rows),
            f"clock stands still for more than {stuck_clock_rows} readings",
        )
        super().__init__(columns, clock)
