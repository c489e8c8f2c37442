"""The command creates resources in Azure once, and leaves existing ones alone."""

import hashlib

import pytest

from kedro_azure_mlops.testing import StandIn
from tests.plugin.cloud import Command, changes, configure, group, properties, versions
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
    """A project with an empty resource group, whose configuration names all resources."""
    configure(cloud_project, MORE)
    for id in [id for id in azure.resources if id.startswith(f"{group(azure)}/")]:
        del azure.resources[id]
    return cloud_project


def test_all_resources_are_created_in_an_empty_group(
    empty: Project, azure: StandIn, mlops: Command
):
    result = mlops("provision")

    assert result.status == 0
    assert result.out.count("will be created") == 10
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
    assert properties(azure)["containerRegistry"] == registry
    assert properties(azure)["applicationInsights"] == insights
    assert properties(azure)["storageAccount"] == account
    assert properties(azure)["keyVault"] == vault
    scale = properties(azure, "computes/cpu-cluster")["properties"]["scaleSettings"]
    assert scale["maxNodeCount"] == 2
    assert properties(azure, "datastores/raw")["credentials"] == {"credentialsType": "None"}


def test_the_command_waits_for_resources_in_creation(
    empty: Project, azure: StandIn, mlops: Command
):
    mlops("provision")

    requests = [f"{r.method} {r.path.rsplit('/', 1)[1]}" for r in azure.requests]
    created = requests.index("PUT stcold")  # answered with "Creating"
    assert "GET stcold" in requests[created : requests.index("PUT kv-cold")]


def test_a_second_call_changes_nothing(empty: Project, azure: StandIn, mlops: Command):
    mlops("provision")
    azure.forget()

    result = mlops("provision")

    assert result.status == 0
    assert changes(azure) == azure.uploads == []
    assert "provision: everything is as configured" in result.out


def test_a_dry_run_prints_the_plan_and_changes_nothing(
    empty: Project, azure: StandIn, mlops: Command
):
    result = mlops("provision", "--dry-run")

    assert result.status == 0
    lines = [" ".join(line.split()) for line in result.out.splitlines()]
    assert "storage account stcold will be created" in lines
    assert "datastore raw will be created" in lines
    assert result.out.endswith("provision: 10 to create or change; nothing was changed\n")
    assert changes(azure) == []


def test_new_application_insights_without_a_log_workspace_is_refused(
    cloud_project: Project, azure: StandIn, mlops: Command
):
    configure(cloud_project, "  application_insights: appi-cold\n")
    workspace = next(id for id, body in azure.resources.items() if body["type"] == "workspaces")
    del azure.resources[workspace]

    result = mlops("provision")

    assert result.status == 2
    assert "appi-cold" in result.err
    assert "name workspace.log_analytics in azureml.yml" in result.err
    assert changes(azure) == []


def test_existing_application_insights_needs_no_log_workspace(
    cloud_project: Project, azure: StandIn, mlops: Command
):
    configure(cloud_project, "  application_insights: appi-cold\n")
    workspace = next(id for id, body in azure.resources.items() if body["type"] == "workspaces")
    del azure.resources[workspace]
    insights = f"{group(azure)}/providers/Microsoft.Insights/components/appi-cold"
    azure.resources[insights] = {"id": insights, "type": "components", "properties": {}}

    assert mlops("provision").status == 0
    assert properties(azure)["applicationInsights"] == insights


def test_the_environment_is_uploaded_with_both_locks(
    cloud_project: Project, azure: StandIn, mlops: Command
):
    mlops("provision")

    (environment,) = versions(azure, "environments")
    host, _, folder = environment["build"]["contextUri"].removeprefix("https://").partition("/")
    prefix = f"{host.split('.')[0]}/{folder}"
    files = {key.removeprefix(prefix): azure.blobs[key] for key in azure.uploads}
    assert set(files) == {"Dockerfile", "run.txt", "job.txt"}
    for name in ("run.txt", "job.txt"):
        assert files[name] == (cloud_project.path / "requirements" / name).read_bytes()


def test_a_changed_lock_creates_another_environment(
    cloud_project: Project, azure: StandIn, mlops: Command
):
    mlops("provision")
    with (cloud_project.path / "requirements/run.txt").open("a", encoding="utf-8") as file:
        file.write("# changed\n")

    result = mlops("provision")

    assert "creating the environment" in result.out
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

    result = mlops("provision")

    assert result.status == 2
    assert f"wheels/{WHEEL} is not the wheel that the locks name" in result.err
    assert azure.uploads == []
    assert versions(azure, "environments") == []


@pytest.mark.parametrize("command", [("compile",), ("submit",), ("provision",)])
def test_a_conda_environment_that_would_need_a_wheel_is_refused(
    cloud_project: Project, azure: StandIn, mlops: Command, command: tuple[str, ...]
):
    lock_a_wheel(cloud_project)
    configure(cloud_project, "environment: {kind: conda}\n")

    result = mlops(*command)

    assert result.status == 2
    assert "cannot use plug-in==1.0 from wheels/" in result.err
    assert "environment.kind: docker" in result.err
    assert azure.uploads == []


def lock_a_wheel(project: Project) -> None:
    """Add a package to a lock whose wheel is only in ``wheels/``."""
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


def test_no_environment_is_created_if_an_image_is_configured(
    cloud_project: Project, azure: StandIn, mlops: Command
):
    configure(cloud_project, "image: example.azurecr.io/cold:1\n")

    assert "environment" not in mlops("provision").out
    assert versions(azure, "environments") == []


def test_a_cluster_is_scaled_in_place(cloud_project: Project, azure: StandIn, mlops: Command):
    mlops("provision")
    created = properties(azure, "computes/cpu-cluster")
    created["properties"]["enableNodePublicIp"] = False  # set by someone else
    size = "{size: STANDARD_DS3_V2, max_instances: 8}"
    configure(cloud_project, f"clusters:\n  cpu-cluster: {size}\n")

    result = mlops("provision")

    assert result.status == 0
    assert "differs: max_instances 4 -> 8\n" in result.out
    scaled = properties(azure, "computes/cpu-cluster")["properties"]
    assert scaled["scaleSettings"]["maxNodeCount"] == 8
    assert scaled["enableNodePublicIp"] is False
    azure.forget()
    assert mlops("provision").status == 0
    assert changes(azure) == []


@pytest.mark.parametrize(
    ("lines", "message"),
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
        ("  container_registry: other\n", "container_registry None -> other; it cannot be changed"),
    ],
    ids=["size", "tier", "datastore", "location", "storage", "registry"],
)
def test_properties_that_cannot_change_are_left_alone(
    cloud_project: Project, azure: StandIn, mlops: Command, lines: str, message: str
):
    mlops("provision")
    azure.forget()
    configure(cloud_project, lines)

    answer = mlops("provision")

    assert answer.status == 1
    assert message in answer.out
    assert "provision: cannot be changed: " in answer.err
    assert changes(azure) == []
