"""Text files of many forms are read correctly, or rejected with the line and advice."""

import io
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from kedro_azure_mlops.deploy.invocation import read_rows
from kedro_azure_mlops.errors import OperationError, RefusedError
from kedro_azure_mlops.serve.batches import CsvPieces, score_pieces
from kedro_azure_mlops.tables import delimited
from kedro_azure_mlops.tables.delimited import read_text
from kedro_azure_mlops.tables.series import Names, ReaderOptions, SeriesReader
from kedro_azure_mlops.validation import BadDataError, parse_times
from tests.plugin.trained import small_scorer

NAMES = Names("time", "device", "load", {"value": "load"})
HEAD = "time,device,load\n"


def pieces(content: str | bytes, rows: int | None = None, **options: Any) -> Iterator[pd.DataFrame]:
    data = content if isinstance(content, bytes) else content.encode()
    reader = SeriesReader(NAMES, ReaderOptions.of(options), "new.csv", "new")
    return reader.read_csv(lambda: io.BytesIO(data), rows)


def read(content: str | bytes, rows: int | None = None, **options: Any) -> pd.DataFrame:
    found = list(pieces(content, rows, **options))
    whole = pd.concat(found)
    whole.attrs = found[-1].attrs
    return whole


def error_message(content: str | bytes, rows: int | None = None, **options: Any) -> str:
    with pytest.raises(BadDataError) as error:
        read(content, rows, **options)
    return str(error.value)


def values(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    return [(line, *row) for line, *row in table.itertuples()]


def suggested(message: str) -> dict[str, Any]:
    """Return the options that an error message proposes."""
    return dict(yaml.safe_load(message[message.index("\nreader:\n") :])["reader"])


# Lines


@pytest.mark.parametrize("rows", [None, 1, 2, 100])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_rows_are_indexed_by_their_line_in_the_file(rows: int | None, end: str) -> None:
    lines = [
        *("time,device,load,note", "2024-01-01,a,1,", "", "  ", '2024-01-02,a,2,"one'),
        *("", 'two, ""three"""', "2024-01-03,a,3,", "", '"2024-01-04",a,4,x', "", ""),
    ]
    table = read(end.join(lines), rows, ignore="note")
    assert values(table[["load"]]) == [(2, 1), (5, 2), (8, 3), (10, 4)]


def test_line_numbers_include_lines_before_the_header() -> None:
    text = 'Plot "x",\n\n' + HEAD + "2024-01-01,a,1\n2024-01-02,a,2\n"
    assert list(read(text, skip_rows=2).index) == [4, 5]


@pytest.mark.parametrize("number", range(12))
def test_rows_do_not_depend_on_the_piece_size(number: int) -> None:
    """Blank lines, quotes, line breaks and offsets, in pieces of any size."""
    rng = random.Random(number)  # noqa: S311
    stamp = "2024-10-2{}T{:02}:{:02}:00" + rng.choice(["", "Z", "+02:00"])
    lines = ["note,time,device,load"]
    for row in range(60):
        note = rng.choice(["", "x", '"a, b"', '"a\nb"', '5"', '"say ""a"""', '"\n\n"'])
        time = stamp.format(6 + row // 30, row // 4 % 24, row % 4 * 15)
        lines.append(f"{note},{time},{rng.choice(['7', 'north', '07', 'NA'])},{row / 8}")
        lines += [""] * (rng.random() < 0.1)
    text = "\n".join(lines)
    whole = read(text)
    assert len(whole) == 60
    numbered_lines = "\n".join(f"{n}:{line}" for n, line in enumerate(text.split("\n"), 1))
    assert all(re.search(rf"^{line}:", numbered_lines, re.MULTILINE) for line in whole.index)
    assert whole["load"].tolist() == [row / 8 for row in range(60)]
    for rows in (1, 7, rng.randrange(2, 60)):
        pd.testing.assert_frame_equal(read(text, rows), whole)


NUMBERS = (
    *(
        "20.5,19.25,-3.125",
        "20,21,-3,0",
        "20,20.0,21",
        "20.5,,19",
        ",NA",
        "20,,NA",
        "007,8",
        "-0,1",
    ),
    *("9223372036854775807,5", "9223372036854775808,5", "18446744073709551615,", "-0,,5", "+5,6"),
    *("-9223372036854775808,", "True,False", "0x10,5", "inf,5.5", "NAN,5", "1e400,5", "1e-400,5.5"),
    *("0.30000000000000004,2.2250738585072014e-308", "12345678901234567890.5,0.1", "1_0,5", "5e,5"),
    *("  7,7", "7 ,8", "\t5,6", "warm,5", "null,None", "4.,.5", "1e5,20", "123456789012345678,"),
)


@pytest.mark.parametrize("number", range(20))
def test_the_fast_parser_and_pandas_read_the_same(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values, types, line numbers and errors are equal, also for blanks and uneven rows."""
    rng = random.Random(number)  # noqa: S311
    separator = rng.choice([",", ";", "\t"])
    tidy = rng.random() < 0.6
    text = separator.join(["note", "time", "device", "load"]) + "\n"
    numbers = rng.choice(NUMBERS).split(",")
    for row in range(rng.choice([1, 3, 40])):
        cells = [rng.choice(["", "x y", "5"]), f"2024-01-01 {row // 4:02}:{row % 4 * 15:02}"]
        names = ["a", "NA", "Kühl", "x0x1", ""] + ([" b", "b "] if not tidy else [])
        cells += [rng.choice(names), rng.choice(numbers)]
        line = separator.join(cells)
        if not tidy:
            ends = [separator, separator + "9", "\n", '"', "\n \t", separator + '"a\nb"', ""]
            line += rng.choice(ends) if rng.random() < 0.1 else ""
            line = line.rsplit(separator, 1)[0] if rng.random() < 0.05 else line
        text += line + "\n"

    def read_in_pieces() -> list[Any]:
        found: list[Any] = []
        for rows in (None, 1, 7):
            try:
                found.append(read(text, rows, separator=separator))
            except BadDataError as error:
                found.append(str(error))
        return found

    fast = read_in_pieces()
    monkeypatch.setattr(delimited, "_as_plain_lines", lambda *_: None)
    for one, other in zip(fast, read_in_pieces(), strict=True):
        if isinstance(one, str):
            assert one == other
        else:
            pd.testing.assert_frame_equal(one, other, check_exact=True, check_index_type="exact")


def test_a_table_of_plain_fields_is_read_by_the_fast_parser(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("pandas was called")

    monkeypatch.setattr(delimited.Lines, "_parse", fail)
    rows = "2024-01-01 00:00, a,20\n2024-01-01 00:15, ,NA\n"
    table = read("\ufeff" + HEAD + rows)
    assert table["load"].tolist()[:1] == [20.0]
    assert table["device"].isna().tolist() == [False, True]
    assert read(HEAD + rows.replace("NA", "21"))["load"].dtype == "int64"
    with pytest.raises(AssertionError, match="pandas"):
        read(HEAD + rows.replace("NA", "warm"))


def test_an_unclosed_quote_is_rejected() -> None:
    text = 'time,load,note\n2024-01-01,1,\n2024-01-02,2,"x\n2024-01-03,3,\n'
    assert "lines 2 to 4" in error_message(text) and "quote" in error_message(text)
    assert len(read(text.replace('"x', '"x"'))) == 3


def test_a_row_with_too_many_fields_is_reported_with_its_line() -> None:
    text = "time,load\n2024-01-01,1\n\n2024-01-02,2,5\n"
    for rows in (None, 1):
        assert "line 4 has 3 fields, the header in line 1 has 2" in error_message(text, rows)
    for ends in ("2,", "2"):  # a separator at the end is not a value
        assert read(text.replace("2,5", ends).replace("1\n", "1,\n"))["load"].tolist() == [1, 2]


# Bytes


def test_a_nul_byte_is_rejected_with_its_line() -> None:
    text = HEAD + "2024-01-01,a,1\n\n2024-01-02,a,22.\x0069\n"
    for rows in (None, 1):
        assert "line 4 holds a NUL byte" in error_message(text, rows)
    assert read(text.replace("\0", "")).at[4, "load"] == 22.69


@pytest.mark.parametrize("name", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_another_encoding_is_proposed_and_read_once_it_is_set(name: str) -> None:
    text = "time,device,load\n2024-01-01,Kühlraum °C,1\n2024-01-02,Kühlraum °C,2\n"
    message = error_message(text.encode(name))
    assert f"reader.encoding: {name}" in message
    assert f"iconv -f {name} -t utf-8 new.csv" in message
    assert read(text.encode(name), encoding=name)["device"].tolist() == ["Kühlraum °C"] * 2
    assert read(text.encode())["device"].tolist() == ["Kühlraum °C"] * 2


def test_an_undecodable_byte_is_reported_with_its_line() -> None:
    content = (HEAD + "2024-01-01,a,1\n" * 20_000).encode() + b"2024-01-02,\xb0,2\n"
    assert "byte 0xb0 in line 20002 is not utf-8" in error_message(content)
    assert "byte 0xb0 in line 20002" in error_message(content, 7000)
    assert "not a CSV table" in error_message(b"\x89PNG\r\n\x1a\n\x00\xff")
    assert "reader.encoding" in error_message(
        (HEAD + "2024-01-01,a,1\n").encode(), encoding="utf-16"
    )


# Times with and without an offset


@pytest.mark.parametrize("rows", [None, 1, 2])
def test_a_file_that_mixes_times_with_and_without_offset_is_rejected(rows: int | None) -> None:
    lines = ["2024-10-28T00:00:00-05:00,a,20", "2024-10-28T00:30:00-05:00,a,20"]
    mixed = HEAD + "\n".join([*lines, "2024-10-28T01:00,a,20", "2024-10-28T02:00,b,20"])
    message = error_message(mixed, rows)
    assert "without an offset, line 4: 2024-10-28T01:00" in message
    assert "with an offset, line 2: 2024-10-28T00:00:00-05:00" in message
    aware = mixed.replace("1:00,", "1:00Z,").replace("2:00,", "2:00+01:00,")
    hours = parse_times(read(aware, rows)["time"]).dt.hour.tolist()
    assert hours == [5, 5, 1, 1]
    naive = mixed.replace("-05:00", "")
    assert parse_times(read(naive, rows)["time"]).dt.hour.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("size", [1, 2, 100])
def test_scoring_rejects_mixed_offsets_for_every_piece_size(size: int, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    lines = ["time,unit,load", "2024-10-28T00:00-05:00,7,20", "2024-10-28T06:00,7,20"]
    path.write_text("\n".join(lines), encoding="utf-8")
    options: dict[str, Any] = {"rows": size, "load_args": {"dtype": {"unit": str}}}
    with pytest.raises(RefusedError, match=r"mixed(.|\n)*line 3: 2024-10-28T06:00\n"):
        list(score_pieces(CsvPieces(filepath=str(path), **options).load(), small_scorer(), "3"))
    path.write_text("\n".join([*lines[:2], lines[2].replace("6:00", "6:00Z")]), encoding="utf-8")
    found = list(score_pieces(CsvPieces(filepath=str(path), **options).load(), small_scorer(), "3"))
    assert sum(map(len, found)) == 2


# Files without a header


@pytest.mark.parametrize(
    ("rows", "meaning", "options", "expected"),
    [
        ("{0},4,45\n{1},4,50\n", "with a decimal comma", {"decimal": "comma"}, [4.45, 4.5]),
        (
            "{0},20,43\n{1},20,44\n",
            "the first is meant",
            {"columns": {"time": 1, "load": 2}},
            [20, 20],
        ),
        (
            "{0},20,43\n{1},20,44\n",
            "the second is meant",
            {"columns": {"time": 1, "load": 3}},
            [43, 44],
        ),
        (
            "{0},7,43\n{1},7,44\n",
            "a device '7'",
            {"columns": {"time": 1, "device": 2, "load": 3}},
            [43, 44],
        ),
        ("{0},°C,43\n{1},°C,44\n", "is not about", {"columns": {"time": 1, "load": 3}}, [43, 44]),
        ("{0},ok,43\n{1},ok,44\n", "is not about", {"columns": {"time": 1, "load": 3}}, [43, 44]),
        (
            "{0},load,43\n{1},load,44\n",
            "is not about",
            {"columns": {"time": 1, "load": 3}},
            [43, 44],
        ),
        (
            "2024-03-04,00:00,43\n2024-03-04,00:15,44\n",
            "date and time of day",
            {"columns": {"time": [1, 2], "load": 3}},
            [43, 44],
        ),
    ],
)
def test_ambiguous_columns_are_rejected(
    rows: str, meaning: str, options: dict[str, Any], expected: list[float]
) -> None:
    text = rows.format("2024-03-04 00:00", "2024-03-04 00:15")
    message = error_message(text)
    assert "line 1 does not show" in message
    assert meaning in message
    assert yaml.safe_load("{" + re.search(rf"{meaning}.*?:  (.*)", message)[1] + "}")
    table = read(text, **options)
    assert table["load"].tolist() == expected
    assert parse_times(table["time"]).dt.minute.tolist() == [0, 15]


def test_a_number_among_the_device_names_is_rejected_in_any_piece() -> None:
    text = "".join(f"2024-03-0{day},{'hall' if day < 4 else '20'},5\n" for day in range(1, 6))
    for rows in (None, 1, 2):
        assert "line 4 does not show" in error_message(text, rows)
    assert read(text.replace(",20,", ",t20,"))["device"].tolist() == ["hall"] * 3 + ["t20"] * 2


@pytest.mark.parametrize(
    "text",
    [
        "04.03.2024,00:10:00,20.1\n04.03.2024,00:20:00,20.5\n",
        "2010,2024-03-04 00:10:00,20.1\n2011,2024-03-04 00:20:00,20.5\n",
        "17,2024-03-04 00:10:00,20.1\n23,2024-03-04 00:20:00,20.5\n",
        "04.03.2024 00:10;20,1\n04.03.2024 00:20;20,5\n",
        "2024-03-04 00:10\t20,1\n2024-03-04 00:20\t20,5\n",
        "Logger 4711;\n\nDatum;Zeit;T [°C]\n04.03.2024;00:10;20,1\n04.03.2024;00:20;20,5\n",
        "time;device;load\n2024-03-04 00:10;a;20,1\n2024-03-04 00:20;a;20,5\n",
        "Time,Load\n2024-03-04 00:10,20.1\n2024-03-04 00:20,20.5\n",
        "time,load\n04/03/2024 00:10,20.1\n14/03/2024 00:20,20.5\n",
        "id;MESS_DATUM;T;eor\n44;202403040010;  20.1;eor\n44;202403040020;  20.5;eor\n",
    ],
    ids=lambda text: text[:20].replace("\n", " "),
)
def test_another_format_is_rejected_with_the_options_that_read_it(text: str) -> None:
    message = error_message(text)
    table = read(text, **suggested(message))
    assert table["load"].tolist() == [20.1, 20.5]
    assert parse_times(table["time"]).dt.minute.tolist() == [10, 20]
    assert parse_times(table["time"]).iloc[0] == pd.Timestamp("2024-03-04 00:10")


# Content of the columns


@pytest.mark.parametrize("name", ["parameter", "Variable", "_field", "unit", "UoM", "quantity"])
@pytest.mark.parametrize("rows", [None, 1])
def test_several_quantities_or_units_are_rejected(name: str, rows: int | None) -> None:
    text = f"time,device,{name},load\n2024-01-01,a,x,20\n2024-01-02,a,x,21\n2024-01-02,a,y,40\n"
    message = error_message(text, rows)
    assert f"the column {name} holds several" in message
    assert "x, y (line 4: y)" in message
    table = read(text, rows, where=f"{name}=x")
    assert table["load"].tolist() == [20, 21]
    assert table.attrs["notes"] == [f"1 rows left out where {name} is not x"]
    assert len(read(text, rows, ignore=name)) == 3
    one = read(text.replace(",y,", ",x,"), rows)
    assert one.attrs["notes"] == [f"columns that are not used: {name} (x)"]


def test_several_series_in_an_unknown_column_are_rejected() -> None:
    text = "time,station,load\n2024-01-01,a,1\n2024-01-01,b,2\n2024-01-02,b,3\n"
    assert "holds several series" in error_message(text)
    assert read(text, columns={"device": "station"})["device"].tolist() == ["a", "b", "b"]
    numbered = read(text.replace("station", "id").replace("a,", "1,").replace("b,3", "c,3"))
    assert numbered.attrs["notes"] == ["columns that are not used: id (1 x 1, 1 x b, 1 x c)"]


def test_unused_columns_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    text = "time,device,load,quality,note,\n2024-01-01,a,1,ok,x,\n2024-01-02,a,2,bad,,\n"
    for rows in (None, 1):
        (note,) = read(text, rows).attrs["notes"]
        assert note.startswith("columns that are not used: quality (1 x ok, 1 x bad), note")
    assert f"new.csv: {note}" in caplog.text
    assert read(HEAD + "2024-01-01,a,1\n").attrs["notes"] == []


def test_two_columns_with_the_same_name_are_rejected() -> None:
    text = "time,load,load\n2024-01-01,1,2\n"
    assert "columns 2 and 3 are both called load" in error_message(text)
    assert read(text, columns={"load": 3})["load"].tolist() == [2]
    assert read("time,load,x,x\n2024-01-01,1,2,3\n")["load"].tolist() == [1]


def test_custom_missing_values_are_left_out_and_counted() -> None:
    text = HEAD + "2024-01-01,a,-999\n2024-01-02,a,2\n2024-01-03,a,-999.0\n2024-01-04,a,\n"
    assert read(text)["load"].isna().sum() == 1
    table = read(text, missing=[-999, ""])
    assert values(table[["load"]]) == [(3, 2)]
    assert table.attrs["notes"] == ["3 rows left out with '-999' or '' for a number"]
    assert read(text.replace("-999", "off"), missing=["off", "off.0", ""])["load"].tolist() == [2]
    assert "no rows are left" in error_message(HEAD + "2024-01-01,a,-999\n", missing=-999)


@pytest.mark.parametrize("code", ["-99,9", "-99.9", -99.9])
@pytest.mark.parametrize("cell", ["-99,9", "-99,90", " -99,9"])
def test_missing_values_are_recognized_with_a_decimal_comma(code: Any, cell: str) -> None:
    text = f"time;load\n2024-01-01;{cell}\n2024-01-02;-99,8\n2024-01-03;-999\n"
    table = read(text, separator=";", decimal=",", missing=code)
    assert table["load"].tolist() == [-99.8, -999]


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"separatr": ";"}, "separatr"),
        ({"separator": ";;"}, r"reader\.separator: must be one character"),
        ({"decimal": "'"}, r"reader\.decimal: "),
        ({"encoding": "utf-61"}, r"reader\.encoding: 'utf-61' is not an encoding"),
        ({"skip_rows": -1}, r"reader\.skip_rows: "),
        ({"skip_rows": "x"}, r"reader\.skip_rows: "),
        ({"columns": {"time": 0}}, r"reader\.columns"),
        ({"time_format": "dd.mm"}, r"reader\.time_format: must have directives"),
        ({"time_format": "%d.%m.%Y %Z"}, r"reader\.time_format: %Z is not supported.* use %z"),
        ({"time_zone": "Berlin"}, r"reader\.time_zone: 'Berlin' is not a time zone"),
        ({"where": "x"}, r"reader\.where: 'x' must have the form column=value"),
    ],
)
def test_an_invalid_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OperationError, match=message):
        ReaderOptions.of(options)


def test_a_percent_sign_before_a_z_is_not_a_zone() -> None:
    assert read("time,load\n31.12.2024%Z,1\n", time_format="%d.%m.%Y%%Z")["time"].notna().all()


def test_later_options_override_earlier_ones_key_by_key() -> None:
    base = {"separator": ",", "columns": {"time": None, "load": "x"}, "time_zone": None}
    options = ReaderOptions.of(base, {"separator": "tab", "columns": {"time": 2}}, None)
    assert (options.separator, options.columns) == ("\t", {"time": 2, "load": "x"})
    with pytest.raises(OperationError, match=r"reader\.columns: speed is not one of time"):
        SeriesReader(NAMES, ReaderOptions.of({"columns": {"speed": 1}}), "new.csv", "new")


def test_a_column_named_by_an_option_must_exist() -> None:
    message = error_message(HEAD + "2024-01-01,a,1\n", columns={"load": "speed"})
    assert "reader.columns.load names 'speed', which is not a column" in message
    assert "The file has: time, device, load" in message
    assert "reader.where names" in error_message(HEAD + "2024-01-01,a,1\n", where="kind=x")


def test_numbers_with_the_other_decimal_sign_are_rejected() -> None:
    text = "time;load\n2024-01-01;1,5\n2024-01-02;2.5\n"
    assert "decimal sign ','" in error_message(text, separator=";", decimal=",")
    assert "2.5" in error_message(text, separator=";", decimal=",")
    good = text.replace("2.5", "2,5")
    assert read(good, separator="semicolon", decimal="comma")["load"].tolist() == [1.5, 2.5]


def test_times_that_do_not_match_time_format_are_rejected() -> None:
    text = "time,load\n2024123100,1\n2024123101,2\n"
    table = read(text, time_format="%Y%m%d%H")
    assert table["time"].tolist() == ["2024-12-31T00:00:00", "2024-12-31T01:00:00"]
    for other in ("20241231", "202412310", "2024-12-31"):  # shorter texts could be other days
        message = error_message(text.replace("2024123101", other), time_format="%Y%m%d%H")
        assert "not of the form %Y%m%d%H" in message
        assert (
            f"3 {other:>10}" in message.replace("  ", " ").replace("   ", " ") or other in message
        )
    aware = read("time,load\n04.03.2024 01:00 +0100,1\n", time_format="%d.%m.%Y %H:%M %z")
    assert aware["time"].tolist() == ["2024-03-04T00:00:00Z"]


@pytest.mark.parametrize("time_zone", [None, "America/New_York"])
def test_offsets_in_a_time_format_apply_with_and_without_a_time_zone(time_zone: str | None) -> None:
    text = "time,load\n04.03.2024 01:00 +0100,1\n"
    aware = read(text, time_format="%d.%m.%Y %H:%M %z", time_zone=time_zone)
    assert aware["time"].tolist() == ["2024-03-04T00:00:00Z"]


def test_a_zone_name_that_all_rows_share_is_written_in_the_time_format() -> None:
    text = "time,load\n01.02.2024 00:00 EST,1\n"
    options = {"time_format": "%d.%m.%Y %H:%M EST", "time_zone": "America/New_York"}
    assert read(text, **options)["time"].tolist() == ["2024-02-01T00:00:00-05:00"]
    assert "not of the form" in error_message(text.replace("EST", "EDT"), **options)


# Local time


def local_day(step: str, start: str = "2024-10-26 12:00", periods: int = 0) -> pd.Series:
    """Return local times in Berlin around the end of daylight saving, indexed by UTC times."""
    end = pd.Timestamp(start) + pd.Timedelta("36h")
    utc = pd.date_range(start, end, freq=step, tz="Europe/Berlin")
    return pd.Series(utc.tz_localize(None).astype(str), utc.tz_convert("UTC").tz_localize(None))


@pytest.mark.parametrize(
    ("step", "rows"),
    [
        *(("1min", None), ("1min", 500), ("15min", None), ("15min", 1), ("15min", 5)),
        *(("20min", 30), ("30min", None), ("30min", 20), ("1h", None), ("1h", 1)),
    ],
)
@pytest.mark.parametrize("is_newest_first", [False, True])
def test_local_times_are_converted_with_their_time_zone(
    step: str, rows: int | None, is_newest_first: bool
) -> None:
    local = local_day(step)[:: -1 if is_newest_first else 1]
    text = "time,load\n" + "".join(f"{time},1\n" for time in local)
    table = read(text, rows, time_zone="Europe/Berlin")
    assert parse_times(table["time"]).tolist() == local.index.tolist()
    assert table["time"].str.endswith(("+01:00", "+02:00")).all()


def test_repeated_hours_are_resolved_for_each_series_separately() -> None:
    one, two = local_day("15min"), local_day("1h")
    both = pd.concat([one.to_frame("t").assign(d="a"), two.to_frame("t").assign(d="b")])
    both = both.sort_index(kind="stable")
    text = HEAD + "".join(f"{row.t},{row.d},1\n" for row in both.itertuples())
    for rows in (None, 13):
        table = read(text, rows, time_zone="Europe/Berlin")
        assert parse_times(table["time"]).tolist() == both.index.tolist()


def test_repeated_hours_are_resolved_despite_late_and_missing_rows() -> None:
    local = local_day("15min")
    order = np.arange(len(local), dtype=float)
    order[49] += 1.5  # within the first of the two equal hours
    found = local.iloc[np.argsort(order)].drop(local.index[55])
    text = "time,load\n" + "".join(f"{time},1\n" for time in found)
    table = read(text, time_zone="Europe/Berlin")
    assert parse_times(table["time"]).tolist() == found.index.tolist()


def test_a_nonexistent_local_time_is_rejected() -> None:
    text = "time,load\n2024-03-31 01:45,1\n2024-03-31 02:15,2\n2024-03-31 03:15,2\n"
    message = error_message(text, time_zone="Europe/Berlin")
    assert "does not exist in Europe/Berlin" in message
    assert "3 2024-03-31 02:15" in re.sub(" +", " ", message)
    hours = parse_times(read(text, time_zone="+01:00")["time"]).dt.hour.tolist()
    assert hours == [0, 1, 2]


def test_a_repeated_hour_is_reported_if_no_time_zone_is_set() -> None:
    for step in ("5min", "15min", "1h"):
        for rows in (None, 30):
            text = "time,load\n" + "".join(f"{time},1\n" for time in local_day(step))
            (note,) = read(text, rows).attrs["notes"]
            assert "times go back by an hour at 2024-10-27 02:00" in note
            assert "reader.time_zone" in note
            newest_first = "time,load\n" + "".join(f"{t},1\n" for t in local_day(step)[::-1])
            assert "go back by an hour" in read(newest_first, rows).attrs["notes"][0]
    utc = "time,load\n" + "".join(f"{time},1\n" for time in local_day("15min").index)
    assert read(utc).attrs["notes"] == []
    late = utc.splitlines()
    late[60], late[61] = late[61], late[60]
    assert read("\n".join(late)).attrs["notes"] == []


def test_times_with_an_offset_ignore_the_time_zone() -> None:
    text = "time,load\n2024-10-27T02:30:00+02:00,1\n2024-10-27T02:30:00+01:00,2\n"
    assert read(text, time_zone="Europe/Berlin")["time"].tolist() == read(text)["time"].tolist()


# Other file readers


def test_text_files_are_read_without_conversion(tmp_path: Path) -> None:
    found = read_text(lambda: io.BytesIO(b"a,b\n007,NA\n,x\n"), "x.csv")
    assert found.to_dict("list") == {"a": ["007", ""], "b": ["NA", "x"]}
    with pytest.raises(BadDataError, match="columns 1 and 3 are both called a"):
        read_text(lambda: io.BytesIO(b"a,b,a\n1,2,3\n"), "x.csv")
    path = tmp_path / "x.csv"
    path.write_text("time,unit,load\n2024-01-01,a,1_0\n2024-01-01,a,10\n", encoding="utf-8")
    rows = read_rows(path, small_scorer().schema, print)
    assert [row["load"] for row in rows] == ["1_0", 10.0], "Python's own parser reads 1_0 as 10"


def test_pieces_reject_two_columns_with_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("time,unit,load,load\n2024-01-01,a,1,2\n", encoding="utf-8")
    with pytest.raises(RefusedError, match="columns 3 and 4 are both called load"):
        list(CsvPieces(filepath=str(path)).load())
    path.write_text("time;unit;load\n\n2024-01-01;a;1\n", encoding="utf-8")
    (piece,) = CsvPieces(filepath=str(path), load_args={"sep": ";"}).load()
    assert values(piece[["load"]]) == [(3, 1)]


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize("first", ["007", " 007", '"007"', "00", "+07"])
def test_text_with_leading_zeros_stays_text_if_no_type_is_set(
    first: str, size: int, tmp_path: Path
) -> None:
    path = tmp_path / "new.csv"
    text = f"unit,load,code\n8,0.5,1\n{first},00.5,2\n10,0,\n"
    path.write_text(text, encoding="utf-8")
    rows = pd.concat(CsvPieces(filepath=str(path), rows=size).load())
    assert [str(one) for one in rows["unit"]] == ["8", first.strip(' "'), "10"]
    assert rows["load"].tolist() == [0.5, 0.5, 0]
    assert rows["code"].iloc[:2].tolist() == [1, 2]


@pytest.mark.parametrize(
    "options",
    [{"dtype": {"unit": int}}, {"dtype": float}, {"converters": {"unit": int}}],
    ids=["column", "all columns", "converter"],
)
def test_a_configured_type_applies_to_numbers_with_leading_zeros(
    options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "new.csv"
    path.write_text("unit,load\n007,1\n010,2\n", encoding="utf-8")
    (rows,) = CsvPieces(filepath=str(path), load_args=options).load()
    assert rows["unit"].tolist() == [7, 10]


def test_names_with_leading_zeros_are_unchanged_by_scoring(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("time,unit,load\n2024-01-01,007,01\n2024-01-01,7,1\n", encoding="utf-8")
    (scores,) = score_pieces(CsvPieces(filepath=str(path)).load(), small_scorer(), "3")
    assert scores["unit"].tolist() == ["007", "7"]
    assert scores["load"].tolist() == [1, 1]


def test_columns_that_the_model_does_not_use_are_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = pd.DataFrame({"time": ["2024-01-01"], "unit": "7", "load": 1.0, "humidity": 3})
    rows.attrs["source"] = "new.csv"
    list(score_pieces([rows, rows], small_scorer(), "3"))
    assert caplog.text.count("new.csv: columns that are not used: humidity") == 1
