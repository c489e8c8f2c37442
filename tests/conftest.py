"""Fixtures that render the template, and the words that tests use for what comes out."""

import contextlib
import itertools
import os
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from cookiecutter.cli import main as command_line
from cookiecutter.generate import generate_context
from cookiecutter.main import cookiecutter
from cookiecutter.prompt import prompt_for_config

ROOT = Path(__file__).parent.parent
USERS_ENVIRONMENT = dict(os.environ)  # with the caches and the package index of who runs this
PROJECT = "{{cookiecutter.project_slug}}"

# What the shell of whoever runs the tests may hold and a render must not see.
LEAKING = (
    "AZURE", "CONDA", "COOKIECUTTER", "GIT_", "KEDRO", "MAKE", "MFLAGS", "MLFLOW", "PYTEST",
    "PYTHON", "UV_PYTHON", "VIRTUAL_ENV",
)  # fmt: skip


def clean_environment(**changes: str) -> dict[str, str]:
    """Return the environment of a shell that has just been opened."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(LEAKING)}
    return kept | {"LC_ALL": "C.UTF-8"} | changes


@dataclass(frozen=True)
class BakedProject:
    """A rendered project and what a test wants to know of it."""

    path: Path

    @property
    def files(self) -> set[str]:
        """Names of all files, relative and with slashes."""
        paths = (path for path in self.path.rglob("*") if path.is_file())
        return {path.relative_to(self.path).as_posix() for path in paths}

    def has_file(self, name: str) -> bool:
        """Say whether there is such a file."""
        return (self.path / name).is_file()

    def read(self, name: str) -> str:
        """Return the text of a file, its line ends as they are."""
        return (self.path / name).read_bytes().decode("utf-8")

    def toml(self, name: str) -> dict[str, Any]:
        """Return what a TOML file says."""
        return tomllib.loads(self.read(name))

    def yaml(self, name: str) -> Any:  # noqa: ANN401
        """Return what a YAML file says, scalars as text (so that `on` stays a key)."""
        return yaml.load(self.read(name), Loader=yaml.BaseLoader)  # noqa: S506

    def run(self, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project, in a clean environment."""
        return subprocess.run(
            [str(part) for part in command],
            cwd=self.path,
            env=clean_environment(**environment),
            capture_output=True,
            text=True,
        )


@dataclass(frozen=True)
class Attempt:
    """A call of cookiecutter, which may have been refused."""

    output: Path
    status: int
    said: str

    @property
    def succeeded(self) -> bool:
        """Say whether the project was rendered."""
        return self.status == 0

    @property
    def left_nothing(self) -> bool:
        """Say whether the output folder is as empty as before."""
        return not any(self.output.iterdir())

    @property
    def project(self) -> BakedProject:
        """The one project that was rendered."""
        (path,) = self.output.iterdir()
        return BakedProject(path)

    @property
    def retry(self) -> list[str]:
        """The command that the message says to try, as the shell would split it."""
        (line,) = (line for line in self.said.splitlines() if line.startswith("  cookiecutter "))
        return shlex.split(line)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the template as a clone has it: without what tools leave behind."""
    copy = tmp_path_factory.mktemp("template")
    shutil.copy(ROOT / "cookiecutter.json", copy)
    junk = shutil.ignore_patterns("__pycache__", ".*_cache", ".venv", "*.egg-info")
    for folder in ("hooks", PROJECT):
        shutil.copytree(ROOT / folder, copy / folder, ignore=junk)
    return copy


@pytest.fixture(scope="session")
def questions(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template's questions and hooks with hardly a file to render, for tests of the answers."""
    copy = tmp_path_factory.mktemp("questions")
    shutil.copy(template / "cookiecutter.json", copy)
    shutil.copytree(template / "hooks", copy / "hooks")
    (copy / PROJECT).mkdir()
    for name in ("LICENSE", "pyproject.toml"):
        shutil.copy(template / PROJECT / name, copy / PROJECT)
    return copy


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder without settings; caches that are made once may stay in it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def opened_shell(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep out the settings of whoever runs the tests, and leave nothing in their home."""
    for name in list(os.environ):
        if name.startswith(LEAKING) and not name.startswith("PYTEST"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def render(template: Path, output: Path, **answers: str) -> BakedProject:
    """Render the template into a folder."""
    path = cookiecutter(
        str(template),
        no_input=True,
        extra_context=answers,
        default_config=True,
        output_dir=str(output),
    )
    return BakedProject(Path(path))


@pytest.fixture
def bake(template: Path, tmp_path: Path) -> Callable[..., BakedProject]:
    """Render the template with some answers into a new folder."""
    numbers = itertools.count()
    return lambda **answers: render(template, tmp_path / f"bake-{next(numbers)}", **answers)


@pytest.fixture(scope="session")
def baked(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., BakedProject]:
    """Render as `bake` does, but share the project between tests that only read it."""
    return cache(lambda **answers: render(template, tmp_path_factory.mktemp("baked"), **answers))


@pytest.fixture
def type_in(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Attempt]:
    """Call cookiecutter as if typed in an empty folder, in this process to save its start."""
    output = tmp_path / "output"
    output.mkdir(exist_ok=True)

    def call(program: str, *arguments: str) -> Attempt:
        assert program == "cookiecutter"
        with contextlib.chdir(output), pytest.raises(SystemExit) as end:
            command_line(arguments)
        printed = capfd.readouterr()
        return Attempt(output, int(end.value.code or 0), printed.out + printed.err)

    return call


@pytest.fixture
def attempt(questions: Path, type_in: Callable[..., Attempt]) -> Callable[..., Attempt]:
    """Try to render with some options and answers, for the sake of the hooks."""

    def call(*options: str, **answers: str) -> Attempt:
        given = [f"{key}={answer}" for key, answer in answers.items()]
        usual = ("--no-input", "--default-config")
        return type_in("cookiecutter", *usual, *options, str(questions), *given)

    return call


@pytest.fixture
def derive() -> Callable[..., dict[str, str]]:
    """Answer the questions and return all variables, rendering no file."""

    def answer(**answers: str) -> dict[str, str]:
        context = generate_context(str(ROOT / "cookiecutter.json"), extra_context=answers)
        return dict(prompt_for_config(context, no_input=True))

    return answer
