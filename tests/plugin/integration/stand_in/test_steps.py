"""A step in the stand-in has its inputs, variables, runs in MLflow and identity."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient

from kedro_azure_mlops.testing import StandIn
from kedro_azure_mlops.testing.stand_in import CLUSTER
from tests.plugin.small_job import PREPARE, ref, submit

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Iterator[StandIn]:
    folder = tmp_path_factory.mktemp("azure")
    shutil.copy(database, folder / "mlruns.db")
    tracking = f"sqlite:///{(folder / 'mlruns.db').as_posix()}"
    with StandIn(folder, tracking, identity=True) as azure:
        yield azure


def test_literals_arrive_as_text(ml: "MLClient", azure: StandIn, small: Path) -> None:
    literals = {"share": 0.6, "flag": True, "text": "two words", "count": 3, "word": "true"}
    command = "; ".join(f"echo '{ref(f'inputs.{name}')}'" for name in literals)
    inputs = {name: ref(f"parent.inputs.{name}") for name in literals}
    name = submit(ml, small, {"say": {"command": command, "inputs": inputs}}, inputs=literals)
    ml.jobs.stream(name)
    assert azure.steps["say"].log.splitlines() == ["0.6", "True", "two words", "3", "true"]


def test_without_code_an_image_starts_in_an_empty_folder(
    ml: "MLClient", azure: StandIn, small: Path
) -> None:
    image = {"environment": {"image": "registry.io/image:1"}, "code": None, "command": "ls; pwd"}
    name = submit(ml, small, {"image": image}, inputs={})
    ml.jobs.stream(name)
    assert azure.steps["image"].log == f"{azure.steps['image'].folder}\n"
    assert azure.uploads == []


def test_spark_runs_its_entry(ml: "MLClient", azure: StandIn, small: Path) -> None:
    cores = {"spark.driver.cores": 1, "spark.executor.cores": 1, "spark.executor.instances": 1}
    memory = {"spark.driver.memory": "2g", "spark.executor.memory": "2g"}
    step = {
        "type": "spark",
        "entry": {"file": "src/double.py"},
        "args": f"{ref('inputs.raw')} 3 {ref('outputs.features')}/f.csv",
        "conf": cores | memory,
        "resources": {"instance_type": "standard_e4s_v3", "runtime_version": "3.4"},
        "inputs": {"raw": {"type": "uri_file", "mode": "direct", "path": "../../raw.csv"}},
        "outputs": {"features": {"type": "uri_folder", "mode": "direct"}},
    }
    ml.jobs.stream(submit(ml, small, {"spark": step}))
    written = Path(azure.steps["spark"].outputs["features"]) / "f.csv"
    assert written.read_text() == "1,2\n" * 3
    assert azure.steps["spark"].resources["instance_type"] == "standard_e4s_v3"


def test_the_settings_of_a_distributed_step_are_recorded(
    ml: "MLClient", azure: StandIn, small: Path
) -> None:
    step = PREPARE | {
        "distribution": {"type": "pytorch", "process_count_per_instance": 2},
        "resources": {"instance_count": 4, "shm_size": "2g"},
        "identity": {"type": "user_identity"},
        "environment_variables": {"NAME": "value"},
    }
    ml.jobs.stream(submit(ml, small, {"many": step}))
    many = azure.steps["many"]
    assert many.resources == {"instance_count": 4, "shm_size": "2g"}
    assert many.distribution["process_count_per_instance"] == 2
    assert many.environment_variables == {"NAME": "value"}
    assert many.log == "doubling\n"


def test_runs_are_tracked_as_azure_ml_does(
    ml: "MLClient", azure: StandIn, small: Path, tmp_path: Path
) -> None:
    from azure.ai.ml.exceptions import JobException

    code = "import mlflow; mlflow.start_run(); mlflow.log_metric('m', 1)"
    steps = {"good": {"command": f'python -c "{code}"'}, "bad": {"command": "exit 1"}}
    settings = {"default_compute": CLUSTER, "continue_on_step_failure": True}
    name = submit(ml, small, steps, tags={"git.commit": "abc"}, settings=settings)
    with pytest.raises(JobException, match="/bad"):
        ml.jobs.stream(name)
    variables = azure.steps["good"].variables
    mlflow = MlflowClient(variables["MLFLOW_TRACKING_URI"])
    good = mlflow.get_run(variables["MLFLOW_RUN_ID"])
    bad = mlflow.get_run(azure.steps["bad"].variables["MLFLOW_RUN_ID"])
    parent = mlflow.get_run(good.data.tags["mlflow.parentRunId"])
    assert (good.info.status, bad.info.status, parent.info.status) == (
        "FINISHED",
        "FAILED",
        "FAILED",
    )
    assert good.data.metrics == {"m": 1}
    assert parent.data.tags["git.commit"] == "abc"
    assert mlflow.get_experiment(parent.info.experiment_id).name == "small"


def test_a_step_has_the_identity_of_its_cluster(
    ml: "MLClient", azure: StandIn, small: Path
) -> None:
    azure.blobs["rawdata/weather/t.csv"] = b"a,b\n"
    code = (
        "import pandas, azure.identity as i; print(list(pandas.read_csv("
        "'abfs://weather@rawdata.dfs.core.windows.net/t.csv', storage_options={'anon': False})))"
    )
    name = submit(ml, small, {"read": {"command": f'python -W ignore -c "{code}"'}})
    ml.jobs.stream(name)
    assert azure.steps["read"].log == "['a', 'b']\n"
    assert not [name for name in azure.steps["read"].variables if name.startswith("AZURE_")]
