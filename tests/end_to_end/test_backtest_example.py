"""The example in docs/examples/backtest, copied into a render as its README says."""

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
    """A render that has taken the example."""
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
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=project,
        env=shell | {"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_own_tests_pass(project: Path) -> None:
    assert "passed" in call(project, "pytest", "-q", "operation/tests/unit/test_backtest.py")


def test_it_reports_tracks_and_registers_nothing(project: Path) -> None:
    said = call(project, "kedro", "run", "--pipelines", "backtest", "--params", SMALL)
    processed = project / "data" / "processed"
    assert processed.joinpath("backtest.txt").read_text(encoding="utf-8") in said
    assert "Advice:" in said
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


def test_only_those_who_ask_for_it_run_it(project: Path) -> None:
    said = call(project, "kedro", "registry", "describe")
    assert "train_detector" in said
    assert "score_by_schedule" not in said
