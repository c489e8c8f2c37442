from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kedro_azure_mlops.cli import main
from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.monitor.drift import (
    Drift,
    compare,
    drift,
    population_stability,
    values_of,
)
from kedro_azure_mlops.monitor.plots import plot_drift
from tests.plugin.helpers import Project
from tests.plugin.trained import series


def test_the_index_is_the_one_computed_by_hand() -> None:
    train = np.arange(10.0)  # one value a decile
    new = np.array([0.0] * 5 + [9.0] * 5)
    expected = 2 * (0.5 - 0.1) * np.log(0.5 / 0.1) + 8 * (0.05 - 0.1) * np.log(0.05 / 0.1)
    assert population_stability(train, new) == pytest.approx(expected)


def test_missing_values_are_a_share_of_their_own() -> None:
    train = np.arange(10.0)
    new = np.concatenate([np.arange(10.0), np.full(10, np.nan)])
    share = (0.5 - 0.05) * np.log(0.5 / 0.05)
    expected = 10 * (0.05 - 0.1) * np.log(0.05 / 0.1) + share
    assert population_stability(train, new) == pytest.approx(expected)
    assert population_stability(new, new) == 0


def test_the_same_values_have_no_drift_and_moved_ones_have() -> None:
    random = np.random.default_rng(0)
    train, same = random.normal(size=2000), random.normal(size=2000)
    assert population_stability(train, train) == 0
    assert population_stability(train, same) < 0.1
    assert population_stability(train, same + 1) > 0.25


def test_what_never_changed_is_compared_too() -> None:
    constant = np.full(100, 20.0)
    assert population_stability(constant, constant) == 0
    assert population_stability(constant, constant + 1) > 0.25


@pytest.mark.parametrize(("train", "new"), [([], [1.0]), ([1.0], [])])
def test_nothing_to_compare_is_refused(train: list[float], new: list[float]) -> None:
    with pytest.raises(ValueError, match="both sides"):
        population_stability(np.array(train), np.array(new))


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    train = pd.concat([series(500), series(500, unit="south")])
    new = pd.concat([series(500, seed=1), series(500, unit="south", seed=1), series(5, "attic")])
    new.loc[new["unit"] == "south", "load"] += 20
    return train, new


def test_each_series_is_compared_with_itself() -> None:
    before, now = (values_of(table, ["load"], "unit") for table in tables())
    table = compare(before, now)
    assert table.loc["north", "stability_index"] < 0.1
    assert table.loc["south", "stability_index"] > 0.25
    assert np.isnan(table.loc["attic", "stability_index"])
    assert table["rows"].to_dict() == {"attic": 5, "north": 500, "south": 500}
    assert Drift(table, before, now, 0.25).drifted == ["attic", "south"]


@pytest.mark.parametrize(
    ("columns", "by", "names"),
    [
        (["load"], None, ["load"]),
        (["load", "size"], None, ["load", "size"]),
        (["load"], "unit", ["north", "south"]),
        (
            ["load", "size"],
            "unit",
            ["north: load", "north: size", "south: load", "south: size"],
        ),
    ],
)
def test_names_say_what_is_compared(columns: list[str], by: str | None, names: list[str]) -> None:
    table = tables()[0].assign(size=1)
    assert list(values_of(table, columns, by)) == names


def test_the_picture_shows_what_moved_furthest_first_and_not_more_than_fits() -> None:
    train = pd.concat([series(200, unit=f"s{number:02}") for number in range(13)])
    new = pd.concat([series(200, unit=f"s{number:02}", seed=1) for number in range(14)])
    new.loc[new["unit"] == "s07", "load"] += 50
    before, now = (values_of(table, ["load"], "unit") for table in (train, new))
    drawn = plot_drift(Drift(compare(before, now), before, now, 0.25)).axes
    titles = [axis.get_title() for axis in drawn]
    assert len(titles) == 12
    assert titles[0] == "s13: not in training"
    assert titles[1].startswith("s07: stability index")
    assert [axis.title.get_color() for axis in drawn[:3]] == ["#c1292e", "#c1292e", "black"]


# The command, in a project


def watch(project: Project, text: str) -> None:
    file = project.path / "conf/base/mlops.yml"
    before = file.read_text(encoding="utf-8").partition("monitoring:")[0]
    file.write_text(f"{before}monitoring: {text}\n", encoding="utf-8")


@pytest.fixture
def watched(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that compares the rows it has held out with those of its training."""
    watch(project, "{reference: train, data: test, columns: [load], by: unit}")
    monkeypatch.chdir(project.path)
    return project


def test_the_command_answers_with_its_exit_status_or_reports_its_answer(
    watched: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reported = watched.path / "reported"
    monkeypatch.setenv("GITHUB_OUTPUT", str(reported))
    assert main(["drift"]) == 2
    assert "no data in test to compare yet, type: kedro run\n" in capsys.readouterr().err
    assert main(["drift", "--answer"]) == 2, "who could not look has no answer"
    assert not reported.exists()
    picture = watched.path / "build/drift.png"
    steady = series(1000).assign(pressure=10.0, energy=1.0)
    moved = steady.copy()
    moved.loc[700:, "load"] += 30
    pictures = []
    for rows, status, words, answer in (
        (steady, 0, "No drift", "drifted=false"),
        (moved, 1, "Drift: north", "drifted=true"),
    ):
        path = watched.write("rows.csv", rows.to_csv(index=False))
        watched.run("prepare", raw_file=path)
        assert main(["drift"]) == status
        assert words in capsys.readouterr().out
        assert main(["drift", "--answer"]) == 0
        assert words in capsys.readouterr().out
        assert reported.read_text(encoding="utf-8").splitlines()[-2:] == [answer] * 2
        pictures.append(picture.read_bytes())
    assert all(content.startswith(b"\x89PNG") for content in pictures)
    assert pictures[0] != pictures[1]
    assert main(["drift", "--most", "100"]) == 0


@pytest.fixture
def trained(ran: Project, tmp_path: Path) -> Project:
    """A copy of the project after a run."""
    import shutil

    return Project(Path(shutil.copytree(ran.path, tmp_path / "trained", symlinks=True)))


def test_the_numbers_of_the_schema_are_watched_and_the_newest_rows_are_new(
    trained: Project,
) -> None:
    watch(trained, "{time: time}")
    found = drift("local", root=trained.path)
    assert list(found.table.index) == ["load", "pressure"]
    assert found.table["rows"].tolist() == [48, 48]  # a fifth of 240
    assert len(found.before["load"]) == 192
    assert found.limit == 0.25
    assert drift("local", limit=9, root=trained.path).limit == 9


@pytest.mark.parametrize(
    ("monitoring", "message"),
    [
        ("{}", "Nothing says which rows of raw_hours are the newest: set monitoring.time"),
        ("{time: hour}", "no column hour, which monitoring.time names; they have time, unit"),
        ("{time: unit}", "raw_hours: unit holds no dates and times"),
        ("{time: time, by: plant}", "no column plant, which monitoring.by names"),
        ("{time: time, columns: [size]}", "no column size, which monitoring.columns names"),
        ("{time: time, columns: [unit]}", "Only columns of numbers can be compared: unit holds"),
        ("{time: time, data: none}", "The catalog has no entry none, which mlops.yml names"),
        ("{time: time, data: model}", "model is a Ridge and no table"),
        ("{reference: compared, data: test}", "compared is a dict and no table"),
    ],
)
def test_what_is_missing_is_named(trained: Project, monitoring: str, message: str) -> None:
    watch(trained, monitoring)
    with pytest.raises(OperationError, match=message):
        drift("local", root=trained.path)


def test_without_a_model_the_columns_must_be_named(project: Project) -> None:
    watch(project, "{time: time}")
    with pytest.raises(OperationError, match="there is no trained model with a contract"):
        drift("local", root=project.path)
    watch(project, "{time: time, columns: [load]}")
    assert list(drift("local", root=project.path).table.index) == ["load"]


def test_without_an_entry_of_data_it_says_which_key_to_set(project: Project) -> None:
    file = project.path / "conf/base/mlops.yml"
    text = file.read_text(encoding="utf-8").replace("  data: raw_hours\n", "")
    file.write_text(text, encoding="utf-8")
    with pytest.raises(OperationError, match=r"set monitoring\.data, or tracking\.data"):
        drift("local", root=project.path)
