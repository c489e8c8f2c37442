"""The Bicep files make what ``provision`` makes, under the same names, private and without keys."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from operation.azureml.config import Cluster, read_config
from operation.azureml.site import arm
from operation.tests.bicep_values import NotKnownError, Sent, assigned, deploy
from operation.tests.helpers import Project

ENVIRONMENTS = ("dev", "stage", "prod")
FOLDER = "operation/infrastructure"
ML = "Microsoft.MachineLearningServices/workspaces"
TYPES = {
    "name": ML,
    "storage_account": "Microsoft.Storage/storageAccounts",
    "key_vault": "Microsoft.KeyVault/vaults",
    "container_registry": "Microsoft.ContainerRegistry/registries",
    "application_insights": "Microsoft.Insights/components",
    "log_analytics": "Microsoft.OperationalInsights/workspaces",
}
ROLES = {
    "00482a5a-887f-4fb3-b363-3b7fe8e74483": "Key Vault Administrator",
    "7f951dda-4ed3-4680-a7ca-43fe172d538d": "AcrPull",
    "b24988ac-6180-42a0-ab88-20f7382dd24c": "Contributor",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "f6c7c914-8db3-469d-8ca1-694a8f32e121": "AzureML Data Scientist",
}
MORE = """\
clusters:
  gpu: {size: Standard_NC6s_v3, tier: low_priority, max_instances: 1, idle_seconds: 60}
  small: {size: Standard_DS2_v2}
datastores:
  raw: {account_name: ACCOUNT, container_name: raw}
  raw-again: {account_name: ACCOUNT, container_name: raw}
  elsewhere: {account_name: stother, container_name: other}
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Project:
    return Project.copy_to(tmp_path_factory.mktemp("bicep") / "project", database)


@pytest.fixture
def copied(original: Project) -> Iterator[Project]:
    """A project whose infrastructure and configuration a test may change."""
    kept = original.path / "kept"
    folders = [original.path / name for name in (FOLDER, "operation/configuration")]
    for folder in folders:
        shutil.copytree(folder, kept / folder.name)
    yield original
    for folder in folders:
        shutil.rmtree(folder)
        shutil.copytree(kept / folder.name, folder)
    shutil.rmtree(kept)


def sent(project: Project, env: str) -> list[Sent]:
    folder = project.path / FOLDER
    return deploy(folder / "main.bicep", folder / f"{env}.bicepparam")


def change(project: Project, name: str, old: str, new: str) -> None:
    path = project.path / "operation" / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def more(project: Project) -> None:
    """Give dev clusters and datastores of all kinds."""
    account = str(read_config(project.path, "dev").workspace.storage_account)
    path = project.path / "operation/configuration/dev/azureml.yml"
    text = path.read_text(encoding="utf-8") + MORE.replace("ACCOUNT", account)
    path.write_text(text, encoding="utf-8")


def made_by_bicep(project: Project, env: str) -> dict[str, Any]:
    """Write what Bicep makes in the words of azureml.yml."""
    things = sent(project, env)
    made: dict[str, Any] = {
        key: next(one.body["name"] for one in things if one.type == type)
        for key, type in TYPES.items()
    }
    made["location"] = {one.body["location"] for one in things if "location" in one.body}
    clusters = [one.body for one in things if one.type == f"{ML}/computes"]
    made["clusters"] = {
        body["name"]: _cluster(body["properties"]["properties"]) for body in clusters
    }
    containers = [one.body["name"] for one in things if one.type.endswith("/containers")]
    return made | {"containers": sorted(containers)}


def wanted_by_provision(project: Project, env: str) -> dict[str, Any]:
    config = read_config(project.path, env)
    names = config.workspace
    stores = [s for s in config.datastores.values() if s.account_name == names.storage_account]
    wanted = {key: getattr(names, key) for key in TYPES}
    return wanted | {
        "location": {names.location},
        "clusters": config.clusters,
        "containers": sorted({store.container_name for store in stores}),
    }


def _cluster(properties: dict[str, Any]) -> Cluster:
    scale = properties["scaleSettings"]
    tiers = {"Dedicated": "dedicated", "LowPriority": "low_priority"}
    return Cluster(
        size=properties["vmSize"],
        tier=tiers[properties["vmPriority"]],
        min_instances=scale["minNodeCount"],
        max_instances=scale["maxNodeCount"],
        idle_seconds=int(scale["nodeIdleTimeBeforeScaleDown"].removeprefix("PT").rstrip("S")),
    )


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_bicep_and_provision_agree_on_every_name(original: Project, env: str):
    wanted = wanted_by_provision(original, env)
    assert None not in wanted.values()
    assert wanted["clusters"]
    assert made_by_bicep(original, env) == wanted


def test_they_agree_on_clusters_and_containers_of_all_kinds(copied: Project):
    more(copied)

    made = made_by_bicep(copied, "dev")

    assert made == wanted_by_provision(copied, "dev")
    assert set(made["clusters"]) == {"cpu-cluster", "gpu", "small"}
    assert made["containers"] == ["raw"]


@pytest.mark.parametrize("key", TYPES)
def test_a_name_is_changed_in_one_place(copied: Project, key: str):
    old = f"  {key}: {getattr(read_config(copied.path, 'dev').workspace, key)}\n"
    change(copied, "configuration/dev/azureml.yml", old, f"  {key}: changed\n")

    assert made_by_bicep(copied, "dev")[key] == "changed"
    assert made_by_bicep(copied, "dev") == wanted_by_provision(copied, "dev")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("dev.bicepparam", "Name = configuration.workspace.key_vault", "Name = 'kv-other'"),
        ("dev.bicepparam", "workspace.container_registry", "workspace.storage_account"),
        ("dev.bicepparam", "dev/azureml.yml", "prod/azureml.yml"),
        ("dev.bicepparam", "datastores: {} }, base, own)", "datastores: {} }, own)"),
        ("dev.bicepparam", "workspace.location", "workspace.name"),
        ("dev.bicepparam", "= configuration.datastores", "= {}"),
        ("main.bicep", "name: workspaceName", "name: 'other'"),
        ("main.bicep", "name: storageAccountName", "name: '${storageAccountName}x'"),
        ("modules/vault.bicep", "name: name", "name: 'kv-${name}'"),
        ("modules/monitoring.bicep", "name: logAnalyticsName", "name: 'log-${name}'"),
        ("modules/monitoring.bicep", "  name: name", "  name: 'appi'"),
        ("modules/registry.bicep", "name: name", "name: 'cr'"),
        ("modules/cluster.bicep", "?? 300", "?? 600"),
        ("modules/cluster.bicep", "wanted.size", "'Standard_DS2_v2'"),
        ("modules/cluster.bicep", "== 'dedicated'", "!= 'dedicated'"),
        ("modules/storage.bicep", "name: one", "name: 'x${one}'"),
        ("modules/storage.bicep", "== name)", "!= name)"),
    ],
)
def test_a_name_that_differs_would_be_found(copied: Project, file: str, old: str, new: str):
    more(copied)
    change(copied, f"infrastructure/{file}", old, new)

    assert made_by_bicep(copied, "dev") != wanted_by_provision(copied, "dev")


def test_what_these_tests_cannot_read_is_not_passed_over(copied: Project):
    change(
        copied, "infrastructure/main.bicep", "name: workspaceName", "name: toLower(workspaceName)"
    )

    with pytest.raises(NotKnownError, match="toLower"):
        sent(copied, "dev")


@pytest.mark.parametrize(
    ("env", "access"), [("dev", "Enabled"), ("stage", "Disabled"), ("prod", "Disabled")]
)
def test_what_is_private(original: Project, env: str, access: str):
    things = sent(original, env)

    switches = {
        one.type: one.body["properties"]["publicNetworkAccess"]
        for one in things
        if "publicNetworkAccess" in one.body.get("properties", {})
    }
    stores = ("name", "storage_account", "key_vault", "container_registry")
    assert switches == {TYPES[key]: access for key in stores}
    (cluster,) = (one.body["properties"] for one in things if one.type.endswith("/computes"))
    assert cluster["properties"]["enableNodePublicIp"] is (access == "Enabled")
    workspace = of(things, "name")["properties"]
    managed = "Disabled" if access == "Enabled" else "AllowInternetOutbound"
    assert workspace["managedNetwork"] == {"isolationMode": managed}
    assert workspace["imageBuildCompute"] == (None if access == "Enabled" else "cpu-cluster")
    vault = of(things, "key_vault")["properties"]
    assert vault["enablePurgeProtection"] is (None if env == "dev" else True)


def test_what_says_nothing_is_private(copied: Project):
    said = "param publicNetworkAccess = 'Enabled'\n"
    change(copied, "infrastructure/dev.bicepparam", said, "")

    assert of(sent(copied, "dev"), "name")["properties"]["publicNetworkAccess"] == "Disabled"


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_there_are_no_keys(original: Project, env: str):
    things = sent(original, env)

    storage = of(things, "storage_account")["properties"]
    assert storage["allowSharedKeyAccess"] is storage["allowBlobPublicAccess"] is False
    assert storage["minimumTlsVersion"] == "TLS1_2"
    assert of(things, "container_registry")["properties"]["adminUserEnabled"] is False
    assert of(things, "key_vault")["properties"]["enableRbacAuthorization"] is True
    assert of(things, "name")["properties"]["systemDatastoresAuthMode"] == "Identity"


def test_each_identity_has_the_roles_it_needs_and_no_more(original: Project):
    names = read_config(original.path, "dev").workspace
    own, job = f"principal of id-{names.name}", "principal of cpu-cluster"

    assert roles(sent(original, "dev")) == {
        (own, names.storage_account, "Contributor"),
        (own, names.storage_account, "Storage Blob Data Contributor"),
        (own, names.key_vault, "Contributor"),
        (own, names.key_vault, "Key Vault Administrator"),
        (own, names.container_registry, "Contributor"),
        (own, names.application_insights, "Contributor"),
        (own, names.name, "Contributor"),
        *((job, *right) for right in rights_of_jobs(original)),
    }


def test_ci_gets_roles_when_it_is_named(copied: Project):
    before = roles(sent(copied, "dev"))
    change(copied, "infrastructure/dev.bicepparam", "PrincipalId = ''", "PrincipalId = 'ci'")

    more = roles(sent(copied, "dev")) - before

    assert more == {("ci", *right) for right in rights_of_jobs(copied)}


def test_private_endpoints_are_made_in_the_subnet_that_is_named(copied: Project):
    kind = "Microsoft.Network/privateEndpoints"
    assert not [one for one in sent(copied, "prod") if one.type == kind]
    change(copied, "infrastructure/prod.bicepparam", "SubnetId = ''", "SubnetId = '/subnets/x'")

    made = [one.body["properties"] for one in sent(copied, "prod") if one.type == kind]

    names = read_config(copied.path, "prod").workspace
    links = [body["privateLinkServiceConnections"][0]["properties"] for body in made]
    assert {
        (link["privateLinkServiceId"].rsplit("/", 1)[1], *link["groupIds"]) for link in links
    } == {
        (names.name, "amlworkspace"),
        (names.storage_account, "blob"),
        (names.storage_account, "file"),
        (names.key_vault, "vault"),
        (names.container_registry, "registry"),
    }
    assert {body["subnet"]["id"] for body in made} == {"/subnets/x"}


def test_the_workspace_is_made_upon_what_is_named(original: Project):
    names = read_config(original.path, "dev").workspace
    workspace = of(sent(original, "dev"), "name")["properties"]
    keys = {
        "storageAccount": "storage_account",
        "keyVault": "key_vault",
        "containerRegistry": "container_registry",
        "applicationInsights": "application_insights",
    }
    for theirs, ours in keys.items():
        assert workspace[theirs].endswith(f"/{TYPES[ours]}/{getattr(names, ours)}")


def test_both_speak_the_same_version_of_an_api(original: Project):
    versions = {one.type: one.version for one in sent(original, "dev")}
    of_provision = {kind: v for kind, v in arm._VERSIONS.items() if kind != ML}
    assert of_provision.items() <= versions.items()


def test_ones_own_values_are_plain(original: Project):
    """What Kedro would fill in, Bicep would take as it stands."""
    for env in ENVIRONMENTS:
        values = assigned(original.path / FOLDER / f"{env}.bicepparam")
        assert "${" not in str(values)


def of(things: list[Sent], key: str) -> dict[str, Any]:
    (body,) = (one.body for one in things if one.type == TYPES[key])
    return body


def roles(things: list[Sent]) -> set[tuple[str, str, str]]:
    """Return who may do what where."""
    given = [one for one in things if one.type == "Microsoft.Authorization/roleAssignments"]
    assert len({one.id for one in given}) == len(given)
    return {
        (
            one.body["properties"]["principalId"],
            one.id.split("/providers/Microsoft.Authorization/")[0].rsplit("/", 1)[1],
            ROLES[one.body["properties"]["roleDefinitionId"].rsplit("/", 1)[1]],
        )
        for one in given
    }


def rights_of_jobs(project: Project) -> set[tuple[str | None, str]]:
    names = read_config(project.path, "dev").workspace
    return {
        (names.name, "AzureML Data Scientist"),
        (names.storage_account, "Storage Blob Data Contributor"),
        (names.container_registry, "AcrPull"),
    }
