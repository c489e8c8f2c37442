"""A compiled job with a Spark step runs locally, with a real session in its own process."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kedro_azure_mlops.cli import main
from kedro_azure_mlops.engine import send_packages
from kedro_azure_mlops.job.spark_entry import main as run_step
from tests.plugin.helpers import Project
from tests.plugin.spark.conftest import JAVA
from tests.plugin.spark.functions import rows

pytestmark = pytest.mark.spark

FILES = {
    "pyproject.toml": """
[tool.kedro]
package_name = "fleet"
project_name = "Fleet"
kedro_init_version = "1.7.0"
source_dir = "src"
""",
    "spark_entry.py": "from kedro_azure_mlops.job.spark_entry import main\nmain(__file__)\n",
    ".amlignore": "*\n!/src/**\n!/conf/**\n!/pyproject.toml\n!/.telemetry\n!/spark_entry.py\n",
    ".telemetry": "consent: false\n",
    "src/fleet/__init__.py": "",
    "src/fleet/settings.py": "",
    "src/fleet/pipeline_registry.py": """
from kedro.pipeline import Node, Pipeline

from .nodes import describe, summarise


def register_pipelines():
    inputs = ["rows", "params:retired"]
    return {
        "__default__": Pipeline(
            [
                Node(describe, inputs, "totals@engine", name="describe"),
                Node(summarise, "totals@pandas", "report", name="summarise"),
            ]
        )
    }
""",
    "src/fleet/nodes.py": """
from functools import partial

from kedro_azure_mlops.engine import map_groups, to_pandas

from .totals import running_total

TOTALS = {"unit": "string", "time": "datetime", "value": "double", "total": "double"}


def describe(rows, retired: str):
    total = partial(running_total, retired=retired)
    return map_groups(rows[[*TOTALS][:3]], "unit", total, TOTALS, order_by="time")


def summarise(totals):
    return to_pandas(totals).sort_values([*TOTALS], ignore_index=True)
""",
    # a module of the project that executors need too
    "src/fleet/totals.py": """
def running_total(rows, retired):
    if (rows["unit"] == retired).any():
        raise ValueError(f"unit {retired} is not in service")
    return rows.assign(total=rows["value"].fillna(0.0).cumsum())
""",
    "conf/base/parameters.yml": "retired: none\n",
    "conf/base/catalog.yml": """
rows: {type: pandas.ParquetDataset, filepath: data/rows.parquet}
totals@engine: {type: pandas.ParquetDataset, filepath: data/totals.parquet}
totals@pandas: {type: pandas.ParquetDataset, filepath: data/totals.parquet}
report: {type: pandas.ParquetDataset, filepath: data/report.parquet}
""",
    "conf/dev/catalog.yml": """
rows: {type: spark.SparkDatasetV2, filepath: data/rows.parquet}
totals@engine: {type: spark.SparkDatasetV2, filepath: data/totals.parquet}
""",
    "conf/base/mlops.yml": "tracking: {enabled: false}\nspark: {master: 'local[2]'}\n",
    "conf/base/azureml.yml": yaml.safe_dump(
        {
            "compute": "cpu-cluster",
            "environment": "azureml:fleet:1",
            "inputs": {"rows": {}},
            "outputs": {"report": {}},
            "params": ["retired"],
            "steps": {
                "describe": {
                    "nodes": ["describe"],
                    "spark": {
                        "executor_instances": 50,  # for a cluster; this machine has none
                        "conf": {
                            "spark.driver.extraJavaOptions": JAVA,
                            "spark.sql.files.maxRecordsPerFile": 1_000,
                        },
                    },
                },
                "summarise": {"nodes": ["summarise"]},
            },
        }
    ),
    "conf/local/README.md": "",
}
Local = Callable[..., int]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, spark: Any) -> Project:
    """A small project whose job has a Spark step, in a folder with a space in its name."""
    root = tmp_path_factory.mktemp("a fleet")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text.lstrip(), encoding="utf-8")
    (root / "data").mkdir()
    rows().astype({"time": "datetime64[us]"}).to_parquet(root / "data/rows.parquet")
    # `kedro` of this Python, because .venv-spark lacks that command
    program = root / "bin/kedro"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m kedro "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return Project(root)


@pytest.fixture
def local(fleet: Project, shell: pytest.MonkeyPatch) -> Local:
    """Call ``kedro mlops local`` in the project."""
    shell.chdir(fleet.path)
    shell.setenv("PATH", str(fleet.path / "bin"), prepend=":")
    return lambda *arguments: main(["local", "--env", "dev", *arguments])


def outputs(project: Project, step: str) -> Path:
    return project.path / "build/local/dev" / step / "outputs"


def test_a_job_with_a_spark_step_makes_the_same_files_as_kedro_run(
    fleet: Project, local: Local, shell: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The run uses pandas; the job's first step uses Spark, its second one pandas."""
    shell.setenv("SPARK_LOCAL_DIRS", str(tmp_path))
    fleet.run()
    assert main(["compile", "--env", "dev"]) == 0
    steps = yaml.safe_load((fleet.path / "build/azureml/dev.yml").read_text("utf-8"))["jobs"]
    assert [step["type"] for step in steps.values()] == ["spark", "command"]
    assert local() == 0
    report = outputs(fleet, "summarise") / "report/report.parquet"
    assert report.read_bytes() == (fleet.path / "data/report.parquet").read_bytes()
    parts = outputs(fleet, "describe") / "totals/totals.parquet"
    assert (parts / "_SUCCESS").is_file(), "Spark wrote it"
    assert len([*parts.glob("*.parquet")]) > 2, "the step's conf limits the rows of a file"
    assert not [*tmp_path.iterdir()], "Spark ended and removed its files"
    shell.setenv("JAVA_HOME", str(fleet.path))
    assert local("--step", "summarise") == 0, "only the first step needs Java"


def test_a_step_ends_with_the_error_of_a_function_that_fails_on_an_executor(
    fleet: Project,
    shell: pytest.MonkeyPatch,
    spark: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The step runs in this process, whose session is open; a job prints the error and fails."""
    shell.chdir(fleet.path)
    shell.syspath_prepend(fleet.path / "src")
    shell.setattr(sys, "argv", sys.argv)
    paths = {"rows": fleet.path / "data/rows.parquet", "totals": tmp_path / "totals.parquet"}
    for port in paths:
        shell.setenv(f"BIND__{port}", "")  # set by the step, unset after this test
    send_packages(spark, "fleet")  # a session of the step has it on its path
    ports = [f"BIND__{port}={file}" for port, file in paths.items()]
    step = ["run", "--env", "dev", "--nodes", "describe", "--params", "retired=b"]
    with pytest.raises(SystemExit) as raised:
        run_step(str(fleet.path / "spark_entry.py"), [*ports, *step])
    assert raised.value.code == 2
    group = f"given {(rows()['unit'] == 'b').sum()} rows of unit=b"
    message = f"running_total, {group}, failed: ValueError: unit b is not in service"
    assert capsys.readouterr().err.splitlines()[-1] == f"Error: {message}"
    assert not (paths["totals"] / "_SUCCESS").exists()


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("pyspark", r"pip install 'kedro-azure-mlops[spark]'"),
        ("java", "apt-get install openjdk-17-jre-headless"),
    ],
)
def test_nothing_is_started_without_pyspark_or_java(
    fleet: Project,
    local: Local,
    shell: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: str,
    message: str,
) -> None:
    before = [*(fleet.path / "build/local").rglob("*")]
    if missing == "pyspark":
        shell.setitem(sys.modules, "pyspark.sql", None)
    else:
        shell.setenv("JAVA_HOME", str(fleet.path))
    assert local("--force") == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "started" not in captured.out
    assert [*(fleet.path / "build/local").rglob("*")] == before
