"""The rendered project's pipelines: legal, pinned, and nothing but verbs of its Makefile."""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
from azure_schema import faults_of_azure_pipeline
from helpers import BakedProject, tool

AZURE = "azure_pipelines/ci.yml"
GITHUB = ".github/workflows/ci.yml"

VERSIONS = ["3.11", "3.12", "3.13"]


@pytest.fixture(params=VERSIONS)
def project(request: pytest.FixtureRequest, baked: Callable[..., BakedProject]) -> BakedProject:
    """A project with both providers, for one version of Python."""
    return baked(ci_provider="both", python_version=request.param)


def steps_of_azure(project: BakedProject) -> list[dict[str, Any]]:
    """Return the steps of the Azure pipeline."""
    return project.yaml(AZURE)["steps"]


def steps_of_github(project: BakedProject) -> list[dict[str, Any]]:
    """Return the steps of the only job of the GitHub workflow."""
    (job,) = project.yaml(GITHUB)["jobs"].values()
    return job["steps"]


class TestAzurePipeline:
    def test_fits_the_schema(self, project: BakedProject) -> None:
        assert faults_of_azure_pipeline(project.yaml(AZURE)) == []

    @pytest.mark.parametrize("fault", ["key", "place"])
    def test_would_be_refused_with_a_fault(self, project: BakedProject, fault: str) -> None:
        broken = copy.deepcopy(project.yaml(AZURE))
        if fault == "key":
            broken["steps"][0]["scrpt"] = broken["steps"][0].pop("checkout")
        else:
            broken["steps"] = {"script": "make test"}
        assert faults_of_azure_pipeline(broken)

    def test_runs_the_python_of_the_answer(self, project: BakedProject) -> None:
        (step,) = (s for s in steps_of_azure(project) if s.get("task") == "UsePythonVersion@0")
        version = step["inputs"]["versionSpec"]
        assert f"PYTHON ?= {version}\n" in project.read("Makefile")


class TestGithubWorkflow:
    def test_fits_the_schema(self, project: BakedProject) -> None:
        checked = project.run(
            tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", GITHUB
        )
        assert checked.returncode == 0, checked.stdout

    def test_passes_the_auditor(self, project: BakedProject) -> None:
        audited = project.run(tool("zizmor"), "--offline", "--persona=auditor", GITHUB)
        assert audited.returncode == 0, audited.stdout

    def test_would_be_refused_with_a_fault(self, bake: Callable[..., BakedProject]) -> None:
        project = bake(ci_provider="github_actions")
        workflow = project.path / GITHUB
        loose = re.sub(r"@[0-9a-f]{40}.*", "@main", project.read(GITHUB))
        workflow.write_text(loose, encoding="utf-8")
        assert project.run(tool("zizmor"), "--offline", GITHUB).returncode != 0
        workflow.write_text(loose.replace("runs-on", "run-on"), encoding="utf-8")
        schema = ("--builtin-schema", "vendor.github-workflows")
        assert project.run(tool("check-jsonschema"), *schema, GITHUB).returncode == 1

    def test_may_do_no_more_than_read(self, project: BakedProject) -> None:
        workflow = project.yaml(GITHUB)
        assert workflow["permissions"] == {}
        assert [job["permissions"] for job in workflow["jobs"].values()] == [{"contents": "read"}]

    def test_pins_actions_by_commit_and_names_their_version(self, project: BakedProject) -> None:
        used = re.findall(r"uses: (.*)", project.read(GITHUB))
        assert used
        for action in used:
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action

    def test_runs_the_python_of_the_answer(self, project: BakedProject) -> None:
        (step,) = (s for s in steps_of_github(project) if "setup-python" in s.get("uses", ""))
        assert f"PYTHON ?= {step['with']['python-version']}\n" in project.read("Makefile")


def test_each_step_is_a_verb_of_the_makefile(project: BakedProject) -> None:
    scripts = {
        AZURE: [step["script"] for step in steps_of_azure(project) if "script" in step],
        GITHUB: [step["run"] for step in steps_of_github(project) if "run" in step],
    }
    verbs = set(re.findall(r"^([a-z]+):", project.read("Makefile"), re.M))
    for script in scripts.values():
        assert script == ["make setup", "make check", "make test"]
        assert {command.removeprefix("make ") for command in script} <= verbs


@pytest.mark.parametrize(
    ("provider", "chosen", "other"),
    [("azure_pipelines", AZURE, GITHUB), ("github_actions", GITHUB, AZURE)],
)
def test_only_the_chosen_provider_is_there(
    baked: Callable[..., BakedProject], provider: str, chosen: str, other: str
) -> None:
    project = baked(ci_provider=provider)
    assert project.has_file(chosen)
    assert not project.has_file(other)
