"""Real exports of loggers and databases are read with `reader:` and rejected without it."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from temperature_anomalies.pipelines.pre_processing.nodes import clean
from temperature_anomalies.schemas import RawTemperatures

from kedro_azure_mlops.tables.cleaning import CleaningParameters
from kedro_azure_mlops.validation import BadDataError, parse_times
from tests.template.sample.helpers import Project, entry, rendered, series

HOBOWARE = """\
"Plot Title: Cold room"
"#","Date Time, GMT+01:00","Temp, °C (LGR S/N: 9876543, SEN S/N: 9876543)","Coupler Attached"
1,03/04/24 12:45:00 AM,20.1,
2,03/04/24 01:00:00 PM,20.5,
3,03/04/24 01:02:11 PM,,Logged
"""
TESTO = """\
"testo 174T";"Serien-Nr. 38412345"
"id";"Datum Zeit";"Temperatur [°C]"
1;"04.03.2024 00:45:00";"20,1"
2;"04.03.2024 13:00:00";"20,5"
"""
HOME_ASSISTANT = """\
entity_id,state,last_changed
sensor.hall_temperature,20.1,2024-03-03T23:45:00.000Z
sensor.hall_temperature,unavailable,2024-03-04T11:00:00.120Z
sensor.hall_temperature,20.5,2024-03-04T12:00:00.000Z
sensor.hall_humidity,41,2024-03-04T12:00:00.000Z
"""
INFLUXDB = """\
#group,false,false,true,true,false,false,true,true,true
#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string,string,string
#default,_result,,,,,,,,
,result,table,_start,_stop,_time,_value,_field,_measurement,sensor
,,0,2024-03-03T00:00:00Z,2024-03-05T00:00:00Z,2024-03-03T23:45:00Z,20.1,temperature,climate,hall
,,0,2024-03-03T00:00:00Z,2024-03-05T00:00:00Z,2024-03-04T12:00:00Z,20.5,temperature,climate,hall
,,1,2024-03-03T00:00:00Z,2024-03-05T00:00:00Z,2024-03-04T12:00:00Z,41,humidity,climate,hall

"""
DWD = """\
STATIONS_ID;MESS_DATUM;QN_9;TT_TU;RF_TU;eor
         44;2024030323;    3;  20.1;  66.0;eor
         44;2024030400;    3;-999.0;  66.0;eor
         44;2024030412;    3;  20.5;-999.0;eor
"""
EXPORTS = {
    "HOBOware": (
        HOBOWARE,
        {
            "skip_rows": 1,
            "columns": {"timestamp": "Date Time, GMT+01:00", "temperature": 3},
            "time_format": "%m/%d/%y %I:%M:%S %p",
            "time_zone": "+01:00",
            "missing": "",
        },
    ),
    "Testo": (
        TESTO,
        {
            **{"separator": ";", "decimal": ",", "encoding": "cp1252", "skip_rows": 1},
            "columns": {"timestamp": "Datum Zeit", "temperature": "Temperatur [°C]"},
            **{"time_format": "%d.%m.%Y %H:%M:%S", "time_zone": "Europe/Berlin"},
        },
    ),
    "Home Assistant": (
        HOME_ASSISTANT,
        {
            "columns": {
                **{"timestamp": "last_changed", "temperature": "state", "sensor_id": "entity_id"},
            },
            **{"where": "entity_id=sensor.hall_temperature", "missing": ["unavailable", "unknown"]},
        },
    ),
    "InfluxDB": (
        INFLUXDB,
        {
            **{"skip_rows": 3, "where": "_field=temperature"},
            "columns": {"timestamp": "_time", "temperature": "_value"},
        },
    ),
    "DWD": (
        DWD,
        {
            **{"separator": ";", "time_format": "%Y%m%d%H", "missing": -999},
            "columns": {"timestamp": "MESS_DATUM", "temperature": "TT_TU"},
        },
    ),
}
TIMES = [pd.Timestamp("2024-03-03 23:45"), pd.Timestamp("2024-03-04 12:00")]
LENIENT = CleaningParameters.model_validate(
    {name: (6 if name == "gap_steps" else 1.0) for name in CleaningParameters.model_fields}
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Return a function that writes a file and returns its path."""

    def write(text: str, name: str = "file.csv", encoding: str = "utf-8") -> str:
        (tmp_path / name).write_text(text, encoding, newline="")
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_are_read_with_their_options_and_rejected_without(
    write: Callable[..., str], name: str
) -> None:
    text, options = EXPORTS[name]
    path = write(text.replace("\n", "\r\n"), encoding=options.get("encoding", "utf-8"))
    with pytest.raises(BadDataError, match=r"wrong columns|not a CSV table") as refusal:
        entry("raw_temperatures", filepath=path).load()
    assert "reader" in str(refusal.value)
    whole = entry("raw_temperatures", filepath=path, reader=options).load()
    expected = TIMES if name != "DWD" else [TIMES[0].floor("h"), TIMES[1]]
    assert parse_times(whole["timestamp"]).tolist() == expected
    assert whole["temperature"].astype(float).tolist() == [20.1, 20.5]
    lines = text.splitlines()
    assert all("20.1" in lines[n - 1] or "20,1" in lines[n - 1] for n in whole.index[:1])
    for rows in (1, 2, 100):
        pieces = entry("new_readings", filepath=path, rows=rows, reader=options).load()
        joined = pd.concat(pieces)
        pd.testing.assert_frame_equal(joined, whole, check_dtype=False)


def test_the_error_for_an_export_suggests_working_options(write: Callable[..., str]) -> None:
    with pytest.raises(BadDataError, match="decimal commas; header in line 2") as refusal:
        entry("raw_temperatures", filepath=write(TESTO)).load()
    message = str(refusal.value)
    options = yaml.safe_load(message[message.index("\nreader:\n") :])["reader"]
    table = entry("raw_temperatures", filepath=write(TESTO), reader=options).load()
    assert table["temperature"].tolist() == [20.1, 20.5]


def test_humidity_is_not_read_as_temperature(write: Callable[..., str]) -> None:
    rows = ["timestamp,sensor_id,parameter,value"]
    for hour in range(5):
        rows += [f"2024-03-04 0{hour}:00,hall,temperature,2{hour}"]
        rows += [f"2024-03-04 0{hour}:00,hall,humidity,4{hour}"]
    path = write("\n".join(rows))
    with pytest.raises(BadDataError, match=r"parameter holds several.*\n?.*line 3: humidity"):
        entry("raw_temperatures", filepath=path).load()
    raw = entry("raw_temperatures", filepath=path, reader={"where": "parameter=temperature"}).load()
    assert raw["temperature"].tolist() == [20, 21, 22, 23, 24]
    _, report = clean(raw, LENIENT)
    assert report["notes"] == ["5 rows left out where parameter is not temperature"]


def test_the_report_names_unused_columns(write: Callable[..., str]) -> None:
    path = write("timestamp,sensor,temperature,flag\n2024-01-01,a,1,ok\n2024-01-02,a,2,ok\n")
    raw = RawTemperatures(-100, 400, 5).validate(entry("raw_temperatures", filepath=path).load())
    assert raw["sensor_id"].tolist() == ["a", "a"]
    assert clean(raw, LENIENT)[1]["notes"] == ["columns that are not used: flag (ok)"]


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_parquet_and_csv_files_are_read_alike(tmp_path: Path, zone: str | None) -> None:
    rows = series(300).assign(unit="C")
    rows["timestamp"] += pd.Timestamp("2024-10-25") - rows["timestamp"].iloc[0]
    rows.astype({"timestamp": str}).to_csv(tmp_path / "a.csv", index=False)
    rows.to_parquet(tmp_path / "b.parquet")
    reader = {"time_zone": zone, "columns": {"sensor_id": None}}
    csv, parquet = (
        pd.concat(entry("new_readings", filepath=str(file), rows=70, reader=reader).load())
        for file in sorted(tmp_path.iterdir())
    )
    assert parse_times(csv["timestamp"]).tolist() == parse_times(parquet["timestamp"]).tolist()
    assert csv["temperature"].tolist() == parquet["temperature"].tolist()
    aware = rows.assign(timestamp=rows["timestamp"].dt.tz_localize("UTC"))
    aware.to_parquet(tmp_path / "b.parquet")
    aware_rows = pd.concat(entry("new_readings", filepath=str(tmp_path / "b.parquet")).load())
    assert parse_times(aware_rows["timestamp"]).tolist() == rows["timestamp"].tolist()


def test_labels_use_the_time_zone_of_the_readings(write: Callable[..., str]) -> None:
    path = write("sensor_id,start,end\nNA,2024-07-01 12:00,2024-07-01T12:00:00Z\n")
    labels = entry("labels", filepath=path, reader={"time_zone": "Europe/Berlin"}).load()
    assert labels["sensor_id"].tolist() == ["NA"]
    assert labels["start"].tolist() == [pd.Timestamp("2024-07-01 10:00")]
    assert labels["end"].tolist() == [pd.Timestamp("2024-07-01 12:00")]
    with pytest.raises(BadDataError, match="or are reversed"):
        entry("labels", filepath=write(path_text := "sensor_id,start,end\na,2024-07-01,x\n")).load()
    assert entry("labels", filepath=write(path_text.replace("x", "2024-07-02"))).load().shape == (
        1,
        3,
    )


def test_a_run_reads_an_export_with_its_parameters(project: Project) -> None:
    """The reader merges parameters.yml, an environment and --params key by key."""
    table = pd.read_csv(rendered() / "data/raw/temperatures.csv", parse_dates=["timestamp"])
    table["timestamp"] = table["timestamp"].dt.strftime("%d.%m.%Y %H:%M")
    table.columns = ["Zeit", "Ort", "Temperatur"]
    path = project.path / "data/raw/export.csv"
    table.to_csv(path, index=False, sep=";", decimal=",")
    columns = {"timestamp": "Zeit", "sensor_id": "Ort", "temperature": "Temperatur"}
    environment = {"reader": {"separator": ";", "decimal": "comma", "columns": columns}}
    project.configure("local", "parameters.yml", yaml.safe_dump(environment))
    project.run(
        "pre_processing",
        raw_file="data/raw/export.csv",
        reader={"time_format": "%d.%m.%Y %H:%M"},
    )
    cleaned = pd.read_parquet(project.path / "data/interim/clean_temperatures.parquet")
    project.run(
        "pre_processing",
        reader={"separator": ",", "decimal": ".", "columns": dict.fromkeys(columns)},
    )
    expected = pd.read_parquet(project.path / "data/interim/clean_temperatures.parquet")
    pd.testing.assert_frame_equal(cleaned, expected)
