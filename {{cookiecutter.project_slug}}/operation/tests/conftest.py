"""Fixtures: copies of the project that are run in this process, and readings to feed them.

Tests bring their own data and look at relations, so a change of a parameter, of the data or of the
estimator breaks none of them. What knows the sample's pipelines is in ``test_sample_*``.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from kedro_azure_mlops.testing.projects import ProjectCopy, new_project, own_tracking, project

__all__ = ["new_project", "own_tracking", "project"]

ROWS = 48 * 28
FAULT = slice(48 * 24, 48 * 24 + 6)  # half-hours of the first sensor


@pytest.fixture(scope="session")
def series() -> Callable[..., pd.DataFrame]:
    """Return what makes readings of one sensor: a daily swing and noise."""

    def make(rows: int, step: str = "30min", sensor: str = "one", seed: int = 0) -> pd.DataFrame:
        times = pd.date_range("2024-01-01", periods=rows, freq=step)
        hours = ((times - times[0]) / pd.Timedelta("1h")).to_numpy()
        noise = np.random.default_rng(seed).normal(0, 0.3, rows)
        values = 20 + 3 * np.sin(2 * np.pi * hours / 24) + noise
        columns = {"timestamp": times, "sensor_id": sensor, "temperature": values.round(2)}
        return pd.DataFrame(columns)

    return make


@pytest.fixture(scope="session")
def readings(series: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    """Four weeks of two sensors, of which the first has a fault in the last week."""
    one, two = series(ROWS), series(ROWS, sensor="two", seed=1)
    one.loc[FAULT.start : FAULT.stop - 1, "temperature"] += 15
    both = pd.concat([one, two]).sort_values("timestamp", kind="stable", ignore_index=True)
    return both.astype({"timestamp": str})


@pytest.fixture(scope="session")
def fault(readings: pd.DataFrame) -> pd.Series:
    """Which of the readings belong to the fault: booleans."""
    return (readings["sensor_id"] == "one") & (readings["temperature"] > 30)


@pytest.fixture(scope="session")
def labels(readings: pd.DataFrame, fault: pd.Series) -> pd.DataFrame:
    """The fault as people label it."""
    times = readings.loc[fault, "timestamp"]
    return pd.DataFrame({"sensor_id": ["one"], "start": [times.min()], "end": [times.max()]})


@pytest.fixture(scope="session")
def with_data(
    new_project: Callable[[], ProjectCopy], readings: pd.DataFrame, labels: pd.DataFrame
) -> Callable[[], ProjectCopy]:
    """Return what copies the project and makes it read the readings above."""

    def copy() -> ProjectCopy:
        project = new_project()
        project.configure(
            "parameters.yml",
            raw_file=project.write("readings.csv", readings),
            labels_file=project.write("labels.csv", labels),
            training={"window": "all", "holdout": 0.4, "refit_on_all_after_gate": True},
            validation={"minimum": -50.0, "maximum": 100.0, "stuck_clock_rows": 10},
        )
        return project

    return copy


@pytest.fixture(scope="session")
def ran(with_data: Callable[[], ProjectCopy]) -> ProjectCopy:
    """A project that was run once; tests look at it and change nothing."""
    project = with_data()
    project.run()
    return project
