"""Git settings do not affect updates; git's own advice is passed on."""

import shutil
from pathlib import Path

import pytest

from tests.plugin.update.hostile import hostile_shell
from tests.plugin.update.updating import Outcome, Project, Template, git, lines, two_releases

NAME = "größe und maß.txt"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A template with three releases, and so many tags that git would list them in columns."""
    template = two_releases(tmp_path_factory.mktemp("template") / "small")
    template.release("v3", {"a.py": lines("a", l10="AGAIN"), NAME: lines("size")})
    for number in range(12):
        git(template.path, "tag", f"candidate-{number}", "v1")
    return template


@pytest.fixture(scope="module")
def rendered(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with edits, for copies."""
    project = template.project("v1", tmp_path_factory.mktemp("rendered"))
    project.edit({"old.py": lines("old", l25="MINE"), "README.md": lines("readme", l25="MINE"),
                  "same.py": None, "nötig.txt": "MINE\n"})  # fmt: skip
    return project


@pytest.fixture
def pair(rendered: Project, tmp_path: Path) -> tuple[Project, Project]:
    """Two copies of the project: one is updated with hostile settings, the other with none."""
    copies = (
        Path(shutil.copytree(rendered.path, tmp_path / name / "demo", symlinks=True))
        for name in ("hostile", "usual")
    )
    hostile, usual = (Project(copy, rendered.template) for copy in copies)
    return hostile, usual


@pytest.fixture
def hostile(template: Template, tmp_path: Path) -> dict[str, str]:
    """The environment of a user with all hostile settings."""
    return hostile_shell(template, tmp_path / "settings")


def assert_same_outcome(hostile: Outcome, usual: Outcome) -> None:
    """Check that two calls have the same status and output."""
    assert "Traceback" not in hostile.printed
    assert hostile.printed.replace("/hostile/", "/usual/") == usual.printed
    assert hostile.status == usual.status


def test_hostile_settings_change_nothing(
    pair: tuple[Project, Project], hostile: dict[str, str], tmp_path: Path
) -> None:
    """Compares each step of a project's history."""
    other, usual = pair
    for project in pair:
        project.write({"nötig.txt": "in the works\n"})
    assert_same_outcome(other.update(**hostile), usual.update())  # names the uncommitted file
    for project in pair:
        git(project.path, "checkout", "--quiet", "--", ".")
    assert_same_outcome(other.update("--check", **hostile), usual.update("--check"))
    assert_same_outcome(other.update("--dry-run", **hostile), usual.update("--dry-run"))
    assert_same_outcome(other.update("--to", "v2", **hostile), usual.update("--to", "v2"))
    assert other.snapshot()["files"] == usual.snapshot()["files"]
    assert_same_outcome(other.update("--abort", **hostile), usual.update("--abort"))
    assert_same_outcome(other.update("--to", "v2", **hostile), usual.update("--to", "v2"))
    for project in pair:
        project.commit("v2")
        project.edit({"a.py": lines("a", l11="MINE")})
    last = other.update(**hostile)
    assert_same_outcome(last, usual.update())
    assert last.status == 1
    assert ("conflict", "a.py") in last.report
    assert ("added", NAME) in last.report
    snapshots = [{k: v for k, v in project.snapshot().items() if k != "head"} for project in pair]
    assert snapshots[0] == snapshots[1]
    assert not (tmp_path / "settings" / "called").exists()


@pytest.mark.parametrize("where", ["project", "template"])
def test_git_advice_about_foreign_folders_is_passed_on(
    rendered: Project, tmp_path: Path, where: str
) -> None:
    project = Project(
        Path(shutil.copytree(rendered.path, tmp_path / "demo", symlinks=True)), rendered.template
    )
    assert project.update("--check").status == 1
    trusted = project.path if where == "template" else "/nowhere"
    config = tmp_path / "config"
    usual = Path(project.template.shell["GIT_CONFIG_GLOBAL"]).read_text(encoding="utf-8")
    config.write_text(f"{usual}[safe]\n\tdirectory = {trusted}\n", encoding="utf-8")
    other_owner = {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1", "GIT_CONFIG_GLOBAL": str(config)}
    refused = project.update("--check", **other_owner)
    assert refused.status == 2
    assert "git config --global --add safe.directory" in refused.err
    assert "git init" not in refused.err
    assert "network" not in refused.err


def test_a_repository_without_a_commit_needs_one(rendered: Project, tmp_path: Path) -> None:
    folder = shutil.copytree(rendered.path, tmp_path / "demo", ignore=lambda *_: [".git"])
    project = Project(Path(folder), rendered.template)
    git(project.path, "init", "--quiet")
    refused = project.update()
    assert refused.status == 2
    assert "no commit yet.\n  next: git add --all && git commit" in refused.err
    project.commit()
    project.write({"HEAD": "a file of this name\n"})
    project.commit()
    assert project.update("--to", "v2").status == 0


def test_an_invalid_git_configuration_is_named(rendered: Project, tmp_path: Path) -> None:
    project = Project(
        Path(shutil.copytree(rendered.path, tmp_path / "demo", symlinks=True)), rendered.template
    )
    config = project.path / ".git" / "config"
    text = config.read_text(encoding="utf-8")
    config.write_text(text + "[broken\n", encoding="utf-8")
    refused = project.update("--check")
    assert refused.status == 2
    assert f"bad config line {len(text.splitlines()) + 1}" in refused.err
    assert "git init" not in refused.err
    config.write_text(text, encoding="utf-8")
    assert project.update("--check").status == 1
