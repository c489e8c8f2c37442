"""Answers in an update: kept unchanged, migrated by the template's table, or changed."""

import json
import os
import shutil
from pathlib import Path

import pytest
import release

from tests.plugin.update.rendering import ROOT
from tests.plugin.update.updating import Project, Template, git, lines, read

USE = "docs: {{ cookiecutter.use_docs }}\n"
DOCS = "{% if cookiecutter.use_docs == 'yes' %}guide.md{% endif %}"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A template whose second release asks other questions."""
    template = Template(tmp_path_factory.mktemp("template") / "small")
    template.questions |= {
        "author": "Ada",
        "ci": ["github", "travis"],
        "use_docs": ["yes", "no"],
        "use_docker": False,
    }
    template.release("v1", {
        "a.py": lines("a"), "answers.txt": "{{ cookiecutter.author }}\n", DOCS: lines("guide"),
        "ci.txt": "{{ cookiecutter.ci }}\n", "use.txt": USE,
    })  # fmt: skip
    del template.questions["ci"], template.questions["use_docker"]
    template.questions |= {"ci_provider": ["github", "azure"], "team": "nobody"}
    table = [
        {"question": "ci", "renamed": "ci_provider"},
        {"question": "ci_provider", "choices": {"travis": "azure"}},
        {"question": "use_docker", "removed": "an image is always made"},
    ]
    template.release(
        "v2",
        {"ci.txt": "{{ cookiecutter.ci_provider }}\n", DOCS: lines("guide", l3="TEMPLATE")},
        root={"migrations.json": json.dumps(table)},
    )
    template.questions["use_docs"] = ["yes"]
    template.release("v3", {"a.py": lines("a", l3="TEMPLATE")})
    return template


def make(template: Template, folder: Path, **answers: str) -> Project:
    """Create a project from the first release."""
    recorded = {"author": "Ada", "ci": "github", "use_docs": "yes", "use_docker": "no"} | answers
    return template.project("v1", folder, **recorded)


def answers(project: Project) -> dict[str, object]:
    """Return the recorded answers."""
    variables = project.state["context"]["cookiecutter"]
    return {key: answer for key, answer in variables.items() if not key.startswith("_")}


def test_renamed_and_removed_questions_and_choices_are_migrated(
    template: Template, tmp_path: Path
) -> None:
    project = make(template, tmp_path, ci="travis")
    outcome = project.update("--to", "v2")
    assert outcome.status == 0, outcome.printed
    assert project.text("ci.txt") == "azure\n"
    assert answers(project) == {
        "project_name": "Demo", "project_slug": "demo", "author": "Ada", "use_docs": "yes",
        "ci_provider": "azure", "team": "nobody",
    }  # fmt: skip
    assert "ci is now called ci_provider" in outcome.out
    assert "travis became azure" in outcome.out
    assert "an image is always made" in outcome.out
    assert "team is a new question: nobody was used" in outcome.out


def test_a_remaining_choice_is_not_migrated(template: Template, tmp_path: Path) -> None:
    project = make(template, tmp_path)
    assert project.update("--to", "v2").status == 0
    assert answers(project)["ci_provider"] == "github"


def test_a_removed_choice_without_a_migration_needs_an_answer(
    template: Template, tmp_path: Path
) -> None:
    project = make(template, tmp_path, use_docs="no")
    before = project.snapshot()
    refused = project.update()
    assert refused.status == 2
    assert "use_docs 'no' is no longer offered" in refused.err
    assert "--answer use_docs=yes" in refused.err
    assert project.snapshot() == before
    assert project.update("--answer", "use_docs=yes").status == 0
    assert project.has("guide.md")


@pytest.mark.parametrize(
    ("pair", "words"),
    [("nothing=x", "has no question nothing"), ("team", "KEY=VALUE"), ("ci_provider=x", "=azure")],
)
def test_invalid_answers_are_refused(
    template: Template, tmp_path: Path, pair: str, words: str
) -> None:
    project = make(template, tmp_path)
    before = project.snapshot()
    refused = project.update("--to", "v2", "--answer", pair)
    assert refused.status == 2
    assert words in refused.err
    assert project.snapshot() == before


def test_an_option_can_be_switched_off_and_on_again(template: Template, tmp_path: Path) -> None:
    project = make(template, tmp_path)
    project.edit({"a.py": lines("a", l25="MINE")})
    assert project.update("--to", "v2").status == 0
    project.commit()
    before = read(project.path)
    assert project.update("--to", "v2", "--answer", "use_docs=no").status == 0
    assert not project.has("guide.md")
    assert project.text("use.txt") == "docs: no\n"
    project.commit()
    assert project.update("--to", "v2", "--answer", "use_docs=yes").status == 0
    assert read(project.path) == before


@pytest.mark.parametrize("dry_run", [False, True])
def test_answers_that_change_nothing_stage_nothing(
    template: Template, tmp_path: Path, dry_run: bool
) -> None:
    project = make(template, tmp_path)
    assert project.update("--to", "v2").status == 0
    project.commit()
    before = project.snapshot()
    options = ("--dry-run",) if dry_run else ()
    outcome = project.update("--to", "v2", "--answer", "author=Ada", *options)
    assert outcome.status == 0
    assert outcome.out == "nothing to do: this project is at v2 and has these answers\n"
    assert project.snapshot() == before
    assert project.update("--to", "v2", "--answer", "author=Bob", *options).report == [
        ("updated", "answers.txt")
    ]


def test_an_option_switched_off_keeps_an_edited_file(template: Template, tmp_path: Path) -> None:
    project = make(template, tmp_path)
    project.edit({"guide.md": lines("guide", l25="MINE")})
    outcome = project.update("--to", "v2", "--answer", "use_docs=no")
    assert outcome.status == 1
    assert project.text("guide.md") == lines("guide", l25="MINE")
    assert ("conflict", "guide.md") in outcome.report


@pytest.mark.parametrize(
    "answer",
    ["{{ 1 / 0 }}", "{{ cookiecutter.team }}", "{% raw %}", "a 'b' \"c\" \\ ö 🌡️", "$HOME `id`"],
)
def test_answers_are_never_evaluated(template: Template, tmp_path: Path, answer: str) -> None:
    project = make(template, tmp_path)
    text = json.loads(project.text(".cruft.json"))
    text["context"]["cookiecutter"]["author"] = answer
    project.edit({".cruft.json": json.dumps(text), "answers.txt": f"{answer}\n"})
    outcome = project.update("--to", "v2")
    assert outcome.status == 0, outcome.printed
    assert project.text("answers.txt") == f"{answer}\n"
    assert answers(project)["author"] == answer


LOCKED = {
    "Makefile": "lock:\n\tfor f in requirements/*.in; do sort $$f > $${f%.in}.txt; done\n",
    "requirements/run.in": "a\n" + lines("r", 9),
    "requirements/dev.in": "b\n",
}


@pytest.fixture(scope="module")
def locks(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A template with locks: the second release changes requirements, the third only pins."""
    folder = tmp_path_factory.mktemp("locks")
    template = Template(folder / "locks", "https://templates.example/locks.git")
    first = LOCKED["requirements/run.in"]
    template.release(
        "v1", LOCKED | {"requirements/run.txt": sort(first), "requirements/dev.txt": "b\n"}
    )
    second = first + "new\n"
    template.release("v2", {"requirements/run.in": second, "requirements/run.txt": sort(second)})
    template.release("v3", {"requirements/dev.txt": "b==2\n"})
    return template


def sort(text: str) -> str:
    """Lock like the Makefile of the small template."""
    return "".join(sorted(text.splitlines(keepends=True)))


class TestLocks:
    def test_are_replaced_if_the_user_did_not_change_them(
        self, locks: Template, tmp_path: Path
    ) -> None:
        project = locks.project("v1", tmp_path)
        outcome = project.update("--to", "v2")
        assert ("updated", "requirements/run.txt") in outcome.report
        assert "new\n" in project.text("requirements/run.txt")

    def test_are_regenerated_if_both_sides_changed_requirements(
        self, locks: Template, tmp_path: Path
    ) -> None:
        project = locks.project("v1", tmp_path)
        project.edit({
            "requirements/run.in": "mine\n" + LOCKED["requirements/run.in"],
            "requirements/run.txt": "whatever the user's lock is\n",
        })  # fmt: skip
        outcome = project.update("--to", "v2")
        assert outcome.status == 0, outcome.printed
        merged = ("mine\n" + LOCKED["requirements/run.in"] + "new\n").splitlines(keepends=True)
        assert project.text("requirements/run.in") == "".join(merged)
        assert project.text("requirements/run.txt") == "".join(sorted(merged))
        kinds = [kind for kind, path in outcome.report if path == "requirements/run.txt"]
        assert kinds == ["locked"]
        assert all(line[1] == " " for line in project.status())

    def test_are_kept_with_a_message_if_locking_fails(
        self, locks: Template, tmp_path: Path
    ) -> None:
        project = locks.project("v1", tmp_path)
        project.edit({
            "Makefile": "lock:\n\techo no index >&2; exit 1\n",
            "requirements/run.in": "mine\n" + LOCKED["requirements/run.in"],
            "requirements/run.txt": "mine\n",
        })  # fmt: skip
        outcome = project.update("--to", "v2")
        assert outcome.status == 0, outcome.printed
        assert "no index" in outcome.out
        assert "run: make lock" in outcome.out
        assert project.text("requirements/run.txt") == "mine\n"
        kinds = [kind for kind, path in outcome.report if path == "requirements/run.txt"]
        assert kinds == ["yours kept"]
        assert "<<<<" not in project.text("requirements/run.in")

    def test_are_not_regenerated_before_conflicts_are_resolved(
        self, locks: Template, tmp_path: Path
    ) -> None:
        project = locks.project("v1", tmp_path)
        project.edit({"requirements/run.in": LOCKED["requirements/run.in"] + "mine\n"})
        outcome = project.update("--to", "v2")
        assert outcome.status == 1
        assert "resolve the conflicts, then run: make lock" in outcome.out

    def test_are_kept_if_the_template_changed_only_pins(
        self, locks: Template, tmp_path: Path
    ) -> None:
        project = locks.project("v2", tmp_path)
        project.edit({"requirements/dev.txt": "b==1.5\n"})
        outcome = project.update("--to", "v3")
        assert outcome.status == 0
        assert project.text("requirements/dev.txt") == "b==1.5\n"
        assert ("yours kept", "requirements/dev.txt") in outcome.report


def first_revisions() -> list[str]:
    """Return the revisions to update to HEAD; before the first release, the initial one."""
    options = ("--reverse", "--diff-filter=A", "--format=%H")
    listed = git(ROOT, "log", *options, "--", "cookiecutter.json", check=False).split()
    has_history = git(ROOT, "rev-list", "-2", "HEAD", check=False).count("\n") == 2
    return release.starts(ROOT) or (listed[:1] if has_history else [])


@pytest.mark.parametrize("start", first_revisions())
def test_a_project_of_this_template_is_updated_to_head(tmp_path: Path, start: str) -> None:
    clone = tmp_path / "template"
    git(tmp_path, "clone", "--quiet", str(ROOT), str(clone))
    template = Template(clone, "https://templates.example/this.git")
    git(clone, "tag", "v0.0.1", start)
    git(clone, "tag", "v0.0.2", "HEAD")
    template.commits = {tag: git(clone, "rev-parse", tag).strip() for tag in ("v0.0.1", "v0.0.2")}
    from cookiecutter.generate import generate_context
    from cookiecutter.prompt import prompt_for_config

    questions = generate_context(str(template.checkout("v0.0.1") / "cookiecutter.json"))
    variables = prompt_for_config(questions, no_input=True)
    defaults = {key: answer for key, answer in variables.items() if not key.startswith("_")}
    path = template.render("v0.0.1", tmp_path / "project")
    shutil.rmtree(path / ".git", ignore_errors=True)
    project = Project(path, template)
    git(path, "init", "--quiet", "--initial-branch=main")
    project.record("v0.0.1", **defaults)
    project.write({"README.md": "MINE\n", "operation/own.py": "MINE = 1\n"})
    project.commit()
    outcome = project.update("--to", "v0.0.2")
    assert outcome.status == 0, outcome.printed
    files = read(path)
    expected = read(template.render("v0.0.2", tmp_path / "fresh"))
    assert files.pop("operation/own.py") == b"MINE = 1\n"
    assert files.pop("README.md") == b"MINE\n"
    del files[".cruft.json"], expected["README.md"]
    assert files == expected
    assert os.access(path / "tools" / "uv.sh", os.X_OK)


def test_an_answer_that_is_not_utf8_is_refused(template: Template, tmp_path: Path) -> None:
    project = make(template, tmp_path)
    before = project.snapshot()
    refused = project.update("--to", "v2", "--answer", os.fsdecode(b"author=M\xfcller"))
    assert refused.status == 2
    assert "is not UTF-8.\n  next: Run first: export LC_ALL=C.UTF-8" in refused.err
    assert project.snapshot() == before
    assert project.update("--to", "v2", "--answer", "author=Müller").status == 0
    assert project.text("answers.txt") == "Müller\n"
