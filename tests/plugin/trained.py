"""A small model with history, served by the project's scorer, and requests to it."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kedro_azure_mlops.contract import (
    Contract,
    Scorer,
    columns_of_rows,
    rows_of_columns,
    write_contract,
    write_manifest,
)
from tests.plugin.helpers import ROOT

SCORER = "plant.rolling:load"
LOCK = """\
numpy==2.4.6 \\
    --hash=sha256:0000000000000000000000000000000000000000000000000000000000000000
gunicorn==26.2.0 \\
    --hash=sha256:0000000000000000000000000000000000000000000000000000000000000000
packaging==26.3 \\
    --hash=sha256:0000000000000000000000000000000000000000000000000000000000000000
prometheus-client==0.26.0 \\
    --hash=sha256:0000000000000000000000000000000000000000000000000000000000000000
"""


def project_with_scorer(target: Path) -> Path:
    """Copy the project and configure the scorer of the small model."""
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    set_scorer(target, SCORER)
    (target / "requirements" / "serve.txt").write_text(LOCK, encoding="utf-8")
    return target


def set_scorer(project: Path, scorer: str) -> None:
    """Set the scorer in the project's configuration."""
    file = project / "conf/base/mlops.yml"
    lines = file.read_text(encoding="utf-8").splitlines()
    others = [line for line in lines if not line.startswith("scorer:")]
    file.write_text("\n".join([*others, f"scorer: {scorer}", ""]), encoding="utf-8")


def series(rows: int, unit: str = "north", seed: int = 0) -> pd.DataFrame:
    """Return half-hourly loads of one unit with a daily cycle."""
    noise = np.random.default_rng(seed).normal(size=rows)
    times = pd.date_range("2024-01-01", periods=rows, freq="30min")
    load = 60 + 10 * np.sin(np.arange(rows) / 48 * 2 * np.pi) + noise
    return pd.DataFrame({"time": times, "unit": unit, "load": load.round(4)})


def measured(rows: int = 600) -> pd.DataFrame:
    """Return alternating loads of the units ``north`` and ``7`` with two outliers."""
    north, seven = series(rows), series(rows, "7", seed=1)
    north.loc[rows - 40, "load"] += 50
    seven.loc[rows - 20, "load"] -= 50
    both = pd.concat([north, seven]).sort_values("time", kind="stable")
    return both.reset_index(drop=True)


def small_scorer() -> Scorer:
    """Return the scorer of the small model."""
    if str(ROOT / "src") not in sys.path:
        sys.path.append(str(ROOT / "src"))
    from plant.rolling import RollingLoad

    return RollingLoad(10.0, ["north", "7"])


def save_small_model(folder: Path) -> Path:
    """Write the model folder of the small scorer, as a run would."""
    scorer = small_scorer()
    folder.mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
    weights = {"limit": 10.0, "units": ["north", "7"]}
    (folder / "rolling.json").write_text(json.dumps(weights), encoding="utf-8")
    example = rows_of(measured(600).tail(98).query("unit == 'north'"))
    answer = scorer.score(columns_of_rows(example, scorer.schema.inputs))
    recorded = rows_of_columns(answer, scorer.schema.outputs)
    write_contract(folder, Contract(scorer.schema, example, recorded))
    write_manifest(folder)
    return folder


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table as the rows of a request."""
    times = table["time"].dt.strftime("%Y-%m-%dT%H:%M:%S")
    return table.assign(time=times).to_dict("records")


def body_of(table: pd.DataFrame) -> bytes:
    """Return a table as the body of a request."""
    return json.dumps({"data": rows_of(table)}).encode()


def arrays_of(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return a table as the arrays that a scorer accepts."""
    return {
        "time": table["time"].to_numpy("datetime64[ns]"),
        "unit": table["unit"].to_numpy(object),
        "load": table["load"].to_numpy(float),
    }
