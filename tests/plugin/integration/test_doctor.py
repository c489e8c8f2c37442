"""The command reports problems, and none once they are fixed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kedro_azure_mlops.azure import doctor as checks
from kedro_azure_mlops.azure.environment import pins
from kedro_azure_mlops.azure.identity import OF_JOB
from kedro_azure_mlops.testing import StandIn, login
from tests.plugin.cloud import Command, Result, changes, configure, provision
from tests.plugin.helpers import CONFIGURATION, Project

PLUGIN_PIN = f"kedro-azure-mlops==0.2.0 --hash=sha256:{'0' * 64}"


@pytest.fixture
def healthy(
    cloud_project: Project, azure: StandIn, mlops: Command, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """A project without problems: committed, installed as locked, provisioned."""
    lock = cloud_project.path / "requirements" / "run.txt"
    lock.write_text(f"{PLUGIN_PIN}\n{lock.read_text(encoding='utf-8')}", encoding="utf-8")
    provision(azure, mlops)
    who = ("-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "commit.gpgsign=false")
    for command in (("init",), ("add", "--all"), (*who, "commit", "-m", "Start")):
        subprocess.run(["git", *command], cwd=cloud_project.path, check=True, capture_output=True)
    locks = [cloud_project.path / f"requirements/{name}.txt" for name in ("run", "azure")]
    as_locked = {name: version for lock in locks for name, version in pins(lock).items()}
    monkeypatch.setattr(checks, "installed_packages", lambda: as_locked)
    return cloud_project


def problems(result: Result) -> list[str]:
    lines = result.out.splitlines()
    messages = [line.removeprefix("  PROBLEM  ") for line in lines if line.startswith("  PROBLEM")]
    assert result.status == (1 if messages else 0)
    count = f"{len(messages) or 'no'} problem{'' if len(messages) == 1 else 's'}"
    assert lines[-1] == f"doctor: {count}"
    return messages


def test_a_healthy_project_has_no_problems(healthy: Project, mlops: Command):
    result = mlops("doctor", "--env", "dev")

    assert problems(result) == []
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
        "the compute cpu-cluster exists",
        "the quota allows the 4 instances of cpu-cluster",
    ):
        assert text in result.out


def test_the_doctor_changes_nothing(healthy: Project, azure: StandIn, mlops: Command):
    azure.forget()

    mlops("doctor", "--env", "dev")

    assert changes(azure) == azure.uploads == []


def test_all_environments_are_checked(healthy: Project, mlops: Command):
    messages = problems(mlops("doctor"))

    assert len(messages) == 2
    for text, env in zip(messages, ("prod", "stage"), strict=True):
        assert text.startswith("looking for the workspace ")
        assert f"Create it: kedro mlops provision --env {env}" in text


def test_without_environments_base_is_checked_once(healthy: Project, mlops: Command):
    for folder in (healthy.path / CONFIGURATION).glob("[!b]*/"):
        shutil.rmtree(folder)
    assert not any("mlops.yml" in one for one in problems(mlops("doctor")))
    assert not any("mlops.yml" in one for one in problems(mlops("doctor", "--env", "base")))
    file = healthy.path / CONFIGURATION / "base/mlops.yml"
    file.write_text(file.read_text(encoding="utf-8") + "tracing: {}\n", encoding="utf-8")
    for command in (["doctor"], ["doctor", "--env", "base"]):
        (message,) = [one for one in problems(mlops(*command)) if "mlops.yml" in one]
        assert "unknown key 'tracing'" in message


def test_each_environments_configuration_is_compiled(
    healthy: Project, azure: StandIn, mlops: Command
):
    healthy.configure("prod", "azureml.yml", "computes: cpu\n")
    azure.forget()

    messages = problems(mlops("doctor", "--env", "prod"))

    assert len(messages) == 1
    assert "conf/prod/azureml.yml" in messages[0]
    assert "unknown key 'computes'" in messages[0]


def test_an_unknown_environment_is_refused(healthy: Project, mlops: Command):
    result = mlops("doctor", "--env", "holiday")

    assert result.status == 2


def test_a_missing_sign_in_is_a_problem(
    healthy: Project, azure: StandIn, mlops: Command, monkeypatch, tmp_path
):
    for name in azure.environment:
        monkeypatch.delenv(name)
    git = tmp_path / "bin"
    git.mkdir()
    monkeypatch.setenv("PATH", str(git))  # no az, azd or pwsh, and no git

    messages = problems(mlops("doctor", "--env", "dev"))

    assert "git is not installed" in messages[0]
    assert "You are not signed in to Azure. Run: az login" in messages[1]
    assert "Azure CLI not found" in messages[1]
    assert len(messages) == 2


def test_an_incomplete_service_principal_is_a_problem(
    healthy: Project, azure: StandIn, mlops: Command, monkeypatch
):
    monkeypatch.delenv("AZURE_CLIENT_SECRET")

    (problem,) = problems(mlops("doctor", "--env", "dev"))

    assert problem.startswith("The service principal is incomplete")


def test_a_federated_token_signs_in(
    healthy: Project, mlops: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "token").write_text("of the pipeline", encoding="utf-8")
    monkeypatch.delenv("AZURE_CLIENT_SECRET")
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "token"))

    assert problems(mlops("doctor", "--env", "dev")) == []


def test_inside_a_job_the_identity_of_the_job_signs_in(
    healthy: Project, azure: StandIn, mlops: Command, monkeypatch: pytest.MonkeyPatch
):
    healthy.configure("dev", "azureml.yml", "{}\n")  # so the job's own workspace is used
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name)
    ids = (azure.subscription, azure.resource_group, azure.workspace)
    job_variables = dict(zip(OF_JOB, ids, strict=True))
    port = int(azure.environment["HTTPS_PROXY"].rsplit(":", 1)[1])
    for name, value in {**job_variables, **login.managed_identity(port)}.items():
        monkeypatch.setenv(name, value)

    assert problems(mlops("doctor", "--env", "dev")) == []


def test_without_the_azure_extra_the_rest_is_checked(healthy: Project, mlops: Command, monkeypatch):
    monkeypatch.setitem(sys.modules, "azure.ai.ml", None)

    result = mlops("doctor", "--env", "dev")

    assert "the configuration compiles" in result.out
    (problem,) = problems(result)
    assert problem.startswith("azure.ai.ml is not installed here. Install the extra azure: ")


def test_a_missing_azure_extra_is_only_a_problem_if_an_environment_is_named(
    healthy: Project, azure: StandIn, mlops: Command, monkeypatch: pytest.MonkeyPatch
):
    lock = "azure-ai-ml==1.35.0 \\\n    --hash=sha256:" + "0" * 64
    (healthy.path / "requirements/azure.txt").write_text(lock, encoding="utf-8")
    installed = pins(healthy.path / "requirements/run.txt")
    monkeypatch.setattr(checks, "installed_packages", lambda: installed)
    monkeypatch.setitem(sys.modules, "azure.ai.ml", None)  # its import fails
    azure.forget()

    result = mlops("doctor")

    assert problems(result) == []
    assert (
        "  note     requirements/azure.txt: azure-ai-ml is not installed; it is needed"
        in result.out
    )
    assert "Azure\n  note     not checked: azure-ai-ml is not installed" in result.out
    assert "make azure" in result.out
    assert azure.requests == []
    messages = problems(mlops("doctor", "--env", "dev"))
    assert len(messages) == 2
    assert "azure-ai-ml is missing" in messages[0]
    assert messages[1].startswith("azure.ai.ml is not installed here")


def test_an_installed_but_broken_azure_client_is_a_problem(
    healthy: Project, mlops: Command, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "azure.identity", None)

    (problem,) = problems(mlops("doctor"))

    assert problem.startswith("azure.identity is not installed here")


def test_an_unknown_workspace_is_a_problem(healthy: Project, mlops: Command, monkeypatch):
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID")

    (problem,) = problems(mlops("doctor", "--env", "dev"))

    assert "The workspace of dev is not known: there is no subscription_id" in problem


def test_a_forbidden_workspace_is_a_problem(healthy: Project, azure: StandIn, mlops: Command):
    azure.fail("GET", f"/workspaces/{azure.workspace}$", 403)

    (problem,) = problems(mlops("doctor", "--env", "dev"))

    assert f"looking for the workspace {azure.workspace}: You do not have permission" in problem


def test_a_missing_network_is_a_problem(healthy: Project, azure: StandIn, mlops: Command):
    azure.drop("GET", "^management", times=100)

    (problem,) = problems(mlops("doctor", "--env", "dev"))

    assert "Azure could not be reached, or the connection broke" in problem


def test_a_missing_compute_is_a_problem(healthy: Project, azure: StandIn, mlops: Command):
    (id,) = [id for id in azure.resources if id.endswith("/computes/cpu-cluster")]
    del azure.resources[id]

    (problem,) = problems(mlops("doctor", "--env", "dev"))

    assert problem.endswith("Create it: kedro mlops provision --env dev")
    mlops("provision")
    assert problems(mlops("doctor", "--env", "dev")) == []


def test_a_quota_that_is_too_small_is_a_problem(healthy: Project, azure: StandIn, mlops: Command):
    azure.quota["Standard DSv2 Family Cluster Dedicated vCPUs"] = 3

    (problem,) = problems(mlops("doctor", "--env", "dev"))

    assert "Standard_DS3_v2 has 4 cores, and the quota Standard DSv2 Family" in problem


def test_a_size_that_the_region_lacks_is_a_problem(healthy: Project, mlops: Command):
    configure(healthy, "clusters: {huge: {size: Standard_M9}}\n")

    (problem,) = problems(mlops("doctor", "--env", "dev"))

    assert "there is no Standard_M9 in this region" in problem


def test_jobs_that_would_not_install_the_plugin_are_a_problem(healthy: Project, mlops: Command):
    lock = healthy.path / "requirements" / "run.txt"
    text = lock.read_text(encoding="utf-8")
    lock.write_text(text.replace(PLUGIN_PIN, f"# {PLUGIN_PIN}"), encoding="utf-8")
    assert problems(mlops("doctor", "--env", "dev")) == [
        "jobs would not install kedro-azure-mlops, so none could run. Add "
        "kedro-azure-mlops[azure] to requirements/run.txt or requirements/job.txt "
        "(environment.locks in azureml.yml)"
    ]

    (healthy.path / "Dockerfile").write_text("FROM scratch\n", encoding="utf-8")
    healthy.configure("dev", "azureml.yml", "environment: {dockerfile: Dockerfile}\n")
    assert "would not install" not in mlops("doctor", "--env", "dev").out


def test_an_unknown_key_and_a_scorer_that_cannot_be_imported_are_problems(
    healthy: Project, mlops: Command
):
    healthy.configure("dev", "mlops.yml", "registri: {}\n")
    (problem,) = [text for text in problems(mlops("doctor", "--env", "dev")) if "mlops" in text][:1]
    assert "unknown key 'registri'" in problem

    healthy.configure("dev", "mlops.yml", "scorer: plant.none:load\n")
    (problem,) = problems(mlops("doctor", "--env", "dev"))
    assert problem.startswith("scorer: plant.none:load in mlops.yml cannot be imported: ")

    healthy.configure("dev", "mlops.yml", "scorer: plant.nodes:nothing\n")
    (problem,) = problems(mlops("doctor", "--env", "dev"))
    assert problem.endswith("plant.nodes has no function nothing")

    healthy.configure("dev", "mlops.yml", "scorer: plant.nodes:clean\n")
    assert problems(mlops("doctor", "--env", "dev")) == []


def test_outside_a_project_the_doctor_refuses_to_run(
    cloud_project: Project, mlops: Command, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)

    result = mlops("doctor")

    assert result.status == 2
    assert "is not a project folder" in result.err


def test_the_attached_cluster_is_checked(healthy: Project, azure: StandIn, mlops: Command):
    chosen = "deployment: {endpoint: heat, target: kubernetes, kubernetes: {compute: aks}}\n"
    healthy.configure("dev", "mlops.yml", chosen)

    (problem,) = problems(mlops("doctor", "--env", "dev"))
    assert "deployment.kubernetes.compute: there is no aks in the workspace" in problem
    assert "az ml compute attach --type Kubernetes --name aks" in problem

    healthy.configure("dev", "mlops.yml", chosen.replace("target: kubernetes, ", ""))
    result = mlops("doctor", "--env", "dev")
    assert problems(result) == []
    assert "there is no aks in the workspace" in result.out, "--target would need it"

    azure.attach_kubernetes("aks")
    healthy.configure("dev", "mlops.yml", chosen)
    result = mlops("doctor", "--env", "dev")
    assert problems(result) == []
    assert "the Kubernetes cluster aks is attached" in result.out
