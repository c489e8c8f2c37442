"""Kedro's spaceflights-pandas starter with the plugin: init, compile, run, local.

``SPACEFLIGHTS=PATH/TO/kedro-starters/spaceflights-pandas make test ARGS="-k spaceflights"``
"""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.helpers import ROOT, tool, virtual_environment

STARTER = os.environ.get("SPACEFLIGHTS", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not STARTER, reason="set SPACEFLIGHTS to a copy of spaceflights-pandas"),
]
KINDS = ("csvdataset", "exceldataset", "parquetdataset")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the plugin and the requirements of the starter."""
    datasets = ",".join(f"pandas-{kind}" for kind in KINDS)
    datasets += ",plotly-plotlydataset,plotly-jsondataset,matplotlib-matplotlibdataset"
    wanted = ("--editable", str(ROOT), f"kedro-datasets[{datasets}]", "seaborn", "openpyxl")
    return virtual_environment(tmp_path_factory.mktemp("spaceflights") / ".venv", *wanted)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter, otherwise unchanged, with its model stored by ModelDataset."""
    folder = tmp_path_factory.mktemp("starter")
    answers = ["kedro_version=1.7.0", "tools=none", "example_pipeline=True"]
    options = ["--no-input", "--default-config", "--output-dir", str(folder)]
    subprocess.run([tool("cookiecutter"), STARTER, *options, *answers], check=True)
    (project,) = folder.iterdir()
    catalog = project / "conf/base/catalog.yml"
    model = (
        "regressor:\n  type: kedro_azure_mlops.ModelDataset\n  filepath: data/06_models/model\n\n"
    )
    text = re.sub(r"(?ms)^regressor:.*?(?=^\S|\Z)", model, catalog.read_text(encoding="utf-8"))
    catalog.write_text(text, encoding="utf-8")
    return project


def kedro(python: Path, project: Path, *arguments: str) -> str:
    """Run Kedro in the project and return its output."""
    process = subprocess.run(
        [python, "-m", "kedro", *arguments],
        cwd=project,
        env=os.environ | {"DO_NOT_TRACK": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout + process.stderr


def test_starter_compiles_into_three_steps_and_runs_locally(python: Path, project: Path) -> None:
    assert "wrote  conf/base/mlops.yml" in kedro(python, project, "mlops", "init")
    file = project / "conf/base/azureml.yml"
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    names = ("data_processing", "data_science", "reporting")
    config["steps"] = {name: {"pipelines": [name]} for name in names}
    file.write_text(yaml.safe_dump(config), encoding="utf-8")

    kedro(python, project, "mlops", "compile")
    assert (project / "build/azureml/base.yml").is_file()
    kedro(python, project, "run")
    assert "version 1, champion of" in kedro(python, project, "mlops", "champion")
    assert "done in" in kedro(python, project, "mlops", "local")
