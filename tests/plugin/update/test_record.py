"""A render leaves the record of the template and a first commit besides its files."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.plugin.update.rendering import Rendered
from tests.plugin.update.updating import URL, Template, git, read

WORD = "not-for-others"
NOBODY = {"GIT_CONFIG_NOSYSTEM": "1", "EMAIL": ""}
Render = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def released(questions: Path, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The template's questions and hooks as a repository with one release."""
    template = Template(tmp_path_factory.mktemp("released") / "template")
    shutil.copytree(questions, template.path)
    text = (questions / "cookiecutter.json").read_text(encoding="utf-8")
    template.questions = json.loads(text)
    git(template.path, "init", "--quiet", "--initial-branch=main")
    template.release("v1.0.0", {"requirements/run.txt": "hash\n", "ignored.pyc": "x\n"})
    return template


@pytest.fixture
def render(released: Template, tmp_path: Path) -> Render:
    """Call cookiecutter as a person who has not configured git."""

    def call(
        template: str = URL, *options: str, folder: str = "output", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cookiecutter", "--no-input", *options, template]
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        (tmp_path / folder).mkdir(exist_ok=True)
        return subprocess.run(
            command,
            cwd=tmp_path / folder,
            env=released.shell | NOBODY | {"HOME": str(home)} | environment,
            capture_output=True,
            text=True,
        )

    return call


def rendered(tmp_path: Path, folder: str = "output") -> Rendered:
    """Return the project that was rendered."""
    return Rendered(tmp_path / folder / "temperature-anomalies")


class TestRecord:
    def test_says_address_commit_tag_and_answers(
        self, render: Render, released: Template, tmp_path: Path
    ) -> None:
        assert render().returncode == 0
        found = rendered(tmp_path).record
        assert found["template"] == URL
        assert found["commit"] == released.commits["v1.0.0"]
        assert found["checkout"] == "v1.0.0"
        assert found["directory"] is None
        answers = found["context"]["cookiecutter"]
        assert answers.pop("_template") == URL
        assert answers.pop("_commit") == released.commits["v1.0.0"]
        asked = [key for key in released.questions if not key.startswith("_")]
        assert sorted(answers) == sorted(asked)
        assert answers["license"] == "MIT"

    @pytest.mark.parametrize(
        "options", [(), ("--output-dir", "elsewhere/deep"), ("--output-dir", "../beside")]
    )
    @pytest.mark.parametrize("shell", [True, False], ids=["in_a_shell", "without_one"])
    def test_is_the_same_for_a_relative_path(
        self,
        render: Render,
        released: Template,
        tmp_path: Path,
        options: tuple[str, ...],
        shell: bool,
    ) -> None:
        """As `git clone URL && cookiecutter ./template`, whatever the output folder is."""
        place = tmp_path / "output"
        place.mkdir()
        git(place, "clone", "--quiet", str(released.path), "template")
        git(place / "template", "remote", "set-url", "origin", URL)
        if options and ".." in options[1] and not shell:
            pytest.skip("where it was started is nowhere to be seen")
        said = render("./template", *options, PWD=str(place) if shell else "/")
        assert said.returncode == 0, said.stderr
        made = Path(os.path.normpath(place / (options[1] if options else ".")))
        found = Rendered(made / "temperature-anomalies").record
        assert found["template"] == URL
        assert found["commit"] == released.commits["v1.0.0"]
        assert found["checkout"] == "v1.0.0"

    def test_holds_no_path_of_this_machine(self, render: Render, tmp_path: Path) -> None:
        render()
        assert str(tmp_path.parent) not in rendered(tmp_path).read(".cruft.json")

    @pytest.mark.parametrize(
        ("address", "public"),
        [
            (f"https://user:{WORD}@templates.example/small.git", URL),
            (f"https://{WORD}@templates.example/small.git", URL),
            ("git@templates.example:org/small.git", "git@templates.example:org/small.git"),
            (f"ssh://git:{WORD}@templates.example/x", "ssh://git@templates.example/x"),
        ],
    )
    def test_holds_no_credentials(
        self, render: Render, released: Template, tmp_path: Path, address: str, public: str
    ) -> None:
        clone = tmp_path / "clone"
        git(tmp_path, "clone", "--quiet", str(released.path), str(clone))
        git(clone, "remote", "set-url", "origin", address)
        said = render(str(clone))
        text = rendered(tmp_path).read(".cruft.json")
        assert json.loads(text)["template"] == public
        assert WORD not in text
        assert WORD not in said.stdout + said.stderr

    def test_is_left_out_for_a_folder_without_address(
        self, render: Render, questions: Path, tmp_path: Path
    ) -> None:
        said = render(str(questions))
        assert said.returncode == 0
        assert "not a clone of a git repository" in said.stdout
        assert "--link URL" in said.stdout
        assert not rendered(tmp_path).has_file(".cruft.json")

    @pytest.mark.parametrize("scheme", ["", "file://"])
    def test_is_left_out_for_an_address_on_this_machine(
        self, render: Render, released: Template, tmp_path: Path, scheme: str
    ) -> None:
        clone = tmp_path / "clone"
        git(tmp_path, "clone", "--quiet", f"{scheme}{released.path}", str(clone))
        said = render(str(clone))
        assert said.returncode == 0
        assert "a local folder" in said.stdout
        assert not rendered(tmp_path).has_file(".cruft.json")

    @pytest.mark.parametrize(
        ("what", "reason"),
        [("changed", "has uncommitted changes"), ("ahead", "was not pushed")],
    )
    def test_is_left_out_for_what_others_cannot_get(
        self, render: Render, released: Template, tmp_path: Path, what: str, reason: str
    ) -> None:
        clone = tmp_path / "clone"
        git(tmp_path, "clone", "--quiet", str(released.path), str(clone))
        git(clone, "remote", "set-url", "origin", URL)
        (clone / "hooks" / "more.txt").write_text("more\n", encoding="utf-8")
        if what == "ahead":
            git(clone, "add", "--all")
            git(clone, "commit", "--quiet", "--message", "mine")
        said = render(str(clone))
        assert reason in said.stdout
        assert not rendered(tmp_path).has_file(".cruft.json")

    def test_is_left_out_for_an_archive(
        self, render: Render, released: Template, tmp_path: Path
    ) -> None:
        archive = tmp_path / "template.zip"
        git(released.path, "archive", "--prefix=template/", f"--output={archive}", "v1.0.0")
        said = render(str(archive))
        assert said.returncode == 0, said.stderr
        assert "not a clone of a git repository" in said.stdout
        assert not rendered(tmp_path).has_file(".cruft.json")
        assert git(rendered(tmp_path).path, "log", "--oneline").count("\n") == 1

    def test_names_the_folder_of_the_template_in_its_repository(
        self, questions: Path, tmp_path: Path, render: Render
    ) -> None:
        many = Template(tmp_path / "many", "https://templates.example/many.git")
        shutil.copytree(questions, many.path / "ml" / "small")
        git(many.path, "init", "--quiet", "--initial-branch=main")
        git(many.path, "add", "--all", "--force")
        git(many.path, "commit", "--quiet", "--message", "all")
        said = render(many.url, "--directory", "ml/small", **many.shell)
        assert said.returncode == 0, said.stderr
        found = rendered(tmp_path).record
        assert (found["directory"], found["checkout"]) == ("ml/small", None)


class TestFirstCommit:
    def test_holds_the_render_and_nothing_else(self, render: Render, tmp_path: Path) -> None:
        render()
        project = rendered(tmp_path)
        assert git(project.path, "log", "--format=%s").splitlines() == ["Render the template"]
        assert git(project.path, "status", "--porcelain", "--ignored") == ""
        assert set(git(project.path, "ls-files").splitlines()) == project.files
        assert "ignored.pyc" in project.files

    def test_is_made_by_nobody_where_git_knows_no_name(
        self, render: Render, tmp_path: Path
    ) -> None:
        render()
        author = git(rendered(tmp_path).path, "log", "--format=%an <%ae>").strip()
        assert author == "template <template@localhost>"

    def test_is_made_by_whom_git_knows(self, render: Render, tmp_path: Path) -> None:
        name = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com"}
        assert render(**name).returncode == 0
        assert git(rendered(tmp_path).path, "log", "--format=%an").strip() == "Ada"

    def test_is_made_with_signing_hooks_and_ignored_files_in_the_users_settings(
        self, render: Render, released: Template, tmp_path: Path
    ) -> None:
        hooks = tmp_path / "git-hooks"
        hooks.mkdir()
        for name in ("pre-commit", "commit-msg", "post-commit"):
            (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
            (hooks / name).chmod(0o755)
        (tmp_path / "ignored").write_text("*.toml\n", encoding="utf-8")
        settings = Path(released.shell["GIT_CONFIG_GLOBAL"]).read_text(encoding="utf-8")
        (tmp_path / "gitconfig").write_text(
            f"{settings}[commit]\n\tgpgSign = true\n[gpg]\n\tprogram = false\n"
            f"[core]\n\thooksPath = {hooks}\n\texcludesFile = {tmp_path}/ignored\n",
            encoding="utf-8",
        )
        assert render(GIT_CONFIG_GLOBAL=str(tmp_path / "gitconfig")).returncode == 0
        project = rendered(tmp_path)
        assert set(git(project.path, "ls-files").splitlines()) == project.files
        assert not (tmp_path / "ran").exists()

    def test_is_not_made_inside_another_repository(self, render: Render, tmp_path: Path) -> None:
        (tmp_path / "output").mkdir()
        git(tmp_path / "output", "init", "--quiet")
        assert render().returncode == 0
        project = rendered(tmp_path)
        assert not (project.path / ".git").exists()
        assert project.record["template"] == URL
        assert git(tmp_path / "output", "status", "--porcelain").splitlines() == [
            "?? temperature-anomalies/"
        ]

    def test_is_not_made_without_git_and_that_is_said(
        self, render: Render, questions: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "no-programs").mkdir()
        said = render(str(questions), PATH=str(tmp_path / "no-programs"))
        assert said.returncode == 0, said.stderr
        assert "There is no first commit: there is no git on PATH" in said.stdout
        assert not (rendered(tmp_path).path / ".git").exists()


def test_two_renders_are_the_same_files(render: Render, tmp_path: Path) -> None:
    render(folder="one")
    render(folder="two")
    assert read(rendered(tmp_path, "one").path) == read(rendered(tmp_path, "two").path)


def test_a_render_that_is_only_compared_leaves_nothing_behind(
    released: Template, derive: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    """Cruft says where the template is, but not where it renders to."""
    from cookiecutter.generate import generate_files

    context = {"cookiecutter": derive() | {"_template": URL, "_commit": "0" * 40}}
    generate_files(released.checkout("v1.0.0"), context, tmp_path)
    made = {path.name for path in (tmp_path / "temperature-anomalies").iterdir()}
    assert not made & {".git", ".cruft.json"}


def test_the_record_is_no_secret_to_the_projects_checks(baked: Callable[[], Rendered]) -> None:
    repositories = yaml.safe_load(baked().read(".pre-commit-config.yaml"))["repos"]
    hooks = [hook for repository in repositories for hook in repository["hooks"]]
    (hook,) = (hook for hook in hooks if hook["id"] == "detect-secrets")
    assert re.search(hook["exclude"], ".cruft.json")
    assert not re.search(hook["exclude"], "src/cruft.json")
