"""Cruft and the updater can alternate on projects of this template."""

import subprocess
from pathlib import Path

import pytest

from tests.plugin.update.rendering import tool
from tests.plugin.update.updating import (
    IDENTITY,
    URL,
    Project,
    Template,
    git,
    lines,
    read,
    two_releases,
)


def cruft(template: Template, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run cruft in a folder."""
    scratch = template.path.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return subprocess.run(
        [tool("cruft"), *arguments],
        cwd=folder,
        env=template.shell | IDENTITY | {"TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
    )


class TestSmallTemplate:
    @pytest.fixture
    def project(self, tmp_path: Path) -> Project:
        """A project made from the first of three releases."""
        template = two_releases(tmp_path / "small")
        template.release("v3", {"same.py": lines("same", l3="THIRD")})
        return template.project("v1", tmp_path / "project")

    def test_is_updated_by_the_plugin_and_then_by_cruft(self, project: Project) -> None:
        assert project.update("--to", "v2").status == 0
        project.commit()
        template = project.template
        assert cruft(template, project.path, "check", "--checkout", "v2").returncode == 0
        assert cruft(template, project.path, "check", "--checkout", "v3").returncode == 1
        assert cruft(template, project.path, "diff", "--exit-code").returncode == 0
        updated = cruft(template, project.path, "update", "-y", "--checkout", "v3")
        assert updated.returncode == 0, updated.stderr
        assert project.text("same.py") == lines("same", l3="THIRD")
        assert project.state["commit"] == template.commits["v3"]

    def test_is_updated_by_cruft_and_then_by_the_plugin(self, project: Project) -> None:
        updated = cruft(project.template, project.path, "update", "-y", "--checkout", "v2")
        assert updated.returncode == 0, updated.stderr
        project.edit({"same.py": lines("same", l25="MINE")})
        assert project.update().status == 0
        assert project.text("same.py") == lines("same", l3="THIRD", l25="MINE")
        assert project.state["checkout"] == "v3"


class TestThisTemplate:
    """Its questions and hooks, with few files to render."""

    @pytest.fixture
    def released(self, questions: Path, tmp_path: Path) -> Template:
        template = Template.with_questions(questions, tmp_path / "template")
        template.release("v1", {"same.py": lines("same")})
        template.release("v2", {"same.py": lines("same", l3="TEMPLATE")})
        return template

    def test_is_rendered_by_cruft_and_updated_by_both(
        self, released: Template, tmp_path: Path
    ) -> None:
        created = cruft(released, tmp_path, "create", URL, "--no-input", "--checkout", "v1")
        assert created.returncode == 0, created.stderr
        assert "git init && git add --all" in created.stdout
        project = Project(tmp_path / "temperature-anomalies", released)
        assert not project.has(".git")
        git(project.path, "init", "--quiet", "--initial-branch=main")
        project.commit()
        assert cruft(released, project.path, "diff", "--exit-code").returncode == 0
        assert project.update().status == 0
        project.commit()
        ours = {n: c for n, c in read(project.path).items() if n != ".cruft.json"}
        git(project.path, "reset", "--quiet", "--hard", "HEAD~1")
        updated = cruft(released, project.path, "update", "-y", "--checkout", "v2")
        assert updated.returncode == 0, updated.stderr
        theirs = {n: c for n, c in read(project.path).items() if n != ".cruft.json"}
        assert theirs == ours
        assert ours["same.py"].decode() == lines("same", l3="TEMPLATE")

    def test_is_rendered_by_cookiecutter_and_updated_by_cruft(
        self, released: Template, tmp_path: Path
    ) -> None:
        command = [tool("cookiecutter"), "--no-input", "--checkout", "v1", URL]
        subprocess.run(command, cwd=tmp_path, env=released.shell, check=True, capture_output=True)
        project = Project(tmp_path / "temperature-anomalies", released)
        assert cruft(released, project.path, "check", "--checkout", "v2").returncode == 1
        assert cruft(released, project.path, "diff", "--exit-code").returncode == 0
        updated = cruft(released, project.path, "update", "-y", "--checkout", "v2")
        assert updated.returncode == 0, updated.stderr
        assert project.text("same.py") == lines("same", l3="TEMPLATE")
        assert git(project.path, "log", "--oneline").count("\n") == 1
