"""Text typed after ``make`` reaches the program as words; neither make nor a shell expands it."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kedro_azure_mlops import arguments
from tests.helpers import ROOT, BakedProject, clean_environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there everything works without")

HOSTILE = [
    "$(touch hit)", "$(shell touch hit)", "${shell touch hit}", "`touch hit`", "x; touch hit",
    "|touch hit", "&& touch hit", "a\nb", "two words", "it's", '"quoted"', "*", "%s %d", "--help",
    "-", "$HOME $$ $@", "#comment", "back\\slash", "ä € 漢", "<(touch hit)", "name=value", "~",
]  # fmt: skip
RECORDER = '#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done >words\n'


class Made(BakedProject):
    """A rendered project whose programs only note what they are given."""

    def make(self, *typed: str, **environment: str) -> list[str]:
        """Make a target and return the words that its program got."""
        (self.path / "words").unlink(missing_ok=True)
        done = subprocess.run(
            ["make", "UV=false", *typed],
            cwd=self.path,
            env=clean_environment(PYTHONPATH=str(ROOT / "src"), **environment),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert not list(self.path.rglob("hit"))
        return (self.path / "words").read_bytes().decode().split("\0")[:-1]


@pytest.fixture(scope="module")
def made(
    baked: Callable[..., BakedProject], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("made") / "project"
    shutil.copytree(baked().path, folder)
    programs = folder / ".venv/bin"
    programs.mkdir(parents=True)
    for name in ("kedro", "pytest", "mlflow", "jupyter"):
        (programs / name).write_text(RECORDER, encoding="utf-8")
        (programs / name).chmod(0o755)
    # the other modules that targets call are of no interest here
    only = f'#!/bin/sh\ncase "$2" in *.arguments) exec {sys.executable} "$@" ;; esac\n'
    (programs / "python").write_text(only, encoding="utf-8")
    (programs / "python").chmod(0o755)
    for done in (
        ".venv/.run",
        ".venv/.dev",
        ".venv/.azure",
        ".venv/.notebook",
        ".venv-serve/.synced",
    ):
        (folder / done).parent.mkdir(exist_ok=True)
        (folder / done).touch()
    yield Made(folder)


@pytest.mark.parametrize("text", HOSTILE)
def test_parameters_and_environment_are_one_word_each(made: Made, text: str) -> None:
    expected = ["run", "--env", text, "--params", f"a={text}"]
    assert made.make("run", f"ENV={text}", f"PARAMS=a={text}") == expected
    assert made.make("run", PARAMS=f"a={text}") == ["run", "--params", f"a={text}"]


@pytest.mark.parametrize("text", HOSTILE)
def test_arguments_are_words_and_quotes_hold_them_together(made: Made, text: str) -> None:
    quoted = "'" + text.replace("'", "'\\''") + "'"
    expected = ["mlops", "gate", "--reason", text, "-v"]
    assert made.make("gate", f"ARGS=--reason {quoted} -v") == expected
    assert made.make("gate", ARGS=f"--reason {quoted} -v") == expected


@pytest.mark.parametrize("text", ["; touch hit", "$(touch hit) `touch hit`", "* ~ $HOME"])
def test_words_without_quotes_are_not_expanded_either(made: Made, text: str) -> None:
    """`CI_ARGUMENTS='; touch X'`, as it once was."""
    assert made.make("test", f"ARGS={text}") == ["-n", "auto", "--dist", "loadfile", *text.split()]
    assert made.make("promote", ARGS=text) == ["mlops", "promote", *text.split()]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["viz"], ["viz", "run", "--host", "127.0.0.1", "--port", "4141"]),
        (["serve"], ["mlops", "serve", "--port", "5001"]),
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
def test_a_port_counts_only_when_typed(made: Made, typed: list[str], words: list[str]) -> None:
    assert made.make(*typed, PORT="80", ENV="of the shell") == words
    assert made.make("mlflow", "PORT=a b", PORT="80")[-4:] == ["--port", "a b", "--workers", "1"]


def test_the_command_is_printed_so_that_it_can_be_typed(made: Made) -> None:
    done = subprocess.run(
        ["make", "run", "PARAMS=a=$(touch hit)", "ARGS=--tags 'two words'"],
        cwd=made.path,
        env=clean_environment(PYTHONPATH=str(ROOT / "src")),
        capture_output=True,
        text=True,
        check=True,
    )
    printed = ".venv/bin/kedro run --params 'a=$(touch hit)' --tags 'two words'\n"
    assert done.stdout == printed
    again = subprocess.run(["sh", "-c", printed], cwd=made.path, check=True)
    assert again.returncode == 0
    words = (made.path / "words").read_bytes().split(b"\0")[:-1]
    assert words == [b"run", b"--params", b"a=$(touch hit)", b"--tags", b"two words"]


def test_a_quote_that_is_not_closed_is_an_error(made: Made) -> None:
    done = made.run("make", "gate", "ARGS=it's", PYTHONPATH=str(ROOT / "src"))
    assert done.returncode == 2
    assert "make: ARGS cannot be split into words: it's" in done.stderr
    assert "Traceback" not in done.stderr
    assert made.make("gate", "ARGS=it\\'s") == ["mlops", "gate", "it's"]


def test_the_lock_takes_words_that_are_not_expanded(made: Made, tmp_path: Path) -> None:
    uv, said = tmp_path / "uv", tmp_path / "said"
    uv.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{said}\n', encoding="utf-8")
    uv.chmod(0o755)
    text = "--upgrade $(touch hit) `touch hit` * ;touch hit"
    done = made.run("make", "lock", f"UV={uv}", f"ARGS={text}")
    assert done.returncode == 0, done.stderr
    assert said.read_text(encoding="utf-8").count(f" {text} requirements/") == 2
    assert not (made.path / "hit").exists()


@pytest.mark.parametrize("text", ["$(shell touch hit)", "3.12; touch hit", "`touch hit`"])
def test_a_python_that_is_asked_for_is_one_word(made: Made, tmp_path: Path, text: str) -> None:
    """Of `make setup`, where there is no environment yet."""
    folder = tmp_path / "bare"
    folder.mkdir()
    shutil.copy(made.path / "Makefile", folder)
    uv = tmp_path / "uv"
    uv.write_text(RECORDER.replace("words", f"{folder}/words") + "exit 1\n", encoding="utf-8")
    uv.chmod(0o755)
    for typed, environment in ([f"PYTHON={text}"], {}), ([], {"PYTHON": text}):
        done = BakedProject(folder).run(
            "make", ".venv/bin/python", f"UV={uv}", *typed, **environment
        )
        assert done.returncode == 2
        assert f"python install {text}" in done.stderr
        assert not (folder / "hit").exists()


@pytest.mark.parametrize("text", HOSTILE)
def test_this_repository_tests_take_words_too(tmp_path: Path, text: str) -> None:
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    (programs / "pytest").write_text(RECORDER, encoding="utf-8")
    (programs / "pytest").chmod(0o755)
    (programs / "python").symlink_to(sys.executable)
    quoted = "'" + text.replace("'", "'\\''") + "'"
    makes = ["make", "test", "--assume-old=setup", f"ARGS=-m {quoted}"]
    environment = clean_environment(PYTHONPATH=str(ROOT / "src"))
    done = subprocess.run(makes, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    words = (tmp_path / "words").read_bytes().decode().split("\0")[:-1]
    assert words == ["-n", "auto", "-m", text]
    assert not (tmp_path / "hit").exists()


def test_silence_and_what_cannot_be_started(
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
