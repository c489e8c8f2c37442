"""The command creates resources in Azure once, and leaves existing ones alone."""

import hashlib

import pytest

from kedro_azure_mlops.testing import StandIn
from tests.plugin.cloud import Command, changes, configure, found, group, versions
from tests.plugin.helpers import Project

WHEEL = "plug_in-1.0-py3-none-any.whl"
MORE = """\
  location: westeurope
  storage_account: stcold
  key_vault: kv-cold
  container_registry: crcold
  application_insights: appi-cold
  log_analytics: log-cold
clusters:
  cpu-cluster: {size: Standard_DS3_v2, max_instances: 2, idle_seconds: 600}
datastores:
  raw: {account_name: stcold, container_name: raw}
"""


@pytest.fixture
def empty(cloud_project: Project, azure: StandIn) -> Project:
    """A project whose resource group holds nothing yet, with all that can be asked for."""
    configure(cloud_project, MORE)
    for id in [id for id in azure.resources if id.startswith(f"{group(azure)}/")]:
        del azure.resources[id]
    return cloud_project


def test_all_is_made_from_nothing(empty: Project, azure: StandIn, mlops: Command):
    said = mlops("provision")

    assert said.status == 0
    assert said.out.count("will be created") == 10
    providers = f"{group(azure)}/providers"
    account = f"{providers}/Microsoft.Storage/storageAccounts/stcold"
    assert azure.resources[account]["properties"]["allowBlobPublicAccess"] is False
    assert f"{account}/blobServices/default/containers/raw" in azure.resources
    vault = f"{providers}/Microsoft.KeyVault/vaults/kv-cold"
    assert azure.resources[vault]["properties"]["enableRbacAuthorization"] is True
    registry = f"{providers}/Microsoft.ContainerRegistry/registries/crcold"
    assert azure.resources[registry]["properties"]["adminUserEnabled"] is False
    logs = f"{providers}/Microsoft.OperationalInsights/workspaces/log-cold"
    insights = f"{providers}/Microsoft.Insights/components/appi-cold"
    assert logs in azure.resources
    assert azure.resources[insights]["properties"]["WorkspaceResourceId"] == logs
    assert found(azure)["containerRegistry"] == registry
    assert found(azure)["applicationInsights"] == insights
    assert found(azure)["storageAccount"] == account
    assert found(azure)["keyVault"] == vault
    scale = found(azure, "computes/cpu-cluster")["properties"]["scaleSettings"]
    assert scale["maxNodeCount"] == 2
    assert found(azure, "datastores/raw")["credentials"] == {"credentialsType": "None"}


def test_what_is_being_made_is_waited_for(empty: Project, azure: StandIn, mlops: Command):
    mlops("provision")

    asked = [f"{r.method} {r.path.rsplit('/', 1)[1]}" for r in azure.requests]
    made = asked.index("PUT stcold")  # answered with "Creating"
    assert "GET stcold" in asked[made : asked.index("PUT kv-cold")]


def test_a_second_time_nothing_is_changed(empty: Project, azure: StandIn, mlops: Command):
    mlops("provision")
    azure.forget()

    said = mlops("provision")

    assert said.status == 0
    assert changes(azure) == azure.uploads == []
    assert "provision: everything is as configured" in said.out


def test_a_dry_run_prints_the_plan_and_changes_nothing(
    empty: Project, azure: StandIn, mlops: Command
):
    said = mlops("provision", "--dry-run")

    assert said.status == 0
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert "storage account stcold will be created" in lines
    assert "datastore raw will be created" in lines
    assert said.out.endswith("provision: 10 to create or change; nothing was changed\n")
    assert changes(azure) == []


def test_application_insights_without_a_place_for_its_logs_is_refused(
    cloud_project: Project, azure: StandIn, mlops: Command
):
    configure(cloud_project, "  application_insights: appi-cold\n")
    workspace = next(id for id, body in azure.resources.items() if body["type"] == "workspaces")
    del azure.resources[workspace]

    said = mlops("provision")

    assert said.status == 2
    assert "appi-cold" in said.err
    assert "name workspace.log_analytics in azureml.yml" in said.err
    assert changes(azure) == []


def test_application_insights_that_are_there_need_no_place_for_logs(
    cloud_project: Project, azure: StandIn, mlops: Command
):
    configure(cloud_project, "  application_insights: appi-cold\n")
    workspace = next(id for id, body in azure.resources.items() if body["type"] == "workspaces")
    del azure.resources[workspace]
    insights = f"{group(azure)}/providers/Microsoft.Insights/components/appi-cold"
    azure.resources[insights] = {"id": insights, "type": "components", "properties": {}}

    assert mlops("provision").status == 0
    assert found(azure)["applicationInsights"] == insights


def test_the_environment_is_uploaded_with_both_locks(
    cloud_project: Project, azure: StandIn, mlops: Command
):
    mlops("provision")

    (environment,) = versions(azure, "environments")
    host, _, folder = environment["build"]["contextUri"].removeprefix("https://").partition("/")
    place = f"{host.split('.')[0]}/{folder}"
    files = {key.removeprefix(place): azure.blobs[key] for key in azure.uploads}
    assert set(files) == {"Dockerfile", "run.txt", "job.txt"}
    for name in ("run.txt", "job.txt"):
        assert files[name] == (cloud_project.path / "requirements" / name).read_bytes()


def test_a_changed_lock_makes_another_environment(
    cloud_project: Project, azure: StandIn, mlops: Command
):
    mlops("provision")
    with (cloud_project.path / "requirements/run.txt").open("a", encoding="utf-8") as file:
        file.write("# changed\n")

    said = mlops("provision")

    assert "creating the environment" in said.out
    assert len(versions(azure, "environments")) == 2


def test_the_wheel_that_a_lock_names_is_uploaded_too(
    cloud_project: Project, azure: StandIn, mlops: Command
):
    lock_a_wheel(cloud_project)

    assert mlops("provision").status == 0

    names = {key.rpartition("/")[2] for key in azure.uploads}
    assert names == {"Dockerfile", "run.txt", "job.txt", WHEEL}


def test_a_changed_wheel_is_refused_before_anything_is_sent(
    cloud_project: Project, azure: StandIn, mlops: Command
):
    lock_a_wheel(cloud_project)
    (cloud_project.path / "wheels" / WHEEL).write_text("other", encoding="utf-8")

    said = mlops("provision")

    assert said.status == 2
    assert f"wheels/{WHEEL} is not the wheel that the locks name" in said.err
    assert azure.uploads == []
    assert versions(azure, "environments") == []


@pytest.mark.parametrize("command", [("compile",), ("submit",), ("provision",)])
def test_a_conda_environment_that_would_need_a_wheel_is_refused(
    cloud_project: Project, azure: StandIn, mlops: Command, command: tuple[str, ...]
):
    lock_a_wheel(cloud_project)
    configure(cloud_project, "environment: {kind: conda}\n")

    said = mlops(*command)

    assert said.status == 2
    assert "cannot use plug-in==1.0 from wheels/" in said.err
    assert "environment.kind: docker" in said.err
    assert azure.uploads == []


def lock_a_wheel(project: Project) -> None:
    """Name a package in a lock that is found in ``wheels/`` alone."""
    (project.path / "wheels").mkdir()
    (project.path / "wheels" / WHEEL).write_text("wheel", encoding="utf-8")
    digest = hashlib.sha256(b"wheel").hexdigest()
    with (project.path / "requirements/run.txt").open("a", encoding="utf-8") as lock:
        lock.write(f"plug-in==1.0 --hash=sha256:{digest}\n")


def test_a_conda_environment_needs_no_upload(
    cloud_project: Project, azure: StandIn, mlops: Command
):
    configure(cloud_project, "environment: {kind: conda}\n")

    assert mlops("provision").status == 0

    (environment,) = versions(azure, "environments")
    assert "--hash=sha256:" in environment["condaFile"]
    assert azure.uploads == []


def test_without_an_environment_of_its_own_none_is_made(
    cloud_project: Project, azure: StandIn, mlops: Command
):
    configure(cloud_project, "image: example.azurecr.io/cold:1\n")

    assert "environment" not in mlops("provision").out
    assert versions(azure, "environments") == []


def test_a_cluster_is_scaled_in_place(cloud_project: Project, azure: StandIn, mlops: Command):
    mlops("provision")
    made = found(azure, "computes/cpu-cluster")
    made["properties"]["enableNodePublicIp"] = False  # what others have set
    size = "{size: STANDARD_DS3_V2, max_instances: 8}"
    configure(cloud_project, f"clusters:\n  cpu-cluster: {size}\n")

    said = mlops("provision")

    assert said.status == 0
    assert "differs: max_instances 4 -> 8\n" in said.out
    scaled = found(azure, "computes/cpu-cluster")["properties"]
    assert scaled["scaleSettings"]["maxNodeCount"] == 8
    assert scaled["enableNodePublicIp"] is False
    azure.forget()
    assert mlops("provision").status == 0
    assert changes(azure) == []


@pytest.mark.parametrize(
    ("differing", "said"),
    [
        (
            "clusters: {cpu-cluster: {size: Standard_DS4_v2}}\n",
            "size Standard_DS3_v2 -> Standard_DS4_v2",
        ),
        ("clusters: {cpu-cluster: {tier: low_priority}}\n", "tier dedicated -> low_priority"),
        (
            "datastores: {workspaceblobstore: {account_name: other, container_name: azureml}}\n",
            "account_name standin -> other",
        ),
        ("  location: northeurope\n", "location westeurope -> northeurope"),
        ("  storage_account: other\n", "storage_account standin -> other"),
        ("  container_registry: other\n", "container_registry None -> other; it cannot change"),
    ],
    ids=["size", "tier", "datastore", "location", "storage", "registry"],
)
def test_what_cannot_be_changed_is_left_alone(
    cloud_project: Project, azure: StandIn, mlops: Command, differing: str, said: str
):
    mlops("provision")
    azure.forget()
    configure(cloud_project, differing)

    answer = mlops("provision")

    assert answer.status == 1
    assert said in answer.out
    assert "provision: cannot be changed: " in answer.err
    assert changes(azure) == []
