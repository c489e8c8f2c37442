"""Each release has a changelog section with update steps, and a tag in the history."""

from pathlib import Path

import pytest
import release

from tests.helpers import ROOT
from tests.plugin.update.updating import git

GOOD = """# Changelog

Updates are supported from v1.1.0 on.

## Unreleased

### What to do after updating

Nothing.

## v1.10.0 (2026-01-02)

* Something.

### What to do after updating

Type `make lock`.

## v1.1.0

### What to do after updating

Nothing.

## v1.0.0

### What to do after updating

Nothing.
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with three releases."""
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    (tmp_path / "CHANGELOG.md").write_text(GOOD, encoding="utf-8")
    git(tmp_path, "add", "--all")
    for tag in ("v1.0.0", "v1.1.0", "v1.10.0"):
        git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", tag)
        git(tmp_path, "tag", tag)
    return tmp_path


def rewrite(folder: Path, old: str, new: str) -> None:
    """Change the changelog."""
    assert old in GOOD
    (folder / "CHANGELOG.md").write_text(GOOD.replace(old, new), encoding="utf-8")


def test_valid_releases_are_accepted(repository: Path) -> None:
    assert list(release.faults(repository)) == []


def test_releases_of_this_repository_are_valid() -> None:
    assert list(release.faults(ROOT)) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("## v1.1.0\n", "## v1.1.1\n", "the tag v1.1.0 has no section"),
        ("Type `make lock`.\n", "", "v1.10.0 lacks"),
        ("### What to do after updating\n\nType", "Type", "v1.10.0 lacks"),
        ("## v1.0.0", "## first", "first: a release must be named like v1.2.3"),
    ],
)
def test_faults_are_found(repository: Path, old: str, new: str, fault: str) -> None:
    rewrite(repository, old, new)
    assert any(fault in line for line in release.faults(repository))


def test_a_tag_outside_the_history_is_found(repository: Path) -> None:
    git(repository, "commit", "--quiet", "--amend", "--allow-empty", "--message", "rewritten")
    (fault,) = release.faults(repository)
    assert fault.startswith("v1.10.0 is not in the history")


def test_updates_start_from_the_oldest_supported_and_the_latest_release(repository: Path) -> None:
    assert release.starts(repository) == ["v1.1.0", "v1.10.0"]
    rewrite(repository, "Updates are supported from v1.1.0 on.\n", "")
    assert release.starts(repository) == ["v1.0.0", "v1.10.0"]
