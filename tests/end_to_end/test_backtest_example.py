"""The example in docs/examples/backtest, copied into a render according to its README."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import yaml

from tests.helpers import ROOT, BakedProject

pytestmark = pytest.mark.slow

EXAMPLE = ROOT / "docs" / "examples" / "backtest"
PACKAGE = "temperature_anomalies"
ON_DEMAND = 'ON_DEMAND = {"score"}'
SMALL = "detector.arguments.n_estimators=10"


@pytest.fixture(scope="module")
def project(baked: Callable[..., BakedProject], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A render with the example."""
    path = tmp_path_factory.mktemp("backtest") / "project"
    shutil.copytree(baked().path, path)
    target = path / "src" / PACKAGE / "pipelines" / "backtest"
    target.mkdir()
    for name in ("__init__", "nodes", "plots", "report"):
        shutil.copy(EXAMPLE / f"{name}.py", target)
    base = path / "operation" / "configuration" / "base"
    for name in ("catalog", "parameters"):
        shutil.copy(EXAMPLE / f"{name}_backtest.yml", base)
    shutil.copy(EXAMPLE / "test_backtest.py", path / "operation" / "tests" / "unit")

    registry = path / "src" / PACKAGE / "pipeline_registry.py"
    text = registry.read_text(encoding="utf-8")
    assert ON_DEMAND in text
    registry.write_text(text.replace(ON_DEMAND, 'ON_DEMAND = {"backtest", "score"}'), "utf-8")
    mlops = yaml.safe_load((base / "mlops.yml").read_text(encoding="utf-8"))
    mlops["tracking"]["metrics"].append("backtest_metrics")
    mlops["tracking"]["artifacts"] += [
        *("backtest", "backtest_periods", "backtest_report", "backtest_plot")
    ]
    mlops["report"].append("backtest_report")
    (base / "mlops.yml").write_text(yaml.safe_dump(mlops, allow_unicode=True), encoding="utf-8")
    return path


def call(project: Path, *arguments: str) -> str:
    shell = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    process = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=project,
        env=shell | {"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_the_tests_of_the_example_pass(project: Path) -> None:
    assert "passed" in call(project, "pytest", "-q", "operation/tests/unit/test_backtest.py")


def test_the_backtest_is_reported_and_tracked_but_not_registered(project: Path) -> None:
    output = call(project, "kedro", "run", "--pipelines", "backtest", "--params", SMALL)
    processed = project / "data" / "processed"
    assert processed.joinpath("backtest.txt").read_text(encoding="utf-8") in output
    assert "Advice:" in output
    assert (processed / "backtest.png").read_bytes().startswith(b"\x89PNG")
    client = mlflow.MlflowClient(f"sqlite:///{(project / 'mlruns.db').as_posix()}")
    (experiment,) = [one for one in client.search_experiments() if one.name != "Default"]
    (run,) = client.search_runs([experiment.experiment_id])
    stored = json.loads((processed / "backtest_metrics.json").read_text(encoding="utf-8"))
    assert run.data.metrics == pytest.approx(stored)
    logged = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert logged >= {"backtest.csv", "backtest.png", "backtest.txt", "backtest_periods.csv"}
    assert not client.search_registered_models()
    assert not (processed / "model").exists()


def test_the_backtest_runs_only_on_demand(project: Path) -> None:
    output = call(project, "kedro", "registry", "describe")
    assert "train_detector" in output
    assert "score_by_schedule" not in output
