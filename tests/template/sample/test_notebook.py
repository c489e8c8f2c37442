"""The notebook is executed as people do, by a kernel of its own, wherever that is started."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.template.sample.helpers import Project, rendered

NOTEBOOK = "notebooks/explore.ipynb"
COLOURS = re.compile(r"\x1b\[[\d;]*m")  # of rich, which shows tables in Kedro's shells
OF_A_CLUSTER = {"DATABRICKS_RUNTIME_VERSION": "15.4"}


def executed(folder: Path) -> list[dict[str, Any]]:
    """Execute the notebook with a kernel that is started in a folder; list what its cells show."""
    notebook = nbformat.read(rendered() / NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=place).execute()
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    return [dict(one["data"]) for one in outputs if "data" in one]


def drawn(shown: list[dict[str, Any]]) -> int:
    return sum("image/png" in data for data in shown)


def rows_of(shown: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the rows of the last table, as its text has them: the cells of each by its name."""
    rows: dict[str, list[str]] = {}
    for line in COLOURS.sub("", shown[-1]["text/plain"]).splitlines():
        name, *cells = line.removesuffix("\\").split() or [""]
        rows.setdefault(name, []).extend(cells)
    return rows


def test_the_notebook_is_committed_without_outputs() -> None:
    notebook = nbformat.read(rendered() / NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 4
    assert [(cell.outputs, cell.execution_count) for cell in code] == [([], None)] * len(code)


def test_it_draws_a_week_and_compares_two_runs(project: Project) -> None:
    """The kernel is started beside the notebook, as Jupyter, VS Code and Azure ML do."""
    project.run()
    project.run(detector={"contamination": 0.02})
    (project.path / "notebooks").mkdir()
    shown = executed(project.path / "notebooks")
    assert drawn(shown) == 1
    rows = rows_of(shown)
    assert sorted(rows["params.detector.contamination"]) == ["0.005", "0.02"]
    assert len({*rows["metrics.share_flagged"]}) == 2
    assert "params.detector.estimator" not in rows, "only what differs"


def test_it_runs_the_pipeline_where_no_results_are(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster or a compute instance, whose environment names the tracking server."""
    for name, value in OF_A_CLUSTER.items():
        monkeypatch.setenv(name, value)
    server = tmp_path / "elsewhere.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{server.as_posix()}")
    shown = executed(project.path)
    assert drawn(shown) == 1
    assert project.processed("scores.csv").is_file()
    assert server.is_file()
    assert project.nothing_tracked()
