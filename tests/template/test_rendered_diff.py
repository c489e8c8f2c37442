"""The report on how a template change alters rendered projects."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import rendered_diff

from tests.helpers import PROJECT
from tests.plugin.update.updating import git

QUESTIONS = {"project_slug": "demo", "colour": ["red", "green"], "_private": ["x", "y"]}


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small template with one commit, to be changed and committed again."""
    folder = tmp_path / "template"
    (folder / PROJECT).mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "cookiecutter.json").write_text(json.dumps(QUESTIONS), encoding="utf-8")
    files = {
        "same.txt": "same\n",
        "all.txt": "one\n",
        "colour.txt": "{% if cookiecutter.colour == 'green' %}leaf{% else %}rose{% endif %}\n",
        "{% if cookiecutter.colour == 'green' %}green.txt{% endif %}": "grass\n",
    }
    for name, text in files.items():
        (folder / PROJECT / name).write_text(text, encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "base")
    git(folder, "tag", "base")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def compare(
    template: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Return a function that commits all changes and compares them with the base."""

    def run(base: str = "base", *, commit: bool = True) -> tuple[int, str, str]:
        if commit:
            git(template, "add", "--all")
            git(template, "commit", "--quiet", "--allow-empty", "--message", "head")
        monkeypatch.setattr(sys, "argv", ["rendered_diff.py", base])
        code = rendered_diff.main()
        written = template / "build" / "rendered.diff"
        text = written.read_text(encoding="utf-8") if written.exists() else "nothing written"
        return code, text, capsys.readouterr().err

    return run


def write(template: Path, name: str, content: str | bytes) -> None:
    """Change a file of the template's project."""
    raw = content.encode("utf-8") if isinstance(content, str) else content
    (template / PROJECT / name).write_bytes(raw)


def test_a_change_shared_by_all_choices_is_listed_once(
    template: Path, compare: Callable[..., tuple[int, str, str]]
) -> None:
    write(template, "all.txt", "two\n")
    assert compare() == (
        0,
        "# defaults\n--- a/all.txt\n+++ b/all.txt\n@@ -1 +1 @@\n-one\n+two\n",
        "",
    )


def test_a_change_of_one_choice_is_listed_under_it(
    template: Path, compare: Callable[..., tuple[int, str, str]]
) -> None:
    old = (template / PROJECT / "colour.txt").read_text(encoding="utf-8")
    write(template, "colour.txt", old.replace("leaf", "moss"))
    _, text, _ = compare()
    assert text == (
        "# colour=green\n--- a/colour.txt\n+++ b/colour.txt\n@@ -1 +1 @@\n-leaf\n+moss\n"
    )


def test_added_and_removed_files_are_listed(
    template: Path, compare: Callable[..., tuple[int, str, str]]
) -> None:
    (template / PROJECT / "same.txt").unlink()
    write(template, "new.txt", "no line end")
    write(template, "empty.txt", "")
    write(template, "picture.png", b"\x89PNG\xff")
    _, text, _ = compare()
    assert "--- a/same.txt\n+++ absent\n" in text
    assert "--- absent\n+++ b/new.txt\n@@ -0,0 +1 @@\n+no line end\n" in text
    assert "--- absent\n+++ b/empty.txt\nThe file is empty.\n" in text
    assert "--- absent\n+++ b/picture.png\nThe file is binary.\n" in text


def test_no_change_gives_an_empty_file(compare: Callable[..., tuple[int, str, str]]) -> None:
    assert compare() == (0, "", "")


def test_a_new_choice_lists_all_its_files(
    template: Path, compare: Callable[..., tuple[int, str, str]]
) -> None:
    questions = QUESTIONS | {"colour": ["red", "green", "blue"]}
    (template / "cookiecutter.json").write_text(json.dumps(questions), encoding="utf-8")
    _, text, _ = compare()
    assert text.startswith("# colour=blue\n--- absent\n+++ b/all.txt\n")
    assert "green" not in text


def test_uncommitted_changes_are_left_out(
    template: Path, compare: Callable[..., tuple[int, str, str]]
) -> None:
    write(template, "all.txt", "two\n")
    assert compare(commit=False)[:2] == (0, "")
    assert git(template, "status", "--porcelain").split() == ["M", f"{PROJECT}/all.txt", "??",
                                                              "build/"]  # fmt: skip


class TestErrors:
    def test_an_unknown_revision(self, compare: Callable[..., tuple[int, str, str]]) -> None:
        code, text, errors = compare("v9.9.9")
        assert (code, text) == (2, "nothing written")
        assert errors.startswith("rendered_diff: cannot read v9.9.9: ")

    def test_a_template_that_does_not_render(
        self, template: Path, compare: Callable[..., tuple[int, str, str]]
    ) -> None:
        write(template, "all.txt", "{{ cookiecutter.nothing }}\n")
        code, text, errors = compare()
        assert (code, text) == (2, "nothing written")
        assert "the default answers cannot be rendered" in errors
