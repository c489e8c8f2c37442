"""Catalog entries for series: history, labels and new rows, in files of many forms."""

import sys
from collections.abc import Callable
from datetime import date, time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kedro.io import AbstractDataset, DatasetError

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.storage import MissingFileError
from kedro_azure_mlops.tables.catalog import LabelsCSV, SeriesCSV, SeriesPieces
from kedro_azure_mlops.tables.on_spark import SeriesOnSpark
from kedro_azure_mlops.validation import BadDataError, is_held, parse_times

COLUMNS = {"time": "time", "series": "unit", "numbers": ["load"], "aliases": {"value": "load"}}
TWO = {"time": "time", "series": "unit", "numbers": ["load", "speed"]}
TIMES = ["2024-01-01 00:00", "2024-01-01 00:05"]


class Checks:
    """Rejects loads above a maximum, and times that repeat for more than two rows."""

    def __init__(self, maximum: float) -> None:
        self.maximum = maximum

    def validate(self, rows: pd.DataFrame) -> None:
        if (rows["load"] > self.maximum).any():
            raise BadDataError(f"{rows.attrs['source']}: load is above {self.maximum}")
        if (held := is_held(rows["time"], rows["unit"], 2)).any():
            raise BadDataError(f"the clock stands still in lines {list(rows.index[held])}")


CHECKS = {"class": f"{__name__}.Checks", "on": ["load"], "options": {"maximum": 100}}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a file and returns its path."""

    def write(text: str | bytes, name: str = "file.csv") -> str:
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write


def series(path: str, **changes: Any) -> SeriesCSV:
    return SeriesCSV(**{"filepath": path, "columns": COLUMNS, "parameter": "raw_file"} | changes)


def pieces(path: str | None, **changes: Any) -> SeriesPieces:
    options = {"filepath": path, "columns": COLUMNS, "parameter": "score.input"}
    return SeriesPieces(**options | changes)


@pytest.mark.parametrize(
    ("text", "unit", "first_line"),
    [
        ("time,unit,load\n{0},a,20.5\n{1},a,21\n", "a", 2),
        ("time,load\n{0},20.5\n{1},21\n", "file", 2),
        ("time,value\n{0},20.5\n{1},21\n", "file", 2),
        ("{0}, 20.5\n{1}, 21\n", "file", 1),
        ("{0},a,20.5\n{1},a,21\n", "a", 1),
        ("\ufeff{0},20.5\r\n{1},21\r\n", "file", 1),
        ("load,extra,time,unit\n20.5,x,{0},7\n21,y,{1},7\n", "7", 2),
        ("time,unit,load\n{0},NA,20.5\n{1},NA,21\n", "NA", 2),
        ("time,load,value\n{0},20.5,1\n{1},21,2\n", "file", 2),
    ],
    ids=[
        "three columns",
        "one series",
        "an alias",
        "no header",
        "no header, three columns",
        "byte order mark, Windows line ends",
        "other order, more columns",
        "a series called NA",
        "an alias and the column itself",
    ],
)
def test_common_forms_of_files_are_read(
    write: Callable[..., str], text: str, unit: str, first_line: int
) -> None:
    rows = series(write(text.format(*TIMES))).load()
    assert rows["time"].tolist() == TIMES
    assert rows["load"].tolist() == [20.5, 21.0]
    assert rows["unit"].tolist() == [unit, unit]
    assert rows.index.tolist() == [first_line, first_line + 1]


def test_a_missing_file_is_named_with_advice(tmp_path: Path) -> None:
    path = str(tmp_path / "none.csv")
    advice = r'conf/<env>/parameters\.yml, or for one run: kedro run --params "raw_file=PATH"'
    with pytest.raises(MissingFileError, match=rf"no file .*none\.csv\. Set raw_file in {advice}"):
        series(path).load()
    with pytest.raises(MissingFileError, match=r"Set filepath in its entry in catalog\.yml"):
        series(path, parameter=None).load()
    labels_advice = r"Set labels_file in conf/<env>/parameters\.yml; labels_file: null means"
    with pytest.raises(MissingFileError, match=labels_advice):
        LabelsCSV(filepath=path, series="unit", parameter="labels_file").load()
    assert not series(path).exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", b"\x89PNG\r\n\x1a\n\x00\xff", b"time,load\n2024-01-01,20.5,7\n"],
    ids=["empty", "blank lines", "an image", "more fields than the header"],
)
def test_a_file_that_is_not_a_table_is_rejected(write: Callable[..., str], content: bytes) -> None:
    with pytest.raises(BadDataError, match=r"file\.csv: (the file is empty|not a CSV table)"):
        series(write(content)).load()


def test_an_input_file_is_read_only(write: Callable[..., str]) -> None:
    path = write("time,load\n2024-01-01,1\n")
    with pytest.raises(DatasetError, match="read-only"):
        series(path).save(pd.DataFrame({"load": [2]}))  # type: ignore[arg-type]
    assert series(path).load()["load"].tolist() == [1]


def test_a_file_at_an_address_is_read_and_errors_name_the_address() -> None:
    address = "memory:///hours.csv"
    entry = series(address)
    with entry._fs.open("/hours.csv", "wb") as file:
        file.write(b"time,load\n2024-01-01,1\n")
    assert entry.load()["unit"].tolist() == ["hours"]
    other = series("memory:///other.csv")
    with pytest.raises(MissingFileError, match=r"no file memory:///other\.csv"):
        other.load()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (TWO | {"number": "load"}, "columns: unknown key 'number'; .*did you mean numbers"),
        ({"time": "time", "series": "unit"}, "columns.numbers: is missing"),
        (COLUMNS | {"numbers": []}, "columns.numbers"),
        (COLUMNS | {"numbers": "load"}, "columns.numbers: must be a list"),
        (COLUMNS | {"aliases": {"value": "lod"}}, "columns.aliases: lod is not one of the columns"),
    ],
)
def test_invalid_columns_are_rejected(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(OperationError, match=message):
        series("file.csv", columns=columns)


# Several number columns


def test_every_number_column_is_read(write: Callable[..., str]) -> None:
    text = "speed,time,load,unit\n7,2024-01-01,20.5,a\n,2024-01-02,-999,a\n9,2024-01-03,2,a\n"
    rows = series(write(text), columns=TWO).load()
    assert rows.columns.tolist() == ["time", "unit", "load", "speed"]
    assert rows["load"].tolist() == [20.5, -999, 2]
    np.testing.assert_array_equal(rows["speed"], [7, np.nan, 9])
    reader = {"missing": ["-999"]}
    remaining = series(write(text.replace(",,", ",0,")), columns=TWO, reader=reader).load()
    assert remaining.index.tolist() == [2, 4]
    assert remaining.attrs["notes"][0] == "1 rows left out with '-999' for load"


def test_reader_options_locate_the_number_columns(write: Callable[..., str]) -> None:
    text = "2024-01-01;1,5;7,25\n2024-01-02;2,5;8\n"
    path = write(text)
    with pytest.raises(BadDataError, match="which columns are time, unit, load, speed"):
        series(path, columns=TWO, reader={"separator": ";", "decimal": ","}).load()
    positions = {"time": 1, "load": 3, "speed": 2}
    reader = {"separator": ";", "decimal": ",", "columns": positions}
    rows = series(path, columns=TWO, reader=reader).load()
    assert rows["load"].tolist() == [7.25, 8]
    assert rows["speed"].tolist() == [1.5, 2.5]
    with pytest.raises(OperationError, match=r"reader\.columns\.speed must be one column"):
        series(path, columns=TWO, reader={"columns": {"speed": [1, 2]}}).series("file.csv")


def test_an_invalid_number_is_rejected_with_its_column_name(write: Callable[..., str]) -> None:
    path = write("time;load;speed\n2024-01-01;1;2,5\n2024-01-02;1;fast\n")
    with pytest.raises(BadDataError, match="wrong columns, speed missing") as error:
        series(write("time,load\n2024-01-01,1\n", "other.csv"), columns=TWO).load()
    assert "or no header" not in str(error.value)
    with pytest.raises(BadDataError, match="speed is not a number with the decimal sign ','"):
        series(path, columns=TWO, reader={"separator": ";", "decimal": ","}).load()
    with pytest.raises(BadDataError, match="speed has decimal commas, 2,5 in line 2"):
        series(write('time,load,speed\n2024-01-01,1,"2,5"\n'), columns=TWO).load()


# Labels


def test_labels_are_read_with_parsed_times(write: Callable[..., str]) -> None:
    path = write("unit,start,end\n007 ,2024-01-01,2024-01-02 12:00\n")
    labels = LabelsCSV(filepath=path, series="unit").load()
    assert labels["unit"].tolist() == ["007"]
    assert labels["end"].tolist() == [pd.Timestamp("2024-01-02 12:00")]
    berlin = LabelsCSV(filepath=path, series="unit", reader={"time_zone": "Europe/Berlin"}).load()
    assert berlin["end"].tolist() == [pd.Timestamp("2024-01-02 11:00")]


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_no_file_and_a_file_with_only_a_header_mean_no_labels(
    write: Callable[..., str], zone: str | None
) -> None:
    for path in (None, write("unit,start,end\n")):
        labels = LabelsCSV(filepath=path, series="unit", reader={"time_zone": zone}).load()
        assert labels.empty
        assert labels.columns.tolist() == ["unit", "start", "end"]
        assert (labels[["start", "end"]].dtypes == "datetime64[ns]").all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unit,start\na,2024-01-01\n", "column end is missing"),
        ("unit,start,end\na,2024-01-02,2024-01-01\n", "1 labels have no readable start"),
        ("unit,start,end\na,soon,2024-01-01\n", "1 labels have no readable start"),
        ("unit,start,end\na,2024-01-01,\n", "1 labels have no readable start"),
    ],
    ids=["missing column", "ends before it starts", "unreadable", "missing end"],
)
def test_invalid_labels_are_rejected(write: Callable[..., str], text: str, message: str) -> None:
    with pytest.raises(BadDataError, match=message):
        LabelsCSV(filepath=write(text), series="unit").load()


# New rows, one piece at a time


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_pieces_add_up_to_the_whole_file(write: Callable[..., str], rows: int) -> None:
    path = write("time,value\n" + "".join(f"2024-01-0{day},{day}.5\n" for day in range(1, 8)))
    found = pd.concat(pieces(path, rows=rows, checks=CHECKS).load())
    pd.testing.assert_frame_equal(found, series(path).load(), check_dtype=False)


def test_each_piece_is_checked(write: Callable[..., str]) -> None:
    path = write("time,load\n2024-01-01,1\n2024-01-02,200\n2024-01-03,1\n")
    with pytest.raises(BadDataError, match=r"file\.csv: load is above 100"):
        list(pieces(path, rows=1, checks=CHECKS).load())
    assert len(list(pieces(path, rows=1).load())) == 3


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_a_stopped_clock_is_detected_across_pieces(write: Callable[..., str], rows: int) -> None:
    stopped = ["2024-01-01,a,1", *["2024-01-02,b,1", "2024-01-02,a,1"] * 3]
    path = write("\n".join(["time,unit,load", *stopped]))
    with pytest.raises(BadDataError, match="the clock stands still in lines"):
        list(pieces(path, rows=rows, checks=CHECKS).load())
    path = write("\n".join(["time,unit,load", *stopped[:5]]))
    assert len(pd.concat(pieces(path, rows=rows, checks=CHECKS).load())) == 5


def test_parquet_files_are_read_like_csv_files(tmp_path: Path) -> None:
    times = pd.date_range("2024-01-01", periods=9, freq="h")
    table = pd.DataFrame({"unit": "a", "value": np.arange(9.0), "time": times})
    table.to_parquet(tmp_path / "rows.parquet")
    found = pd.concat(pieces(str(tmp_path / "rows.parquet"), rows=4).load())
    assert found.columns.tolist() == ["time", "unit", "load"]
    assert pd.to_datetime(found["time"]).tolist() == times.tolist()


PARQUET = {"time": TIMES * 2, "unit": ["a"] * 4, "load": [1.0, 2.0, 3.0, 4.0]}


def parquet(path: Path, table: dict[str, Any], rows: int, **reader: Any) -> pd.DataFrame:
    """Write columns as pyarrow and Spark do, and read them in pieces."""
    pq.write_table(pa.table(table), path / "rows.parquet")
    found = [*pieces(str(path / "rows.parquet"), rows=rows, reader=reader).load()]
    whole = pd.concat(found)
    whole.attrs = found[-1].attrs
    return whole


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_whole_numbers_of_parquet_files_are_read_beside_missing_ones(
    tmp_path: Path, rows: int
) -> None:
    ones = [1, 1, 1, None]
    chosen = parquet(tmp_path, PARQUET | {"channel": ones}, rows, where="channel=1")
    assert chosen["load"].tolist() == [1, 2, 3]
    assert chosen.attrs["notes"] == ["1 rows left out where channel is not 1"]
    names = [2**53 + 1, 1, 1, None]
    assert parquet(tmp_path, PARQUET | {"unit": names}, rows)["unit"].tolist() == names
    assert len(parquet(tmp_path, PARQUET | {"quantity": ones}, rows)) == 4
    loads = parquet(tmp_path, PARQUET | {"load": ones}, rows)["load"]
    np.testing.assert_array_equal(loads.astype(float), [1, 1, 1, np.nan])


DAYS = [date(2024, 1, 1), date(2024, 1, 2)]
CLOCK = ["13:00", "14:00"]
DATE_AND_CLOCK = {"time": ["date", "clock"]}


@pytest.mark.parametrize(
    ("columns", "reader"),
    [
        (
            {"time": pd.to_datetime(["2024-01-01 13:00", "2024-01-02 14:00"])},
            {"time_format": "%d.%m.%Y"},
        ),
        ({"time": [202401011300, 202401021400]}, {"time_format": "%Y%m%d%H%M"}),
        ({"time": ["202401011300", "202401021400"]}, {"time_format": "%Y%m%d%H%M"}),
        ({"date": DAYS, "clock": CLOCK}, {"columns": DATE_AND_CLOCK}),
        ({"date": DAYS, "clock": [time(13), time(14)]}, {"columns": DATE_AND_CLOCK}),
        (
            {"date": [20240101, 20240102], "clock": CLOCK},
            {"columns": DATE_AND_CLOCK, "time_format": "%Y%m%d %H:%M"},
        ),
    ],
    ids=["datetimes", "whole numbers", "text", "dates", "dates and times", "numbered dates"],
)
@pytest.mark.parametrize("time_zone", [None, "Europe/Berlin"])
def test_times_of_any_type_in_parquet_files_are_read(
    tmp_path: Path, columns: dict[str, Any], reader: dict[str, Any], time_zone: str | None
) -> None:
    numbers = {"unit": ["a", "a"], "load": [1.0, 2.0]}
    rows = parquet(tmp_path, columns | numbers, 100, **reader, time_zone=time_zone)
    shift = pd.Timedelta(hours=1 if time_zone else 0)
    expected = pd.to_datetime(["2024-01-01 13:00", "2024-01-02 14:00"]) - shift
    assert parse_times(rows["time"]).tolist() == expected.tolist()


def test_numbers_that_are_not_times_are_rejected_in_parquet_files(tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="time is not a date and time such as"):
        parquet(tmp_path, PARQUET | {"time": [1, 2, 3, 4]}, 100)
    with pytest.raises(BadDataError, match="time is not of the form %Y%m%d"):
        parquet(tmp_path, PARQUET | {"time": [1, 2, 3, 4]}, 100, time_format="%Y%m%d")


def test_an_entry_without_a_file_explains_how_to_set_one() -> None:
    message = (
        r'nothing to score: name a file or folder, kedro run --pipelines score --params "score'
    )
    with pytest.raises(MissingFileError, match=message):
        pieces(None, pipeline="score").load()
    with pytest.raises(MissingFileError, match=r'kedro run --params "score\.input=PATH"'):
        pieces(None).load()


def test_a_spark_entry_can_also_be_read_without_spark(write: Callable[..., str]) -> None:
    file = write("time,unit,load\n2024-01-01,a,1\n2024-01-02,a,2\n")
    entry = SeriesOnSpark(filepath=file, columns=COLUMNS, rows=1)
    assert entry.exists()
    found = pd.concat(entry.load_here())
    pd.testing.assert_frame_equal(found, series(file).load())


def test_a_spark_entry_needs_a_file_and_pyspark(
    write: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    existing, missing = (
        SeriesOnSpark(filepath=path, columns=COLUMNS, parameter="raw_file")
        for path in (write("time,unit,load\n2024-01-01,a,1\n"), str(tmp_path / "none.csv"))
    )
    assert not missing.exists()
    with pytest.raises(MissingFileError, match="Set raw_file in"):
        missing.load()
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(DatasetError, match=r"pip install 'kedro-azure-mlops\[spark\]'"):
        existing.load()


def test_the_catalog_creates_an_entry_from_configuration(write: Callable[..., str]) -> None:
    kind = "kedro_azure_mlops.tables.catalog.SeriesPieces"
    path = write("time,value\n2024-01-01,1\n")
    config = {"type": kind, "filepath": path, "columns": COLUMNS, "checks": CHECKS}
    (piece,) = AbstractDataset.from_config("new_rows", config).load()
    assert piece["load"].tolist() == [1]
