"""Full disks: the message names the folder and the space, nothing changes, and undoing works."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.small_disk import Disk, small_disk
from tests.plugin.update.rendering import SOURCES
from tests.plugin.update.updating import Project, Template, git, lines, read, two_releases

PAGE = 4096


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A template with two releases."""
    return two_releases(tmp_path_factory.mktemp("template") / "small")


@pytest.fixture(scope="module")
def rendered(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose update leaves a conflict, for copies."""
    project = template.project("v1", tmp_path_factory.mktemp("rendered"))
    project.edit({"a.py": lines("a", l10="MINE")})
    return project


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A disk of three megabytes."""
    with small_disk("3m") as mounted:
        yield mounted


def state(project: Project) -> dict[str, Any]:
    """Return the state that a failed update must not change."""
    folder = project.path / ".git"
    return {
        "files": read(project.path),
        "index": git(project.path, "ls-files", "--stage"),
        "kept": sorted(path.name for path in folder.glob("template-update/*")),
        "drafts": sorted(path.name for path in folder.glob("*.index*")),
        "half": list(folder.rglob("tmp_obj_*")),
        "lock": (folder / "index.lock").exists(),
    }


def test_a_full_project_disk_is_reported_without_changes(
    rendered: Project, template: Template, disk: Disk, tmp_path: Path
) -> None:
    project = Project(Path(shutil.copytree(rendered.path, disk.path / "demo")), template)
    before = state(project)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    refusals = 0
    for pages in range(0, 300, 6):
        disk.fill(pages * PAGE)
        outcome = project.update(TMPDIR=str(scratch))
        if outcome.status != 2:
            break
        refusals += 1
        assert f"No space left in {project.path / '.git'}" in outcome.err
        assert "which takes about" in outcome.err
        assert state(project) == before
        assert list(scratch.iterdir()) == []
    assert outcome.status == 1, outcome.printed
    assert refusals > 3
    # an update in the last pages of the disk can also be undone there
    disk.fill(0)
    undone = project.update("--abort", TMPDIR=str(scratch))
    assert undone.status == 0, undone.printed
    assert state(project) == before
    assert project.status() == []


def test_a_full_temporary_disk_is_reported(
    rendered: Project, template: Template, disk: Disk, tmp_path: Path
) -> None:
    project = Project(Path(shutil.copytree(rendered.path, tmp_path / "demo")), template)
    before = state(project)
    for pages in (1, 4, 16, 30):
        disk.fill(pages * PAGE)
        refused = project.update(TMPDIR=str(disk.path))
        assert refused.status == 2, refused.printed
        assert f"No space left in {disk.path}" in refused.err
        assert state(project) == before
        assert disk.files() == set()
    disk.free()
    assert project.update(TMPDIR=str(disk.path)).status == 1


def test_a_simulated_full_disk_is_reported(
    rendered: Project, template: Template, tmp_path: Path
) -> None:
    project = Project(Path(shutil.copytree(rendered.path, tmp_path / "demo")), template)
    before = project.snapshot()
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import errno, shutil\n"
        "def full(source, target, **options):\n"
        "    raise OSError(errno.ENOSPC, 'No space left on device', str(target))\n"
        "shutil.copy2 = full\n",
        encoding="utf-8",
    )
    refused = project.update(PYTHONPATH=os.pathsep.join([str(site), str(SOURCES)]))
    assert refused.status == 2
    assert f"No space left in {project.path / '.git'}" in refused.err
    assert project.snapshot() == before
    assert project.update().status == 1


def test_a_git_directory_on_another_disk_works(
    rendered: Project, template: Template, disk: Disk, tmp_path: Path
) -> None:
    project = Project(Path(shutil.copytree(rendered.path, disk.path / "demo")), template)
    shutil.move(project.path / ".git", tmp_path / "git")
    project.write({".git": f"gitdir: {tmp_path / 'git'}\n"})
    before = project.snapshot()
    assert project.update().status == 1
    assert project.text("new.py") == lines("old", l3="TEMPLATE")
    assert project.update("--abort").status == 0
    assert project.snapshot() == before
    assert not [name for name in read(project.path) if "template-update" in name]
    # the temporary copy of a file does not fit either
    disk.fill(0)
    refused = project.update()
    assert refused.status == 2
    assert f"No space left in {disk.path}" in refused.err
    assert project.snapshot() == before
