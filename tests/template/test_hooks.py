"""The hooks never overwrite what could be lost, and touch nothing else."""

import ast
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cookiecutter.exceptions import FailedHookException
from cookiecutter.generate import generate_files

from tests.helpers import PROJECT, ROOT, Attempt, BakedProject, clean_environment

NO_NETWORK = """
import socket

def refuse(*arguments, **options):
    raise RuntimeError("a render must not open a connection")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder named as the default project, with a file of the user's in it."""
    path = tmp_path / "output" / "temperature-anomalies"
    path.mkdir(parents=True)
    (path / "LICENSE").write_text("mine\n", encoding="utf-8")
    return path


def git(folder: Path, *arguments: str) -> None:
    """Run git as a user with a name."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    subprocess.run(
        ["git", *identity, *arguments],
        cwd=folder,
        env=clean_environment(),
        check=True,
        capture_output=True,
    )


def commit_all(folder: Path) -> None:
    """Commit all files of a folder that is, or lies in, a repository."""
    git(folder, "add", "--all", ".")
    git(folder, "commit", "--quiet", "--message", "mine")


class TestFolderThatIsNotEmpty:
    def test_is_refused_by_cookiecutter_itself(
        self, attempt: Callable[..., Attempt], folder: Path
    ) -> None:
        assert not attempt().succeeded
        assert (folder / "LICENSE").read_text(encoding="utf-8") == "mine\n"

    def test_is_refused_without_git_history(
        self, attempt: Callable[..., Attempt], folder: Path
    ) -> None:
        refused = attempt("--overwrite-if-exists")
        assert not refused.succeeded
        assert "not empty and not in a git repository" in refused.said
        assert [path.name for path in folder.iterdir()] == ["LICENSE"]
        assert (folder / "LICENSE").read_text(encoding="utf-8") == "mine\n"

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="gives a folder away")
    def test_is_refused_with_the_advice_of_git_where_someone_else_owns_it(
        self, attempt: Callable[..., Attempt], folder: Path
    ) -> None:
        git(folder, "init", "--quiet")
        commit_all(folder)
        for path in (folder, folder / ".git"):
            os.chown(path, 65534, 65534)
        refused = attempt("--overwrite-if-exists")
        assert not refused.succeeded
        assert "git config --global --add safe.directory" in refused.said
        assert "not in a git repository" not in refused.said
        assert (folder / "LICENSE").read_text(encoding="utf-8") == "mine\n"

    def test_is_refused_with_uncommitted_changes(
        self, attempt: Callable[..., Attempt], folder: Path
    ) -> None:
        git(folder, "init", "--quiet")
        commit_all(folder)
        (folder / "LICENSE").write_text("changed\n", encoding="utf-8")
        refused = attempt("--overwrite-if-exists")
        assert not refused.succeeded
        assert " M LICENSE" in refused.said
        assert (folder / "LICENSE").read_text(encoding="utf-8") == "changed\n"

    def test_is_refused_with_untracked_files(
        self, attempt: Callable[..., Attempt], folder: Path
    ) -> None:
        git(folder, "init", "--quiet")
        git(folder, "config", "status.showUntrackedFiles", "no")
        commit_all(folder)
        (folder / "new").mkdir()
        (folder / "new" / "notes.txt").write_text("mine\n", encoding="utf-8")
        refused = attempt("--overwrite-if-exists")
        assert not refused.succeeded
        assert "?? new/notes.txt" in refused.said
        assert not (folder / "pyproject.toml").exists()

    def test_is_refused_when_git_ignores_it(
        self, attempt: Callable[..., Attempt], folder: Path
    ) -> None:
        (folder.parent / ".gitignore").write_text("temperature-anomalies/\n", encoding="utf-8")
        git(folder.parent, "init", "--quiet")
        commit_all(folder.parent)
        refused = attempt("--overwrite-if-exists")
        assert not refused.succeeded
        assert "git ignores all of it" in refused.said
        assert (folder / "LICENSE").read_text(encoding="utf-8") == "mine\n"

    def test_is_refused_without_git_on_the_path(
        self,
        attempt: Callable[..., Attempt],
        folder: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        git(folder, "init", "--quiet")
        commit_all(folder)
        monkeypatch.setenv("PATH", str(tmp_path))
        refused = attempt("--overwrite-if-exists")
        assert not refused.succeeded
        assert "without git on PATH" in refused.said
        assert (folder / "LICENSE").read_text(encoding="utf-8") == "mine\n"

    def test_is_taken_when_git_holds_all_of_it(
        self, attempt: Callable[..., Attempt], folder: Path
    ) -> None:
        git(folder, "init", "--quiet")
        commit_all(folder)
        accepted = attempt("--overwrite-if-exists")
        assert accepted.succeeded, accepted.said
        assert (folder / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")

    def test_is_taken_in_a_clean_repository_around_it(
        self, attempt: Callable[..., Attempt], folder: Path
    ) -> None:
        git(folder.parent, "init", "--quiet")
        commit_all(folder.parent)
        (folder.parent / "elsewhere.txt").write_text("not committed\n", encoding="utf-8")
        assert attempt("--overwrite-if-exists").succeeded

    def test_is_taken_when_it_holds_nothing_but_a_new_repository(
        self, attempt: Callable[..., Attempt], folder: Path
    ) -> None:
        (folder / "LICENSE").unlink()
        git(folder, "init", "--quiet")
        assert attempt("--overwrite-if-exists").succeeded

    def test_can_be_retried_with_the_command_that_is_shown(
        self,
        attempt: Callable[..., Attempt],
        type_in: Callable[..., Attempt],
        folder: Path,
    ) -> None:
        git(folder, "init", "--quiet")
        refused = attempt("--overwrite-if-exists", description="")
        assert not refused.succeeded
        assert "is empty" in refused.said
        assert "?? LICENSE" in refused.said
        commit_all(folder)
        assert type_in(*refused.retry).succeeded


class TestRender:
    def test_needs_neither_network_nor_git(
        self,
        template: Path,
        tmp_path: Path,
    ) -> None:
        (tmp_path / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
        (tmp_path / "no-programs").mkdir()
        environment = {"PYTHONPATH": str(tmp_path), "PATH": str(tmp_path / "no-programs")}
        probe = [sys.executable, "-c", "import socket; socket.create_connection(('localhost', 1))"]
        render = [sys.executable, "-m", "cookiecutter", "--no-input", str(template)]
        refused, rendered = (
            subprocess.run(
                command,
                cwd=tmp_path,
                env=clean_environment(**environment),
                capture_output=True,
                text=True,
            )
            for command in (probe, render)
        )
        assert "must not open a connection" in refused.stderr
        assert rendered.returncode == 0, rendered.stderr
        assert BakedProject(tmp_path / "temperature-anomalies").has_file("pyproject.toml")

    def test_gives_the_same_files_with_hooks_refused(
        self, template: Path, baked: Callable[..., BakedProject], tmp_path: Path
    ) -> None:
        command = [sys.executable, "-m", "cookiecutter", "--no-input", "--accept-hooks", "no"]
        subprocess.run([*command, str(template)], cwd=tmp_path, env=clean_environment(), check=True)
        bare = BakedProject(tmp_path / "temperature-anomalies")
        usual = baked()
        assert bare.files == usual.files
        for name in usual.files:
            assert (bare.path / name).read_bytes() == (usual.path / name).read_bytes(), name

    def test_says_what_to_type_next(self, questions: Path, tmp_path: Path) -> None:
        output = tmp_path / "it's here"
        command = [sys.executable, "-m", "cookiecutter", "--no-input", str(questions)]
        said = subprocess.run(
            [*command, "--output-dir", str(output)],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        commands = [line.strip() for line in said.splitlines() if line.startswith("  ")]
        assert commands == [
            f"cd {shlex.quote(str(output / 'temperature-anomalies'))}",
            "make setup",
            "make run",
        ]
        subprocess.run(["sh", "-c", f"{commands[0]} && test -f pyproject.toml"], check=True)

    def test_can_be_started_by_programs_that_say_little(
        self,
        questions: Path,
        tmp_path: Path,
        derive: Callable[..., dict[str, str]],
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """Cruft names the template, but not where it renders to."""
        answers = derive() | {"_template": "gh:org/template"}
        generate_files(questions, {"cookiecutter": answers}, tmp_path / "good")
        assert "make setup" in capfd.readouterr().out
        with pytest.raises(FailedHookException):
            generate_files(
                questions, {"cookiecutter": answers | {"description": ""}}, tmp_path / "bad"
            )
        assert f"--output-dir {tmp_path / 'bad'} gh:org/template" in capfd.readouterr().err

    def test_prints_where_a_console_has_no_emoji(self, questions: Path, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "cookiecutter", "--no-input", str(questions)]
        process = subprocess.run(
            [*command, "description=🌡️\n"],
            cwd=tmp_path,
            env=clean_environment(PYTHONIOENCODING="cp1252"),
            capture_output=True,
        )
        assert b"has a line break" in process.stderr
        assert b"UnicodeEncodeError" not in process.stderr


@pytest.mark.parametrize("name", ["pre_gen_project.py", "post_gen_project.py"])
def test_hooks_import_the_standard_library_only_and_delete_nothing(name: str) -> None:
    source = (ROOT / "hooks" / name).read_text(encoding="utf-8")
    tree = ast.parse(source)
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imported |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert {module.split(".")[0] for module in imported} <= sys.stdlib_module_names
    called = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    # rmdir removes a folder only if it is empty
    assert not called & {"remove", "unlink", "rmtree", "rename", "replace_file", "urlopen"}
    assert source.count("{{") == source.count("r'''{{ cookiecutter | tojson }}'''")


def test_uv_script_of_template_and_project_is_one() -> None:
    script = (ROOT / "tools" / "uv.sh").read_bytes()
    assert (ROOT / PROJECT / "tools" / "uv.sh").read_bytes() == script
