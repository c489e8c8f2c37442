from pathlib import Path

import pandas as pd
import pytest
from temperature_anomalies.datasets import (
    LabelsCSV,
    MissingFileError,
    TemperatureCSV,
)

from kedro_azure_mlops.validation import BadDataError

READINGS = [("2024-01-01 00:00", 20.5), ("2024-01-01 00:05", 21.0)]


@pytest.mark.parametrize(
    ("text", "sensor", "first_line"),
    [
        ("timestamp,sensor_id,temperature\n{0},a,20.5\n{1},a,21\n", "a", 2),
        ("timestamp,temperature\n{0},20.5\n{1},21\n", "file", 2),
        ("timestamp,value\n{0},20.5\n{1},21\n", "file", 2),
        ("{0}, 20.5\n{1}, 21\n", "file", 1),
        ("{0},a,20.5\n{1},a,21\n", "a", 1),
        ("\ufeff{0},20.5\r\n{1},21\r\n", "file", 1),
        ("temperature,extra,timestamp,sensor_id\n20.5,x,{0},7\n21,y,{1},7\n", "7", 2),
        ("timestamp,sensor_id,temperature\n{0},NA,20.5\n{1},NA,21\n", "NA", 2),
        ("timestamp,temperature,value\n{0},20.5,1\n{1},21,2\n", "file", 2),
    ],
    ids=[
        "three columns",
        "one sensor",
        "named value",
        "no header",
        "no header, three columns",
        "byte order mark, Windows line ends",
        "other order, more columns",
        "a sensor called NA",
        "value beside temperature",
    ],
)
def test_logger_files_as_they_come(tmp_path: Path, text: str, sensor: str, first_line: int) -> None:
    path = tmp_path / "file.csv"
    path.write_text(text.format(READINGS[0][0], READINGS[1][0]), encoding="utf-8", newline="")
    raw = TemperatureCSV(filepath=str(path)).load()
    assert raw["timestamp"].tolist() == [READINGS[0][0], READINGS[1][0]]
    assert raw["temperature"].tolist() == [20.5, 21.0]
    assert raw["sensor_id"].tolist() == [sensor, sensor]
    assert raw.index.tolist() == [first_line, first_line + 1]


def test_a_file_that_is_not_there_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no file .*none\.csv\. Set raw_file"):
        TemperatureCSV(filepath=str(tmp_path / "none.csv")).load()
    with pytest.raises(MissingFileError, match=r"no file .*none\.csv\. Set labels_file"):
        LabelsCSV(filepath=str(tmp_path / "none.csv")).load()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"\x89PNG\r\n\x1a\n\x00\xff",
        b"timestamp,temperature\n2024-01-01,20.5,7\n2024-01-02,21,8\n",
    ],
    ids=["empty", "blank lines", "a picture", "more fields than the header"],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    with pytest.raises(BadDataError, match=r"file\.csv: (the file is empty|not a CSV table)"):
        TemperatureCSV(filepath=str(path)).load()


def test_labels_are_read_with_times(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("sensor_id,start,end\n007 ,2024-01-01,2024-01-02 12:00\n", encoding="utf-8")
    labels = LabelsCSV(filepath=str(path)).load()
    assert labels["sensor_id"].tolist() == ["007"]
    assert labels["end"].tolist() == [pd.Timestamp("2024-01-02 12:00")]


def test_no_labels_file_means_no_labels() -> None:
    labels = LabelsCSV(filepath=None).load()
    assert labels.empty
    assert labels["start"].dtype == "datetime64[ns]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sensor_id,start\na,2024-01-01\n", "column end is missing"),
        ("sensor_id,start,end\na,2024-01-02,2024-01-01\n", "1 labels have no readable start"),
        ("sensor_id,start,end\na,soon,2024-01-01\n", "1 labels have no readable start"),
        ("sensor_id,start,end\na,2024-01-01,\n", "1 labels have no readable start"),
    ],
    ids=["missing column", "ends before it starts", "unreadable", "missing end"],
)
def test_labels_that_cannot_be_used_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadDataError, match=message):
        LabelsCSV(filepath=str(path)).load()
