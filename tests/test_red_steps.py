"""From a red step in the log of CI to the same failure on a laptop: the one command that it prints.

The step is taken from the rendered YAML and run as the agent runs it, in a clone of a commit with a
fault; the command from its log is typed into a fresh shell in another clone of the same commit.
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from ci_steps import Step, repeated, steps_of_azure, steps_of_github, typed, words
from helpers import BakedProject, InstalledProject
from updating import git

pytestmark = pytest.mark.slow


def style(project: Path) -> None:
    """Use a name that does not exist."""
    module = project / "src" / "temperature_anomalies" / "fault.py"
    module.write_text('"""A module."""\n\nANSWER = undefined\n', encoding="utf-8")


def raw_data(project: Path) -> None:
    """Put a word in the place of a temperature."""
    file = project / "operation" / "tests" / "data_validation" / "fixtures" / "good.csv"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[2] = lines[2].rpartition(",")[0] + ",hot\n"
    file.write_bytes("".join(lines).encode("utf-8"))


def configuration(project: Path) -> None:
    """Name a pipeline that does not exist."""
    file = project / "operation" / "configuration" / "stage" / "azureml.yml"
    with file.open("a", encoding="utf-8") as text:
        text.write("\nsteps:\n  fit: {pipelines: [data_sciense]}\n")


# what puts the fault in, the words of the step's command, what the failure is known by
FAULTS = {
    "style": (style, ["make", "check"], r"F821 .*|.*fault\.py:3:\d+"),
    "raw_data": (
        raw_data,
        ["make", "test", "SUITE=data_validation"],
        r"FAILED \S+\[good\]|1 x temperature is not a number",
    ),
    "configuration": (configuration, ["make", "compile", "ENV=stage"], r".*data_sciense.*"),
}

# Both shells run the tests of the broken file alone, which saves a minute and no step.
QUICK = {"PYTEST_ADDOPTS": "-k good"}

AGENTS = {
    "github_actions": {"CI": "true", "GITHUB_ACTIONS": "true"},
    "azure_pipelines": {"TF_BUILD": "True", "BUILD_REASON": "PullRequest"},
}


@dataclass(frozen=True)
class Clones:
    """Two clones of one commit: that of the agent, and that of somebody's laptop."""

    agent: Path
    laptop: Path


def all_steps(project: BakedProject, provider: str) -> list[Step]:
    """Return the scripts of the rendered ci.yml."""
    if provider == "azure_pipelines":
        return steps_of_azure(project, "ci.yml")
    jobs = project.yaml(".github/workflows/ci.yml")["jobs"]
    return [step for job in jobs for step in steps_of_github(project, "ci.yml", job)]


def variables(provider: str, folder: Path) -> dict[str, str]:
    """Return what an agent sets."""
    files = {"GITHUB_OUTPUT": "output", "GITHUB_STEP_SUMMARY": "summary.md"}
    if provider == "azure_pipelines":
        return AGENTS[provider]
    return AGENTS[provider] | {key: str(folder / name) for key, name in files.items()}


@pytest.fixture(scope="module")
def project(install: Callable[..., InstalledProject]) -> InstalledProject:
    """The project of the one who pushes."""
    return install(ci_provider="both")


@pytest.fixture
def clones(project: InstalledProject, tmp_path: Path) -> Callable[[Callable[[Path], None]], Clones]:
    """Push a fault and clone it twice."""

    def cloned(put_in: Callable[[Path], None]) -> Clones:
        pushed = tmp_path / "pushed"
        environments = (".venv", ".venv-serve")
        shutil.copytree(project.path, pushed, ignore=shutil.ignore_patterns(".git", *environments))
        put_in(pushed)
        git(pushed, "init", "--quiet", "--initial-branch=main")
        git(pushed, "add", "--all")
        git(pushed, "commit", "--quiet", "--message", "A fault")
        folders = Clones(tmp_path / "agent", tmp_path / "laptop")
        for folder in (folders.agent, folders.laptop):
            git(tmp_path, "clone", "--quiet", str(pushed), str(folder))
            for name in environments:
                (folder / name).symlink_to((project.path / name).resolve())
        # What is installed is younger than the locks, as after `make setup`.
        for stamp in (".venv/.run", ".venv/.synced", ".venv/.azure", ".venv-serve/.synced"):
            (project.path / stamp).touch()
        return folders

    return cloned


def failure(log: subprocess.CompletedProcess[str], known_by: str) -> set[str]:
    """Return what a failure is known by, without colours and without the name of the machine."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.stdout + log.stderr)
    return set(re.findall(known_by, text, re.MULTILINE))


@pytest.mark.parametrize("provider", AGENTS)
@pytest.mark.parametrize(("put_in", "command", "known_by"), FAULTS.values(), ids=FAULTS)
def test_the_command_in_the_log_shows_the_same_failure(
    project: InstalledProject,
    clones: Callable[[Callable[[Path], None]], Clones],
    tmp_path: Path,
    provider: str,
    put_in: Callable[[Path], None],
    command: list[str],
    known_by: str,
) -> None:
    folders = clones(put_in)
    agent = variables(provider, tmp_path)
    # With a stub in make's place each step tells its line and runs nothing.
    stub = tmp_path / "bin" / "make"
    stub.parent.mkdir()
    stub.write_text("#!/bin/sh\n", encoding="utf-8")
    stub.chmod(0o755)
    told = {}
    for step in all_steps(project, provider):
        shown = step.run(folders.agent, agent, PATH=f"{stub.parent}:/usr/bin:/bin")
        if "To repeat this" in shown.stdout:
            told[repeated(shown.stdout)] = step
    (line,) = (line for line in told if words(line)[: len(command)] == command)

    red = told[line].run(folders.agent, agent | QUICK)
    assert red.returncode != 0, red.stdout
    assert failure(red, known_by), red.stdout + red.stderr
    assert repeated(red.stdout) == line

    again = typed(folders.laptop, repeated(red.stdout), QUICK)
    assert again.returncode != 0
    assert failure(again, known_by) == failure(red, known_by)
