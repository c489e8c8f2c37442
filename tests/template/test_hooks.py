"""The hooks never overwrite files that git cannot restore, and change nothing else."""

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
    """A folder named like the default project that contains a user's file."""
    path = tmp_path / "output" / "temperature-anomalies"
    path.mkdir(parents=True)
    (path / "LICENSE").write_text("mine\n", encoding="utf-8")
    return path


def git(folder: Path, *arguments: str) -> None:
    """Run git with a user identity."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    subprocess.run(
        ["git", *identity, *arguments],
        cwd=folder,
        env=clean_environment(),
        check=True,
        capture_output=True,
    )


def commit_all(folder: Path) -> None:
    """Commit all files of a folder that is, or is part of, a repository."""
    git(folder, "add", "--all", ".")
    git(folder, "commit", "--quiet", "--message", "mine")


class TestNonEmptyFolder:
    def test_is_rejected_by_cookiecutter(
        self, attempt: Callable[..., Attempt], folder: Path
    ) -> None:
        assert not attempt().succeeded
        assert (folder / "LICENSE").read_text(encoding="utf-8") == "mine\n"

    def test_is_rejected_without_git_history(
        self, attempt: Callable[..., Attempt], folder: Path
    ) -> None:
        refused = attempt("--overwrite-if-exists")
        assert not refused.succeeded
        assert "not empty and not in a git repository" in refused.printed
        assert [path.name for path in folder.iterdir()] == ["LICENSE"]
        assert (folder / "LICENSE").read_text(encoding="utf-8") == "mine\n"

    @pytest.mark.skipif(
        os.name == "nt" or os.geteuid() != 0, reason="needs root to change the owner of a folder"
    )
    def test_is_rejected_with_advice_if_another_user_owns_it(
        self, attempt: Callable[..., Attempt], folder: Path
    ) -> None:
        git(folder, "init", "--quiet")
        commit_all(folder)
        for path in (folder, folder / ".git"):
            os.chown(path, 65534, 65534)
        refused = attempt("--overwrite-if-exists")
        assert not refused.succeeded
        assert "git config --global --add safe.directory" in refused.printed
        assert "not in a git repository" not in refused.printed
        assert (folder / "LICENSE").read_text(encoding="utf-8") == "mine\n"

    def test_is_rejected_with_uncommitted_changes(
        self, attempt: Callable[..., Attempt], folder: Path
    ) -> None:
        git(folder, "init", "--quiet")
        commit_all(folder)
        (folder / "LICENSE").write_text("changed\n", encoding="utf-8")
        refused = attempt("--overwrite-if-exists")
        assert not refused.succeeded
        assert " M LICENSE" in refused.printed
        assert (folder / "LICENSE").read_text(encoding="utf-8") == "changed\n"

    def test_is_rejected_with_untracked_files(
        self, attempt: Callable[..., Attempt], folder: Path
    ) -> None:
        git(folder, "init", "--quiet")
        git(folder, "config", "status.showUntrackedFiles", "no")
        commit_all(folder)
        (folder / "new").mkdir()
        (folder / "new" / "notes.txt").write_text("mine\n", encoding="utf-8")
        refused = attempt("--overwrite-if-exists")
        assert not refused.succeeded
        assert "?? new/notes.txt" in refused.printed
        assert not (folder / "pyproject.toml").exists()

    def test_is_rejected_when_git_ignores_it(
        self, attempt: Callable[..., Attempt], folder: Path
    ) -> None:
        (folder.parent / ".gitignore").write_text("temperature-anomalies/\n", encoding="utf-8")
        git(folder.parent, "init", "--quiet")
        commit_all(folder.parent)
        refused = attempt("--overwrite-if-exists")
        assert not refused.succeeded
        assert "git ignores all of it" in refused.printed
        assert (folder / "LICENSE").read_text(encoding="utf-8") == "mine\n"

    def test_is_rejected_without_git_on_the_path(
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
        assert "without git on PATH" in refused.printed
        assert (folder / "LICENSE").read_text(encoding="utf-8") == "mine\n"

    def test_is_accepted_when_everything_is_committed(
        self, attempt: Callable[..., Attempt], folder: Path
    ) -> None:
        git(folder, "init", "--quiet")
        commit_all(folder)
        accepted = attempt("--overwrite-if-exists")
        assert accepted.succeeded, accepted.printed
        assert (folder / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")

    def test_is_accepted_if_clean_within_a_larger_repository(
        self, attempt: Callable[..., Attempt], folder: Path
    ) -> None:
        git(folder.parent, "init", "--quiet")
        commit_all(folder.parent)
        (folder.parent / "elsewhere.txt").write_text("not committed\n", encoding="utf-8")
        assert attempt("--overwrite-if-exists").succeeded

    def test_is_accepted_when_it_contains_only_a_new_repository(
        self, attempt: Callable[..., Attempt], folder: Path
    ) -> None:
        (folder / "LICENSE").unlink()
        git(folder, "init", "--quiet")
        assert attempt("--overwrite-if-exists").succeeded

    def test_can_be_retried_with_the_printed_command(
        self,
        attempt: Callable[..., Attempt],
        type_in: Callable[..., Attempt],
        folder: Path,
    ) -> None:
        git(folder, "init", "--quiet")
        refused = attempt("--overwrite-if-exists", description="")
        assert not refused.succeeded
        assert "is empty" in refused.printed
        assert "?? LICENSE" in refused.printed
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

    def test_gives_the_same_files_without_hooks(
        self, template: Path, baked: Callable[..., BakedProject], tmp_path: Path
    ) -> None:
        command = [sys.executable, "-m", "cookiecutter", "--no-input", "--accept-hooks", "no"]
        subprocess.run([*command, str(template)], cwd=tmp_path, env=clean_environment(), check=True)
        bare = BakedProject(tmp_path / "temperature-anomalies")
        usual = baked()
        assert bare.files == usual.files
        for name in usual.files:
            assert (bare.path / name).read_bytes() == (usual.path / name).read_bytes(), name

    def test_prints_the_next_commands(self, questions: Path, tmp_path: Path) -> None:
        output = tmp_path / "it's here"
        command = [sys.executable, "-m", "cookiecutter", "--no-input", str(questions)]
        stdout = subprocess.run(
            [*command, "--output-dir", str(output)],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        commands = [line.strip() for line in stdout.splitlines() if line.startswith("  ")]
        assert commands == [
            f"cd {shlex.quote(str(output / 'temperature-anomalies'))}",
            "make setup",
            "make run",
        ]
        subprocess.run(["sh", "-c", f"{commands[0]} && test -f pyproject.toml"], check=True)

    def test_works_for_callers_that_omit_the_output_folder(
        self,
        questions: Path,
        tmp_path: Path,
        derive: Callable[..., dict[str, str]],
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """Cruft passes the template but not the output folder."""
        answers = derive() | {"_template": "gh:org/template"}
        generate_files(questions, {"cookiecutter": answers}, tmp_path / "good")
        assert "make setup" in capfd.readouterr().out
        with pytest.raises(FailedHookException):
            generate_files(
                questions, {"cookiecutter": answers | {"description": ""}}, tmp_path / "bad"
            )
        assert f"--output-dir {tmp_path / 'bad'} gh:org/template" in capfd.readouterr().err

    def test_prints_to_a_console_without_emoji(self, questions: Path, tmp_path: Path) -> None:
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
def test_hooks_import_only_the_standard_library_and_delete_nothing(name: str) -> None:
    source = (ROOT / "hooks" / name).read_text(encoding="utf-8")
    tree = ast.parse(source)
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imported |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert {module.split(".")[0] for module in imported} <= sys.stdlib_module_names
    called = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    # rmdir removes a folder only if it is empty
    assert not called & {"remove", "unlink", "rmtree", "rename", "replace_file", "urlopen"}
    assert source.count("{{") == source.count("r'''{{ cookiecutter | tojson }}'''")


def test_repository_and_project_have_the_same_uv_script() -> None:
    script = (ROOT / "tools" / "uv.sh").read_bytes()
    assert (ROOT / PROJECT / "tools" / "uv.sh").read_bytes() == script
