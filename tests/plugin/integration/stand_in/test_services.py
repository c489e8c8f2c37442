"""The stand-in's workspaces, assets and schedules as the real client sees them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from kedro_azure_mlops.testing import StandIn
from kedro_azure_mlops.testing.stand_in import CLUSTER, ENVIRONMENT, connected, make_compute
from tests.plugin.small_job import ref

if TYPE_CHECKING:
    from azure.ai.ml import MLClient


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with StandIn(tmp_path_factory.mktemp("azure"), workspace=False) as azure:
        yield azure


@pytest.fixture(scope="module")
def client(azure: StandIn) -> "Iterator[MLClient]":
    from azure.ai.ml.entities import Workspace
    from azure.core.exceptions import ResourceNotFoundError

    with connected(azure) as ml:
        with pytest.raises(ResourceNotFoundError):
            ml.workspaces.get(azure.workspace)
        workspace = Workspace(name=azure.workspace, location="westeurope", tags={"team": "ml"})
        assert ml.workspaces.begin_create(workspace).result().tags["team"] == "ml"
        make_compute(ml)
        yield ml


def absent(get: Any, *arguments: Any) -> bool:
    from azure.core.exceptions import ResourceNotFoundError

    with pytest.raises(ResourceNotFoundError):
        get(*arguments)
    return True


def test_a_workspace_is_created_once(ml: "MLClient", azure: StandIn) -> None:
    again = ml.workspaces.get(azure.workspace)
    again.tags = {"stage": "dev"}
    tags = ml.workspaces.begin_create(again).result().tags
    assert (tags["team"], tags["stage"]) == ("ml", "dev")
    assert [workspace.name for workspace in ml.workspaces.list()] == [azure.workspace]


def test_clusters(ml: "MLClient") -> None:
    from azure.ai.ml.entities import AmlCompute

    cluster = AmlCompute(name="gpu", size="STANDARD_NC6S_V3", max_instances=2)
    ml.compute.begin_create_or_update(cluster).result()
    assert ml.compute.get("gpu").max_instances == 2
    assert [compute.name for compute in ml.compute.list()] == ["cpu-cluster", "gpu"]
    ml.compute.begin_delete("gpu").wait()
    assert absent(ml.compute.get, "gpu")


def test_quota(ml: "MLClient", azure: StandIn) -> None:
    family = "Standard DSv2 Family Cluster Dedicated vCPUs"
    azure.quota[family] = 3
    limits = {usage.name["value"]: usage.limit for usage in ml.compute.list_usage()}
    assert limits[family] == 3
    assert "STANDARD_DS3_V2" in [size.name for size in ml.compute.list_sizes()]


def test_docker_and_conda_environments(ml: "MLClient", azure: StandIn, tmp_path: Path) -> None:
    from azure.ai.ml.entities import BuildContext, Environment

    (tmp_path / "Dockerfile").write_text("FROM debian:12\n")
    conda = {"name": "x", "dependencies": ["python=3.11"]}
    docker = Environment(name="docker", version="1", build=BuildContext(path=tmp_path))
    ml.environments.create_or_update(docker)
    ml.environments.create_or_update(Environment(name="conda", image="i", conda_file=conda))
    assert [Path(key).name for key in azure.uploads] == ["Dockerfile"]
    assert ml.environments.get("conda", label="latest").conda_file == conda
    assert ml.environments.get("docker", "1").build.dockerfile_path == "Dockerfile"
    assert absent(ml.environments.get, "conda", "2")


def test_datastores(ml: "MLClient") -> None:
    from azure.ai.ml.entities import AzureBlobDatastore

    store = AzureBlobDatastore(name="raw", account_name="rawdata", container_name="weather")
    ml.datastores.create_or_update(store)
    assert ml.datastores.get("raw").account_name == "rawdata"
    assert ml.datastores.get_default().name == "workspaceblobstore"


def test_data_assets_keep_their_content(ml: "MLClient", azure: StandIn, tmp_path: Path) -> None:
    from azure.ai.ml.entities import Data
    from azure.core.exceptions import HttpResponseError

    file = tmp_path / "t.csv"
    data = {"name": "weather", "version": "ab12", "type": "uri_file", "path": file}
    for _ in range(2):
        file.write_text("a,b\n")
        ml.data.create_or_update(Data(**data))
    assert [Path(key).name for key in azure.uploads] == ["t.csv"]
    file.write_text("other\n")
    with pytest.raises(HttpResponseError, match="cannot change"):
        ml.data.create_or_update(Data(**data))
    assert ml.data.get("weather", "ab12").path.endswith("/t.csv")
    assert [version.version for version in ml.data.list("weather")] == ["ab12"]
    assert absent(ml.data.get, "weather", "cd34")


def test_versions_of_models_are_numbered(ml: "MLClient", tmp_path: Path) -> None:
    from azure.ai.ml.entities import Model

    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "MLmodel").write_text("flavors: {}\n")
    model = {"name": "plant", "type": "mlflow_model", "path": tmp_path / "m"}
    versions = [ml.models.create_or_update(Model(**model)).version for _ in range(2)]
    assert versions == ["1", "2"]
    ml.models.download("plant", "2", download_path=tmp_path / "got")
    assert [f.read_text() for f in (tmp_path / "got").rglob("MLmodel")] == ["flavors: {}\n"]


def test_schedules(ml: "MLClient", tmp_path: Path) -> None:
    from azure.ai.ml.entities import CronTrigger, JobSchedule
    from azure.core.exceptions import HttpResponseError

    trigger = CronTrigger(expression="0 2 * * *", time_zone="UTC")
    nightly = JobSchedule(name="nightly", trigger=trigger, create_job=small_job(tmp_path))
    assert ml.schedules.begin_create_or_update(nightly).result().is_enabled
    assert [schedule.name for schedule in ml.schedules.list()] == ["nightly"]
    with pytest.raises(HttpResponseError, match="Only disabled"):
        ml.schedules.begin_delete("nightly").wait()
    assert not ml.schedules.begin_disable("nightly").result().is_enabled
    ml.schedules.begin_delete("nightly").wait()
    assert absent(ml.schedules.get, "nightly")
    assert [job.name for job in ml.jobs.list()] == []


def small_job(folder: Path, **step: Any) -> Any:
    from azure.ai.ml import load_job

    common = {"type": "command", "command": "echo", "environment": ENVIRONMENT, "compute": CLUSTER}
    body = {"type": "pipeline", "experiment_name": "small", "jobs": {"one": common | step}}
    (folder / "job.yml").write_text(yaml.safe_dump(body))
    return load_job(folder / "job.yml")


@pytest.mark.parametrize("step", [{"environment": "azureml:none:1"}, {"compute": "azureml:none"}])
def test_a_job_with_a_missing_environment_or_compute_is_refused(
    ml: "MLClient", tmp_path: Path, step: dict[str, str]
) -> None:
    from azure.ai.ml.exceptions import MlException
    from azure.core.exceptions import HttpResponseError

    with pytest.raises((HttpResponseError, MlException), match=r"not exist|not found"):
        ml.jobs.create_or_update(small_job(tmp_path, **step))
    assert [job.name for job in ml.jobs.list()] == []


def test_steps_in_a_cycle_are_refused(ml: "MLClient", tmp_path: Path) -> None:
    from azure.ai.ml import load_job
    from azure.core.exceptions import HttpResponseError

    def after(other: str) -> dict[str, Any]:
        source = {"type": "uri_folder", "path": ref(f"parent.jobs.{other}.outputs.o")}
        ends = {"inputs": {"i": source}, "outputs": {"o": {"type": "uri_folder"}}}
        return ends | {"type": "command", "command": "echo", "environment": ENVIRONMENT}

    jobs = {"a": after("b"), "b": after("a")}
    body = {"type": "pipeline", "settings": {"default_compute": CLUSTER}, "jobs": jobs}
    (tmp_path / "job.yml").write_text(yaml.safe_dump(body))
    with pytest.raises(HttpResponseError, match="cycle"):
        ml.jobs.create_or_update(load_job(tmp_path / "job.yml"))


def test_a_job_that_is_not_a_pipeline_is_not_supported(
    ml: "MLClient", azure: StandIn, tmp_path: Path
) -> None:
    from azure.ai.ml import command
    from azure.core.exceptions import HttpResponseError

    job = command(command="echo", environment=ENVIRONMENT, compute=CLUSTER)
    with pytest.raises(HttpResponseError, match="jobs of type Command"):
        ml.jobs.create_or_update(job)
    assert azure.refused.pop() == "PUT jobs of type Command"
