"""The Bicep files create the same resources as ``provision``: same names, private, no keys."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kedro_azure_mlops.azure import resources as arm
from kedro_azure_mlops.config import Cluster, read_azureml
from tests.helpers import BakedProject
from tests.template.bicep_source import read, walk
from tests.template.bicep_values import Resource, UnsupportedError, assigned, deploy

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
EXTRA_RESOURCES = """\
clusters:
  gpu: {size: Standard_NC6s_v3, tier: low_priority, max_instances: 1, idle_seconds: 60}
  small: {size: Standard_DS2_v2}
datastores:
  raw: {account_name: ACCOUNT, container_name: raw}
  raw-again: {account_name: ACCOUNT, container_name: raw}
  elsewhere: {account_name: stother, container_name: other}
"""


@pytest.fixture(scope="session")
def original(baked: Callable[..., BakedProject]) -> BakedProject:
    return baked()


@pytest.fixture
def copied(original: BakedProject, tmp_path: Path) -> BakedProject:
    """A copy of the infrastructure and configuration, which a test may edit."""
    return copy_of(original, tmp_path / "project")


def copy_of(project: BakedProject, path: Path) -> BakedProject:
    for name in (FOLDER, "operation/configuration", "src"):
        shutil.copytree(project.path / name, path / name)
    shutil.copy(project.path / "pyproject.toml", path)
    return BakedProject(path)


def deployed_resources(project: BakedProject, env: str) -> list[Resource]:
    folder = project.path / FOLDER
    return deploy(folder / "main.bicep", folder / f"{env}.bicepparam")


def change(project: BakedProject, name: str, old: str, new: str) -> None:
    path = project.path / "operation" / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def add_clusters_and_datastores(project: BakedProject) -> None:
    """Add clusters and datastores of every kind to dev."""
    account = str(read_azureml(project.path, "dev").workspace.storage_account)
    path = project.path / "operation/configuration/dev/azureml.yml"
    text = path.read_text(encoding="utf-8") + EXTRA_RESOURCES.replace("ACCOUNT", account)
    path.write_text(text, encoding="utf-8")


def made_by_bicep(project: BakedProject, env: str) -> dict[str, Any]:
    """Return the resources of the Bicep deployment under the keys of azureml.yml."""
    resources = deployed_resources(project, env)
    made: dict[str, Any] = {
        key: next(one.body["name"] for one in resources if one.type == type)
        for key, type in TYPES.items()
    }
    made["location"] = {one.body["location"] for one in resources if "location" in one.body}
    clusters = [one.body for one in resources if one.type == f"{ML}/computes"]
    made["clusters"] = {
        body["name"]: _cluster(body["properties"]["properties"]) for body in clusters
    }
    containers = [one.body["name"] for one in resources if one.type.endswith("/containers")]
    return made | {"containers": sorted(containers)}


def expected_by_provision(project: BakedProject, env: str) -> dict[str, Any]:
    config = read_azureml(project.path, env)
    names = config.workspace
    stores = [s for s in config.datastores.values() if s.account_name == names.storage_account]
    expected = {key: getattr(names, key) for key in TYPES}
    return expected | {
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
def test_bicep_and_provision_agree_on_every_name(original: BakedProject, env: str):
    expected = expected_by_provision(original, env)
    assert None not in expected.values()
    assert expected["clusters"]
    assert made_by_bicep(original, env) == expected


def test_bicep_and_provision_agree_on_clusters_and_containers(copied: BakedProject):
    add_clusters_and_datastores(copied)

    made = made_by_bicep(copied, "dev")

    assert made == expected_by_provision(copied, "dev")
    assert set(made["clusters"]) == {"cpu-cluster", "gpu", "small"}
    assert made["containers"] == ["raw"]


@pytest.mark.parametrize("key", TYPES)
def test_changing_a_name_in_azureml_yml_is_enough(copied: BakedProject, key: str):
    old = f"  {key}: {getattr(read_azureml(copied.path, 'dev').workspace, key)}\n"
    change(copied, "configuration/dev/azureml.yml", old, f"  {key}: changed\n")

    assert made_by_bicep(copied, "dev")[key] == "changed"
    assert made_by_bicep(copied, "dev") == expected_by_provision(copied, "dev")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("dev.bicepparam", "dev/azureml.yml", "prod/azureml.yml"),
        ("dev.bicepparam", "datastores: {} }, base, own)", "datastores: {} }, own)"),
        ("main.bicep", "= names.location", "= names.name"),
        ("main.bicep", "name: names.key_vault", "name: 'kv-other'"),
        ("main.bicep", "name: names.container_registry", "name: names.storage_account"),
        ("main.bicep", "name: names.name", "name: 'other'"),
        ("main.bicep", "name: account", "name: '${account}x'"),
        ("main.bicep", "name: names.log_analytics", "name: 'log-${names.name}'"),
        ("main.bicep", "name: names.application_insights", "name: 'appi'"),
        ("main.bicep", "?? 300", "?? 600"),
        ("main.bicep", "one.value.size", "'Standard_DS2_v2'"),
        ("main.bicep", "== 'dedicated'", "!= 'dedicated'"),
        ("main.bicep", "name: one\n", "name: 'x${one}'\n"),
        ("main.bicep", "== account)", "!= account)"),
        ("main.bicep", "items(configuration.datastores)", "items({})"),
    ],
)
def test_a_mismatch_of_bicep_and_provision_is_detected(
    copied: BakedProject, file: str, old: str, new: str
):
    add_clusters_and_datastores(copied)
    change(copied, f"infrastructure/{file}", old, new)

    assert made_by_bicep(copied, "dev") != expected_by_provision(copied, "dev")


def test_an_unsupported_bicep_function_raises(copied: BakedProject):
    change(copied, "infrastructure/main.bicep", "name: names.name", "name: toLower(names.name)")

    with pytest.raises(UnsupportedError, match="toLower"):
        deployed_resources(copied, "dev")


@pytest.mark.parametrize(
    ("env", "access"), [("dev", "Enabled"), ("stage", "Disabled"), ("prod", "Disabled")]
)
def test_public_network_access_by_environment(original: BakedProject, env: str, access: str):
    resources = deployed_resources(original, env)

    switches = {
        one.type: one.body["properties"]["publicNetworkAccess"]
        for one in resources
        if "publicNetworkAccess" in one.body.get("properties", {})
    }
    stores = ("name", "storage_account", "key_vault", "container_registry")
    assert switches == {TYPES[key]: access for key in stores}
    (cluster,) = (one.body["properties"] for one in resources if one.type.endswith("/computes"))
    assert cluster["properties"]["enableNodePublicIp"] is (access == "Enabled")
    workspace = body_of(resources, "name")["properties"]
    managed = "Disabled" if access == "Enabled" else "AllowInternetOutbound"
    assert workspace["managedNetwork"] == {"isolationMode": managed}
    assert workspace["imageBuildCompute"] == (None if access == "Enabled" else "cpu-cluster")
    vault = body_of(resources, "key_vault")["properties"]
    assert vault["enablePurgeProtection"] is (None if env == "dev" else True)
    # what `kedro mlops provision` gets by default; Azure refuses any change
    assert vault["softDeleteRetentionInDays"] == 90


def test_public_network_access_is_disabled_by_default(copied: BakedProject):
    setting = "param publicNetworkAccess = 'Enabled'\n"
    change(copied, "infrastructure/dev.bicepparam", setting, "")

    assert (
        body_of(deployed_resources(copied, "dev"), "name")["properties"]["publicNetworkAccess"]
        == "Disabled"
    )


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_shared_keys_are_disabled(original: BakedProject, env: str):
    resources = deployed_resources(original, env)

    storage = body_of(resources, "storage_account")["properties"]
    assert storage["allowSharedKeyAccess"] is storage["allowBlobPublicAccess"] is False
    assert storage["minimumTlsVersion"] == "TLS1_2"
    assert body_of(resources, "container_registry")["properties"]["adminUserEnabled"] is False
    assert body_of(resources, "key_vault")["properties"]["enableRbacAuthorization"] is True
    assert body_of(resources, "name")["properties"]["systemDatastoresAuthMode"] == "Identity"


def test_each_identity_has_only_the_roles_it_needs(original: BakedProject):
    names = read_azureml(original.path, "dev").workspace
    own, job = f"principal of id-{names.name}", "principal of cpu-cluster"

    assert roles(deployed_resources(original, "dev")) == {
        (own, names.storage_account, "Contributor"),
        (own, names.storage_account, "Storage Blob Data Contributor"),
        (own, names.key_vault, "Contributor"),
        (own, names.key_vault, "Key Vault Administrator"),
        (own, names.container_registry, "Contributor"),
        (own, names.application_insights, "Contributor"),
        (own, names.name, "Contributor"),
        *((job, *role) for role in roles_of_jobs(original)),
    }


def test_ci_gets_roles_when_its_principal_is_set(copied: BakedProject):
    before = roles(deployed_resources(copied, "dev"))
    change(copied, "infrastructure/dev.bicepparam", "PrincipalId = ''", "PrincipalId = 'ci'")

    added = roles(deployed_resources(copied, "dev")) - before

    assert added == {("ci", *role) for role in roles_of_jobs(copied)}


def test_private_endpoints_are_created_in_the_configured_subnet(copied: BakedProject):
    kind = "Microsoft.Network/privateEndpoints"
    assert not [one for one in deployed_resources(copied, "prod") if one.type == kind]
    change(copied, "infrastructure/prod.bicepparam", "SubnetId = ''", "SubnetId = '/subnets/x'")

    made = [
        one.body["properties"] for one in deployed_resources(copied, "prod") if one.type == kind
    ]

    names = read_azureml(copied.path, "prod").workspace
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


INSIGHTS = "Microsoft.Insights"
ALERTS = (f"{INSIGHTS}/metricAlerts", f"{INSIGHTS}/scheduledQueryRules")


def alerts(project: BakedProject, env: str, **parameters: str) -> dict[str, dict[str, Any]]:
    """Set parameters of an environment and return its alert rules, by name without suffix."""
    for name, value in parameters.items():
        change(project, f"infrastructure/{env}.bicepparam", f"{name} = ''", f"{name} = '{value}'")
    names = read_azureml(project.path, env).workspace
    made = [one.body for one in deployed_resources(project, env) if one.type in ALERTS]
    return {body["name"].removesuffix(f"-{names.name}"): body["properties"] for body in made}


def test_there_are_no_alerts_without_an_email_address(copied: BakedProject):
    assert alerts(copied, "prod", alertEndpoint="heat") == {}
    kinds = {one.type for one in deployed_resources(copied, "prod")}
    assert f"{INSIGHTS}/actionGroups" not in kinds


def test_without_an_endpoint_only_failed_jobs_raise_an_alert(copied: BakedProject):
    made = alerts(copied, "prod", alertEmail="ops@example.com")

    assert list(made) == ["job-failed"]
    (scope,) = made["job-failed"]["scopes"]
    assert scope.endswith(f"/{ML}/{read_azureml(copied.path, 'prod').workspace.name}")
    (rule,) = made["job-failed"]["criteria"]["allOf"]
    assert (rule["metricName"], rule["timeAggregation"]) == ("Failed Runs", "Total")
    assert (rule["operator"], rule["threshold"]) == ("GreaterThan", 0)


def test_an_endpoint_has_alerts_for_errors_latency_and_no_traffic(copied: BakedProject):
    made = alerts(copied, "prod", alertEmail="ops@example.com", alertEndpoint="heat")

    watched = ["endpoint-errors", "model-errors", "latency"]
    assert list(made) == [*("job-failed", *watched), "no-traffic"]
    rules = {name: made[name]["criteria"]["allOf"][0] for name in made}
    for name in watched:
        (scope,) = made[name]["scopes"]
        names = read_azureml(copied.path, "prod").workspace
        assert scope.endswith(f"/{ML}/{names.name}/onlineEndpoints/heat")
        assert made[name]["criteria"]["odata.type"].endswith("SingleResourceMultipleMetricCriteria")
    # `kedro mlops ab --compare` queries the same metrics
    assert {rules[name]["metricName"] for name in watched} == {
        "RequestsPerMinute",
        "RequestLatency_P95",
    }
    failures = [rules[name]["dimensions"][0] for name in ("endpoint-errors", "model-errors")]
    assert [(one["name"], one["operator"]) for one in failures] == [
        ("statusCodeClass", "Include"),
        ("modelStatusCode", "Include"),
    ]
    assert rules["latency"]["threshold"] == 1000
    no_traffic = rules["no-traffic"]
    assert (no_traffic["timeAggregation"], no_traffic["operator"], no_traffic["threshold"]) == (
        *("Count", "LessThan"),
        1,
    )
    names = read_azureml(copied.path, "prod").workspace
    assert made["no-traffic"]["scopes"][0].endswith(names.application_insights)


def test_every_alert_goes_to_the_configured_email_address(copied: BakedProject):
    made = alerts(copied, "prod", alertEmail="ops@example.com", alertEndpoint="heat")

    (group,) = [
        one for one in deployed_resources(copied, "prod") if one.type == f"{INSIGHTS}/actionGroups"
    ]
    (receiver,) = group.body["properties"]["emailReceivers"]
    assert receiver["emailAddress"] == "ops@example.com"
    assert len(group.body["properties"]["groupShortName"]) <= 12
    for name, body in made.items():
        actions = body["actions"]
        ids = (
            actions["actionGroups"]
            if name == "no-traffic"
            else [one["actionGroupId"] for one in actions]
        )
        assert ids == [group.id], name


def test_the_workspace_uses_the_configured_resources(original: BakedProject):
    names = read_azureml(original.path, "dev").workspace
    workspace = body_of(deployed_resources(original, "dev"), "name")["properties"]
    keys = {
        "storageAccount": "storage_account",
        "keyVault": "key_vault",
        "containerRegistry": "container_registry",
        "applicationInsights": "application_insights",
    }
    for property, key in keys.items():
        assert workspace[property].endswith(f"/{TYPES[key]}/{getattr(names, key)}")


def test_bicep_and_provision_use_the_same_api_versions(original: BakedProject):
    versions = {one.type: one.version for one in deployed_resources(original, "dev")}
    provision_versions = {kind: v for kind, v in arm._VERSIONS.items() if kind != ML}
    assert provision_versions.items() <= versions.items()


def test_configuration_read_by_bicep_has_no_placeholders(original: BakedProject):
    """Bicep does not resolve the ``${...}`` placeholders that Kedro would."""
    for env in ENVIRONMENTS:
        values = assigned(original.path / FOLDER / f"{env}.bicepparam")["configuration"]
        read = {key: values[key] for key in ("workspace", "clusters", "datastores")}
        assert "${" not in str(read)


def body_of(resources: list[Resource], key: str) -> dict[str, Any]:
    (body,) = (one.body for one in resources if one.type == TYPES[key])
    return body


def roles(resources: list[Resource]) -> set[tuple[str, str, str]]:
    """Return the role assignments as (principal, scope, role)."""
    assignments = [
        one for one in resources if one.type == "Microsoft.Authorization/roleAssignments"
    ]
    assert len({one.id for one in assignments}) == len(assignments)
    return {
        (
            one.body["properties"]["principalId"],
            one.id.split("/providers/Microsoft.Authorization/")[0].rsplit("/", 1)[1],
            ROLES[one.body["properties"]["roleDefinitionId"].rsplit("/", 1)[1]],
        )
        for one in assignments
    }


def roles_of_jobs(project: BakedProject) -> set[tuple[str | None, str]]:
    names = read_azureml(project.path, "dev").workspace
    return {
        (names.name, "AzureML Data Scientist"),
        (names.storage_account, "Storage Blob Data Contributor"),
        (names.container_registry, "AcrPull"),
    }


SLUGS = ["abc", "a-b", "cold-store", "x" * 60, "a-" * 29 + "ab", ("word-" * 12).rstrip("-")]
# Azure's rules for names: characters, shortest and longest length.
RULES = {
    ML: (r"[A-Za-z0-9][A-Za-z0-9-]*", 3, 33),
    f"{ML}/computes": (r"[a-zA-Z][a-zA-Z0-9-]*", 3, 24),
    "Microsoft.Storage/storageAccounts": (r"[a-z0-9]+", 3, 24),
    "Microsoft.KeyVault/vaults": (r"[a-z](-?[a-z0-9])*", 3, 24),
    "Microsoft.ContainerRegistry/registries": (r"[a-zA-Z0-9]+", 5, 50),
    "Microsoft.Insights/components": (r"[A-Za-z0-9._()-]*[A-Za-z0-9_()-]", 1, 255),
    "Microsoft.OperationalInsights/workspaces": (r"[A-Za-z0-9](-?[A-Za-z0-9])*", 4, 63),
    "Microsoft.ManagedIdentity/userAssignedIdentities": (r"[A-Za-z0-9][A-Za-z0-9_-]*", 3, 128),
    "Microsoft.Network/privateEndpoints": (r"[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9_]", 2, 64),
}


@pytest.mark.parametrize("slug", SLUGS, ids=lambda slug: f"{slug[:10]}-{len(slug)}")
class TestEverySlug:
    @pytest.fixture
    def project(
        self, baked: Callable[..., BakedProject], slug: str, tmp_path: Path
    ) -> BakedProject:
        """A project with this slug whose environments have private endpoints."""
        project = copy_of(baked(project_slug=slug, package_name="mine"), tmp_path / "project")
        for env in ENVIRONMENTS:
            change(project, f"infrastructure/{env}.bicepparam", "SubnetId = ''", "SubnetId = '/s'")
        return project

    def test_resource_names_are_valid_and_differ_by_environment(self, project: BakedProject):
        names: dict[str, set[str]] = {}
        for env in ENVIRONMENTS:
            resources = deployed_resources(project, env)
            assert {one.type for one in resources} >= set(RULES)
            for one in (one for one in resources if one.type in RULES):
                characters, shortest, longest = RULES[one.type]
                assert re.fullmatch(characters, one.body["name"]), one
                assert shortest <= len(one.body["name"]) <= longest, one
                names.setdefault(one.type, set()).add(one.body["name"])
        assert all(len(names[kind]) == len(ENVIRONMENTS) for kind in TYPES.values())

    def test_provision_uses_the_same_names(self, project: BakedProject):
        for env in ENVIRONMENTS:
            assert made_by_bicep(project, env) == expected_by_provision(project, env)


def test_the_bicep_files_parse(original: BakedProject):
    files = [name for name in original.files if name.endswith((".bicep", ".bicepparam"))]
    assert len(files) == 5
    for name in files:
        assert not read(original.path / name).root.has_error, name


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("main.bicep", "    properties: {", "    properties: ["),
        ("main.bicep", "  properties: {\n    tenantId", "  properties:\n    tenantId"),
        ("main.bicep", "'StorageV2'", "'StorageV2"),
        ("main.bicep", "resource vault", "resourse vault"),
        ("main.bicep", "param purgeProtection bool", "param purgeProtection"),
        ("prod.bicepparam", "purgeProtection = true", "purgeProtection ="),
    ],
    ids=["bracket", "brace", "quote", "word", "no_type", "value"],
)
def test_a_syntax_error_is_detected(copied: BakedProject, file: str, old: str, new: str):
    change(copied, f"infrastructure/{file}", old, new)

    assert read(copied.path / FOLDER / file).root.has_error


def test_every_resource_pins_an_api_version(original: BakedProject):
    for file in ("main.bicep", "roles.bicep"):
        nodes = walk(read(original.path / FOLDER / file).root)
        kinds = [n.named_children[1] for n in nodes if n.type == "resource_declaration"]
        assert kinds
        for kind in kinds:
            assert re.fullmatch(rb"'[\w./]+@\d{4}-\d\d-\d\d'", kind.text or b"")
