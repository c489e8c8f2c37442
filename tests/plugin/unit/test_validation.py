import gc
import weakref

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest

from kedro_azure_mlops.validation import (
    BadDataError,
    RowValidator,
    check,
    column,
    is_held,
    is_last,
    is_number,
    is_time,
    is_within,
    number_column,
    parse_times,
    refuse_offending_rows,
    time_column,
)

SCHEMA = pa.DataFrameSchema(
    {
        "load": pa.Column(checks=pa.Check.le(100, error="load is above 100")),
        "unit": pa.Column(nullable=True, checks=pa.Check.isin(["a", "b"], error="unknown unit")),
    }
)


def table(loads: list[float], unit: str | None = "a") -> pd.DataFrame:
    frame = pd.DataFrame({"load": loads, "unit": unit, "note": "x"})
    frame.index += 2
    frame.attrs["source"] = "hours.csv"
    return frame


def test_valid_rows_are_returned() -> None:
    pd.testing.assert_frame_equal(
        refuse_offending_rows(table([1.0, 2.0]), SCHEMA, ["load"]), table([1.0, 2.0])
    )


def test_the_first_offending_rows_are_shown_with_their_lines() -> None:
    with pytest.raises(BadDataError) as error:
        refuse_offending_rows(table([1.0, 200.0]), SCHEMA, ["load", "unit"])
    text = str(error.value)
    assert "hours.csv: 1 of 2 rows cannot be used:\n  1 x load is above 100\n" in text
    assert text.splitlines()[-1].split()[:3] == ["3", "200.0", "a"]
    assert "note" not in text
    assert error.value.exit_code == 1


def test_a_row_with_two_faults_counts_once_and_ten_rows_are_shown() -> None:
    with pytest.raises(BadDataError, match=r"2 rows.*\n.*\.\.\. and|12 of 12 rows") as error:
        refuse_offending_rows(table([200.0] * 12, unit="c"), SCHEMA, ["load"])
    assert str(error.value).endswith("... and 2 more")
    assert "load is above 100; unknown unit" in str(error.value)


def hours(*rows: tuple[object, object], names: tuple[str, ...] = ("time", "load")) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(names), index=range(2, 2 + len(rows)), dtype=object)
    frame.attrs["source"] = "hours.csv"
    return frame


def validator() -> RowValidator:
    columns = {"time": time_column("time"), "load": number_column("load", 0, 100)}
    twice = check(lambda rows: ~rows["time"].duplicated(), "the time is a duplicate")
    return RowValidator(columns, twice)


def test_a_validator_returns_valid_rows() -> None:
    rows = hours(("2024-01-01", 0), ("2024-01-02T00:00Z", "100")).assign(note="x")
    pd.testing.assert_frame_equal(validator().validate(rows), rows)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("soon", 1), "1 x time is not a date and time such as 2024-01-31 13:00"),
        ((None, 1), "1 x time is missing"),
        (("2024-01-02", "warm"), "1 x load is not a number"),
        (("2024-01-02", None), "1 x load is missing"),
        (("2024-01-02", 101), "1 x load is outside 0 to 100"),
        (("2024-01-02", "inf"), "1 x load is outside 0 to 100"),
        (("2024-01-01", 1), "1 x the time is a duplicate"),
    ],
)
def test_a_validator_rejects_an_invalid_row_with_its_line(
    row: tuple[object, object], message: str
) -> None:
    with pytest.raises(BadDataError) as error:
        validator().validate(hours(("2024-01-01", 1), row))
    lines = str(error.value).splitlines()
    assert lines[1] == f"  {message}"
    assert lines[-1].split()[0] == "3"


@pytest.mark.parametrize("value", ["inf", "-Infinity", np.inf])
@pytest.mark.parametrize("limits", [{}, {"minimum": -np.inf, "maximum": np.inf}])
def test_an_infinite_number_is_rejected_without_limits(
    value: object, limits: dict[str, float]
) -> None:
    checks = RowValidator({"load": number_column("load", **limits)})
    checks.validate(hours(("2024-01-01", "1e308"), ("2024-01-02", -5)))
    with pytest.raises(BadDataError, match="1 x load is not finite\n") as error:
        checks.validate(hours(("2024-01-01", 1), ("2024-01-02", value)))
    assert str(error.value).splitlines()[-1].split()[0] == "3"


def test_missing_columns_and_empty_files_are_rejected_first() -> None:
    with pytest.raises(
        BadDataError, match=r"hours\.csv: wrong columns, load missing\.\n.*time, speed"
    ):
        validator().validate(hours(("soon", 1), names=("time", "speed")))
    with pytest.raises(BadDataError, match=r"hours\.csv: the file is empty: it has no rows"):
        validator().validate(hours())


def test_each_fault_of_a_column_is_reported_by_one_check() -> None:
    number = check(is_number, "load is not a number")
    within = check(lambda loads: is_within(loads, 0, 100), "load is outside 0 to 100")
    schema = pa.DataFrameSchema({"load": column("load", number, within)})
    loads = pd.DataFrame({"load": ["1", "warm", "", "200", "inf", 100]}).replace("", None)
    with pytest.raises(BadDataError) as error:
        refuse_offending_rows(loads, schema, ["load"])
    counted = str(error.value).split("\n\n")[0].splitlines()[1:]
    assert sorted(line.strip() for line in counted) == [
        "1 x load is missing",
        "1 x load is not a number",
        "2 x load is outside 0 to 100",
    ]


def test_booleans_are_not_numbers() -> None:
    assert not is_number(pd.Series([True, False])).any()
    assert is_number(pd.Series([1.5, None, "2"])).all()


def test_times_are_converted_to_utc() -> None:
    texts = pd.Series(["2024-01-01 13:00", "2024-01-01T00:00+01:00", "soon", None])
    assert is_time(texts).tolist() == [True, True, False, True]
    expected = ["2024-01-01 13:00", "2023-12-31 23:00"]
    assert parse_times(texts).dropna().tolist() == [pd.Timestamp(text) for text in expected]


def test_held_values_are_found_between_rows_of_other_series() -> None:
    rows = pd.DataFrame({"time": list("xyxyxzxz"), "unit": list("abababcb")}, index=range(2, 10))
    held = is_held(rows["time"], rows["unit"], 2)
    assert held.index[held].tolist() == [2, 4, 6]
    assert not is_held(rows["time"], rows["unit"], 3).any()
    rows.loc[4, "time"] = None
    assert not is_held(rows["time"], rows["unit"], 2).any(), "a missing value equals no other"
    rows["unit"] = None
    assert not is_held(rows["time"], rows["unit"], 1).any()


def test_the_last_rows_of_a_series_are_those_with_its_last_value() -> None:
    rows = pd.DataFrame({"time": list("xxyzyz"), "unit": list("ababaa")})
    last = is_last(rows["time"], rows["unit"])
    assert last.index[last].tolist() == [3, 5]
    rows.loc[5, "time"] = "y"
    last = is_last(rows["time"], rows["unit"])
    assert last.index[last].tolist() == [2, 3, 4, 5]


def test_a_checked_table_is_not_kept_alive_by_a_reference_cycle() -> None:
    gc.collect()
    gc.disable()
    try:
        frame = pd.DataFrame({"value": ["1.5"]})
        schema = pa.DataFrameSchema({"value": column("value", check(is_number, "no number"))})
        accepted = weakref.ref(refuse_offending_rows(frame, schema, ["value"]))
        del frame
        assert accepted() is None
    finally:
        gc.enable()
