"""The command of a failed CI step reproduces the failure on a laptop.

Each step of the rendered YAML is one command. The tests run it like an agent, in a clone of a
commit with a fault, and in a fresh shell in another clone of the same commit.
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.helpers import InstalledProject, clean_environment
from tests.plugin.update.updating import git
from tests.template.ci_steps import Step, steps_of_azure, steps_of_github

pytestmark = pytest.mark.slow


def style(project: Path) -> None:
    """Use a name that does not exist."""
    module = project / "src" / "temperature_anomalies" / "fault.py"
    module.write_text('"""A module."""\n\nANSWER = undefined\n', encoding="utf-8")


def suite(project: Path) -> None:
    """Add a test that fails."""
    file = project / "operation" / "tests" / "unit" / "test_seeded.py"
    file.write_text("def test_seeded():\n    assert 1 + 1 == 3\n", encoding="utf-8")


def configuration(project: Path) -> None:
    """Name a pipeline that does not exist."""
    file = project / "operation" / "configuration" / "stage" / "azureml.yml"
    with file.open("a", encoding="utf-8") as text:
        text.write("\nsteps:\n  fit: {pipelines: [data_sciense]}\n")


# function that inserts the fault, part of the step's command, pattern of the failure
FAULTS = {
    "style": (style, "make check", r"F821 .*|.*fault\.py:3:\d+"),
    "test": (suite, ".venv/bin/pytest", r"FAILED \S+::test_seeded"),
    "configuration": (configuration, "compile --env stage", r".*data_sciense.*"),
}
# Agent and laptop only run the tests of the broken file, in one process, and the hook that finds
# the fault. This saves minutes and skips no step.
QUICK = {"PYTEST_ADDOPTS": "-k seeded", "PYTEST_XDIST_AUTO_NUM_WORKERS": "0"}
FINDS = "ruff-check"
AGENTS = {
    "github_actions": {"CI": "true", "GITHUB_ACTIONS": "true"},
    "azure_pipelines": {"TF_BUILD": "True", "BUILD_REASON": "PullRequest"},
}


@pytest.fixture(scope="module")
def project(install: Callable[..., InstalledProject]) -> InstalledProject:
    return install(ci_provider="both")


@pytest.fixture(scope="module")
def quick(project: InstalledProject) -> dict[str, str]:
    """Variables that skip everything unrelated to the faults."""
    hooks = yaml.safe_load(project.read(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    return QUICK | {"SKIP": ",".join(hook["id"] for hook in hooks if hook["id"] != FINDS)}


@pytest.fixture(scope="module")
def local_runs() -> dict[str, subprocess.CompletedProcess[str]]:
    """The results of commands on the laptop, shared because providers have the same commands."""
    return {}


@pytest.fixture
def clones(project: InstalledProject, tmp_path: Path) -> Callable[..., list[Path]]:
    """Commit a fault and clone it twice: for the agent, and for another user's laptop."""

    def cloned(insert_fault: Callable[[Path], None]) -> list[Path]:
        pushed = tmp_path / "pushed"
        ignored = shutil.ignore_patterns(".git", ".venv", ".venv-serve")
        shutil.copytree(project.path, pushed, ignore=ignored)
        insert_fault(pushed)
        git(pushed, "init", "--quiet", "--initial-branch=main")
        git(pushed, "add", "--all")
        git(pushed, "commit", "--quiet", "--message", "A fault")
        folders = [tmp_path / "agent", tmp_path / "laptop"]
        for folder in folders:
            git(tmp_path, "clone", "--quiet", str(pushed), str(folder))
            (folder / ".venv").symlink_to((project.path / ".venv").resolve())
        for stamp in (".run", ".dev", ".azure"):  # installed after the locks were written
            (project.path / ".venv" / stamp).touch()
        return folders

    return cloned


def run(step: Step, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a step's script without letting make install into the environment of these tests."""
    shell = {"PYTHONPATH": str(folder / "src"), "MAKEFLAGS": "UV=false"} | variables
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-c", step.script],
        cwd=folder,
        env=clean_environment(**shell),
        capture_output=True,
        text=True,
        check=False,
    )


def failure(log: subprocess.CompletedProcess[str], pattern: str) -> set[str]:
    """Return the lines that identify a failure, without colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.stdout + log.stderr)
    return set(re.findall(pattern, text, re.MULTILINE))


@pytest.mark.parametrize("provider", AGENTS)
@pytest.mark.parametrize(("insert_fault", "command", "pattern"), FAULTS.values(), ids=FAULTS)
def test_the_same_command_shows_the_same_failure(
    project: InstalledProject, clones: Callable[..., list[Path]], monkeypatch: pytest.MonkeyPatch,
    provider: str, insert_fault: Callable[[Path], None], command: str, pattern: str,
    quick: dict[str, str], local_runs: dict[str, subprocess.CompletedProcess[str]],
) -> None:  # fmt: skip
    monkeypatch.chdir(project.path)
    agent, laptop = clones(insert_fault)
    all_steps = (
        steps_of_azure(project) if provider == "azure_pipelines" else steps_of_github(project)
    )
    steps = {step.script: step for step in all_steps if command in step.script}
    (step,) = steps.values()

    red = run(step, agent, **quick, **AGENTS[provider])
    assert red.returncode != 0, red.stdout
    assert failure(red, pattern), red.stdout + red.stderr

    if step.script not in local_runs:
        local_runs[step.script] = run(step, laptop, **quick)
    again = local_runs[step.script]
    assert again.returncode != 0
    assert failure(again, pattern) == failure(red, pattern)
