"""The notebook runs in its own kernel, as for a user, from any start folder."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.template.sample.helpers import Project, rendered

NOTEBOOK = "notebooks/explore.ipynb"
COLOURS = re.compile(r"\x1b\[[\d;]*m")  # of rich, which prints tables in Kedro's shells
CLUSTER_ENVIRONMENT = {"DATABRICKS_RUNTIME_VERSION": "15.4"}


def executed(folder: Path) -> list[dict[str, Any]]:
    """Execute the notebook with a kernel started in a folder, and return its outputs."""
    notebook = nbformat.read(rendered() / NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    return [dict(one["data"]) for one in outputs if "data" in one]


def count_images(outputs: list[dict[str, Any]]) -> int:
    return sum("image/png" in data for data in outputs)


def rows_of(outputs: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Parse the text of the last table into the cells of each row."""
    rows: dict[str, list[str]] = {}
    for line in COLOURS.sub("", outputs[-1]["text/plain"]).splitlines():
        name, *cells = line.removesuffix("\\").split() or [""]
        rows.setdefault(name, []).extend(cells)
    return rows


def test_the_notebook_is_committed_without_outputs() -> None:
    notebook = nbformat.read(rendered() / NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 4
    assert [(cell.outputs, cell.execution_count) for cell in code] == [([], None)] * len(code)


def test_the_notebook_plots_a_week_and_compares_two_runs(project: Project) -> None:
    """Jupyter, VS Code and Azure ML start the kernel in the folder of the notebook."""
    project.run()
    project.run(detector={"contamination": 0.02})
    (project.path / "notebooks").mkdir()
    outputs = executed(project.path / "notebooks")
    assert count_images(outputs) == 1
    rows = rows_of(outputs)
    assert sorted(rows["params.detector.contamination"]) == ["0.005", "0.02"]
    assert len({*rows["metrics.share_flagged"]}) == 2
    assert "params.detector.estimator" not in rows, "only differing parameters are listed"


def test_the_notebook_runs_the_pipeline_if_results_are_missing(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster or compute instance sets the tracking server in its environment."""
    for name, value in CLUSTER_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    server = tmp_path / "elsewhere.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{server.as_posix()}")
    outputs = executed(project.path)
    assert count_images(outputs) == 1
    assert project.processed("scores.csv").is_file()
    assert server.is_file()
    assert project.nothing_tracked()
