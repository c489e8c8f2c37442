"""The command finds faults, and none when they are fixed."""

import subprocess
import sys
from pathlib import Path

import pytest

from kedro_azure_mlops.azure import doctor as checks
from kedro_azure_mlops.azure.environment import pins
from kedro_azure_mlops.azure.identity import OF_JOB
from kedro_azure_mlops.testing import StandIn, login
from tests.plugin.cloud import Command, Said, changes, configure, provisioned
from tests.plugin.helpers import Project


@pytest.fixture
def well(
    cloud_project: Project, azure: StandIn, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """A project with which all is well: committed, installed as locked, provisioned."""
    provisioned(azure, mlops)
    who = ("-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "commit.gpgsign=false")
    for command in (("init",), ("add", "--all"), (*who, "commit", "-m", "Start")):
        subprocess.run(["git", *command], cwd=cloud_project.path, check=True, capture_output=True)
    locks = [cloud_project.path / f"requirements/{name}.txt" for name in ("run", "azure")]
    as_locked = {name: version for lock in locks for name, version in pins(lock).items()}
    monkeypatch.setattr(checks, "installed_packages", lambda: as_locked)
    return cloud_project


def faults(said: Said) -> list[str]:
    lines = said.out.splitlines()
    found = [line.removeprefix("  FAULT  ") for line in lines if line.startswith("  FAULT")]
    assert said.status == (1 if found else 0)
    count = f"{len(found) or 'no'} fault{'' if len(found) == 1 else 's'}"
    assert lines[-1] == f"doctor: {count}"
    return found


def test_all_is_well(well: Project, mlops: Command):
    said = mlops("doctor", "--env", "dev")

    assert faults(said) == []
    for text in (
        "Python 3.",
        "git: commit",
        "requirements/azure.txt: all",
        "is loaded by Kedro",
        "files would be uploaded",
        "mlops.yml is valid",
        "the configuration compiles",
        "sign-in works",
        "the workspace stand-in answers",
        "the compute cpu-cluster is there",
        "the quota allows the 4 instances of cpu-cluster",
    ):
        assert text in said.out


def test_it_changes_nothing(well: Project, azure: StandIn, mlops: Command):
    azure.forget()

    mlops("doctor", "--env", "dev")

    assert changes(azure) == azure.uploads == []


def test_all_environments_are_looked_at(well: Project, mlops: Command):
    found = faults(mlops("doctor"))

    assert len(found) == 2
    for text, env in zip(found, ("prod", "stage"), strict=True):
        assert text.startswith("looking for the workspace ")
        assert f"Create it: kedro mlops provision --env {env}" in text


def test_each_environments_configuration_is_compiled(well: Project, azure: StandIn, mlops: Command):
    well.configure("prod", "azureml.yml", "computes: cpu\n")
    azure.forget()

    found = faults(mlops("doctor", "--env", "prod"))

    assert len(found) == 1
    assert "conf/prod/azureml.yml" in found[0]
    assert "unknown key 'computes'" in found[0]


def test_an_environment_that_is_none(well: Project, mlops: Command):
    said = mlops("doctor", "--env", "holiday")

    assert said.status == 2


def test_nobody_is_signed_in(well: Project, azure: StandIn, mlops: Command, monkeypatch, tmp_path):
    for name in azure.environment:
        monkeypatch.delenv(name)
    git = tmp_path / "bin"
    git.mkdir()
    monkeypatch.setenv("PATH", str(git))  # no az, azd or pwsh, and no git

    found = faults(mlops("doctor", "--env", "dev"))

    assert "git is not installed" in found[0]
    assert "You are not signed in to Azure. Type: az login" in found[1]
    assert "Azure CLI not found" in found[1]
    assert len(found) == 2


def test_a_half_set_service_principal(well: Project, azure: StandIn, mlops: Command, monkeypatch):
    monkeypatch.delenv("AZURE_CLIENT_SECRET")

    (found,) = faults(mlops("doctor", "--env", "dev"))

    assert found.startswith("The service principal is incomplete")


def test_a_federated_token_signs_in(
    well: Project, mlops: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "token").write_text("of the pipeline", encoding="utf-8")
    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "token"))

    assert faults(mlops("doctor", "--env", "dev")) == []


def test_inside_a_job_its_identity_signs_in(
    well: Project, azure: StandIn, mlops: Command, monkeypatch: pytest.MonkeyPatch
):
    well.configure("dev", "azureml.yml", "{}\n")  # the job's own workspace is meant
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name)
    ids = (azure.subscription, azure.resource_group, azure.workspace)
    of_job = dict(zip(OF_JOB, ids, strict=True))
    port = int(azure.environment["HTTPS_PROXY"].rsplit(":", 1)[1])
    for name, value in {**of_job, **login.managed_identity(port)}.items():
        monkeypatch.setenv(name, value)

    assert faults(mlops("doctor", "--env", "dev")) == []


def test_without_the_azure_set_the_rest_is_checked(well: Project, mlops: Command, monkeypatch):
    monkeypatch.setitem(sys.modules, "azure.ai.ml", None)

    said = mlops("doctor", "--env", "dev")

    assert "the configuration compiles" in said.out
    (found,) = faults(said)
    assert found.startswith("azure.ai.ml is not installed here. Install the extra azure: ")


def test_a_laptop_without_the_azure_set_is_no_fault_unless_azure_is_asked_for(
    well: Project, azure: StandIn, mlops: Command, monkeypatch: pytest.MonkeyPatch
):
    lock = "azure-ai-ml==1.35.0 \\\n    --hash=sha256:" + "0" * 64
    (well.path / "requirements/azure.txt").write_text(lock, encoding="utf-8")
    here = pins(well.path / "requirements/run.txt")
    monkeypatch.setattr(checks, "installed_packages", lambda: here)
    monkeypatch.setitem(sys.modules, "azure.ai.ml", None)  # then it is not found
    azure.forget()

    said = mlops("doctor")

    assert faults(said) == []
    assert "  note   requirements/azure.txt: azure-ai-ml is not installed; it is needed" in said.out
    assert "Azure\n  note   not checked: azure-ai-ml is not installed" in said.out
    assert "make azure" in said.out
    assert azure.requests == []
    found = faults(mlops("doctor", "--env", "dev"))
    assert len(found) == 2
    assert "azure-ai-ml is missing" in found[0]
    assert found[1].startswith("azure.ai.ml is not installed here")


def test_an_azure_client_that_is_installed_and_broken_is_a_fault(
    well: Project, mlops: Command, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "azure.identity", None)

    (found,) = faults(mlops("doctor"))

    assert found.startswith("azure.identity is not installed here")


def test_a_workspace_that_is_not_known(well: Project, mlops: Command, monkeypatch):
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID")

    (found,) = faults(mlops("doctor", "--env", "dev"))

    assert "The workspace of dev is not known: there is no subscription_id" in found


def test_a_workspace_one_may_not_see(well: Project, azure: StandIn, mlops: Command):
    azure.fail("GET", f"/workspaces/{azure.workspace}$", 403)

    (found,) = faults(mlops("doctor", "--env", "dev"))

    assert f"looking for the workspace {azure.workspace}: You may not do that" in found


def test_no_network(well: Project, azure: StandIn, mlops: Command):
    azure.drop("GET", "^management", times=100)

    (found,) = faults(mlops("doctor", "--env", "dev"))

    assert "Azure could not be reached, or the connection broke" in found


def test_a_compute_that_is_missing(well: Project, azure: StandIn, mlops: Command):
    (id,) = [id for id in azure.resources if id.endswith("/computes/cpu-cluster")]
    del azure.resources[id]

    (found,) = faults(mlops("doctor", "--env", "dev"))

    assert found.endswith("Create it: kedro mlops provision --env dev")
    mlops("provision")
    assert faults(mlops("doctor", "--env", "dev")) == []


def test_a_quota_that_is_too_small(well: Project, azure: StandIn, mlops: Command):
    azure.quota["Standard DSv2 Family Cluster Dedicated vCPUs"] = 3

    (found,) = faults(mlops("doctor", "--env", "dev"))

    assert "Standard_DS3_v2 has 4 cores, and the quota Standard DSv2 Family" in found


def test_a_size_that_the_region_has_not(well: Project, azure: StandIn, mlops: Command):
    configure(well, "clusters: {huge: {size: Standard_M9}}\n")

    (found,) = faults(mlops("doctor", "--env", "dev"))

    assert "there is no Standard_M9 in this region" in found


def test_a_wrong_mlops_file_and_a_scorer_that_cannot_be_imported(well: Project, mlops: Command):
    well.configure("dev", "mlops.yml", "registri: {}\n")
    (found,) = [text for text in faults(mlops("doctor", "--env", "dev")) if "mlops" in text][:1]
    assert "unknown key 'registri'" in found

    well.configure("dev", "mlops.yml", "scorer: plant.none:load\n")
    (found,) = faults(mlops("doctor", "--env", "dev"))
    assert found.startswith("scorer: plant.none:load in mlops.yml cannot be imported: ")

    well.configure("dev", "mlops.yml", "scorer: plant.nodes:nothing\n")
    (found,) = faults(mlops("doctor", "--env", "dev"))
    assert found.endswith("plant.nodes has no function nothing")

    well.configure("dev", "mlops.yml", "scorer: plant.nodes:clean\n")
    assert faults(mlops("doctor", "--env", "dev")) == []


def test_outside_a_project(cloud_project: Project, mlops: Command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    said = mlops("doctor")

    assert said.status == 2
    assert "is not a project folder" in said.err


def test_the_attached_cluster_is_looked_at(well: Project, azure: StandIn, mlops: Command):
    chosen = "deployment: {endpoint: heat, target: kubernetes, kubernetes: {compute: aks}}\n"
    well.configure("dev", "mlops.yml", chosen)

    (found,) = faults(mlops("doctor", "--env", "dev"))
    assert "deployment.kubernetes.compute: there is no aks in the workspace" in found
    assert "az ml compute attach --type Kubernetes --name aks" in found

    well.configure("dev", "mlops.yml", chosen.replace("target: kubernetes, ", ""))
    said = mlops("doctor", "--env", "dev")
    assert faults(said) == []
    assert "there is no aks in the workspace" in said.out, "--target would need it"

    azure.attach_kubernetes("aks")
    well.configure("dev", "mlops.yml", chosen)
    said = mlops("doctor", "--env", "dev")
    assert faults(said) == []
    assert "the Kubernetes cluster aks is attached" in said.out
