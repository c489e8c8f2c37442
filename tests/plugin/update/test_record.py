"""The record of the template and the initial commit of a render."""

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
from tests.plugin.update.updating import ADDRESSES, URL, WORD, Template, git, read

NO_GIT_USER = {"GIT_CONFIG_NOSYSTEM": "1", "EMAIL": ""}
Render = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def released(questions: Path, tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The template's questions and hooks as a repository with one release."""
    folder = tmp_path_factory.mktemp("released") / "template"
    template = Template.with_questions(questions, folder)
    template.release("v1.0.0", {"requirements/run.txt": "hash\n", "ignored.pyc": "x\n"})
    return template


@pytest.fixture
def render(released: Template, tmp_path: Path) -> Render:
    """Run cookiecutter as a user without a git configuration."""

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
            env=released.shell | NO_GIT_USER | {"HOME": str(home)} | environment,
            capture_output=True,
            text=True,
        )

    return call


def rendered(tmp_path: Path, folder: str = "output") -> Rendered:
    """Return the rendered project."""
    return Rendered(tmp_path / folder / "temperature-anomalies")


class TestRecord:
    def test_has_address_commit_tag_and_answers(
        self, render: Render, released: Template, tmp_path: Path
    ) -> None:
        assert render().returncode == 0
        record = rendered(tmp_path).record
        assert record["template"] == URL
        assert record["commit"] == released.commits["v1.0.0"]
        assert record["checkout"] == "v1.0.0"
        assert record["directory"] is None
        answers = record["context"]["cookiecutter"]
        assert answers.pop("_template") == URL
        assert answers.pop("_commit") == released.commits["v1.0.0"]
        keys = [key for key in released.questions if not key.startswith("_")]
        assert sorted(answers) == sorted(keys)
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
        """Like `git clone URL && cookiecutter ./template`, for any output folder."""
        folder = tmp_path / "output"
        folder.mkdir()
        git(folder, "clone", "--quiet", str(released.path), "template")
        git(folder / "template", "remote", "set-url", "origin", URL)
        if options and ".." in options[1] and not shell:
            pytest.skip("the starting folder is unknown")
        process = render("./template", *options, PWD=str(folder) if shell else "/")
        assert process.returncode == 0, process.stderr
        target = Path(os.path.normpath(folder / (options[1] if options else ".")))
        record = Rendered(target / "temperature-anomalies").record
        assert record["template"] == URL
        assert record["commit"] == released.commits["v1.0.0"]
        assert record["checkout"] == "v1.0.0"

    def test_holds_no_path_of_this_machine(self, render: Render, tmp_path: Path) -> None:
        render()
        assert str(tmp_path.parent) not in rendered(tmp_path).read(".cruft.json")

    @pytest.mark.parametrize(("address", "public"), ADDRESSES)
    def test_holds_no_credentials(
        self, render: Render, released: Template, tmp_path: Path, address: str, public: str
    ) -> None:
        clone = tmp_path / "clone"
        git(tmp_path, "clone", "--quiet", str(released.path), str(clone))
        git(clone, "remote", "set-url", "origin", address)
        process = render(str(clone))
        text = rendered(tmp_path).read(".cruft.json")
        assert json.loads(text)["template"] == public
        assert WORD not in text
        assert WORD not in process.stdout + process.stderr

    def test_is_left_out_for_a_folder_without_address(
        self, render: Render, questions: Path, tmp_path: Path
    ) -> None:
        process = render(str(questions))
        assert process.returncode == 0
        assert "not a clone of a git repository" in process.stdout
        assert "--link URL" in process.stdout
        assert not rendered(tmp_path).has_file(".cruft.json")

    @pytest.mark.parametrize("scheme", ["", "file://"])
    def test_is_left_out_for_an_address_on_this_machine(
        self, render: Render, released: Template, tmp_path: Path, scheme: str
    ) -> None:
        clone = tmp_path / "clone"
        git(tmp_path, "clone", "--quiet", f"{scheme}{released.path}", str(clone))
        process = render(str(clone))
        assert process.returncode == 0
        assert "a local folder" in process.stdout
        assert not rendered(tmp_path).has_file(".cruft.json")

    @pytest.mark.parametrize(
        ("state", "reason"),
        [("changed", "has uncommitted changes"), ("ahead", "was not pushed")],
    )
    def test_is_left_out_for_unpublished_changes(
        self, render: Render, released: Template, tmp_path: Path, state: str, reason: str
    ) -> None:
        clone = tmp_path / "clone"
        git(tmp_path, "clone", "--quiet", str(released.path), str(clone))
        git(clone, "remote", "set-url", "origin", URL)
        (clone / "hooks" / "more.txt").write_text("more\n", encoding="utf-8")
        if state == "ahead":
            git(clone, "add", "--all")
            git(clone, "commit", "--quiet", "--message", "mine")
        process = render(str(clone))
        assert reason in process.stdout
        assert not rendered(tmp_path).has_file(".cruft.json")

    def test_is_left_out_for_an_archive(
        self, render: Render, released: Template, tmp_path: Path
    ) -> None:
        archive = tmp_path / "template.zip"
        git(released.path, "archive", "--prefix=template/", f"--output={archive}", "v1.0.0")
        process = render(str(archive))
        assert process.returncode == 0, process.stderr
        assert "not a clone of a git repository" in process.stdout
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
        process = render(many.url, "--directory", "ml/small", **many.shell)
        assert process.returncode == 0, process.stderr
        record = rendered(tmp_path).record
        assert (record["directory"], record["checkout"]) == ("ml/small", None)


class TestFirstCommit:
    def test_holds_the_render_and_nothing_else(self, render: Render, tmp_path: Path) -> None:
        render()
        project = rendered(tmp_path)
        assert git(project.path, "log", "--format=%s").splitlines() == ["Render the template"]
        assert git(project.path, "status", "--porcelain", "--ignored") == ""
        assert set(git(project.path, "ls-files").splitlines()) == project.files
        assert "ignored.pyc" in project.files

    def test_has_a_default_author_without_a_git_user(self, render: Render, tmp_path: Path) -> None:
        render()
        author = git(rendered(tmp_path).path, "log", "--format=%an <%ae>").strip()
        assert author == "template <template@localhost>"

    def test_has_the_git_user_as_author(self, render: Render, tmp_path: Path) -> None:
        name = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com"}
        assert render(**name).returncode == 0
        assert git(rendered(tmp_path).path, "log", "--format=%an").strip() == "Ada"

    def test_ignores_signing_hooks_and_excluded_files_of_the_user(
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

    def test_is_skipped_with_a_message_without_git(
        self, render: Render, questions: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "no-programs").mkdir()
        process = render(str(questions), PATH=str(tmp_path / "no-programs"))
        assert process.returncode == 0, process.stderr
        assert "The initial commit was not created: there is no git on PATH" in process.stdout
        assert not (rendered(tmp_path).path / ".git").exists()


def test_two_renders_have_identical_files(render: Render, tmp_path: Path) -> None:
    render(folder="one")
    render(folder="two")
    assert read(rendered(tmp_path, "one").path) == read(rendered(tmp_path, "two").path)


def test_a_render_for_comparison_has_no_record_and_no_repository(
    released: Template, derive: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    """Cruft passes the location of the template, but not the output folder."""
    from cookiecutter.generate import generate_files

    context = {"cookiecutter": derive() | {"_template": URL, "_commit": "0" * 40}}
    generate_files(released.checkout("v1.0.0"), context, tmp_path)
    names = {path.name for path in (tmp_path / "temperature-anomalies").iterdir()}
    assert not names & {".git", ".cruft.json"}


def test_secret_checks_of_the_project_skip_the_record(baked: Callable[[], Rendered]) -> None:
    repositories = yaml.safe_load(baked().read(".pre-commit-config.yaml"))["repos"]
    hooks = [hook for repository in repositories for hook in repository["hooks"]]
    (hook,) = (hook for hook in hooks if hook["id"] == "detect-secrets")
    assert re.search(hook["exclude"], ".cruft.json")
    assert not re.search(hook["exclude"], "src/cruft.json")
