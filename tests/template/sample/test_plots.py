import numpy as np
import pandas as pd
import pytest
from temperature_anomalies.pipelines.metrics.nodes import plot_timeline

NO_LABELS = pd.DataFrame({"sensor_id": [], "start": [], "end": []})


def scores(values: np.ndarray) -> pd.DataFrame:
    times = pd.date_range("2024-01-01", periods=len(values), freq="1min")
    flags = pd.array(np.zeros(len(values), int), dtype="Int64")
    rows = {"timestamp": times, "sensor_id": "hall", "temperature": values, "is_anomaly": flags}
    return pd.DataFrame(rows)


def plotted_values(values: np.ndarray) -> np.ndarray:
    rows = scores(values)
    figure = plot_timeline(rows, rows.tail(len(rows) // 2), NO_LABELS, "°C")
    return np.asarray(figure.axes[0].lines[0].get_ydata())


@pytest.mark.parametrize("at", [1, 12_345, 100_000, 100_999])
def test_a_long_series_is_thinned_but_keeps_every_extreme(at: int) -> None:
    values = np.sin(np.arange(101_000) / 500)
    values[at] = 50.0
    plotted = plotted_values(values)
    assert len(plotted) < 6_100
    assert plotted.max() == 50.0
    assert plotted.min() == values.min()


def test_a_short_series_is_plotted_unchanged() -> None:
    values = np.sin(np.arange(5_000) / 500)
    np.testing.assert_array_equal(plotted_values(values), values)
