"""The CI pages list every rendered pipeline, and their commands work."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.helpers import ROOT, BakedProject, clean_environment
from tests.template.ci_steps import PIPELINES, WORKFLOWS

PAGES = {"azure-devops": PIPELINES, "github": WORKFLOWS}


def page(name: str) -> str:
    """Return all pages of a provider, with the page on retraining that both share."""
    folder = ROOT / "docs" / "how-to" / "ci"
    pages = [*sorted(folder.glob(f"{name}*.md")), folder / "retraining.md"]
    return "\n".join(path.read_text(encoding="utf-8") for path in pages)


def blocks(name: str) -> list[str]:
    """Return the bash blocks of a page, with a word for each placeholder."""
    code_blocks = re.findall(r"```bash\n(.*?)```", page(name), re.DOTALL)
    return [re.sub(r"<[a-z ]+>", "WORD", block) for block in code_blocks]


@pytest.mark.parametrize("name", PAGES)
def test_lists_each_pipeline(name: str) -> None:
    rows = dict(re.findall(r"^\| `([\w-]+)\.yml` \|(.*)\|$", page(name), re.MULTILINE))
    assert set(rows) == set(PAGES[name])


@pytest.mark.parametrize("name", PAGES)
def test_commands_have_valid_bash_syntax(name: str) -> None:
    assert blocks(name)
    for block in blocks(name):
        checked = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True)
        assert (checked.returncode, checked.stderr) == (0, ""), block


@pytest.mark.parametrize("name", PAGES)
def test_commands_switch_the_registry_to_azureml(
    bake: Callable[..., BakedProject], name: str
) -> None:
    project = bake(ci_provider="both")
    (block,) = (block for block in blocks(name) if "kind: azureml" in block)
    commands = "\n".join(line for line in block.splitlines() if not line.startswith("git "))
    subprocess.run(["bash", "-euc", commands], cwd=project.path, check=True)
    for env in ("dev", "stage", "prod"):
        file = project.path / "operation" / "configuration" / env / "mlops.yml"
        assert yaml.safe_load(file.read_text("utf-8"))["registry"]["kind"] == "azureml"


def test_commands_create_a_federated_service_connection(tmp_path: Path) -> None:
    """The commands run with stubs of az and jq, which answer each query."""
    (block,) = (block for block in blocks("azure-devops") if "connection.json" in block)
    programs = {
        "az": """case "$*" in
            *configuration*) cat connection.json >sent; echo '{}' ;;
            *federated*) cat trust.json >trusted ;;
            *query*) while [ "$1" != --query ]; do shift; done; echo "of-$2" ;;
        esac""",
        "jq": 'echo "of $2"',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    shell = clean_environment(PATH=path, SLUG="slug", PROJECT="The Project")
    subprocess.run(["bash", "-euc", block], cwd=tmp_path, env=shell, check=True)
    sent = json.loads((tmp_path / "sent").read_text())
    assert sent["name"] == "azure-slug-dev"
    assert sent["authorization"]["scheme"] == "WorkloadIdentityFederation"
    assert sent["authorization"]["parameters"]["serviceprincipalid"] == "of-appId"
    assert sent["data"]["subscriptionId"] == "WORD"
    (reference,) = sent["serviceEndpointProjectReferences"]
    assert reference["projectReference"] == {"id": "of-id", "name": "The Project"}
    trusted = json.loads((tmp_path / "trusted").read_text())
    assert trusted["subject"].endswith("workloadIdentityFederationSubject")
    assert not (tmp_path / "connection.json").exists()
