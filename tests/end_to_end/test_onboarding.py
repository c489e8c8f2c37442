"""The onboarding page of a rendered project, executed word for word."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import InstalledProject, clean_environment
from tests.pages import execute_page

pytestmark = pytest.mark.slow

PERSON = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in {"NAME": "Ada", "EMAIL": "ada@example.org"}.items()
}


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=clean_environment(**PERSON),
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_the_first_hour_ends_with_a_branch_for_a_pull_request(
    install: Callable[..., InstalledProject], tmp_path: Path
) -> None:
    project, server = install(), tmp_path / "server.git"
    git(tmp_path, "init", "--quiet", "--bare", server.name)
    git(project.path, "remote", "add", "origin", server.as_uri())

    execute_page(project.path / "docs" / "onboarding.md", project.path, 1200, **PERSON)

    changed = git(server, "diff-tree", "--name-only", "-r", "--no-commit-id", "lower-threshold")
    assert changed.split() == ["operation/configuration/base/parameters.yml"]
    assert git(project.path, "status", "--porcelain") == ""
    tracked = project.tracked()
    assert len(tracked.runs) == 3
    assert tracked.models == {"temperature-anomalies": {"champion": 3}}
