"""Answers that the template's own hook refuses in an update, which the message corrects."""

import shlex
import shutil
from pathlib import Path

import pytest

from tests.plugin.update.updating import Outcome, Project, Template, git, lines


@pytest.fixture(scope="module")
def released(questions: Path, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """This template's questions and hooks, with few files to render."""
    folder = tmp_path_factory.mktemp("released") / "template"
    template = Template.with_questions(questions, folder)
    template.release("v1", {"same.py": lines("same")})
    template.release("v2", {"same.py": lines("same", l3="TEMPLATE")})
    return template


def make(released: Template, folder: Path, name: str) -> Project:
    """Create a project of the first release without a record, in a folder of this name."""
    path = released.render("v1", folder / "output")
    shutil.rmtree(path / ".git", ignore_errors=True)
    path.rename(folder / name)
    project = Project(folder / name, released)
    git(project.path, "init", "--quiet", "--initial-branch=main")
    project.commit()
    return project


def retry(refused: Outcome) -> list[str]:
    """Return the arguments of the printed command; check that all else is the hook's."""
    assert refused.status == 2, refused.printed
    assert "cookiecutter" not in refused.err
    assert "Traceback" not in refused.err
    assert "Hook script" not in refused.err
    (command,) = (line for line in refused.err.splitlines() if "kedro mlops update" in line)
    return shlex.split(command)[3:]


def test_a_refused_answer_is_explained_with_an_update_that_works(
    released: Template, tmp_path: Path
) -> None:
    project = make(released, tmp_path, "temperature-anomalies")
    linked = project.update("--link", released.url, "--to", "v1")
    assert linked.status == 0, linked.printed
    project.commit()
    before = project.snapshot()
    answers = ("--answer", "author_name=Ada B", "--answer", "description= ")
    refused = project.update("--to", "v2", *answers)
    assert 'description " " is empty' in refused.err
    assert project.snapshot() == before
    words = retry(refused)
    assert words[:4] == ["--to", "v2", "--answer", "author_name=Ada B"]
    again = project.update(*words)
    assert again.status == 0, again.printed
    assert project.state["context"]["cookiecutter"]["author_name"] == "Ada B"
    assert project.text("same.py") == lines("same", l3="TEMPLATE")


def test_a_folder_whose_name_is_no_slug_can_be_linked(released: Template, tmp_path: Path) -> None:
    project = make(released, tmp_path, "My Project")
    refused = project.update("--link", released.url, "--to", "v1")
    assert 'project_slug "My Project" is not made of' in refused.err
    words = retry(refused)
    assert words == [*("--link", released.url, "--to", "v1", "--answer", "project_slug=my-project")]
    again = project.update(*words)
    assert again.status == 0, again.printed
    assert project.state["context"]["cookiecutter"]["project_slug"] == "my-project"
