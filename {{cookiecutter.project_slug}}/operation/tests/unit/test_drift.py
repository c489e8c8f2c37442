import numpy as np
import pandas as pd
import pytest

from operation.execution.__main__ import main
from operation.monitoring.drift import compare, population_stability
from operation.monitoring.plots import plot_drift
from operation.tests.helpers import Project, series


def test_the_index_is_the_one_computed_by_hand() -> None:
    train = np.arange(10.0)  # one reading a decile
    new = np.array([0.0] * 5 + [9.0] * 5)
    expected = 2 * (0.5 - 0.1) * np.log(0.5 / 0.1) + 8 * (0.05 - 0.1) * np.log(0.05 / 0.1)
    assert population_stability(train, new) == pytest.approx(expected)


def test_the_same_readings_have_no_drift_and_moved_ones_have() -> None:
    random = np.random.default_rng(0)
    train, same = random.normal(size=2000), random.normal(size=2000)
    assert population_stability(train, train) == 0
    assert population_stability(train, same) < 0.1
    assert population_stability(train, same + 1) > 0.25


def test_a_sensor_that_never_changed_is_compared_too() -> None:
    constant = np.full(100, 20.0)
    assert population_stability(constant, constant) == 0
    assert population_stability(constant, constant + 1) > 0.25


@pytest.mark.parametrize(("train", "new"), [([], [1.0]), ([1.0], [])])
def test_nothing_to_compare_is_refused(train: list[float], new: list[float]) -> None:
    with pytest.raises(ValueError, match="both sides"):
        population_stability(np.array(train), np.array(new))


def test_each_sensor_is_compared_with_itself() -> None:
    train = pd.concat([series(500), series(500, sensor="cold")])
    new = pd.concat([series(500, seed=1), series(500, sensor="cold", seed=1), series(5, "attic")])
    new.loc[new["sensor_id"] == "cold", "temperature"] += 5
    table = compare(train, new)
    assert table.loc["hall", "stability_index"] < 0.1
    assert table.loc["cold", "stability_index"] > 0.25
    assert np.isnan(table.loc["attic", "stability_index"])


def test_the_verb_answers_with_its_exit_status_or_tells_its_answer(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.path)
    told = project.path / "told"
    monkeypatch.setenv("GITHUB_OUTPUT", str(told))
    assert main(["drift"]) == 2
    assert "type: make run\n" in capsys.readouterr().err
    assert main(["drift", "--answer"]) == 2, "who could not look has no answer"
    assert not told.exists()
    picture = project.processed("drift.png")
    steady, moved = series(1000), series(1000)
    moved.loc[700:, "temperature"] += 5
    pictures = []
    for readings, status, words, answer in (
        (steady, 0, "No drift", "drifted=false"),
        (moved, 1, "Drift: hall", "drifted=true"),
    ):
        path = project.write("readings.csv", readings.to_csv(index=False))
        project.run("pre_processing", "data_engineering", raw_file=path)
        assert main(["drift"]) == status
        assert words in capsys.readouterr().out
        assert main(["drift", "--answer"]) == 0
        assert words in capsys.readouterr().out
        assert told.read_text(encoding="utf-8").splitlines()[-2:] == [answer] * 2
        pictures.append(picture.read_bytes())
    assert all(content.startswith(b"\x89PNG") for content in pictures)
    assert pictures[0] != pictures[1]
    assert main(["drift", "--most", "100"]) == 0


def test_the_picture_shows_what_moved_furthest_first_and_not_more_than_fits() -> None:
    train = pd.concat([series(200, sensor=f"s{number:02}") for number in range(13)])
    new = pd.concat([series(200, sensor=f"s{number:02}", seed=1) for number in range(14)])
    new.loc[new["sensor_id"] == "s07", "temperature"] += 5
    drawn = plot_drift(train, new, compare(train, new), most=0.25).axes
    titles = [axis.get_title() for axis in drawn]
    assert len(titles) == 12
    assert titles[0] == "s13: not in training"
    assert titles[1].startswith("s07: stability index")
    assert [axis.title.get_color() for axis in drawn[:3]] == ["#c1292e", "#c1292e", "black"]
