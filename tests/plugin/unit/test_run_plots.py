"""Plots of a run: their lines, labels and limits."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from kedro_azure_mlops.events import Events
from kedro_azure_mlops.plots import plot_precision_recall, plot_score_histogram, plot_series


def events(*windows: tuple[str, str, str]) -> Events:
    frame = pd.DataFrame(windows, columns=["unit", "start", "end"])
    frame = frame.astype({"start": "datetime64[ns]", "end": "datetime64[ns]"})
    return Events(frame, by="unit", time="time", flag="flagged")


def rows(values: np.ndarray, unit: str = "a", flagged: int = 0) -> pd.DataFrame:
    times = pd.date_range("2024-01-01", periods=len(values), freq="1min")
    flags = pd.array(np.arange(len(values)) < flagged, dtype="boolean").astype("Int64")
    return pd.DataFrame({"time": times, "unit": unit, "load": values, "flagged": flags})


def plot(table: pd.DataFrame, *windows: tuple[str, str, str], **options: int) -> Figure:
    split = pd.Timestamp("2024-01-01 01:00")
    return plot_series(table, events(*windows), "load", split=split, unit="kW", **options)


def legend_texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("at", [1, 100_999])
def test_a_long_series_is_drawn_with_few_points_that_include_extremes(at: int) -> None:
    values = np.sin(np.arange(101_000) / 500)
    values[at] = 50.0
    shown = np.asarray(plot(rows(values)).axes[0].lines[0].get_ydata())
    assert len(shown) < 6_100
    assert (shown.max(), shown.min()) == (50.0, values.min())


def test_each_series_is_drawn_with_its_flags_events_and_the_split() -> None:
    table = pd.concat([rows(np.arange(9.0), flagged=2), rows(np.ones(5), "b")])
    figure = plot(table.sample(frac=1, random_state=0), ("b", "2024-01-01", "2024-01-02"))
    assert [axis.get_ylabel() for axis in figure.axes] == ["a [kW]", "b [kW]"]
    line, dots, split = figure.axes[0].lines
    assert line.get_ydata().tolist() == list(range(9))
    assert dots.get_ydata().tolist() == [0, 1]
    assert pd.Timestamp(split.get_xdata()[0]) == pd.Timestamp("2024-01-01 01:00")
    assert [len(axis.patches) for axis in figure.axes] == [0, 1]
    assert legend_texts(figure) == ["load", "flagged", "labelled", "held out from here"]


def test_events_outside_the_rows_do_not_stretch_the_plot() -> None:
    inside, outside = ("b", "2024-01-01", "2024-01-02"), ("b", "2030-01-01", "2030-01-02")
    table = pd.concat([rows(np.ones(5)), rows(np.ones(5), "b")])
    figure = plot(table, inside, outside)
    assert [axis.get_xlim() for axis in figure.axes] == [
        axis.get_xlim() for axis in plot(table, inside).axes
    ]
    assert "labelled" in legend_texts(figure), "the first series has no event"


def test_a_name_with_dollars_is_written_as_it_is() -> None:
    """Matplotlib would read the text between them as a formula, and fail if it is none."""
    figure = plot(rows(np.ones(5), r"$\frac$ and $_$"))
    figure.canvas.draw()
    assert figure.axes[0].yaxis.label.get_parse_math() is False


def test_only_the_series_with_the_most_flags_are_drawn() -> None:
    table = pd.concat([rows(np.ones(5), name, n) for n, name in enumerate("abcd")])
    figure = plot(table, most=2)
    assert [axis.get_ylabel() for axis in figure.axes] == ["c [kW]", "d [kW]"]
    assert figure.axes[-1].get_xlabel().startswith("2 more, with fewer flagged rows")
    assert plot(table).axes[-1].get_xlabel() == ""


SCORE = np.array([0.1, 0.2, np.nan, 0.9, 1.5, 3.0])
TRUTH = np.array([False, False, False, True, False, True])


def test_the_histogram_separates_labelled_rows_if_there_are_any() -> None:
    figure = plot_score_histogram(SCORE, TRUTH, meaning="(0 usual)")
    assert legend_texts(figure) == ["outside labelled events", "in labelled events", "threshold"]
    assert figure.axes[0].get_xlabel() == "score (0 usual)"
    assert figure.axes[0].get_ylim()[0] < 1, "a bin of one row would be invisible"
    figure.canvas.draw()
    covered = figure.legends[0].get_window_extent().y0
    assert covered >= figure.axes[0].get_window_extent().y1, "the legend covers the threshold"
    assert legend_texts(plot_score_histogram(SCORE, ~TRUTH & False)) == ["rows", "threshold"]


def test_precision_and_recall_show_the_threshold_and_the_chance_level() -> None:
    curve, point, chance = plot_precision_recall(SCORE, TRUTH).axes[0].lines
    assert curve.get_xdata()[0] == 1
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (0.5, 0.5)
    assert chance.get_ydata()[0] == pytest.approx(2 / 6)
    assert len(plot_precision_recall(SCORE, TRUTH, threshold=9).axes[0].lines) == 2


@pytest.mark.parametrize("truth", [np.zeros(6, bool), np.ones(6, bool)], ids=["none", "all"])
def test_without_labelled_events_the_plot_contains_a_note(truth: np.ndarray) -> None:
    axis = plot_precision_recall(SCORE, truth).axes[0]
    assert [text.get_text() for text in axis.texts] == ["no labelled events in the held-out rows"]
    assert not axis.lines
