"""The rendered project's Bicep files: legal names for every slug, and a check of their defects."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from helpers import BakedProject

FOLDER = "operation/infrastructure"
ENVIRONMENTS = ("dev", "stage", "prod")
SLUGS = ["abc", "a-b", "cold-store", "x" * 60, "a-" * 29 + "ab", ("word-" * 12).rstrip("-")]

# What Azure takes as a name: characters, shortest, longest.
RULES = {
    "Microsoft.MachineLearningServices/workspaces": (r"[A-Za-z0-9][A-Za-z0-9-]*", 3, 33),
    "Microsoft.MachineLearningServices/workspaces/computes": (r"[a-zA-Z][a-zA-Z0-9-]*", 3, 24),
    "Microsoft.Storage/storageAccounts": (r"[a-z0-9]+", 3, 24),
    "Microsoft.KeyVault/vaults": (r"[a-z](-?[a-z0-9])*", 3, 24),
    "Microsoft.ContainerRegistry/registries": (r"[a-zA-Z0-9]+", 5, 50),
    "Microsoft.Insights/components": (r"[A-Za-z0-9._()-]*[A-Za-z0-9_()-]", 1, 255),
    "Microsoft.OperationalInsights/workspaces": (r"[A-Za-z0-9](-?[A-Za-z0-9])*", 4, 63),
    "Microsoft.ManagedIdentity/userAssignedIdentities": (r"[A-Za-z0-9][A-Za-z0-9_-]*", 3, 128),
    "Microsoft.Network/privateEndpoints": (r"[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9_]", 2, 64),
}
KEYS = {
    "name": "Microsoft.MachineLearningServices/workspaces",
    "storage_account": "Microsoft.Storage/storageAccounts",
    "key_vault": "Microsoft.KeyVault/vaults",
    "container_registry": "Microsoft.ContainerRegistry/registries",
    "application_insights": "Microsoft.Insights/components",
    "log_analytics": "Microsoft.OperationalInsights/workspaces",
}
DEPLOYED = f"""
import json
from pathlib import Path
from operation.tests.bicep_values import deploy
folder = Path("{FOLDER}")
print(json.dumps({{
    env: [[one.type, one.body["name"]]
          for one in deploy(folder / "main.bicep", folder / f"{{env}}.bicepparam")]
    for env in {ENVIRONMENTS}
}}))
"""


def check(project: BakedProject, *names: str) -> subprocess.CompletedProcess[str]:
    """Call the check on some files, all of them if none is named."""
    return project.run(sys.executable, "-m", "tools.checks.bicep", *(names or files(project)))


def files(project: BakedProject) -> list[str]:
    """Name all Bicep files."""
    return sorted(name for name in project.files if name.endswith((".bicep", ".bicepparam")))


@cache
def deployed(project: BakedProject) -> dict[str, list[list[str]]]:
    """Return the types and names of what each environment's deployment would make."""
    process = project.run(sys.executable, "-c", DEPLOYED)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.mark.parametrize("slug", SLUGS, ids=lambda slug: f"{slug[:10]}-{len(slug)}")
class TestOfEverySlug:
    @pytest.fixture
    def project(self, baked: Callable[..., BakedProject], slug: str) -> BakedProject:
        """A project of that slug, whose package has a short name."""
        return baked(project_slug=slug, package_name="mine")

    def test_the_files_are_clean(self, project: BakedProject) -> None:
        checked = check(project)
        assert (checked.returncode, checked.stderr) == (0, "")
        assert len(files(project)) >= 10

    def test_the_names_are_legal(self, project: BakedProject) -> None:
        for env, things in deployed(in_a_network(project)).items():
            for kind, name in things:
                if kind in RULES:
                    characters, shortest, longest = RULES[kind]
                    assert re.fullmatch(characters, name), (env, kind, name)
                    assert shortest <= len(name) <= longest, (env, kind, name)
            assert {kind for kind, _ in things} >= set(RULES), env

    def test_the_names_are_those_of_provision(self, project: BakedProject) -> None:
        things = deployed(project)
        base = project.yaml("operation/configuration/base/azureml.yml")
        for env in ENVIRONMENTS:
            own = project.yaml(f"operation/configuration/{env}/azureml.yml")
            for key, kind in KEYS.items():
                made = [name for found, name in things[env] if found == kind]
                assert made == [own["workspace"][key]], (env, key)
            clusters = base["clusters"] | own.get("clusters", {})
            kind = "Microsoft.MachineLearningServices/workspaces/computes"
            made = [name for found, name in things[env] if found == kind]
            assert sorted(made) == sorted(clusters)

    def test_each_environment_has_its_own(self, project: BakedProject) -> None:
        things = deployed(project)
        for kind in KEYS.values():
            names = [name for env in ENVIRONMENTS for found, name in things[env] if found == kind]
            assert len(set(names)) == len(ENVIRONMENTS), kind


def in_a_network(project: BakedProject) -> BakedProject:
    """Return a copy of a project whose environments have private endpoints."""
    copy = BakedProject(project.path.with_name("in-a-network"))
    for folder in ("operation", "tools"):
        shutil.copytree(project.path / folder, copy.path / folder)
    for env in ENVIRONMENTS:
        line = "param privateEndpointSubnetId = "
        change(copy, f"{FOLDER}/{env}.bicepparam", f"{line}''", f"{line}'/subnets/x'")
    return copy


def change(project: BakedProject, name: str, old: str, new: str) -> int:
    """Change the first place in a file and return its line."""
    text = project.read(name)
    assert old in text, f"{name} holds no {old!r}"
    (project.path / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


# file, what is there, what is put there, how many lines below the fault is told, what is said
DEFECTS: dict[str, tuple[str, str, str, int | None, str]] = {
    "bracket": ("main.bicep", "  params: {", "  params: [", 0, "syntax"),
    "brace": ("modules/vault.bicep", "    sku: {\n", "    sku:\n", 0, "syntax"),
    "quote": ("modules/storage.bicep", "'StorageV2'", "'StorageV2", 0, "syntax"),
    "word": ("modules/vault.bicep", "resource vault", "resourse vault", 0, "syntax"),
    "no_type": ("main.bicep", "param location string", "param location", 0, "syntax"),
    "value": ("prod.bicepparam", "purgeProtection = true", "purgeProtection =", 0, "syntax"),
    "unknown": ("modules/vault.bicep", "? 90 : 7", "? ninety : 7", 0, "'ninety' is declared"),
    "unknown_in_text": ("main.bicep", "id-${workspaceName}", "id-${workspace_name}", 0, "nowhere"),
    "unknown_parent": ("modules/storage.bicep", "parent: account", "parent: acount", 0, "nowhere"),
    "unknown_in_file": ("dev.bicepparam", "base, own)", "base, mine)", 0, "'mine' is declared"),
    "unused": (
        "modules/roles.bicep",
        "var acrPull",
        "var acrPush = '1'\nvar acrPull",
        0,
        "'acrPush' is used nowhere",
    ),
    "unused_parameter": (
        "main.bicep",
        "param location string",
        "param region string = ''\nparam location string",
        0,
        "parameter 'region' is used nowhere",
    ),
    "doubled": (
        "modules/registry.bicep",
        "param location string",
        "param location string\nparam location string",
        1,
        "declared twice",
    ),
    "module": ("main.bicep", "modules/vault.bicep", "modules/vaults.bicep", 0, "no file modules/v"),
    "loaded": ("prod.bicepparam", "prod/azureml.yml", "prd/azureml.yml", 0, "there is no file ../"),
    "using": ("prod.bicepparam", "using 'main.bicep'", "using 'mian.bicep'", 0, "no file mian"),
    "no_using": ("prod.bicepparam", "using 'main.bicep'", "", None, "using 'FILE.bicep' is"),
    "undeclared_parameter": (
        "stage.bicepparam",
        "param keyVaultName",
        "param keyvaultName",
        0,
        "has no parameter 'keyvaultName'",
    ),
    "missing_parameter": (
        "stage.bicepparam",
        "param keyVaultName = configuration.workspace.key_vault\n",
        "",
        None,
        "main.bicep needs the parameter 'keyVaultName'",
    ),
    "not_allowed": ("dev.bicepparam", "'Enabled'\n", "'enabled'\n", 0, "allowed are Disabled, E"),
    "undeclared_in_module": (
        "main.bicep",
        "    purgeProtection: purgeProtection",
        "    purgeProtection: purgeProtection\n    softDelete: true",
        1,
        "vault.bicep has no parameter 'softDelete'",
    ),
    "missing_in_module": (
        "main.bicep",
        "    wanted: one.value\n",
        "",
        None,
        "cluster.bicep needs the parameter 'wanted'",
    ),
    "no_version": ("modules/vault.bicep", "vaults@2023-07-01'", "vaults'", 0, "no version of its"),
    "latest": ("modules/vault.bicep", "@2023-07-01", "@latest", 0, "no version of its API"),
    "key_in_output": (
        "modules/storage.bicep",
        "= account.name",
        "= account.listKeys().keys[0].value",
        0,
        "'listKeys' in an output",
    ),
    "key_in_output_by_function": (
        "modules/storage.bicep",
        "= account.name",
        "= listKeys(account.id, '2023-05-01').keys[0].value",
        0,
        "'listKeys' in an output",
    ),
    "connection_in_output": (
        "modules/monitoring.bicep",
        "= insights.name",
        "= insights.properties.ConnectionString",
        0,
        "'ConnectionString' in an output",
    ),
    "secret_in_output": (
        "modules/registry.bicep",
        "output name string = registry.name",
        "@secure()\nparam token string\nvar told = 'x${token}'\noutput name string = told",
        3,
        "'told' in an output",
    ),
    "secret_as_default": (
        "modules/registry.bicep",
        "param location string",
        "param location string\n@secure()\nparam token string = 'abc'",
        2,
        "parameter 'token' is @secure()",
    ),
}  # fmt: skip


class TestDefects:
    @pytest.fixture
    def project(self, baked: Callable[..., BakedProject], tmp_path: Path) -> BakedProject:
        """A copy of what the check needs of a project."""
        whole = baked()
        for folder in (FOLDER, "operation/configuration", "tools"):
            shutil.copytree(whole.path / folder, tmp_path / folder)
        return BakedProject(tmp_path)

    @pytest.mark.parametrize("defect", DEFECTS.values(), ids=DEFECTS)
    def test_are_found_where_they_are(self, project: BakedProject, defect: Any) -> None:  # noqa: ANN401
        file, old, new, below, said = defect
        name = f"{FOLDER}/{file}"
        line = change(project, name, old, new)

        checked = check(project, name)

        assert checked.returncode == 1
        assert said in checked.stderr
        if below is not None:
            place = f"{name}:{line + below}:"
            assert any(x.startswith(place) and said in x for x in checked.stderr.splitlines())

    def test_are_found_in_all_files_at_once(self, project: BakedProject) -> None:
        for file in ("modules/vault.bicep", "modules/registry.bicep"):
            change(project, f"{FOLDER}/{file}", "@2023-07-01", "")
        checked = check(project)
        assert len(checked.stderr.splitlines()) == 2

    @pytest.mark.parametrize(
        ("file", "old", "new"),
        [
            ("modules/storage.bicep", "= account.name", "= account.properties.primaryEndpoints"),
            ("modules/vault.bicep", "= vault.name", "= [subscription().tenantId][0]"),
            ("main.bicep", "param ciPrincipalId string = ''", "param ciPrincipalId string?"),
            ("main.bicep", "param location string", "param location string = deployment().name"),
            ("modules/roles.bicep", "var", "#disable-next-line no-unused-vars\nvar x = 1\nvar"),
            ("modules/roles.bicep", "var", "@export()\nvar x = 1\nvar"),
            ("modules/roles.bicep", "var", "// an unknown word: ninety\nvar"),
            ("dev.bicepparam", "ciPrincipalId = ''", "ciPrincipalId = az.getSecret('s', 'g', 'v')"),
            ("dev.bicepparam", "param ciPrincipalId = ''\n", ""),
        ],
        ids=[
            "endpoint", "call_in_array", "nullable", "default", "allowed_unused", "exported",
            "comment", "secret_of_a_vault", "left_out",
        ],
    )  # fmt: skip
    def test_are_not_seen_in_good_files(
        self, project: BakedProject, file: str, old: str, new: str
    ) -> None:
        change(project, f"{FOLDER}/{file}", old, new)
        checked = check(project, f"{FOLDER}/{file}")
        assert (checked.returncode, checked.stderr) == (0, "")

    def test_line_ends_of_windows_are_read(self, project: BakedProject) -> None:
        for name in files(project):
            path = project.path / name
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        assert check(project).returncode == 0
        line = change(project, f"{FOLDER}/main.bicep", "id-${workspaceName}", "id-${x}")
        assert f"main.bicep:{line}:" in check(project).stderr

    @pytest.mark.parametrize("names", [[], ["nowhere.bicep"], ["operation"]])
    def test_cannot_be_looked_for_without_files(
        self, project: BakedProject, names: list[str]
    ) -> None:
        checked = project.run(sys.executable, "-m", "tools.checks.bicep", *names)
        assert checked.returncode == 2
        assert checked.stderr.startswith("bicep: ")
        assert "Traceback" not in checked.stderr
