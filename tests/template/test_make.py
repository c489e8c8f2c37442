"""Arguments of ``make`` reach the program unchanged; neither make nor a shell expands them."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kedro_azure_mlops import arguments
from tests.helpers import ROOT, BakedProject, clean_environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="make is not needed on Windows")

HOSTILE = [
    "$(touch hit)", "$(shell touch hit)", "${shell touch hit}", "`touch hit`", "x; touch hit",
    "|touch hit", "&& touch hit", "a\nb", "two words", "it's", '"quoted"', "*", "%s %d", "--help",
    "-", "$HOME $$ $@", "#comment", "back\\slash", "ä € 漢", "<(touch hit)", "name=value", "~",
]  # fmt: skip
RECORDER = '#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done >words\n'


class RecordingProject(BakedProject):
    """A rendered project whose programs only record their arguments."""

    def make(self, *typed: str, **environment: str) -> list[str]:
        """Run a target and return the arguments that its program received."""
        (self.path / "words").unlink(missing_ok=True)
        process = subprocess.run(
            ["make", "UV=false", *typed],
            cwd=self.path,
            env=clean_environment(PYTHONPATH=str(ROOT / "src"), **environment),
            capture_output=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr.decode()
        assert not list(self.path.rglob("hit"))
        return (self.path / "words").read_bytes().decode().split("\0")[:-1]


@pytest.fixture(scope="module")
def project(
    baked: Callable[..., BakedProject], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RecordingProject]:
    folder = tmp_path_factory.mktemp("made") / "project"
    shutil.copytree(baked().path, folder)
    programs = folder / ".venv/bin"
    programs.mkdir(parents=True)
    for name in ("kedro", "pytest", "mlflow", "jupyter"):
        (programs / name).write_text(RECORDER, encoding="utf-8")
        (programs / name).chmod(0o755)
    # other modules that targets call are ignored
    only = f'#!/bin/sh\ncase "$2" in *.arguments) exec {sys.executable} "$@" ;; esac\n'
    (programs / "python").write_text(only, encoding="utf-8")
    (programs / "python").chmod(0o755)
    for marker in (
        ".venv/.run",
        ".venv/.dev",
        ".venv/.azure",
        ".venv/.notebook",
        ".venv-serve/.synced",
    ):
        (folder / marker).parent.mkdir(exist_ok=True)
        (folder / marker).touch()
    yield RecordingProject(folder)


@pytest.mark.parametrize("text", HOSTILE)
def test_params_and_env_are_one_argument_each(project: RecordingProject, text: str) -> None:
    expected = ["run", "--env", text, "--params", f"a={text}"]
    assert project.make("run", f"ENV={text}", f"PARAMS=a={text}") == expected
    assert project.make("run", PARAMS=f"a={text}") == ["run", "--params", f"a={text}"]


@pytest.mark.parametrize("text", HOSTILE)
def test_args_are_split_into_words_except_within_quotes(
    project: RecordingProject, text: str
) -> None:
    quoted = "'" + text.replace("'", "'\\''") + "'"
    expected = ["mlops", "gate", "--reason", text, "-v"]
    assert project.make("gate", f"ARGS=--reason {quoted} -v") == expected
    assert project.make("gate", ARGS=f"--reason {quoted} -v") == expected


@pytest.mark.parametrize("text", ["; touch hit", "$(touch hit) `touch hit`", "* ~ $HOME"])
def test_unquoted_args_are_not_expanded(project: RecordingProject, text: str) -> None:
    """Regression test for `CI_ARGUMENTS='; touch X'`."""
    assert project.make("test", f"ARGS={text}") == [
        "-n",
        "auto",
        "--dist",
        "loadfile",
        *text.split(),
    ]
    assert project.make("promote", ARGS=text) == ["mlops", "promote", *text.split()]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["viz"], ["viz", "run", "--host", "127.0.0.1", "--port", "4141"]),
        (["serve"], ["mlops", "serve"]),
        (
            ["notebook"],
            ["lab", "--notebook-dir", "notebooks", "--ip", "127.0.0.1", "--port", "8888"],
        ),
        (
            ["serve", "ENV=dev", "PORT=5002", "ARGS=--plain"],
            ["mlops", "serve", "--env", "dev", "--port", "5002", "--plain"],
        ),
        (
            ["serve", "PORT=$(shell touch hit);"],
            ["mlops", "serve", "--port", "$(shell touch hit);"],
        ),
    ],
)  # fmt: skip
def test_a_port_from_the_environment_is_ignored(
    project: RecordingProject, typed: list[str], words: list[str]
) -> None:
    assert project.make(*typed, PORT="80", ENV="of the shell") == words
    assert project.make("mlflow", "PORT=a b", PORT="80")[-4:] == ["--port", "a b", "--workers", "1"]


def test_the_printed_command_can_be_pasted_into_a_shell(project: RecordingProject) -> None:
    process = subprocess.run(
        ["make", "run", "PARAMS=a=$(touch hit)", "ARGS=--tags 'two words'"],
        cwd=project.path,
        env=clean_environment(PYTHONPATH=str(ROOT / "src")),
        capture_output=True,
        text=True,
        check=True,
    )
    printed = ".venv/bin/kedro run --params 'a=$(touch hit)' --tags 'two words'\n"
    assert process.stdout == printed
    again = subprocess.run(["sh", "-c", printed], cwd=project.path, check=True)
    assert again.returncode == 0
    words = (project.path / "words").read_bytes().split(b"\0")[:-1]
    assert words == [b"run", b"--params", b"a=$(touch hit)", b"--tags", b"two words"]


def test_an_unclosed_quote_is_an_error(project: RecordingProject) -> None:
    process = project.run("make", "gate", "ARGS=it's", PYTHONPATH=str(ROOT / "src"))
    assert process.returncode == 2
    assert "make: ARGS cannot be split into words: it's" in process.stderr
    assert "Traceback" not in process.stderr
    assert project.make("gate", "ARGS=it\\'s") == ["mlops", "gate", "it's"]


def test_args_of_make_lock_are_not_expanded(project: RecordingProject, tmp_path: Path) -> None:
    uv, log = tmp_path / "uv", tmp_path / "said"
    uv.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{log}\n', encoding="utf-8")
    uv.chmod(0o755)
    text = "--upgrade $(touch hit) `touch hit` * ;touch hit"
    process = project.run("make", "lock", f"UV={uv}", f"ARGS={text}")
    assert process.returncode == 0, process.stderr
    assert log.read_text(encoding="utf-8").count(f" {text} requirements/") == 2
    assert not (project.path / "hit").exists()


@pytest.mark.parametrize("is_on_an_index", [True, False])
def test_the_folder_of_the_wheel_is_searched_only_if_it_exists(
    project: RecordingProject, tmp_path: Path, is_on_an_index: bool
) -> None:
    folder, log = tmp_path / "project", tmp_path / "said"
    shutil.copytree(project.path, folder)
    if is_on_an_index:
        shutil.rmtree(folder / "wheels")
    uv = tmp_path / "uv"
    uv.write_text(f'#!/bin/sh\necho "$UV_FIND_LINKS,$PIP_FIND_LINKS $*" >>{log}\n', "utf-8")
    uv.chmod(0o755)
    process = BakedProject(folder).run("make", "lock", f"UV={uv}")
    assert process.returncode == 0, process.stderr
    said = log.read_text("utf-8")
    assert said.startswith(", " if is_on_an_index else "wheels,wheels ")
    assert ("--find-links wheels" in said) is not is_on_an_index


@pytest.mark.parametrize("text", ["$(shell touch hit)", "3.12; touch hit", "`touch hit`"])
def test_a_python_version_is_one_argument(
    project: RecordingProject, tmp_path: Path, text: str
) -> None:
    """Covers `make setup` before an environment exists."""
    folder = tmp_path / "bare"
    folder.mkdir()
    shutil.copy(project.path / "Makefile", folder)
    uv = tmp_path / "uv"
    uv.write_text(RECORDER.replace("words", f"{folder}/words") + "exit 1\n", encoding="utf-8")
    uv.chmod(0o755)
    for typed, environment in ([f"PYTHON={text}"], {}), ([], {"PYTHON": text}):
        process = BakedProject(folder).run(
            "make", ".venv/bin/python", f"UV={uv}", *typed, **environment
        )
        assert process.returncode == 2
        assert f"python install {text}" in process.stderr
        assert not (folder / "hit").exists()


@pytest.mark.parametrize("text", HOSTILE)
def test_args_of_this_repository_are_not_expanded(tmp_path: Path, text: str) -> None:
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    (programs / "pytest").write_text(RECORDER, encoding="utf-8")
    (programs / "pytest").chmod(0o755)
    (programs / "python").symlink_to(sys.executable)
    quoted = "'" + text.replace("'", "'\\''") + "'"
    command = ["make", "test", "--assume-old=setup", f"ARGS=-m {quoted}"]
    environment = clean_environment(PYTHONPATH=str(ROOT / "src"))
    process = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert process.returncode == 0, process.stderr.decode()
    words = (tmp_path / "words").read_bytes().decode().split("\0")[:-1]
    assert words == ["-n", "auto", "-m", text]
    assert not (tmp_path / "hit").exists()


def test_silent_mode_and_a_program_that_cannot_be_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr("os.execvp", lambda _, words: started.append(words))
    monkeypatch.setenv("TYPED_ARGS", "a 'b c'")
    for flags, printed in (
        ("s", ""),
        ("", "p 1 a 'b c'\n"),
        ("--no-print-directory", "p 1 a 'b c'\n"),
    ):
        monkeypatch.setenv("MAKEFLAGS", flags)
        monkeypatch.setenv("TYPED_ARGS", "a 'b c'")
        arguments.main(["p", "1"])
        assert capsys.readouterr().out == printed
    assert started == [["p", "1", "a", "b c"]] * 3
    monkeypatch.undo()
    assert arguments.main([str(ROOT / "nothing")]) == 2
    assert "cannot be started" in capsys.readouterr().err
