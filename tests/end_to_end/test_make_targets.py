"""Make targets of rendered projects."""

import shutil
from collections.abc import Callable

import pytest

from tests.helpers import InstalledProject

pytestmark = pytest.mark.slow

OPTIONS = {
    "defaults": {},
    "github_actions": {"ci_provider": "github_actions"},
    "everything_else": {
        "project_name": 'Öl & "Gas" \\ #1\'s 🌡️',
        "project_slug": "oil-and-gas",
        "package_name": "z" * 40,
        "description": 'It\'s "quoted": 50 % \\ $HOME',
        "author_name": "Zoë O'Hara",
        "ci_provider": "both",
        "license": "Proprietary",
        "python_version": "3.13",
    },
}


@pytest.fixture(scope="module", params=OPTIONS.values(), ids=OPTIONS)
def project(
    request: pytest.FixtureRequest, install: Callable[..., InstalledProject]
) -> InstalledProject:
    """A rendered project without a git repository."""
    project = install(**request.param)
    shutil.rmtree(project.path / ".git")
    return project


def test_check_passes_and_changes_nothing(project: InstalledProject) -> None:
    before = {name: (project.path / name).read_bytes() for name in project.files}
    checked = project.make("check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    after = {name: (project.path / name).read_bytes() for name in before}
    assert before == after


def test_check_reports_a_fault_and_fix_corrects_it(
    install: Callable[..., InstalledProject],
) -> None:
    project = install(project_slug="fixed")
    module = project.path / "src" / "fixed" / "fault.py"
    module.write_text('"""A module."""\nimport json,os  \nX =[os, json]', encoding="utf-8")
    refused = project.make("check")
    assert refused.returncode != 0
    assert "fault.py" in refused.stdout
    fixed = project.make("fix")
    assert fixed.returncode == 0, fixed.stdout + fixed.stderr
    assert module.read_text(encoding="utf-8").endswith("X = [os, json]\n")
    assert project.make("check").returncode == 0


def test_run_works_with_unusual_answers(install: Callable[..., InstalledProject]) -> None:
    project = install(**OPTIONS["everything_else"])
    ran = project.make("run")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert project.tracked().models == {"oil-and-gas": {"champion": 1}}
