import gc
import json
import logging
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError

from {{ cookiecutter.package_name }} import score
from {{ cookiecutter.package_name }}.batches import NewReadings, NewScores, TrainedModel
from {{ cookiecutter.package_name }}.datasets import MissingFileError
from {{ cookiecutter.package_name }}.errors import ProjectError
from {{ cookiecutter.package_name }}.models import Champion, digest
from {{ cookiecutter.package_name }}.parameters import ScoreParameters
from {{ cookiecutter.package_name }}.pipelines.score.nodes import (
    choose_model,
    score_new_readings,
)
from {{ cookiecutter.package_name }}.schemas import BadDataError

from operation.tests import trained

COLUMNS = ["timestamp", "sensor_id", "temperature", "score", "is_anomaly", "model_version"]
CHAMPION = ScoreParameters(input=None, output="scores", model="champion", rows_per_piece=1)


@pytest.fixture(scope="module")
def champion() -> Champion:
    return Champion(trained.small_detector(), "3")


@pytest.fixture(scope="module")
def readings() -> pd.DataFrame:
    """Six days of two sensors in turn, some of them faults, as text is read from a file."""
    table = trained.readings().tail(600).reset_index(drop=True)
    return table.assign(timestamp=table["timestamp"].dt.strftime("%Y-%m-%d %H:%M"))


def cut(table: pd.DataFrame, rows: int) -> Iterator[pd.DataFrame]:
    return (table.iloc[start : start + rows] for start in range(0, len(table), rows))


def scored(table: pd.DataFrame, champion: Champion, rows: int = 10_000) -> pd.DataFrame:
    return pd.concat(score_new_readings(cut(table, rows), champion))


def dataset(path: Path, rows: int = 1000, stuck: int = 10) -> NewReadings:
    return NewReadings(
        filepath=str(path), rows=rows, minimum=-100.0, maximum=400.0, stuck_clock_rows=stuck
    )


def write(path: Path, table: pd.DataFrame) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    return path


def run(source: Path, target: Path, champion: Champion, rows: int = 1000) -> None:
    pieces = dataset(source, rows).load()
    NewScores(filepath=str(target)).save(score_new_readings(pieces, champion))


def untidy(readings: pd.DataFrame) -> pd.DataFrame:
    """Some late, some sent twice, some with the time of the one before."""
    table = readings.copy()
    order = np.arange(len(table), dtype=float)
    order[[100, 101, 110, 300, 405]] += [9, 3, 16, 20, 5]
    table = table.iloc[np.argsort(order, kind="stable")]
    table = pd.concat([table[:200], table[190:195], table[200:]], ignore_index=True)
    table.loc[230, "timestamp"] = table.loc[228, "timestamp"]
    return table


# The scores


@pytest.mark.parametrize("is_tidy", [True, False], ids=["tidy", "untidy"])
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_pieces_of_any_size_give_the_same_scores(
    readings: pd.DataFrame, champion: Champion, rows: int, is_tidy: bool
) -> None:
    table = (readings if is_tidy else untidy(readings)).head(240)
    whole = scored(table, champion)
    assert whole["score"].nunique() > 100
    pd.testing.assert_frame_equal(scored(table, champion, rows), whole, check_exact=True)


def test_scores_are_those_of_an_endpoint_that_is_sent_all_rows(
    readings: pd.DataFrame, champion: Champion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "_loaded", None)
    score.init(trained.save_small_model(tmp_path / "model"))
    answer = score.run(json.dumps({"data": readings.to_dict("records")}))
    ours = scored(readings, champion, 7)
    assert [row["score"] for row in answer.body["data"]] == ours["score"].tolist()
    assert [row["is_anomaly"] for row in answer.body["data"]] == (ours["is_anomaly"] == 1).tolist()
    assert [row["timestamp"] for row in answer.body["data"]] == ours["timestamp"].tolist()


def test_every_line_has_its_score_in_its_order(readings: pd.DataFrame, champion: Champion) -> None:
    result = scored(readings, champion, 100)
    assert list(result.columns) == COLUMNS
    pd.testing.assert_frame_equal(result[COLUMNS[:3]], readings)
    assert (result["model_version"] == "3").all()
    assert result["is_anomaly"].tolist() == (result["score"] > 1).astype(int).tolist()
    assert 0 < result["is_anomaly"].mean() < 0.1


def test_a_sensor_that_the_model_does_not_know_has_no_score(
    readings: pd.DataFrame, champion: Champion, caplog: pytest.LogCaptureFixture
) -> None:
    attic = readings.replace({"sensor_id": {"7": "attic"}})
    result = scored(attic, champion)
    of_attic = result["sensor_id"] == "attic"
    assert result.loc[of_attic, ["score", "is_anomaly"]].isna().all(axis=None)
    assert result.loc[~of_attic, ["score", "is_anomaly"]].notna().all(axis=None)
    assert "Not known to the model, not scored: attic" in caplog.text


def test_late_readings_are_counted(
    readings: pd.DataFrame, champion: Champion, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        scored(untidy(readings), champion, 50)
    table = untidy(readings)
    times = pd.to_datetime(table["timestamp"])
    late = (times < times.groupby(table["sensor_id"]).cummax()).sum()
    assert late >= 5
    assert f"Scored {len(table)} readings with model 3" in caplog.text
    assert f" flagged, {late} late" in caplog.text


@pytest.mark.parametrize("rows", [1, 1000])
@pytest.mark.parametrize(("hours", "is_refused"), [(12, False), (12.5, True)])
def test_readings_that_are_too_late_are_refused(
    readings: pd.DataFrame, champion: Champion, rows: int, hours: float, is_refused: bool
) -> None:
    hall = readings[readings["sensor_id"] == "hall"].head(150).reset_index(drop=True)
    steps = int(hours * 2)
    late = pd.concat([hall[:100], hall[101 : 102 + steps - 1], hall[100:101]])
    late = pd.concat([late, hall[102 + steps - 1 :]]).rename_axis("line")
    if not is_refused:
        assert len(scored(late, champion, rows)) == len(hall)
        return
    with pytest.raises(BadDataError, match=r"more than 12 hours older(.|\n)*2024-01-09 08:00"):
        scored(late, champion, rows)


def test_no_more_than_one_piece_is_alive_at_a_time(
    readings: pd.DataFrame, champion: Champion
) -> None:
    alive: list[weakref.ref[pd.DataFrame]] = []
    most = 0

    def pieces() -> Iterator[pd.DataFrame]:
        for piece in cut(readings, 60):
            copy = piece.copy()
            alive.append(weakref.ref(copy))
            yield copy
            del copy

    for _ in score_new_readings(pieces(), champion):
        gc.collect()
        most = max(most, sum(piece() is not None for piece in alive))
    assert len(alive) == 10
    assert most <= 2


# The model


def test_the_model_in_service_scores_unless_another_one_is_asked_for(champion: Champion) -> None:
    other = Champion(champion.detector, "other")
    assert choose_model(champion, other, CHAMPION).version == "3"
    last = CHAMPION.model_copy(update={"model": "trained"})
    assert choose_model(Champion(problem="no server"), other, last).version == "other"


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (Champion(), "the champion is not there. Train and register one with `make run`"),
        (Champion(version="2", problem="other files"), "cannot be used: other files"),
        (Champion(version="2", incomparable="other features"), "cannot be used: other features"),
    ],
    ids=["none", "problem", "incomparable"],
)
def test_no_other_model_takes_the_place_of_the_champion(
    champion: Champion, there: Champion, message: str
) -> None:
    with pytest.raises(ProjectError) as refusal:
        choose_model(there, champion, CHAMPION)
    assert message in str(refusal.value)


def test_the_model_of_the_last_run_is_called_by_its_digest(tmp_path: Path) -> None:
    folder = trained.save_small_model(tmp_path / "model")
    found = TrainedModel(filepath=str(folder)).load()
    assert found.version == digest(folder)[:12]
    assert found.detector is not None


def test_a_model_folder_that_is_not_there_or_broken_is_no_model(tmp_path: Path) -> None:
    assert TrainedModel(filepath=str(tmp_path / "none")).load() == Champion()
    folder = trained.save_small_model(tmp_path / "model")
    (folder / "model.skops").write_bytes(b"")
    assert "holds no detector" in str(TrainedModel(filepath=str(folder)).load().problem)


# The files


def test_a_file_is_scored_into_a_file_whatever_the_size_of_its_pieces(
    readings: pd.DataFrame, champion: Champion, tmp_path: Path
) -> None:
    source = write(tmp_path / "new.csv", untidy(readings))
    contents = set()
    for rows in (100, 333, 5000):
        run(source, tmp_path / "scores", champion, rows)
        contents.add((tmp_path / "scores.csv").read_bytes())
    assert len(contents) == 1
    result = pd.read_csv(tmp_path / "scores.csv", dtype={"sensor_id": str})
    assert list(result.columns) == COLUMNS
    pd.testing.assert_frame_equal(result[COLUMNS[:3]], untidy(readings))
    assert {path.name for path in tmp_path.iterdir()} == {"new.csv", "scores.csv"}


def test_readings_of_a_day_of_whole_numbers_are_written_alike(
    readings: pd.DataFrame, champion: Champion, tmp_path: Path
) -> None:
    """No piece decides by itself how its times and numbers look."""
    table = readings.head(60).copy()
    table.loc[:30, "temperature"] = 20.0
    table["timestamp"] = [f"2024-01-{1 + row // 2:02}" for row in range(60)]
    source = write(tmp_path / "new.csv", table)
    contents = set()
    for rows in (1, 60):
        run(source, tmp_path / "scores", champion, rows)
        contents.add((tmp_path / "scores.csv").read_bytes())
    assert len(contents) == 1


def test_numbers_are_read_as_a_request_has_them_read(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("2024-01-01,hall,21.074012061756214\n")
    (piece,) = dataset(tmp_path / "new.csv").load()
    assert piece["temperature"].tolist() == [json.loads("21.074012061756214")]


@pytest.mark.parametrize("at", [1, 100, 401])
def test_a_folder_gives_the_scores_of_one_file_wherever_it_is_cut(
    readings: pd.DataFrame, champion: Champion, tmp_path: Path, at: int
) -> None:
    write(tmp_path / "new" / "part-0.csv", readings[:at])
    write(tmp_path / "new" / "part-1.csv", readings[at:])
    (tmp_path / "new" / "_SUCCESS").write_text("")
    (tmp_path / "new" / ".hidden.csv").write_text("")
    (tmp_path / "new" / "README.md").write_text("")
    run(tmp_path / "new", tmp_path / "scores", champion, 250)
    written = sorted((tmp_path / "scores").iterdir())
    assert [path.name for path in written] == ["part-0.csv", "part-1.csv"]
    first, second = (path.read_text() for path in written)
    run(write(tmp_path / "whole.csv", readings), tmp_path / "other", champion)
    header = ",".join(COLUMNS) + "\n"
    assert first + second.removeprefix(header) == (tmp_path / "other.csv").read_text()


def test_a_headerless_file_of_each_sensor_is_scored(
    readings: pd.DataFrame, champion: Champion, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    for sensor, rows in readings.groupby("sensor_id"):
        path = tmp_path / "new" / f"{sensor}.csv"
        rows[["timestamp", "temperature"]].to_csv(path, index=False, header=False)
    run(tmp_path / "new", tmp_path / "scores", champion, 100)
    hall = pd.read_csv(tmp_path / "scores" / "hall.csv", dtype={"sensor_id": str})
    expected = scored(readings, champion)
    expected = expected[expected["sensor_id"] == "hall"].reset_index(drop=True)
    assert hall["score"].tolist() == expected["score"].tolist()
    assert set(hall["sensor_id"]) == {"hall"}


@pytest.mark.parametrize("is_text", [True, False], ids=["text", "timestamps"])
def test_parquet_parts_are_scored_as_csv_is(
    readings: pd.DataFrame, champion: Champion, tmp_path: Path, is_text: bool
) -> None:
    table = readings if is_text else readings.astype({"timestamp": "datetime64[us]"})
    (tmp_path / "new").mkdir()
    table[:400].to_parquet(tmp_path / "new" / "a.parquet")
    write(tmp_path / "new" / "b.csv", readings[400:])
    run(tmp_path / "new", tmp_path / "scores", champion, 300)
    result = pd.concat([*NewScores(filepath=str(tmp_path / "scores")).load()])
    assert result["score"].tolist() == scored(readings, champion)["score"].tolist()
    assert result["timestamp"].tolist() == pd.to_datetime(readings["timestamp"]).tolist()


def test_names_that_need_quotes_are_quoted(
    readings: pd.DataFrame, champion: Champion, tmp_path: Path
) -> None:
    table = readings.head(10).replace({"sensor_id": {"7": 'a "b", c'}})
    run(write(tmp_path / "new.csv", table), tmp_path / "scores", champion)
    result = pd.read_csv(tmp_path / "scores.csv")
    assert result["sensor_id"].tolist() == table["sensor_id"].tolist()


def test_a_bad_row_stops_it_with_its_line_and_leaves_what_was_there(
    readings: pd.DataFrame, champion: Champion, tmp_path: Path
) -> None:
    bad = readings.astype({"temperature": object})
    bad.loc[450, "temperature"] = "hot"
    bad.loc[451, "temperature"] = 1e6
    source = write(tmp_path / "new.csv", bad)
    (tmp_path / "scores.csv").write_text("of an earlier run")
    with pytest.raises(BadDataError) as refusal:
        run(source, tmp_path / "scores", champion, 100)
    for text in ("new.csv", "452", "hot", "temperature is not a number", "453", "outside -100"):
        assert text in str(refusal.value)
    assert {path.name for path in tmp_path.iterdir()} == {"new.csv", "scores.csv"}
    assert (tmp_path / "scores.csv").read_text() == "of an earlier run"


@pytest.mark.parametrize("rows", [1, 4, 100])
@pytest.mark.parametrize(("times", "is_refused"), [(5, False), (6, True)])
def test_a_clock_that_stands_still_is_seen_from_piece_to_piece(
    readings: pd.DataFrame, tmp_path: Path, rows: int, times: int, is_refused: bool
) -> None:
    table = readings[readings["sensor_id"] == "hall"].head(30).reset_index(drop=True)
    table.loc[10 : 9 + times, "timestamp"] = table.loc[10, "timestamp"]
    pieces = dataset(write(tmp_path / "new.csv", table), rows, stuck=5).load()
    if is_refused:
        with pytest.raises(BadDataError, match=r"clock stands still(.|\n)*12 +2024-01-07 11:00"):
            list(pieces)
    else:
        assert sum(map(len, pieces)) == 30


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("timestamp,sensor_id,temperature\n", "the file is empty"),
        ("time,place\n2024,hall\n", "wrong columns"),
        ("timestamp,sensor_id,temperature\n2024-01-01,a,1\n2024-01-01,a,1,2\n", "not a CSV table"),
        (
            "timestamp,sensor_id,temperature\n" + "2024-01-01,a,1\n" * 3 + "2024-01-01,a,1,2\n",
            "not a CSV table",
        ),
    ],
    ids=["empty", "header only", "columns", "long line", "long line in a later piece"],
)
def test_a_file_that_is_no_table_of_readings_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "new.csv"
    path.write_text(text)
    with pytest.raises(BadDataError, match=f"new.csv: {message}"):
        list(dataset(path, rows=2).load())


def test_an_empty_part_of_a_folder_is_named(readings: pd.DataFrame, tmp_path: Path) -> None:
    write(tmp_path / "new" / "a.csv", readings)
    readings.head(0).to_parquet(tmp_path / "new" / "b.parquet")
    with pytest.raises(BadDataError, match=r"b\.parquet: the file is empty"):
        list(dataset(tmp_path / "new").load())


def test_a_parquet_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("no parquet")
    with pytest.raises(BadDataError, match=r"a\.parquet: not a Parquet table"):
        list(dataset(tmp_path / "a.parquet").load())


def test_readings_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="There is no file"):
        list(dataset(tmp_path / "none.csv").load())
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match="holds no file to score"):
        dataset(tmp_path / "empty").load()
    nothing = NewReadings(filepath=None, rows=1, minimum=0, maximum=1, stuck_clock_rows=1)
    with pytest.raises(ProjectError, match=r"score\.input=PATH"):
        nothing.load()


def test_two_files_whose_scores_would_have_one_name_are_refused(
    readings: pd.DataFrame, tmp_path: Path
) -> None:
    write(tmp_path / "new" / "a.csv", readings)
    readings.to_parquet(tmp_path / "new" / "a.parquet")
    with pytest.raises(ProjectError, match="holds two files a"):
        dataset(tmp_path / "new").load()


def test_scores_of_a_file_and_of_a_folder_do_not_replace_each_other(
    readings: pd.DataFrame, champion: Champion, tmp_path: Path
) -> None:
    file = write(tmp_path / "new.csv", readings)
    write(tmp_path / "new" / "a.csv", readings)
    left, scores = [], NewScores(filepath=str(tmp_path / "scores"))
    for number, source in enumerate((file, tmp_path / "new", tmp_path / "new", file)):
        run(source, tmp_path / "scores", champion)
        left.append(sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("scores")))
        for place in tmp_path.glob("scores*"):  # clocks of file systems are coarse
            os.utime(place, (0, number) if (source == file) == place.is_file() else (0, 0))
        assert len(list(scores.load())) == 1
    both = ["scores", "scores.csv"]
    assert left == [["scores.csv"], both, both, both]
    (tmp_path / "scores" / "b.csv").write_bytes((tmp_path / "scores" / "a.csv").read_bytes())
    os.utime(tmp_path / "scores", (0, 100))
    assert len(list(scores.load())) == 2


def test_scores_are_not_written_to_a_remote_address() -> None:
    with pytest.raises(DatasetError, match="no folder of this machine"):
        NewScores.from_config(
            "new_scores", {"type": NewScores, "filepath": "abfs://scores@account/new"}
        )
