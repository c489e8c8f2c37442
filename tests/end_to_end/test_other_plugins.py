"""The plugin with kedro-viz, kedro-docker, kedro-airflow and kedro-mlflow in one environment."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers import ROOT, virtual_environment

pytestmark = pytest.mark.slow

OTHERS = ["kedro-viz", "kedro-docker", "kedro-airflow", "kedro-mlflow"]
PLANT = ROOT / "tests/plugin/project"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with all of them."""
    folder = tmp_path_factory.mktemp("plugins") / ".venv"
    wanted = ["--editable", str(ROOT), "kedro-datasets[pandas,json]", "setuptools<81"]
    return virtual_environment(folder, *wanted, *OTHERS)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small project of the plugin's tests, without kedro-mlflow's hooks, which need a file."""
    folder = tmp_path_factory.mktemp("plant") / "plant"
    shutil.copytree(PLANT, folder, ignore=shutil.ignore_patterns("__pycache__"))
    settings = folder / "src/plant/settings.py"
    off = '\nDISABLE_HOOKS_FOR_PLUGINS = ("kedro_mlflow", "kedro-mlflow", "kedro-telemetry")\n'
    settings.write_text(settings.read_text(encoding="utf-8") + off, encoding="utf-8")
    return folder


def kedro(python: Path, project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Kedro in the project."""
    return subprocess.run(
        [python, "-m", "kedro", *arguments],
        cwd=project,
        env=os.environ | {"DO_NOT_TRACK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_plugin_has_its_commands(python: Path, project: Path) -> None:
    process = kedro(python, project, "--help")
    assert process.returncode == 0, process.stderr
    for group in ("mlops", "viz", "docker", "airflow", "mlflow"):
        assert group in process.stdout


def test_a_run_is_tracked_once(python: Path, project: Path) -> None:
    process = kedro(python, project, "run")
    assert process.returncode == 0, process.stderr
    champion = kedro(python, project, "mlops", "champion", "--env", "local")
    assert "plant version 1, champion of local" in champion.stdout


def test_the_pipeline_compiles(python: Path, project: Path) -> None:
    process = kedro(python, project, "mlops", "compile", "--env", "dev")
    assert process.returncode == 0, process.stderr
    assert (project / "build/azureml/dev.yml").is_file()
