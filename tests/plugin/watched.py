"""A small champion of prod with a reference profile, and rows to monitor."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from kedro_azure_mlops.contract import digest, write_manifest
from kedro_azure_mlops.monitor.profile import reference_profile, write_profile
from kedro_azure_mlops.registry import open_registry
from kedro_azure_mlops.serve.stream import Stream
from tests.plugin.helpers import Project
from tests.plugin.registered import FACTS, set_keys
from tests.plugin.trained import (
    arrays_of,
    project_with_scorer,
    save_small_model,
    series,
    small_scorer,
)

TRAINED = "2024-01-01"
SINCE = "2024-02-26"  # the first row after the training
CHANGED = pd.Timestamp("2024-03-16")
HOSTILE = '<script>alert(1)</script>"\n::error::##vso[task.complete result=Failed;]'


def loads(days: int, start: str = SINCE, seed: int = 50) -> pd.DataFrame:
    """Return half-hourly loads of the units ``north`` and ``7``, ordered by time."""
    parts = []
    for number, unit in enumerate(("north", "7")):
        one = series(48 * days, unit, seed=seed + number)
        parts.append(one.assign(time=one["time"] + (pd.Timestamp(start) - one["time"].iloc[0])))
    return pd.concat(parts).sort_values("time", kind="stable").reset_index(drop=True)


def changed(
    days: int = 21, *, by: float = 0.0, unit: str | None = None, value: float | None = None
) -> pd.DataFrame:
    """Return loads that are shifted or constant from ``CHANGED`` on."""
    rows = loads(days)
    selected = rows["time"] >= CHANGED
    if unit is not None:
        selected &= rows["unit"] == unit
    rows.loc[selected, "load"] = rows.loc[selected, "load"] + by if value is None else value
    return rows


def with_answers(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the answers of the small model."""
    return rows.assign(**Stream(small_scorer()).score(arrays_of(rows)))


def save_watched_model(folder: Path) -> Path:
    """Write the model folder of the small scorer with a profile of eight weeks."""
    save_small_model(folder)
    training = with_answers(loads(56, TRAINED, seed=0))
    write_profile(folder, reference_profile(training, small_scorer().schema))
    write_manifest(folder)
    return folder


def watched_project(target: Path, model: Path, database: Path) -> Project:
    """Make a project in which the model is champion of prod and ``hours.csv`` is monitored."""
    project = Project(project_with_scorer(target))
    shutil.copy(database, target / "mlruns.db")
    set_keys(project, "base", monitoring={"data": "raw_hours"})
    registry = open_registry("prod", target)
    registry.make_champion(registry.register(model, FACTS | {"digest": digest(model)}), "test")
    write_rows(project, changed())
    return project


def write_rows(project: Project, rows: pd.DataFrame, name: str = "hours.csv") -> Path:
    """Write rows to the project's newest data file, or to another raw file."""
    file = project.path / "data/raw" / name
    rows.to_csv(file, index=False, date_format="%Y-%m-%d %H:%M:%S")
    return file


def with_outliers(rows: pd.DataFrame, every: int = 97) -> pd.DataFrame:
    """Raise single loads so much that the model flags them."""
    load = rows["load"].to_numpy(float).copy()
    load[np.arange(every, len(load), every)] += 40
    return rows.assign(load=load)
