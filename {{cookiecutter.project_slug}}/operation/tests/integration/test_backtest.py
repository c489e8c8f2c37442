"""The backtest on the sample, straight after a clone: what it writes, prints and tracks."""

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project

from {{ cookiecutter.package_name }}.cli import cli

from operation.tests.helpers import Project

NAME = "{{ cookiecutter.project_slug }}"
SMALL = "detector.n_estimators=10"
WRITTEN = ["backtest.csv", "backtest.png", "backtest.txt", "backtest_periods.csv"]


@pytest.fixture(scope="module")
def backtested(tmp_path_factory: pytest.TempPathFactory, database: Path) -> tuple[Project, str]:
    """A copy of the project in which nothing but the backtest was run, and what it printed."""
    project = Project.copy_to(tmp_path_factory.mktemp("backtest") / "project", database)
    bootstrap_project(project.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.path)
        result = CliRunner().invoke(
            cli, ["run", "--pipelines", "backtest", "--params", SMALL], catch_exceptions=False
        )
    assert result.exit_code == 0, result.output
    return project, result.stdout


def test_it_writes_table_plot_and_text(backtested: tuple[Project, str]) -> None:
    project, printed = backtested
    table = pd.read_csv(project.processed("backtest.csv"), index_col="detector")
    assert table.index.tolist() == [
        *("never", "every_28_days", "every_7_days"),
        *("distance_from_median", "ewma_level", "random"),
    ]
    assert table["refits"].tolist()[:3] == [0, 0, 3]
    assert table["average_precision"].between(0, 1).all()
    assert project.processed("backtest.png").read_bytes().startswith(b"\x89PNG")
    periods = pd.read_csv(project.processed("backtest_periods.csv"))
    assert set(periods["detector"]) == set(table.index)
    text = project.processed("backtest.txt").read_text(encoding="utf-8")
    assert text in printed
    assert "Advice:" in text


def test_it_is_tracked_and_registers_nothing(backtested: tuple[Project, str]) -> None:
    project, _ = backtested
    client = project.client()
    (run,) = client.search_runs([client.get_experiment_by_name(NAME).experiment_id])
    stored = json.loads(project.processed("backtest_metrics.json").read_text(encoding="utf-8"))
    assert run.data.metrics == pytest.approx(stored)
    logged = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert logged >= set(WRITTEN)
    assert not client.search_registered_models()
    assert not project.processed("model").exists()


def test_only_those_who_ask_for_it_run_it(backtested: tuple[Project, str]) -> None:
    bootstrap_project(backtested[0].path)
    usual = {node.name for node in pipelines["__default__"].nodes}
    assert "score_by_schedule" in {node.name for node in pipelines["backtest"].nodes}
    assert "train_detector" in usual
    assert not usual & {"score_by_schedule", "score_new_readings"}
