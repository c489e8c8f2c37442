"""A compiled job with a Spark step runs here: a real session, in a process of its own."""

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
    # a module of the project, which executors need as well
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
                        "executor_instances": 50,  # of the cluster: this machine has none
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
    """A small project whose job has a Spark step, in a folder with a blank in its name."""
    root = tmp_path_factory.mktemp("a fleet")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text.lstrip(), encoding="utf-8")
    (root / "data").mkdir()
    rows().astype({"time": "datetime64[us]"}).to_parquet(root / "data/rows.parquet")
    # `kedro` of this Python: .venv-spark has no program of that name
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


def test_a_spark_step_and_the_next_one_give_what_kedro_run_gives(
    fleet: Project, local: Local, shell: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The run is on pandas, the job's first step on Spark, its second one on pandas."""
    shell.setenv("SPARK_LOCAL_DIRS", str(tmp_path))
    fleet.run()
    assert main(["compile", "--env", "dev"]) == 0
    steps = yaml.safe_load((fleet.path / "build/azureml/dev.yml").read_text("utf-8"))["jobs"]
    assert [step["type"] for step in steps.values()] == ["spark", "command"]
    assert local() == 0
    made = outputs(fleet, "summarise") / "report/report.parquet"
    assert made.read_bytes() == (fleet.path / "data/report.parquet").read_bytes()
    parts = outputs(fleet, "describe") / "totals/totals.parquet"
    assert (parts / "_SUCCESS").is_file(), "Spark has written it"
    assert len([*parts.glob("*.parquet")]) > 2, "more rows than a file has by the step's conf"
    assert not [*tmp_path.iterdir()], "Spark has ended by itself and removed its files"
    shell.setenv("JAVA_HOME", str(fleet.path))
    assert local("--step", "summarise") == 0, "no step but the first one needs Java"


def test_a_function_that_fails_on_an_executor_ends_its_step_in_its_own_words(
    fleet: Project,
    shell: pytest.MonkeyPatch,
    spark: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process, whose session is open: a job shows what the step prints, and fails."""
    shell.chdir(fleet.path)
    shell.syspath_prepend(fleet.path / "src")
    shell.setattr(sys, "argv", sys.argv)
    places = {"rows": fleet.path / "data/rows.parquet", "totals": tmp_path / "totals.parquet"}
    for port in places:
        shell.setenv(f"BIND__{port}", "")  # which the step sets, and this test's end unsets
    send_packages(spark, "fleet")  # a session of the step's own finds it on its path
    ports = [f"BIND__{port}={place}" for port, place in places.items()]
    step = ["run", "--env", "dev", "--nodes", "describe", "--params", "retired=b"]
    with pytest.raises(SystemExit) as ended:
        run_step(str(fleet.path / "spark_entry.py"), [*ports, *step])
    assert ended.value.code == 2
    of_b = f"given {(rows()['unit'] == 'b').sum()} rows of unit=b"
    why = f"running_total, {of_b}, failed: ValueError: unit b is not in service"
    assert capsys.readouterr().err.splitlines()[-1] == f"Error: {why}"
    assert not (places["totals"] / "_SUCCESS").exists()


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("pyspark", r"pip install 'kedro-azure-mlops[spark]'"),
        ("java", "apt-get install openjdk-17-jre-headless"),
    ],
)
def test_without_pyspark_or_java_nothing_is_started(
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
    said = capsys.readouterr()
    assert message in said.err
    assert "started" not in said.out
    assert [*(fleet.path / "build/local").rglob("*")] == before
