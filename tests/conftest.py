"""Fixtures that render the template, or try to."""

import contextlib
import io
import itertools
import logging
import os
import pickle
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cookiecutter.cli import main as command_line
from cookiecutter.generate import generate_context
from cookiecutter.prompt import prompt_for_config
from omegaconf import OmegaConf
from rich.logging import RichHandler
from sqlalchemy import Engine
from sqlalchemy.event import listen

from tests.helpers import (
    LEAKING,
    PROJECT,
    ROOT,
    Attempt,
    BakedProject,
    InstalledProject,
    render,
)

# Tests import tools from renders that others read too: these stay as they were rendered.
sys.dont_write_bytecode = True

# Where tests are started in the background (nohup make test &), Ctrl-C is ignored, and so it would
# be in what they start: tests of interruptions would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What a job of Azure ML and a developer's shell say about tracking.
_OF_A_RUN = (
    *("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_TRACKING_URI"),
    *("RANK", "OMPI_COMM_WORLD_RANK", "TF_CONFIG", "WORLD_SIZE", "OMPI_COMM_WORLD_SIZE"),
    "KEDRO_ENV",
)


def pytest_xdist_auto_num_workers() -> int:
    """Start one worker more than there are cores: tests wait for processes, servers and disks."""
    return (os.cpu_count() or 1) + 1


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


@pytest.fixture(scope="session", autouse=True)
def _opened_shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep out the settings of whoever runs the tests, and leave nothing in their home."""
    home = str(tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as shell:
        for name in list(os.environ):
            if name.startswith(LEAKING):
                shell.delenv(name)
        shell.setenv("HOME", home)
        shell.setenv("USERPROFILE", home)
        shell.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield


@pytest.fixture(scope="session", autouse=True)
def _quick_runs() -> Iterator[None]:
    """Take out of a run in this process what costs a third of it and what no test looks at.

    * Kedro's settings: ``inspect`` looks for the source of each frame in all modules, their reader
      wants no more than the names of the files.
    * MLflow reads all of its migrations to learn which is the last, each time a store is opened.
    * Each file of configuration is parsed anew for each project, most often the same text.
    * SQLite waits for the disk after each change.
    * Rich breaks, colours and aligns each line of a log.
    """
    from mlflow.store.db import utils

    with pytest.MonkeyPatch.context() as patch:
        for module in ("loaders.py_loader", "utils.files"):
            patch.setattr(f"dynaconf.{module}.inspect", SimpleNamespace(stack=_callers))
        patch.setattr(
            utils, "_get_latest_schema_revision", cache(utils._get_latest_schema_revision)
        )
        patch.setattr(OmegaConf, "load", staticmethod(_load))
        patch.setattr("rich.logging.RichHandler.emit", _print)
        listen(Engine, "connect", _wait_for_no_disk)
        yield


def _load(file: Any, load: Callable[[Any], Any] = OmegaConf.load) -> Any:
    if not isinstance(file, io.StringIO):  # Kedro gives the text
        return load(file)
    text = file.read()
    if text not in _PARSED:
        _PARSED[text] = pickle.dumps(load(io.StringIO(text)))
    return pickle.loads(_PARSED[text])  # noqa: S301, our own


_PARSED: dict[str, bytes] = {}


def _print(handler: RichHandler, record: logging.LogRecord) -> None:
    print(handler.format(record), file=handler.console.file, flush=True)


def _wait_for_no_disk(connection: Any, _: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


def _callers() -> list[SimpleNamespace]:
    frame, found = sys._getframe(), []
    while frame:
        found.append(SimpleNamespace(filename=frame.f_code.co_filename))
        frame = frame.f_back
    return found


@pytest.fixture(autouse=True)
def _own_tracking() -> Iterator[None]:
    """Keep a tracking server of the developer's, and that of one test, out of the next test."""
    _forget_tracking()
    for name in _OF_A_RUN:
        os.environ.pop(name, None)  # for good: MLflow sets one, which must not come back
    yield
    _forget_tracking()


def _forget_tracking() -> None:
    if mlflow := sys.modules.get("mlflow"):  # it takes a second to import: most tests do without
        while mlflow.active_run():
            mlflow.end_run()
        mlflow.set_tracking_uri(None)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty tracking database: MLflow takes seconds to make one, a copy takes none."""
    import mlflow

    path = tmp_path_factory.mktemp("database") / "mlruns.db"
    with contextlib.chdir(path.parent):  # where the files of the default experiment go
        mlflow.MlflowClient(f"sqlite:///{path.as_posix()}").search_experiments()
    return path


@pytest.fixture
def bake(template: Path, tmp_path: Path) -> Callable[..., BakedProject]:
    """Render the template with some answers into a new folder."""
    numbers = itertools.count()
    return lambda **answers: render(template, tmp_path / f"bake-{next(numbers)}", **answers)


@pytest.fixture(scope="session")
def baked(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., BakedProject]:
    """Render as `bake` does, but share the project between tests that only read it."""
    return cache(lambda **answers: render(template, tmp_path_factory.mktemp("baked"), **answers))


@pytest.fixture(scope="session")
def environment() -> Path:
    """The environment of these tests: it holds what the project's locks name, with their pins."""
    return Path(sys.prefix)


@pytest.fixture(scope="session")
def install(
    template: Path, tmp_path_factory: pytest.TempPathFactory, environment: Path
) -> Callable[..., InstalledProject]:
    """Render with some answers and put the shared environments where its targets would."""

    def installed(**answers: str) -> InstalledProject:
        project = render(template, tmp_path_factory.mktemp("installed"), **answers)
        (project.path / ".venv").symlink_to(environment)
        (project.path / ".venv-serve").symlink_to(ROOT / ".venv-serve")
        # as if installed after the locks were written
        for stamp in (".run", ".dev", ".azure"):
            (environment / stamp).touch()
        (ROOT / ".venv-serve" / ".synced").touch()
        return InstalledProject(project.path)

    return installed


@pytest.fixture
def type_in(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Attempt]:
    """Call cookiecutter as if typed in an empty folder, in this process to save its start."""
    # a run of Kedro in this process has put handlers on the root logger, which would print too
    monkeypatch.setattr(logging.getLogger("cookiecutter"), "propagate", False)
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
